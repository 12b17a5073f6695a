"""Manifests and kubectl commands."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, plain, quoted, shell, told
from kbalance.model.report import Artifact

AFFINITY_TIMEOUT_S = 600
"""Advised memory of a session affinity that has to stay."""

DRAIN_S = 15
"""How long a Pod that leaves still serves."""


def headless_service(setting: Setting) -> Artifact | None:
    """A second Service whose name has every endpoint's address in DNS."""
    if setting.namespace is None or setting.headless:
        return None
    content = fill(
        _HEADLESS,
        service=plain(setting.service),
        headless=quoted(setting.headless_service),
        namespace=quoted(setting.namespace),
        selector=_labels(setting, "    "),
        port_name=quoted(setting.port_name or ("grpc" if setting.grpc else "http2" if setting.http2 else "http")),
        port=setting.dialled,
        target=_target_port(setting),
        guess=_guess(setting),
        host=setting.endpoints_host,
    )
    return Artifact(name="headless-service.yaml", kind="kubernetes", content=content)


def endpoint_reader(setting: Setting) -> Artifact | None:
    """The least that a client needs that watches the API instead of asking DNS."""
    if setting.namespace is None:
        return None
    content = fill(
        _READER,
        name=quoted(f"{plain(setting.service)[:47]}-endpoint-reader"),
        namespace=quoted(setting.namespace),
        client_namespace=quoted(setting.namespace),
    )
    return Artifact(name="endpoint-reader.yaml", kind="kubernetes", content=content)


def no_affinity(setting: Setting) -> Artifact | None:
    """Takes the time-out away with the setting that it belongs to."""
    return _service_patch(
        setting,
        "affinity-none.sh",
        "The Service forgets its clients; each new connection is drawn anew.",
        '{"spec":{"sessionAffinity":"None","sessionAffinityConfig":null}}',
    )


def shorter_affinity(setting: Setting) -> Artifact | None:
    """For those who have to keep the affinity."""
    return _service_patch(
        setting,
        "affinity-timeout.sh",
        f"Keeps the affinity and forgets a client {told(AFFINITY_TIMEOUT_S)} after its last connection. The default is 3 hours.",
        f'{{"spec":{{"sessionAffinityConfig":{{"clientIP":{{"timeoutSeconds":{AFFINITY_TIMEOUT_S}}}}}}}}}',
    )


def internal_traffic_everywhere(setting: Setting) -> Artifact | None:
    """The Service sends connections to every node again."""
    if not setting.internal_traffic_policy_local:
        return None
    return _service_patch(
        setting,
        "internal-traffic-cluster.sh",
        "Connections from inside the cluster go to endpoints on every node, not on the client's only.",
        '{"spec":{"internalTrafficPolicy":"Cluster"}}',
    )


def no_traffic_distribution(setting: Setting) -> Artifact | None:
    """The Service has no preference for near endpoints."""
    if setting.traffic_distribution is None:
        return None
    return _service_patch(
        setting,
        "no-traffic-distribution.sh",
        f"Takes trafficDistribution {plain(setting.traffic_distribution)} away: "
        "endpoints in other zones and on other nodes get their share.",
        '{"spec":{"trafficDistribution":null}}',
    )


def no_topology_annotation(setting: Setting) -> Artifact | None:
    """The Service asks for no topology hints."""
    if setting.topology_annotation is None or setting.namespace is None:
        return None
    content = (
        "# Takes the annotation away that asks for topology hints: endpoints in other zones get their share.\n"
        f"kubectl annotate service {_named(setting)} {shell(setting.topology_annotation + '-')}\n"
    )
    return Artifact(name="no-topology-hints.sh", kind="shell", content=content)


def external_traffic_everywhere(setting: Setting) -> Artifact | None:
    """Nodes pass connections from outside on to every endpoint."""
    return _service_patch(
        setting,
        "external-traffic-cluster.sh",
        "Connections from outside go on to endpoints on every node. The Pods see a node's address instead of the client's.",
        '{"spec":{"externalTrafficPolicy":"Cluster"}}',
    )


