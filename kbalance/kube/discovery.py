"""What stands behind a Service, read from the API in one go: two rounds of calls, each made side by side.

Service and EndpointSlices are needed; Pods and nodes only add to the report, and where they may not be read it says so.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kbalance.errors import ApiError, DiscoveryError
from kbalance.kube import convert
from kbalance.model.target import EndpointFacts, Facts

Object = Mapping[str, Any]

MOST_NAMED = 5
"""Services that are named where another was not found."""


class Api(Protocol):
    """The calls that this room makes."""

    def get(self, path: str) -> dict[str, Any]: ...
    def list(self, path: str, query: Mapping[str, str] = ..., *, metadata_only: bool = ...) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A Service and one of its ports."""

    name: str
    namespace: str
    port: int | str | None = None
    """Number or name; ``None``: the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What was found."""

    facts: Facts
    scheme: str
    """``https`` where the port's appProtocol says so, else where its name or number does."""
    host: str
    """The Service's address; of a headless one its name in the cluster's DNS."""
    port: int
    """The Service's; of a headless one the endpoints' own, since nothing translates."""
    zones: Mapping[str, str]
    """Node to zone, of all nodes that could be read, and of those that EndpointSlices tell about."""


def discover(api: Api, reference: Reference) -> Discovery:
    """Reads everything that is known of a Service.

    Raises:
        DiscoveryError: there is no such Service or port, it cannot be probed, or it may not be read.
    """
    with ThreadPoolExecutor(4) as pool:
        nodes = pool.submit(_allowed, lambda: api.list("/api/v1/nodes", {}, metadata_only=True))
        slices = pool.submit(_slices, api, reference)
        service = _service(api, reference)
        port = _probed_port(service, reference)
        pods = pool.submit(_allowed, lambda: _pods(api, reference, service, slices))
        facts = convert.facts(service, slices.result(), reference.port)
        return _discovery(reference, service, port, facts, pods.result(), nodes.result())


def reread(api: Api, reference: Reference, before: Facts) -> Facts:
    """The facts once more, with what Pods told before: what decides where traffic goes is in Service and EndpointSlices."""
    with ThreadPoolExecutor(1) as pool:
        slices = pool.submit(_slices, api, reference)
        service = _service(api, reference)
        now = convert.facts(service, slices.result(), reference.port)
    told = {e.name: e for e in before.endpoints}
    endpoints = (_still(e, told[e.name]) if e.name in told else e for e in now.endpoints)
    return replace(now, endpoints=tuple(endpoints))


def _still(now: EndpointFacts, before: EndpointFacts) -> EndpointFacts:
    return replace(
        now,
        owner=before.owner,
        created=before.created,
        host_network=before.host_network,
        aliases=before.aliases,
        version=before.version,
        node=now.node or before.node,
        zone=now.zone or before.zone,
    )


def _discovery(
    reference: Reference,
    service: Object,
    port: Object,
    facts: Facts,
    pods: "list[dict[str, Any]] | None",
    nodes: "list[dict[str, Any]] | None",
) -> Discovery:
    zones = {e.node: e.zone for e in facts.endpoints if e.node and e.zone} | convert.zones_of(nodes or ())
    endpoints = convert.with_pods(facts.endpoints, pods or ())
    endpoints = tuple(replace(e, zone=e.zone or zones.get(e.node or "")) for e in endpoints)
    facts = replace(facts, endpoints=endpoints)
    notices = tuple(_notices(facts, port, reachable_pods=pods is not None, reachable_nodes=nodes is not None))
    assert facts.service is not None
    headless = facts.service.headless
    own = _own_ports(facts)
    return Discovery(
        facts=replace(facts, notices=notices),
        scheme=scheme(port),
        host=f"{reference.name}.{reference.namespace}.svc" if headless else str(facts.service.cluster_ip),
        port=own[0] if headless and own else int(port["port"]),
        zones=zones,
    )


def scheme(port: Object) -> str:
    """``https`` or ``http``: by appProtocol, where there is one; else by the port's name, where it says so; else by its number.

    Source: kubernetes/api `core/v1/types.go` (ServicePort.appProtocol); names such as ``https-admin`` are Istio's custom.
    """
    if port.get("appProtocol"):
        return "https" if str(port["appProtocol"]).lower() in ("https", "kubernetes.io/wss", "grpcs") else "http"
    word = str(port.get("name") or "").partition("-")[0]
    if word in ("http", "https"):
        return word
    if word in ("grpc", "grpcs", "http2", "h2c"):
        return "https" if word == "grpcs" else "http"
    return "https" if port.get("port") == 443 else "http"


def _own_ports(facts: Facts) -> list[int]:
    """The numbers that endpoints listen on, most frequent first; of all endpoints where none is ready."""
    counts = Counter(e.address.port for e in facts.ready or facts.endpoints if e.address is not None)
    return sorted(counts, key=lambda number: (-counts[number], number))


