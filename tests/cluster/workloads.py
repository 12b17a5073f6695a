"""Deployments and Services as plain values."""

import re
import subprocess
import sys
from collections.abc import ItemsView
from functools import partial
from typing import Any
from uuid import uuid4

from tests.cluster.kube import Cluster, awaited

Object = dict[str, Any]

NODES = ("kb-node1", "kb-node2")

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
PODINFO = "ghcr.io/stefanprodan/podinfo:latest"
FORTIO = "kbalance.test/fortio:latest"
GRPC_GO = "kbalance.test/grpc-go:latest"
PYTHON = "python:3.12-slim"
NAMES_ITSELF = """
import http.server, itertools, os, sys, time
each_s, fifth_s = map(float, sys.argv[1:] or (0, 0))
turn = itertools.count(1)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    def do_GET(self):
        time.sleep(each_s + (0 if self.path == "/ready" or next(turn) % 5 else fifth_s))
        body = os.uname().nodename.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
"""A server that takes its time: for each answer, and in addition for every fifth, as its arguments say. Unbuffered, head and body
would go out apart, and the body wait for the client's acknowledgement of the head."""
SERVERS: dict[str, tuple[str, list[str], int, str]] = {
    "agnhost": (AGNHOST, ["/agnhost", "netexec", "--http-port=8080", "--udp-port=-1"], 8080, "/hostname"),
    "podinfo": (PODINFO, ["/podinfo", "--port=9898"], 9898, "/healthz"),
    "fortio": (FORTIO, ["/fortio", "server", "-http-port", "8080"], 8080, "/debug"),
    "python": (PYTHON, ["python", "-c", NAMES_ITSELF], 8080, "/ready"),
}
CALLS: dict[str, tuple[str, list[str], int]] = {
    "agnhost": (AGNHOST, ["/agnhost", "grpc-health-checking", "--port=5000", "--http-port=8080"], 5000),
    "podinfo": (PODINFO, ["/podinfo", "--port=9898", "--grpc-port=9999"], 9999),
    "fortio": (FORTIO, ["/fortio", "server", "-http-port", "8080", "-grpc-port", "8079"], 8079),
    "grpc-go": (GRPC_GO, ["/grpc-go"], 8080),
}
"""Servers of gRPC."""
HARDENED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

PATIENT: Object = {"periodSeconds": 1, "timeoutSeconds": 5}
"""Of readiness probes: soon, and without taking a busy machine for a Pod that is not ready, which would spoil a measurement."""


def deployment(name: str = "web", server: str = "agnhost", replicas: int = 3, **pod: Any) -> Object:
    """Pods with the label ``app: web``, spread over the nodes."""
    image, command, port, probe = SERVERS[server]
    labels = {"app": "web", "deployment": name}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    container = {
        "name": server,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {"httpGet": {"path": probe, "port": port}, **PATIENT},
        "securityContext": HARDENED,
    }
    spec = {"terminationGracePeriodSeconds": 1, "topologySpreadConstraints": [spread], "containers": [container], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"deployment": name}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def calls(name: str = "web", server: str = "grpc-go", replicas: int = 3, *arguments: str, **pod: Any) -> Object:
    """Pods with the label ``app: web`` that speak gRPC at a port ``grpc``; the arguments are further ones of the server."""
    image, command, port = CALLS[server]
    one = deployment(name, replicas=replicas, **pod)
    container(one).update(
        name=server,
        image=image,
        command=[*command, *arguments],
        env=[{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        ports=[{"name": "grpc", "containerPort": port}],
        readinessProbe={"tcpSocket": {"port": port}, **PATIENT},
    )
    return one


def container(one: Object) -> Object:
    """The only container of a Deployment's Pods, to be changed in place."""
    containers: list[Object] = one["spec"]["template"]["spec"]["containers"]
    return containers[0]


def on(node: str) -> Object:
    """What keeps Pods on one node: ``deployment(**on("kb-node1"))``."""
    return {"nodeSelector": {"kubernetes.io/hostname": node}}


def deaf(name: str = "broken", replicas: int = 1, **pod: Any) -> Object:
    """Pods that count as ready and have nobody listening where the Service sends to."""
    one = deployment(name, replicas=replicas, **pod)
    container(one)["ports"] = [{"name": "http", "containerPort": 8081}]
    return one


def unready(one: Object) -> Object:
    """The same with Pods that never become ready: their readiness probe asks a port where nobody listens."""
    container(one)["readinessProbe"] = {"tcpSocket": {"port": 9}, "periodSeconds": 1}
    return one


def slow(name: str = "web", replicas: int = 3, *, each_s: float = 0.0, fifth_s: float = 0.0) -> Object:
    """Pods that take their time for each answer, and more for every fifth."""
    one = deployment(name, "python", replicas)
    container(one)["command"] = [*container(one)["command"], str(each_s), str(fifth_s)]
    return one


def versioned(one: Object, version: str) -> Object:
    """The same with the recommended label for a version on its Pods."""
    one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] = version
    return one


def service(name: str = "web", **spec: Any) -> Object:
    """A Service of all Pods with ``app: web``."""
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }


def calling(name: str = "web", port: str = "grpc", **spec: Any) -> Object:
    """A Service of all Pods with ``app: web`` that speak gRPC.

    Args:
        port: its name, which says what is spoken there.
    """
    return service(name, **{"ports": [{"name": port, "port": 80, "targetPort": "grpc"}], **spec})


def written_by_hand(pods: list[Any], *, zone: str | None = None) -> Object:
    """An EndpointSlice of Pods for a Service ``web`` without selector.

    Args:
        zone: All Pods are said to be there, each hinted for it and for its own node; ``None``: no zones and no hints.
    """
    return by_hand("web", [_endpoint(pod) | (_hinted(pod, zone) if zone else {}) for pod in pods])


def by_hand(name: str, endpoints: list[Object]) -> Object:
    """An EndpointSlice for a Service without selector."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-own", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def _endpoint(pod: Any) -> Object:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": True},
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": {"kind": "Pod", "name": name, "namespace": namespace},
    }


def _hinted(pod: Any, zone: str) -> Object:
    return {"zone": zone, "hints": {"forZones": [{"name": zone}], "forNodes": [{"name": pod["spec"]["nodeName"]}]}}


def stand(cluster: Cluster, namespace: str, *objects: Object) -> None:
    """Applies them and waits until every Deployment is available and its endpoints are known, to the nodes as well."""
    cluster.apply(namespace, *objects)
    deployed = [one["metadata"]["name"] for one in objects if one["kind"] == "Deployment" and one["spec"]["replicas"]]
    for name in deployed:
        cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=120s")
        cluster.kubectl("wait", f"deployment/{name}", "-n", namespace, "--for=condition=Available", "--timeout=120s")
    if deployed:
        followed(cluster, namespace)


def followed(cluster: Cluster, namespace: str) -> None:
    """Waits until the EndpointSlices have followed the Pods, and the rules of the nodes the EndpointSlices.

    kube-proxy hears of Services and of EndpointSlices in the order in which they were written. So when a node has rules for those
    that are written last, here, it knows all that were written before.
    """
    awaited(lambda: _know_their_pods(cluster, namespace), f"the EndpointSlices of {namespace}")
    if not cluster.namespaces:
        return
    last = f"last-{uuid4().hex[:8]}"
    cluster.apply(
        namespace, service(last, selector=None), by_hand(last, [{"addresses": ["198.18.2.254"], "conditions": {"ready": True}}])
    )
    for node in NODES:
        awaited(partial(_has_rules, node, namespace, last), f"rules on {node}")


def _know_their_pods(cluster: Cluster, namespace: str) -> bool:
    """Whether every Service's EndpointSlices call those Pods ready that are."""
    items = cluster.get("pods,services,endpointslices", "-n", namespace)["items"]
    pods, services, slices = ([one for one in items if one["kind"] == kind] for kind in ("Pod", "Service", "EndpointSlice"))
    for one in services:
        selector = (one["spec"].get("selector") or {}).items()
        own = [s for s in slices if s["metadata"]["labels"].get("kubernetes.io/service-name") == one["metadata"]["name"]]
        listed = [e for s in own for e in s["endpoints"] or () if e["conditions"].get("ready")]
        known = {e["targetRef"]["name"] for e in listed if "targetRef" in e}
        if selector and not {pod["metadata"]["name"] for pod in pods if _serves(pod, selector)} <= known:
            return False
    return True


def _serves(pod: Object, selector: ItemsView[str, str]) -> bool:
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
    return ready and "deletionTimestamp" not in pod["metadata"] and selector <= pod["metadata"]["labels"].items()


def _has_rules(node: str, namespace: str, name: str) -> bool:
    """Whether kube-proxy leads to an endpoint of this Service; in a comment of iptables, or by an nftables chain."""
    for tool in (["iptables-save"], ["nft", "list", "table", "ip", "kube-proxy"]):
        listed = subprocess.run(["ip", "netns", "exec", node, *tool], capture_output=True, text=True, check=False).stdout
        if re.search(rf"{namespace}/{name}(:http -> |/tcp/http__)", listed):
            return True
    return False


def accepting(node: str, ip: str, port: int) -> None:
    """Waits until a connection from a node opens."""
    code = f"import socket; socket.create_connection(({ip!r}, {port}), 5).close()"
    awaited(lambda: _runs(node, code), f"a connection from {node} to {ip}:{port}")


def resolved(cluster: Cluster, name: str, number: int) -> None:
    """Waits until the cluster's DNS has so many addresses for a name."""
    server = cluster.get("service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    asked = f"udp(make_query({name!r}, 'A'), {server!r}, 5).answer[0]"
    code = f"from dns.message import make_query; from dns.query import udp; assert len({asked}) == {number}"
    awaited(lambda: _runs(NODES[0], code), f"{number} addresses of {name}")


def _runs(node: str, code: str) -> bool:
    """Whether Python on a node comes to the end of this."""
    done = subprocess.run(["ip", "netns", "exec", node, sys.executable, "-c", code], capture_output=True, check=False)
    return done.returncode == 0