def spread_pods(setting: Setting) -> Artifact | None:
    """Every zone and node gets its share of the Pods."""
    if setting.namespace is None:
        return None
    selector = ",".join(f"{quoted(k)}:{quoted(v)}" for k, v in setting.selector)
    constraints = ",".join(
        f'{{"maxSkew":1,"topologyKey":"{key}","whenUnsatisfiable":"ScheduleAnyway","labelSelector":{{"matchLabels":{{{selector}}}}}}}'
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    )
    content = fill(
        _SPREAD,
        asked=_owner_asked(setting),
        deployment=_owner(setting),
        namespace=shell(setting.namespace),
        patch=shell(f'{{"spec":{{"template":{{"spec":{{"topologySpreadConstraints":[{constraints}]}}}}}}}}'),
        note=""
        if selector
        else "# The Service's selector is not known: put the Pods' labels into matchLabels, or nothing is spread.\n",
    )
    return Artifact(name="spread-pods.sh", kind="shell", content=content)


def drain(setting: Setting) -> Artifact | None:
    """A Pod that leaves serves until everybody has noticed."""
    if setting.namespace is None:
        return None
    container = '"\'"${CONTAINER:?the name of the container that serves}"\'"'
    patch = (
        f'{{"spec":{{"template":{{"spec":{{"terminationGracePeriodSeconds":{DRAIN_S + 30},"containers":'
        f'[{{"name":{container},"lifecycle":{{"preStop":{{"sleep":{{"seconds":{DRAIN_S}}}}}}}}}]}}}}}}}}'
    )
    content = fill(
        _DRAIN,
        asked=_owner_asked(setting),
        plain_namespace=plain(setting.namespace),
        drain=DRAIN_S,
        deployment=_owner(setting),
        namespace=shell(setting.namespace),
        patch=patch,
    )
    return Artifact(name="drain.sh", kind="shell", content=content)


def look_at_kube_proxy(setting: Setting) -> Artifact | None:
    """What the API says, and what the node made of it."""
    if setting.namespace is None:
        return None
    asked = "" if setting.node else "# The node is not known; this names those there are: kubectl get nodes\n"
    content = fill(
        _KUBE_PROXY,
        asked=asked,
        node=shell(setting.node) if setting.node else '"${NODE:?the node where the traffic starts}"',
        namespace=shell(setting.namespace),
        label=shell(f"kubernetes.io/service-name={setting.service}"),
        rules=shell(f"{plain(setting.namespace)}/{plain(setting.service)}"),
    )
    return Artifact(name="look-at-kube-proxy.sh", kind="shell", content=content)


def pod_name(setting: Setting) -> Artifact:
    """The Downward API tells a container its Pod's name."""
    where = "to the metadata of every answer as x-pod-name" if setting.grpc else "to every answer as X-Pod-Name"
    return Artifact(name="container-env.yaml", kind="kubernetes", content=fill(_POD_NAME, where=where))


def _service_patch(setting: Setting, name: str, says: str, patch: str) -> Artifact | None:
    if setting.namespace is None:
        return None
    content = f"# {says}\nkubectl patch service {_named(setting)} --type merge \\\n  --patch {shell(patch)}\n"
    return Artifact(name=name, kind="shell", content=content)


def _named(setting: Setting) -> str:
    return f"{shell(setting.service)} --namespace {shell(setting.namespace or '')}"


def _owner(setting: Setting) -> str:
    return shell(setting.owner) if setting.owner else '"${DEPLOYMENT:?the Deployment of the Pods}"'


def _owner_asked(setting: Setting) -> str:
    if setting.owner:
        return ""
    return (
        "# The Deployment of the Pods is not known; this prints what there is, with the labels of its Pods:\n"
        f"#   kubectl get deployments -n {plain(setting.namespace or '')} "
        "-o custom-columns=NAME:.metadata.name,LABELS:.spec.template.metadata.labels\n"
    )


