"""A client with the balancing transport under constant traffic, while the cluster does its worst; not one request may fail.

What is measured is printed (``pytest -s``), and stands in docs/balancing.md.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kube import ROOT, Cluster, awaited
from tests.cluster.stage import Stage, staged
from tests.cluster.test_access import as_account
from tests.cluster.workloads import Object, accepting, by_hand, deployment, resolved, service

PATIENCE_S = 120.0
NODE = "kb-node1"
STATE = Path(os.environ.get("KBALANCE_KUBE_DIR", "/run/kbalance-kube"))


class Traffic:
    """What the client has told so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._news = threading.Condition()
        self.lines: list[Any] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(json.loads(line))
                self._news.notify_all()

    def of(self, kind: str) -> list[Any]:
        with self._news:
            return [line for line in self.lines if line["kind"] == kind]

    @property
    def outcomes(self) -> list[Any]:
        return self.of("outcome")

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it holds of what was told."""
        with self._news:
            assert self._news.wait_for(condition, PATIENCE_S), self.lines[-5:]

    def quiet(self, requests: int = 200) -> None:
        """Waits for so many requests more."""
        wanted = len(self.outcomes) + requests
        self.until(lambda: len(self.outcomes) >= wanted)

    def met(self, name: str) -> bool:
        return any(line["outcome"] == name for line in self.outcomes)

    def first_s(self, name: str) -> float:
        """When it was met first."""
        return next(float(line["at_s"]) for line in self.outcomes if line["outcome"] == name)

    def known(self) -> set[str]:
        """The endpoints that it knows, by what it was told of those that joined and left."""
        known: set[str] = set()
        for line in self.of("endpoints"):
            known = known - set(line["left"]) | set(line["joined"])
        return known

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)

    def failures(self, pods: "set[str]") -> list[str]:
        """What did not come from one of these."""
        return [line["outcome"] for line in self.outcomes if line["outcome"] not in pods]

    def slowest_ms(self) -> float:
        return 1000 * max(float(line["took_s"]) for line in self.outcomes)

    def figures(self, what: str) -> None:
        print(
            f"\n{what}: {len(self.outcomes)} requests, {len(self.of('retried'))} sent again, slowest {self.slowest_ms():.0f} ms"
        )


@contextmanager
def traffic(cluster: Cluster, url: str, *dns: str, timeout_s: float = 30.0) -> Iterator[Traffic]:
    """A client on a node, which reaches the API server as well."""
    command = ["ip", "netns", "exec", NODE, sys.executable, "-m", "tests.cluster.traffic", url, str(timeout_s), *dns]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=cluster.environment(), cwd=ROOT) as process:
        made = Traffic(process)
        try:
            made.quiet(50)
            yield made
        finally:
            made.end()
            process.kill()


@pytest.fixture
def stage(cluster: Cluster) -> Iterator[Stage]:
    if not cluster.namespaces:
        pytest.skip("needs nodes that are network namespaces of this machine, and a control plane that can be stopped")
    with staged(cluster, deployment(replicas=3), service()) as made:
        yield made


def names(stage: Stage) -> set[str]:
    return {pod["metadata"]["name"] for pod in stage.pods()}


@contextmanager
def readiness(stage: Stage) -> Iterator[dict[str, float]]:
    """When each Pod was first seen ready by a watch of kubectl's."""
    seen: dict[str, float] = {}
    path = '{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
    command = ["kubectl", "--kubeconfig", stage.cluster.kubeconfig, "get", "pods", "-n", stage.namespace, "-w"]
    with subprocess.Popen([*command, "-o", f"jsonpath={path}"], stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                name, _, ready = line.strip().partition(" ")
                if ready == "True":
                    seen.setdefault(name, time.monotonic())

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield seen
        finally:
            process.terminate()
            reader.join(PATIENCE_S)


def since_ready(client: Traffic, ready: dict[str, float], pods: set[str]) -> list[float]:
    """Seconds from when each of these Pods was ready, which kubectl may say later, to its first answer."""
    awaited(lambda: pods <= ready.keys(), "what kubectl saw")
    return sorted(client.first_s(name) - ready[name] for name in pods)


def processes(machine: str, *words: str) -> list[int]:
    """Those of one machine of the cluster whose command line has all of these words, as words."""
    root = int((STATE / machine / "pid").read_text())
    found = []
    for entry in Path("/proc").iterdir():
        try:
            same = entry.name.isdigit() and os.readlink(entry / "ns/uts") == os.readlink(f"/proc/{root}/ns/uts")
            line = (entry / "cmdline").read_bytes().split(b"\0") if same else []
        except OSError:
            continue
        if line and all(word.encode() in line for word in words):
            found.append(int(entry.name))
    return found


def of_pod(name: str) -> list[int]:
    """The processes of a Pod's server, wherever it runs."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"HOSTNAME={name}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def signal_all(pids: list[int], number: signal.Signals) -> None:
    assert pids
    for pid in pids:
        os.kill(pid, number)


def test_scaling_out_and_in(cluster: Cluster, stage: Stage) -> None:
    pods = names(stage)
    with readiness(stage) as ready, traffic(cluster, f"http://web.{stage.namespace}/hostname") as client:
        stage.scale("web", 6)
        new = names(stage) - pods
        pods |= new
        client.until(lambda: all(client.met(name) for name in new))
        delays = since_ready(client, ready, new)
        client.quiet()
        stage.scale("web", 2)
        stage.settle()
        left = names(stage)
        client.until(lambda: client.known() == left)
        before = len(client.outcomes)
        client.quiet()
        after = Counter(line["outcome"] for line in client.outcomes[before + 20 :])
        client.end()

    client.figures("3 to 6 to 2 Pods")
    print(f"from ready to the first request: {', '.join(f'{delay * 1000:.0f} ms' for delay in delays)}")
    assert client.failures(pods) == []
    assert set(after) == left


def test_a_rollout(cluster: Cluster, stage: Stage) -> None:
    pods = names(stage)
    with traffic(cluster, f"http://web.{stage.namespace}.svc.cluster.local/hostname") as client:
        stage.roll()
        stage.settle()
        new = names(stage)
        client.until(lambda: client.known() == new)
        client.quiet()
        client.end()

    client.figures("a rollout of 3 Pods")
    assert client.failures(pods | new) == []
    assert new & pods == set()
    assert set(client.of("end")[0]["endpoints"]) == new


def test_a_pod_whose_process_is_killed(cluster: Cluster, stage: Stage) -> None:
    pods = names(stage)
    victim = min(pods)
    with traffic(cluster, f"http://web.{stage.namespace}/hostname") as client:
        signal_all(of_pod(victim), signal.SIGKILL)
        client.until(lambda: any(line["endpoint"] == victim for line in client.of("retried")))
        since = len(client.outcomes)
        client.until(lambda: any(o["outcome"] == victim for o in client.outcomes[since:]))
        client.end()

    client.figures("kill -9 of a Pod's server")
    assert client.failures(pods) == []


def test_the_api_server_is_away(cluster: Cluster, stage: Stage) -> None:
    """First it is silent, then it is gone, and then there is a new one, which is asked what has happened meanwhile."""
    pods = names(stage)
    with traffic(cluster, f"http://web.{stage.namespace}/hostname") as client:
        server = processes("kb-cp", "kube-apiserver")
        signal_all(server, signal.SIGSTOP)
        client.quiet(400)
        signal_all(server, signal.SIGKILL)
        client.until(lambda: bool(client.of("trouble")))
        client.quiet(400)
        _until_it_answers(cluster)
        stage.scale("web", 5)
        pods |= names(stage)
        client.until(lambda: all(client.met(name) for name in pods))
        client.end()

    client.figures("the API server silent, killed, started anew")
    assert client.failures(pods) == []
    assert client.of("end")[0]["state"] == "known"


def _until_it_answers(cluster: Cluster) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S)):
        if cluster.kubectl("get", "--raw", "/readyz", check=False) == "ok":
            return
        pause.wait(1)
    raise AssertionError("the API server did not come back")


def test_the_cluster_s_dns_is_away(cluster: Cluster, stage: Stage) -> None:
    pods = names(stage)
    server = processes("kb-cp", "-conf")
    signal_all(server, signal.SIGSTOP)
    try:
        with traffic(cluster, f"http://web.{stage.namespace}/hostname") as client:
            stage.scale("web", 5)
            pods |= names(stage)
            client.until(lambda: all(client.met(name) for name in pods))
            client.end()
    finally:
        signal_all(server, signal.SIGCONT)

    client.figures("CoreDNS stopped")
    assert client.failures(pods) == []


def test_a_headless_name_in_the_cluster_s_dns(cluster: Cluster, stage: Stage) -> None:
    cluster.apply(stage.namespace, service("headless", clusterIP="None"))
    server = cluster.get("service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    name = f"headless.{stage.namespace}.svc.cluster.local:8080"
    pods = names(stage)
    resolved(cluster, f"headless.{stage.namespace}.svc.cluster.local", 3)
    with readiness(stage) as ready, traffic(cluster, f"http://web.{stage.namespace}/hostname", name, server) as client:
        stage.scale("web", 5)
        new = names(stage) - pods
        client.until(lambda: all(client.met(pod) for pod in new))
        delays = since_ready(client, ready, new)
        stage.scale("web", 2)
        client.until(lambda: len(client.known()) == 2)
        client.quiet()
        client.end()

    client.figures("by DNS, 3 to 5 to 2 Pods")
    print(f"from ready to the first request: {', '.join(f'{delay:.1f} s' for delay in delays)}")
    assert client.failures(pods | new) == []
    assert len(client.of("end")[0]["endpoints"]) == 2


def test_the_documented_role_is_enough_and_without_it_the_rule_is_spelled_out(
    cluster: Cluster, stage: Stage, tmp_path: Path
) -> None:
    """A Service with two ports, of which only the Service itself says which is which."""
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "other", "port": 81, "targetPort": 9}]
    cluster.apply(stage.namespace, service("two", ports=ports))
    account = as_account(cluster, stage.namespace, tmp_path, "default")
    url = f"http://two.{stage.namespace}.svc/hostname"
    with traffic(account, url, timeout_s=1.0) as client:
        client.until(lambda: client.of("trouble") != [])
        client.end()
    refused = client.of("trouble")[0]["reason"]

    cluster.kubectl("apply", "-n", stage.namespace, "-f", str(ROOT / "docs" / "balancing-rbac.yaml"))
    awaited(lambda: cluster.may("default", "list", "endpointslices", stage.namespace), "the Role")
    with traffic(account, url) as client:
        client.quiet()
        client.end()

    assert "may not list endpointslices.discovery.k8s.io" in refused
    assert 'verbs: ["list"]' in refused
    assert client.failures(names(stage)) == []
    assert client.of("trouble") == []


ADDRESSES = [f"198.18.2.{number}" for number in range(1, 251)]
SAYS_ITS_ADDRESS = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    def do_GET(self):
        body = self.connection.getsockname()[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 512
http.server.ThreadingHTTPServer(("", 8088), Handler).serve_forever()
"""


@contextmanager
def many_addresses() -> Iterator[None]:
    """A server on a node that answers at each of them."""

    def each(order: str) -> None:
        lines = "".join(f"address {order} {address}/32 dev lo\n" for address in ADDRESSES)
        subprocess.run(["ip", "-n", NODE, "-batch", "-"], input=lines, text=True, check=True)

    each("add")
    try:
        with subprocess.Popen(["ip", "netns", "exec", NODE, sys.executable, "-c", SAYS_ITS_ADDRESS]) as server:
            try:
                accepting(NODE, ADDRESSES[0], 8088)
                yield
            finally:
                server.kill()
    finally:
        each("delete")


def part(number: int, addresses: list[str]) -> Object:
    """One of several EndpointSlices of a Service that has no selector."""
    one = by_hand("many", [{"addresses": [address]} for address in addresses])
    one["metadata"]["name"] = f"many-{number}"
    one["ports"][0]["port"] = 8088
    return one


def test_hundreds_of_endpoints_in_several_slices(cluster: Cluster, stage: Stage) -> None:
    """Two of them overlap, as they do while the controller moves endpoints."""
    parts = [part(1, ADDRESSES[:100]), part(2, ADDRESSES[90:190]), part(3, ADDRESSES[190:])]
    many = service("many")
    del many["spec"]["selector"]
    cluster.apply(stage.namespace, many, *parts)
    url = f"http://many.{stage.namespace}/"
    with many_addresses():
        with traffic(cluster, url) as before:
            before.quiet(2500)
            before.end()
        with traffic(cluster, url) as client:
            client.quiet(500)
            began_s = time.monotonic()
            stage.kubectl("delete", "endpointslice", "many-3")
            client.until(lambda: any(line["left"] for line in client.of("endpoints")))
            left_s = next(line["at_s"] for line in client.of("endpoints") if line["left"])
            client.quiet(500)
            client.end()

    before.figures(f"{len(ADDRESSES)} endpoints in 3 slices")
    print(f"from kubectl delete to the news of 60 that left: {(left_s - began_s) * 1000:.0f} ms")
    assert before.failures(set(ADDRESSES)) == client.failures(set(ADDRESSES)) == []
    counts = Counter(line["outcome"] for line in before.outcomes)
    assert set(counts) == set(ADDRESSES)
    # In turn; a request that was sent again was one less where it went first, and one more elsewhere.
    assert max(counts.values()) - min(counts.values()) <= 1 + 2 * len(before.of("retried"))
    gone = [o for o in client.outcomes if o["outcome"] in ADDRESSES[190:] and o["began_s"] > left_s]
    assert gone == []
    assert len(client.of("end")[0]["endpoints"]) == 190
