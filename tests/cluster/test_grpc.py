"""gRPC on a real cluster: servers and a client that others wrote, behind kube-proxy and behind Envoy.

The servers share a namespace, each with a Service of its own; what changes Pods has a stage for itself.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest

from kbalance.model.target import Address
from kbalance.render.json import schema
from tests.cli.conftest import Ended
from tests.cluster.images import provide_fortio, provide_grpc_go
from tests.cluster.kube import ROOT, SURE, Cluster, sentence
from tests.cluster.stage import Stage, staged
from tests.cluster.test_causes import causes, finding, profile
from tests.cluster.workloads import Object, accepting, calling, calls, container, deployment
from tests.kernel.envoy import Envoy
from tests.peers.envoy import command
from tests.peers.running import PATIENCE_S

NODE, NODE_IP = "kb-node1", "198.18.0.11"
AGE_S, AGE_JITTER = 1.0, 0.1
"""Of the server's connections; grpc-go varies each by a tenth."""
AGED = (f"-max-connection-age={AGE_S}s", "-max-connection-age-grace=30s")
"""With time enough for calls that a busy machine keeps waiting: the server cuts off those that take longer."""
LATE_S = 0.3
"""Not every GOAWAY is seen later than that after it was due."""
EACH = tuple(word for name in ("single", "pooled", "short-lived", "per-endpoint", "stock") for word in ("--profile", name))
DIRECT = ("--profile", "per-endpoint")


@pytest.fixture(scope="module")
def servers(cluster: Cluster) -> Iterator[Stage]:
    """Everybody's servers, each behind Services of its own."""
    provide_fortio(cluster)
    provide_grpc_go(cluster)
    podinfo, go = (Object(selector={"deployment": name}) for name in ("podinfo", "go"))
    said = [{"name": "api", "port": 80, "targetPort": "grpc", "appProtocol": "grpc"}]
    with staged(
        cluster,
        calls("podinfo", "podinfo"),
        calling("said", **podinfo, ports=said),
        calling("named", "grpc", **podinfo),
        calling("unsaid", "api", **podinfo),
        calls("go"),
        calling("go", **go),
        calling("headless", clusterIP="None", **go),
        calls("aged", "grpc-go", 3, *AGED),
        calling("aged", selector={"deployment": "aged"}),
        calls("agnhost", "agnhost", 2),
        calling("agnhost", selector={"deployment": "agnhost"}),
        calls("fortio", "fortio", 2),
        calling("fortio", selector={"deployment": "fortio"}),
    ) as stage:
        yield stage


@pytest.fixture
def node(cluster: Cluster) -> str:
    if not cluster.namespaces:
        pytest.skip("needs nodes that are network namespaces of this machine")
    return NODE


def probe(stage: Stage, service: str, *asked: str, node: str | None = None) -> Ended:
    return stage.cluster.probe(stage.namespace, "--rate", "500", *asked, target=f"svc/{service}", node=node)


def protocol(ended: Ended) -> tuple[str, str]:
    return ended.report["protocol"], ended.report["protocol_because"]


def loads(ended: Ended, name: str) -> list[int]:
    """Requests of each endpoint, fewest first."""
    return sorted(e["requests"] for e in profile(ended, name)["endpoints"])


def failed(ended: Ended) -> int:
    return sum(p["requests"]["failed"] + p["requests"]["abandoned"] for p in ended.report["profiles"])


def pinned_yet_drawn(ended: Ended) -> None:
    """Who keeps one connection meets one Pod; fresh ones are a fair draw, and direct ones even."""
    assert (ended.code, causes(ended)[0]) == (0, "http2-multiplexing"), ended.report["diagnosis"]
    assert ended.report["diagnosis"]["confidence"] == "certain"
    assert [(loads(ended, name)[:2], profile(ended, name)["connections"]["opened"]) for name in ("single", "stock")] == [
        ([0, 0], 1)
    ] * 2
    assert profile(ended, "pooled")["connections"]["opened"] == 10
    assert profile(ended, "short-lived")["placement"] == "random"
    assert profile(ended, "per-endpoint")["spread"] == "even"
    assert ended.report["identity"]["calibrated"]
    assert failed(ended) == 0


def test_podinfo_from_a_job(servers: Stage) -> None:
    ended = probe(servers, "said", *EACH)

    pinned_yet_drawn(ended)
    jsonschema.validate(ended.report, schema())
    assert protocol(ended) == ("grpc", "the Service's port has appProtocol grpc")
    assert ended.report["identity"]["path"] == "/info.InfoService/Info"
    assert ended.report["notices"] == [
        "No method was given, so info.InfoService/Info was asked, which tells who answers (--grpc-method chooses another)."
    ]
    assert ended.report["vantage"]["kind"] == "job"
    assert servers.cluster.leftovers(servers.namespace) == []


