"""Deployments and Services as plain values."""

import subprocess
import sys
import threading
from typing import Any

from tests.cluster.kube import Cluster

Object = dict[str, Any]

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
PODINFO = "ghcr.io/stefanprodan/podinfo:latest"
FORTIO = "kbalance.test/fortio:latest"
SERVERS: dict[str, tuple[str, list[str], int, str]] = {
    "agnhost": (AGNHOST, ["/agnhost", "netexec", "--http-port=8080", "--udp-port=-1"], 8080, "/hostname"),
    "podinfo": (PODINFO, ["/podinfo", "--port=9898"], 9898, "/healthz"),
    "fortio": (FORTIO, ["/fortio", "server", "-http-port", "8080"], 8080, "/debug"),
}
HARDENED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


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
        "readinessProbe": {"httpGet": {"path": probe, "port": port}, "periodSeconds": 1},
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


def service(name: str = "web", **spec: Any) -> Object:
    """A Service of all Pods with ``app: web``."""
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }


def stand(cluster: Cluster, namespace: str, *objects: Object) -> None:
    """Applies them and waits until every Deployment is available and its endpoints are known."""
    cluster.apply(namespace, *objects)
    for one in objects:
        if one["kind"] == "Deployment" and one["spec"]["replicas"]:
            name = one["metadata"]["name"]
            cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=120s")
            cluster.kubectl("wait", f"deployment/{name}", "-n", namespace, "--for=condition=Available", "--timeout=120s")


def followed(cluster: Cluster, namespace: str, node: str = "kb-node1") -> None:
    """Waits until kube-proxy of a node has followed, which takes it about a second."""
    address = cluster.get("service", "web", "-n", namespace)["spec"]["clusterIP"]
    code = f"import socket; socket.create_connection(({address!r}, 80), 1).close()"
    pause = threading.Event()
    for _ in range(50):
        tried = subprocess.run(["ip", "netns", "exec", node, sys.executable, "-c", code], capture_output=True, check=False)
        if tried.returncode == 0:
            return
        pause.wait(0.2)
    raise AssertionError(f"{node} does not know {address} after 10 s")
