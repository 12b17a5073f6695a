"""What is known of a Service of 200 Pods: kbalance's way, and a script over the library's typed models; whole processes."""

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from time import perf_counter

from bench.errors import NotMeasured
from kbalance.testbed.cluster import Cluster

ENDPOINTS = 200

_OURS = """
import gc, sys
gc.disable()
from kbalance.kube.client import connect
from kbalance.kube.discovery import Reference, discover
from kbalance.kube.kubeconfig import Access
client = connect(Access(kubeconfig=sys.argv[1], namespace="shop"))
print(len(discover(client, Reference(name="web", namespace="shop")).facts.endpoints))
"""
_TYPED = """
import sys
from kubernetes import client, config
config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
service = core.read_namespaced_service("web", "shop")
slices = client.DiscoveryV1Api().list_namespaced_endpoint_slice("shop", label_selector="kubernetes.io/service-name=web")
pods = core.list_namespaced_pod("shop", label_selector=",".join(f"{k}={v}" for k, v in service.spec.selector.items()))
core.list_node()
print(sum(len(one.endpoints or ()) for one in slices.items))
"""


def ours() -> float:
    """Milliseconds of a process that reads the facts as `kbalance probe` does, which collects no garbage until it has them."""
    return _process(_OURS)


def typed() -> float:
    """Milliseconds of a script that makes the same calls with typed models."""
    return _process(_TYPED)


def _process(script: str) -> float:
    kubeconfig = str(_kubeconfig())
    began = perf_counter()
    done = subprocess.run([sys.executable, "-c", script, kubeconfig], capture_output=True, text=True, timeout=60, check=False)
    took = perf_counter() - began
    if done.stdout.strip() != str(ENDPOINTS):
        raise NotMeasured(f"discovery found {done.stdout.strip()!r} endpoints: {done.stderr[-300:]}")
    return took * 1000


@cache
def _kubeconfig() -> Path:
    """Of an embedded cluster that lives as long as this process."""
    cluster = Cluster.start("default")
    cluster.scale(ENDPOINTS)
    path = Path(tempfile.mkdtemp(prefix="kbalance-bench-")) / "kubeconfig"
    path.write_text(cluster.kubeconfig(), encoding="utf-8")
    _CLUSTERS.append(cluster)
    return path


_CLUSTERS: list[Cluster] = []
"""Kept, since a cluster that nobody holds is closed."""