def test_podinfo_from_a_node(servers: Stage, node: str) -> None:
    ended = probe(servers, "named", *EACH, node=node)

    pinned_yet_drawn(ended)
    assert protocol(ended) == ("grpc", "the Service's port has the name grpc")
    assert ended.report["vantage"]["kind"] == "local"


def test_a_port_that_says_nothing(servers: Stage, node: str) -> None:
    """HTTP/1.1 is spoken, and the server's answer tells what to ask for."""
    unasked = probe(servers, "unsaid", *DIRECT, node=node)
    asked = probe(servers, "unsaid", *EACH, "--protocol", "grpc", node=node)

    assert (unasked.code, protocol(unasked)[0]) == (3, "http1")
    assert "a frame of HTTP/2; give --protocol grpc, or h2c" in unasked.report["diagnosis"]["summary"]
    pinned_yet_drawn(asked)
    assert protocol(asked) == ("grpc", "--protocol says so")


def test_a_headless_service(servers: Stage) -> None:
    """All who dial its first address stay with it; a connection to each of its addresses is the cure."""
    ended = probe(servers, "headless", *EACH)

    assert causes(ended)[0] == "headless-first-address", ended.report["diagnosis"]
    assert all(profile(ended, name)["spread"] == "pinned" for name in ("single", "pooled", "short-lived", "stock"))
    assert loads(ended, "per-endpoint") == [20, 20, 20]


def test_a_server_that_tells_nobody_who_it_is(servers: Stage) -> None:
    """Its health check is all it has; every endpoint answers it, and nobody guesses who did."""
    ended = probe(servers, "agnhost", "--profile", "single", *DIRECT)

    assert (ended.code, causes(ended)[0]) == (3, "invalid-measurement")
    assert ended.report["target"]["path"] == "/grpc.health.v1.Health/Check"
    assert loads(ended, "per-endpoint") == [20, 20]
    assert failed(ended) == 0
    assert profile(ended, "single")["unidentified"] == profile(ended, "single")["requests"]["answered"] > 0
    assert loads(ended, "single") == [0, 0]
    assert 'grpc.SetHeader(ctx, metadata.Pairs("x-pod-name", os.Getenv("POD_NAME")))' in ended.err
    assert "--identity header:x-pod-name" in ended.err


def test_a_health_check_that_says_no(servers: Stage, node: str) -> None:
    pods = servers.cluster.get("pods", "-n", servers.namespace, "-l", "deployment=agnhost")["items"]
    proxied = [f"/api/v1/namespaces/{servers.namespace}/pods/{pod['metadata']['name']}:8080/proxy/" for pod in pods]
    for path in proxied:
        servers.cluster.kubectl("get", "--raw", path + "make-not-serving")

    ended = probe(servers, "agnhost", *DIRECT, node=node)

    for path in proxied:
        servers.cluster.kubectl("get", "--raw", path + "make-serving")
    assert "The health check grpc.health.v1.Health/Check says NOT_SERVING." in ended.report["notices"]
    assert failed(ended) == 0


@pytest.mark.parametrize(
    ("service", "asked", "words"),
    [
        ("agnhost", ("--grpc-method", "shop.Cart/Get"), "The server has no service shop.Cart (UNIMPLEMENTED"),
        ("fortio", ("--grpc-method", "fgrpc.PingServer/Pong"), "The server's service fgrpc.PingServer has no method Pong"),
        (
            "fortio",
            ("--grpc-method", "fgrpc.PingServer/Ping", "--grpc-data", '{"sequence": 7}'),
            "sequence: fgrpc.PingMessage has no such field; it has delayNanos, payload, seq, ts.",
        ),
    ],
    ids=["service", "method", "field"],
)
def test_a_wrong_call_is_one_sentence(servers: Stage, node: str, service: str, asked: tuple[str, ...], words: str) -> None:
    ended = probe(servers, service, *DIRECT, *asked, node=node)

    assert (ended.code, ended.out) == (2, "")
    assert words in sentence(ended)


@pytest.mark.parametrize("data", ['{"seq": "7", "payload": "hello"}', "hex:0807"], ids=["json", "hex"])
def test_fortio_is_pinged(servers: Stage, node: str, data: str) -> None:
    """Its messages in JSON are those that its reflection tells of."""
    asked = ("--grpc-method", "fgrpc.PingServer/Ping", "--grpc-data", data)

    ended = probe(servers, "fortio", *DIRECT, *asked, node=node)

    assert protocol(ended) == ("grpc", "--grpc-method is about a call of gRPC")
    assert loads(ended, "per-endpoint") == [20, 20]
    assert failed(ended) == 0