def _labels(setting: Setting, indent: str) -> str:
    """The lines of a selector."""
    if setting.selector:
        return "\n".join(f"{indent}{quoted(key)}: {quoted(value)}" for key, value in setting.selector)
    service, namespace = plain(setting.service), plain(setting.namespace or "")
    return (
        f"{indent}# Not known; this prints it:\n"
        f"{indent}#   kubectl get service {service} -n {namespace} -o jsonpath='{{.spec.selector}}'\n"
        f'{indent}"replace-me": "with-the-selector-of-{service[:40]}"'
    )


def _target_port(setting: Setting) -> str:
    if setting.target_port is None:
        return str(setting.dialled)
    return setting.target_port if setting.target_port.isdecimal() else quoted(setting.target_port)


def _guess(setting: Setting) -> str:
    if not setting.dialled_is_a_guess:
        return ""
    target = plain(setting.target_port or "")
    return f"# The port {setting.dialled} is the Service's: use the number of the container's port {target} instead.\n"


_HEADLESS = """\
# A headless Service beside {{service}}: its DNS name has the address of every ready endpoint.
# Clients connect to {{host}}:{{port}}, the Pods' own port: nothing translates it.
{{guess}}apiVersion: v1
kind: Service
metadata:
  name: {{headless}}
  namespace: {{namespace}}
spec:
  clusterIP: None
  selector:
{{selector}}
  ports:
    - name: {{port_name}}
      port: {{port}}
      targetPort: {{target}}
"""

_READER = """\
# Lets a client watch the EndpointSlices of this namespace; not needed where it asks DNS.
# Put the client's ServiceAccount in place of default.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{name}}
  namespace: {{namespace}}
rules:
  - apiGroups: ["discovery.k8s.io"]
    resources: ["endpointslices"]
    verbs: ["get", "list", "watch"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{name}}
  namespace: {{namespace}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{name}}
subjects:
  - kind: ServiceAccount
    name: default
    namespace: {{client_namespace}}
"""

_SPREAD = """\
# Spreads the Pods evenly over zones and nodes, as far as there is room. This replaces the Pods, one after the other.
{{note}}{{asked}}kubectl patch deployment {{deployment}} --namespace {{namespace}} \\
  --patch {{patch}}
"""

_DRAIN = """\
# A Pod that leaves serves for {{drain}} s more: by then kube-proxy and clients know, and only then it is told to stop.
# The action sleep needs Kubernetes 1.30 or later; before, use exec with a sleep in the image. This replaces the Pods.
{{asked}}# The name of the container that serves is not known; this prints those there are:
#   kubectl get deployment -n {{plain_namespace}} -o custom-columns=NAME:.metadata.name,\
CONTAINERS:.spec.template.spec.containers[*].name
kubectl patch deployment {{deployment}} --namespace {{namespace}} \\
  --patch '{{patch}}'
"""

_KUBE_PROXY = """\
# What the API says of the endpoints, and what the node made of it. Only looks.
{{asked}}kubectl get endpointslices --namespace {{namespace}} --selector {{label}}
kubectl get pods --namespace kube-system --selector k8s-app=kube-proxy \\
  --output wide --field-selector spec.nodeName={{node}}
kubectl get events --all-namespaces \\
  --field-selector involvedObject.kind=Node,involvedObject.name={{node}}
# Its log, and its rules for the Service; with iptables:
#   kubectl logs --namespace kube-system --tail 50 POD-FROM-ABOVE
#   kubectl debug node/NODE --image busybox --profile sysadmin -it -- chroot /host iptables-save | grep {{rules}}
# With nftables:
#   kubectl debug node/NODE --image busybox --profile sysadmin -it -- chroot /host nft list ruleset | grep {{rules}}
"""

_POD_NAME = """\
# For the container: the Downward API puts the Pod's name into a variable. Add it {{where}}.
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
"""