def _notices(facts: Facts, port: Object, *, reachable_pods: bool, reachable_nodes: bool) -> list[str]:
    service, notices = facts.service, []
    assert service is not None
    if not reachable_pods:
        notices.append(
            "Pods may not be read, so owner, age and host network of the endpoints are unknown; a Role with"
            ' apiGroups: [""], resources: ["pods"], verbs: ["list"] would allow it.'
        )
    if not reachable_nodes and any(e.zone is None for e in facts.endpoints):
        notices.append(
            "Nodes may not be read, so zones of endpoints are unknown; a ClusterRole with"
            ' apiGroups: [""], resources: ["nodes"], verbs: ["list"] would allow it.'
        )
    if service.publish_not_ready_addresses:
        notices.append("publishNotReadyAddresses is set: Pods that are not ready get traffic as well.")
    if facts.ready and not any(e.ready for e in facts.endpoints):
        notices.append("No endpoint is ready; those that still serve while they end get the traffic.")
    if not service.has_selector and not facts.endpoints:
        notices.append("The Service has no selector, and no EndpointSlice names an endpoint for it.")
    if service.headless:
        notices += _headless(_own_ports(facts), port)
    together = Counter(e.node for e in facts.endpoints if e.host_network and e.node)
    shared = sorted(node for node, pods in together.items() if pods > 1)
    if shared:
        notices.append(f"Several Pods are on the host network of {', '.join(shared)}, whose name does not tell them apart.")
    return notices


def _headless(own: Sequence[int], port: Object) -> list[str]:
    if len(own) > 1:
        rest = ", ".join(map(str, own[1:]))
        return [f"The endpoints of this headless Service listen on different ports: {own[0]} is dialled, not {rest}."]
    if own and own[0] != port.get("port"):
        return [f"The Service is headless, so the Pods' own port {own[0]} is dialled instead of {port.get('port')}."]
    return []


def _service(api: Api, reference: Reference) -> dict[str, Any]:
    try:
        return api.get(f"/api/v1/namespaces/{reference.namespace}/services/{reference.name}")
    except ApiError as error:
        if error.status == 404:
            raise DiscoveryError(_not_found(api, reference)) from error
        raise _forbidden(error, reference, "", "services", "get") from error


def _slices(api: Api, reference: Reference) -> list[dict[str, Any]]:
    path = f"/apis/discovery.k8s.io/v1/namespaces/{reference.namespace}/endpointslices"
    try:
        return api.list(path, {"labelSelector": f"kubernetes.io/service-name={reference.name}"})
    except ApiError as error:
        raise _forbidden(error, reference, "discovery.k8s.io", "endpointslices", "list") from error


def _pods(api: Api, reference: Reference, service: Object, slices: "Future[list[dict[str, Any]]]") -> list[dict[str, Any]]:
    """The Pods that the Service selects; without a selector all of the namespace, if EndpointSlices name any."""
    selector: Object = (service.get("spec") or {}).get("selector") or {}
    if not selector and not any(convert.names_a_pod(one) for one in slices.result()):
        return []
    query = {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(selector.items()))} if selector else {}
    return api.list(f"/api/v1/namespaces/{reference.namespace}/pods", query)


def _allowed(read: "Callable[[], list[dict[str, Any]]]") -> "list[dict[str, Any]] | None":
    """What was read; ``None``: it may not be."""
    try:
        return read()
    except ApiError as error:
        if error.status == 403:
            return None
        raise


def _forbidden(error: ApiError, reference: Reference, group: str, resource: str, verb: str) -> DiscoveryError:
    if error.status != 403:
        return error
    rule = f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]'
    return DiscoveryError(
        f"svc/{reference.name} cannot be examined: {error.answer or error}; a Role in namespace {reference.namespace}"
        f" with {rule} would allow it."
    )


def _not_found(api: Api, reference: Reference) -> str:
    """No such Service; whether there is such a namespace, and what else it may have been."""
    namespace = reference.namespace
    base = f"There is no Service {reference.name!r} in namespace {namespace}"
    try:
        names = [s["metadata"]["name"] for s in api.list(f"/api/v1/namespaces/{namespace}/services", {}, metadata_only=True)]
        if not names and _missing(api, namespace):
            return (
                f"There is no namespace {namespace!r} in this cluster; name another with -n, or another cluster with --context."
            )
    except ApiError:
        return f"{base}; check its name, the namespace (-n) and the context (--context)."
    near = difflib.get_close_matches(reference.name, names, n=3, cutoff=0.5)
    if near:
        return f"{base}; did you mean {' or '.join(f'svc/{name}' for name in near)}?"
    if not names:
        return f"{base}, which has none at all; name one in another namespace with -n."
    some = ", ".join(sorted(names)[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
    return f"{base}, which has {some}; name one of those, or another namespace with -n."


def _missing(api: Api, namespace: str) -> bool:
    """Whether the cluster says that there is no such namespace; who may not ask learns nothing."""
    try:
        api.get(f"/api/v1/namespaces/{namespace}")
    except ApiError as error:
        return error.status == 404
    return False


def _probed_port(service: Object, reference: Reference) -> Object:
    """The port that is meant.

    Raises:
        DiscoveryError: there is none, or the Service is only another name for something outside.
    """
    spec: Object = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        numbers = [str(one.get("port")) for one in spec.get("ports") or ()]
        number = numbers[0] if len(numbers) == 1 else reference.port if isinstance(reference.port, int) else "PORT"
        raise DiscoveryError(
            f"svc/{reference.name} is of type ExternalName, another name for {spec.get('externalName')}, and has no endpoints"
            f" in this cluster; probe http://{spec.get('externalName')}:{number}/ instead."
        )
    return convert.service_port(service, reference.port)