def test_a_server_of_which_nothing_reflects_takes_no_json(servers: Stage, node: str) -> None:
    ended = probe(servers, "agnhost", *DIRECT, "--grpc-data", '{"service": "cart"}', node=node)

    assert "The server offers no reflection" in sentence(ended)
    assert "hex:BYTES" in sentence(ended)


def test_a_greatest_age_of_connections(servers: Stage) -> None:
    """Kept connections move on, with jitter, and no call is lost on the way."""
    kept = [word for name in ("single", "stock", "pooled") for word in ("--profile", name)]

    ended = probe(servers, "aged", *kept, "--connections", "20", "--rate", "60", "--requests", "400", "--no-early-stop")

    assert failed(ended) == 0
    for name in ("single", "stock", "pooled"):
        told = profile(ended, name)["server_lifetime"]
        assert told["goaways"] >= 4
        assert AGE_S * (1 - AGE_JITTER) <= told["goaway_min_s"] <= AGE_S * (1 + AGE_JITTER) + LATE_S
        assert told["goaway_min_s"] < told["goaway_max_s"]
        assert profile(ended, name)["requests"]["answered"] == 400
    # A pool that was opened 4 times over meets all three, but for a chance of 3 * (2/3)^80 < 1e-13; the others have few draws.
    assert all(loads(ended, "pooled"))
    told = " ".join(finding(ended, "server-lifetime")["evidence"])
    assert "GOAWAY on" in told
    # Of the pool, where 20 ages, spread evenly over 0.2 s, lie within 0.1 s in one of 50,000 runs.
    assert "connections opened together do not end together" in told


def test_a_rollout_during_the_run(cluster: Cluster) -> None:
    """Servers that wait until kube-proxy has followed, and end gracefully, lose no call; a verdict there is none."""
    provide_grpc_go(cluster)
    patient = calls(replicas=2, terminationGracePeriodSeconds=20)
    container(patient)["lifecycle"] = {"preStop": {"sleep": {"seconds": 6}}}
    # Half a minute: for two new Pods, and until the first of the old ones has waited.
    kept = ("--profile", "pooled", "--requests", "1800", "--no-early-stop")
    with staged(cluster, patient, calling()) as stage:
        ended = cluster.while_measuring(stage.namespace, stage.roll, *kept)

    assert (ended.code, causes(ended)[0]) == (3, "invalid-measurement")
    assert "changed while it was measured" in ended.report["diagnosis"]["summary"]
    assert failed(ended) == 0, profile(ended, "pooled")["failures"]
    assert profile(ended, "pooled")["requests"]["answered"] == 1800
    assert profile(ended, "pooled")["server_lifetime"]["goaways"] > 0


@pytest.mark.parametrize("aged", [(), AGED], ids=["kept for ever", "with a greatest age"])
def test_pods_that_are_added_while_kbalance_watches(cluster: Cluster, aged: tuple[str, ...]) -> None:
    """Fresh connections meet them at once, kept ones when their server ends them, or never."""
    provide_grpc_go(cluster)
    # Time for Pods to start, for kube-proxy to follow, and then for three times as long as fresh connections took to meet them.
    watching = ("--watch-scale-out", "40s", "--requests", "60")
    with staged(cluster, calls("web", "grpc-go", 2, *aged), calling()) as stage:
        ended = cluster.while_watching(
            stage.namespace, lambda: stage.kubectl("scale", "deployment/web", "--replicas=4"), *watching, *EACH
        )

    grown = ended.report["scale_out"]
    assert (ended.code, causes(ended)[0]) == (0, "http2-multiplexing"), ended.report["diagnosis"]["summary"]
    assert (grown["before"], len(grown["newcomers"])) == (2, 2)
    firsts = [newcomer["first_s"] for newcomer in grown["newcomers"]]
    assert all(first["short-lived"] is not None for first in firsts), firsts
    kept = [first[name] for first in firsts for name in ("single", "pooled", "stock")]
    if not aged:
        assert kept == [None] * 6
        assert "stale-membership" in causes(ended)
    else:
        # A pool of 10 that is drawn anew each second misses one of four Pods for 5 s in one of 1.7 million runs.
        assert all(first["pooled"] is not None for first in firsts), firsts
        assert "stale-membership" not in causes(ended)


def refusing() -> Object:
    """A Pod that counts as ready and has nobody listening where the Service sends to."""
    one = calls("broken", "agnhost", 1)
    container(one)["ports"] = [{"name": "grpc", "containerPort": 9}]
    return one


def speaking_http1() -> Object:
    """A Pod whose server knows HTTP/1.1 alone, where the Service sends calls to."""
    one = deployment("broken", replicas=1)
    container(one)["ports"] = [{"name": "grpc", "containerPort": 8080}]
    return one


