"""A real Kubernetes: its own controllers write the EndpointSlices, and its own kube-proxy the rules.

It is the one of KBALANCE_TEST_KUBECONFIG or KUBECONFIG, and it has to be up. Where its nodes are network namespaces of this
machine, probes start on one of them; else a Job's Pod makes the traffic.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.accuracy.site import LONGEST_S, need
from bench.accuracy.trial import Arrangement, NotArranged, Probe
from tests.cluster.kube import Cluster
from tests.cluster.workloads import deployment, followed, service, stand
from tests.kernel import chance
from tests.kernel.probe import environment

NODE = "kb-node1"
"""Where probes start, if that is a network namespace of this machine."""

SETTLING = 40
"""Looks, half a second apart, until an arrangement has to be what it says."""

Object = dict[str, Any]
Check = Callable[[Cluster, str], None]
"""Of a cluster and a namespace in it."""

_CLIENT = "import json, sys; from tests.kernel import client; print(json.dumps(client.fresh((sys.argv[1], 80), 90, '0.0.0.0')))"


def _cluster() -> Cluster:
    kubeconfig = os.environ.get("KBALANCE_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    if not kubeconfig:
        raise NotArranged("no cluster is named by KBALANCE_TEST_KUBECONFIG or KUBECONFIG")
    return Cluster(kubeconfig=kubeconfig, namespaces=Path("/run/netns", NODE).exists())


@contextmanager
def _stand(*objects: Object, check: Check, options: Sequence[str] = (), late: Sequence[Object] = ()) -> Iterator[Probe]:
    """A namespace with these objects.

    Args:
        late: objects that never become available, so that nobody waits for them.
    """
    cluster, name = _cluster(), f"kb-accuracy-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    try:
        stand(cluster, name, *objects)
        if late:
            cluster.apply(name, *late)
        if cluster.namespaces:
            if cluster.get("service", "web", "-n", name)["spec"]["clusterIP"] != "None":
                followed(cluster, name, NODE)
            _settled(check, cluster, name)
        yield lambda seed: _report(cluster, name, [*options, "--rate", "0", "--seed", str(seed)])
    finally:
        cluster.kubectl("delete", "namespace", "--wait=false", name)


def _settled(check: Check, cluster: Cluster, namespace: str) -> None:
    """Waits until controllers and kube-proxy have followed, which takes them a second or a few."""
    pause = threading.Event()
    for left in reversed(range(SETTLING)):
        try:
            return check(cluster, namespace)
        except NotArranged:
            if not left:
                raise
        pause.wait(0.5)


def _report(cluster: Cluster, namespace: str, options: Sequence[str]) -> Any:
    command = cluster.command("probe", "svc/web", "-n", namespace, "-o", "json", *options)
    here = cluster.namespaces and "job" not in options
    # A host is a node of the cluster if it bears a node's name.
    entered = ["ip", "netns", "exec", NODE, "unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', NODE] if here else []
    done = subprocess.run(
        [*entered, *command], capture_output=True, text=True, timeout=LONGEST_S, env=cluster.environment(), check=False
    )
    if not done.stdout:
        print(f"  exit code {done.returncode}: {done.stderr.strip()[-1000:]}", file=sys.stderr)
    return json.loads(done.stdout) if done.stdout else {}


def _drawn(cluster: Cluster, namespace: str) -> Mapping[str, int]:
    """Who answers ninety fresh connections from the node; pods with nothing count too."""
    address = cluster.get("service", "web", "-n", namespace)["spec"]["clusterIP"]
    argv = ["ip", "netns", "exec", NODE, sys.executable, "-c", _CLIENT, address]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LONGEST_S, env=environment(), check=False)
    need(done.returncode == 0, "a plain client gets answers", done.stderr[-500:])
    answers = json.loads(done.stdout)
    return {name: answers.count(name) for name in _places(cluster, namespace)}


def _places(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Pod to node, of those that are ready."""
    pods = cluster.get("pods", "-n", namespace, "-l", "app=web")["items"]
    ready = [p for p in pods if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"]["conditions"])]
    return {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in ready}


def _fairly(cluster: Cluster, namespace: str) -> None:
    seen = _drawn(cluster, namespace)
    fair = chance.unfair(list(seen.values())) < chance.CERTAIN and min(seen.values()) > 0
    need(fair and sum(seen.values()) == 90, "each connection is a fair draw", seen)


def _on_one(cluster: Cluster, namespace: str) -> None:
    seen = _drawn(cluster, namespace)
    need(max(seen.values()) == 90, "this client is kept on one pod", seen)


def _near(cluster: Cluster, namespace: str) -> None:
    """Only pods of this node get connections."""
    seen, places = _drawn(cluster, namespace), _places(cluster, namespace)
    far = {name: got for name, got in seen.items() if got and places[name] != NODE}
    need(not far, f"connections stay on {NODE}", seen)


def _named(cluster: Cluster, namespace: str) -> None:
    addresses = cluster.get("endpointslices", "-n", namespace)["items"]
    need(sum(len(one["endpoints"] or ()) for one in addresses) == 3, "three endpoints are listed", addresses)


def _one_is_not_ready(cluster: Cluster, namespace: str) -> None:
    slices = cluster.get("endpointslices", "-n", namespace)["items"]
    ready = sorted(endpoint["conditions"]["ready"] for one in slices for endpoint in one["endpoints"] or ())
    need(ready == [False, True, True], "one of three endpoints is not ready", ready)


def _never_ready(name: str) -> Object:
    made = deployment(name, replicas=1)
    made["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] = 1
    return made


def _row(scenario: str, pods: int, *expected: str, **more: object) -> Arrangement:
    return Arrangement(scenario=scenario, dataplane="cluster", pods=pods, expected=expected, **more)  # type: ignore[arg-type]


def _rows() -> Iterator[Arrangement]:
    for n in (3, 5):
        web = partial(_stand, deployment(replicas=n), service(), check=_fairly)
        yield _row("plain", n, "connection-pinning", fair=True, stand=web)
    web = partial(_stand, deployment(), service(), check=_fairly, options=("--vantage", "job"))
    yield _row("plain, from a Job", 3, "connection-pinning", fair=True, runs=3, stand=web)
    kept = partial(_stand, deployment(), service(sessionAffinity="ClientIP"), check=_on_one)
    yield _row("affinity", 3, "session-affinity", stand=kept)
    local = partial(_stand, deployment(), service(internalTrafficPolicy="Local"), check=_near)
    yield _row("internalTrafficPolicy: Local", 3, "traffic-policy-local", stand=local)
    # Hints are written only where every zone has its share.
    close = partial(_stand, deployment(replicas=4), service(trafficDistribution="PreferClose"), check=_near)
    yield _row("topology hints", 4, "topology-hints", stand=close)
    named = partial(_stand, deployment(), service(clusterIP="None"), check=_named)
    yield _row("headless, the first address", 3, "headless-first-address", stand=named)
    two = partial(_stand, deployment("web-a", replicas=2), deployment("web-b", replicas=1), service(), check=_fairly)
    yield _row("two versions", 3, "connection-pinning", also=("mixed-versions",), fair=True, stand=two)
    unready = partial(_stand, deployment(replicas=2), service(), late=[_never_ready("web-b")], check=_one_is_not_ready)
    yield _row("an endpoint is not ready", 3, "not-ready", "connection-pinning", also=("not-ready",), stand=unready)


ROWS = tuple(_rows())