@pytest.mark.parametrize(
    ("broken", "kind", "words"),
    [(refusing(), "refused", "connection refused"), (speaking_http1(), "malformed", "malformed answer")],
    ids=["refusing", "http1"],
)
def test_a_pod_that_is_ready_and_speaks_no_grpc(cluster: Cluster, broken: Object, kind: str, words: str) -> None:
    provide_grpc_go(cluster)
    with staged(cluster, calls(replicas=2), broken, calling()) as stage:
        ended = probe(stage, "web", "--profile", "short-lived", *DIRECT)

    assert (ended.code, causes(ended)[0]) == (1, "endpoint-failing"), ended.report["diagnosis"]
    (load,) = [e for e in profile(ended, "per-endpoint")["endpoints"] if e["failed"]]
    assert load["name"].startswith("broken-")
    assert load["name"] in ended.report["diagnosis"]["summary"]
    assert words in ended.report["diagnosis"]["summary"]
    assert {f["kind"] for f in profile(ended, "per-endpoint")["failures"]} == {kind}


def pods(stage: Stage, name: str = "go") -> dict[str, Address]:
    """Where the Pods of a Deployment answer calls."""
    found = stage.cluster.get("pods", "-n", stage.namespace, "-l", f"deployment={name}")["items"]
    return {pod["metadata"]["name"]: Address(pod["status"]["podIP"], 8080) for pod in found}


def grpcio(node: str, target: str, policy: str) -> dict[str, int]:
    """Answers of each Pod to 300 calls of grpcio's own client on a node."""
    code = ["ip", "netns", "exec", node, sys.executable, "-m", "tests.cluster.caller", target, "300", policy]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
    answers: dict[str, int] = json.loads(done.stdout)
    return answers


def test_grpcios_own_client_is_pinned_as_our_stock_client_is(servers: Stage, node: str) -> None:
    """Its default policy, pick_first, over the Service's address and over the list of all Pods."""
    service = servers.cluster.get("service", "go", "-n", servers.namespace)["spec"]["clusterIP"]
    listed = f"ipv4:{','.join(map(str, pods(servers).values()))}"

    for target in (f"{service}:80", listed):
        assert list(grpcio(node, target, "pick_first").values()) == [300]


def test_grpcios_round_robin_is_the_cure(servers: Stage, node: str) -> None:
    """As per-endpoint measures it."""
    listed = f"ipv4:{','.join(map(str, pods(servers).values()))}"

    answers = grpcio(node, listed, "round_robin")
    ended = probe(servers, "go", *DIRECT, node=node)

    assert answers == dict.fromkeys(pods(servers), 100)
    assert loads(ended, "per-endpoint") == [20, 20, 20]


@contextmanager
def envoy(folder: Path, stage: Stage, node: str, *, tcp: bool) -> Iterator[tuple[str, ...]]:
    """Envoy on a node in front of the Pods; the words with which it is probed from there."""
    upstreams, listens = pods(stage), Address(NODE_IP, 15001 + tcp)
    started = ["ip", "netns", "exec", node, *command(folder, Envoy(servers=upstreams, tcp=tcp, listens=listens))]
    with subprocess.Popen(started, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            accepting(node, listens.ip, listens.port)
            named = [word for name, address in upstreams.items() for word in ("--endpoint", f"{name}={address}")]
            yield (f"http://{listens}", *named)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def through(stage: Stage, proxy: tuple[str, ...], node: str) -> Ended:
    return stage.cluster.kbalance("probe", *proxy, "--protocol", "grpc", *SURE, "--rate", "500", *EACH, "-o", "json", node=node)


def test_envoy_places_each_call(servers: Stage, node: str, tmp_path: Path) -> None:
    """Even on the one connection of an ordinary client."""
    with envoy(tmp_path, servers, node, tcp=False) as proxy:
        ended = through(servers, proxy, node)

    assert (ended.code, causes(ended)[0]) == (0, "per-request-balancing"), ended.report["diagnosis"]
    assert {p["spread"] for p in ended.report["profiles"]} == {"even"}
    stock = profile(ended, "stock")
    assert (stock["connections"]["opened"], stock["placement"]) == (1, "per-request")
    assert failed(ended) == 0


def test_envoy_that_passes_bytes_on_pins_as_kube_proxy_does(servers: Stage, node: str, tmp_path: Path) -> None:
    """Its connections are placed in turn, so fresh ones are even."""
    with envoy(tmp_path, servers, node, tcp=True) as proxy:
        ended = through(servers, proxy, node)

    assert causes(ended)[0] == "http2-multiplexing", ended.report["diagnosis"]
    assert loads(ended, "stock") == [0, 0, 200]
    assert profile(ended, "short-lived")["spread"] == "even"
    assert failed(ended) == 0
