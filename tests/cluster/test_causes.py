"""Causes that need a real cluster to be seen: what kube-proxy, EndpointSlices, rollouts and Pods of several makes do to a client.

Tests share Deployments where the Service alone makes the difference. A node that is asked for by name is a Job's, so that the
tests run on any cluster; zones and nodes are told apart by what the cluster itself says.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import Ended
from tests.cluster.kube import SURE, Cluster
from tests.cluster.stage import Stage, staged
from tests.cluster.workloads import Object, deaf, deployment, on, service, slow, unready, versioned, written_by_hand

AGE_S = 70
"""Between Pods of clearly different ages."""
QUICK = ("--rate", "500")
FRESH = ("--profile", "short-lived", "--profile", "per-endpoint")


def profile(ended: Ended, name: str) -> Any:
    return next(p for p in ended.report["profiles"] if p["profile"] == name)


def reached(ended: Ended) -> set[str]:
    """Endpoints that fresh connections met."""
    return {e["name"] for e in profile(ended, "short-lived")["endpoints"] if e["connections"]}


def on_node(ended: Ended, node: str) -> set[str]:
    """Endpoints of a node."""
    return {e["name"] for e in ended.report["facts"]["endpoints"] if e["node"] == node}


def causes(ended: Ended) -> list[str]:
    """The verdict first, then all findings beside it."""
    return [f["cause"] for f in ended.report["diagnosis"]["findings"]]


def finding(ended: Ended, cause: str) -> Any:
    found = {f["cause"]: f for f in ended.report["diagnosis"]["findings"]}
    assert cause in found, ended.report["diagnosis"]
    return found[cause]


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> tuple[str, str]:
    """Two nodes in different zones."""
    zones = {
        node["metadata"]["labels"]["topology.kubernetes.io/zone"]: node["metadata"]["name"]
        for node in cluster.get("nodes")["items"]
        if "topology.kubernetes.io/zone" in node["metadata"]["labels"]
    }
    assert len(zones) >= 2, f"needs nodes in two zones; there are {zones}"
    return zones[min(zones)], zones[max(zones)]


@pytest.fixture(scope="module", autouse=True)
def ageing(cluster: Cluster) -> Iterator[Stage]:
    """Two Pods that grow old while the other tests run."""
    with staged(cluster, deployment(replicas=2), service()) as stage:
        yield stage


@pytest.fixture(scope="module")
def apart(cluster: Cluster, nodes: tuple[str, str]) -> Iterator[Stage]:
    """One Pod on the first node and three on the second, behind Services of several kinds."""
    here, there = nodes
    grpc = service("grpc", ports=[{"name": "grpc", "port": 80, "targetPort": "http"}])
    h2c = service("h2c", ports=[{"name": "web", "port": 80, "targetPort": "http", "appProtocol": "kubernetes.io/h2c"}])
    services = (
        service("local", internalTrafficPolicy="Local"),
        service("outside", type="NodePort", externalTrafficPolicy="Local"),
    )
    few, many = deployment("few", replicas=1, **on(here)), deployment("many", replicas=3, **on(there))
    with staged(cluster, few, many, grpc, h2c, *services) as stage:
        yield stage


@pytest.fixture(scope="module")
def away(cluster: Cluster, nodes: tuple[str, str]) -> Iterator[Stage]:
    """Two Pods on the second node and none on the first."""
    _, there = nodes
    with staged(cluster, deployment(replicas=2, **on(there)), service("local", internalTrafficPolicy="Local")) as stage:
        yield stage


@pytest.fixture(scope="module")
def half_ready(cluster: Cluster) -> Iterator[Stage]:
    """Two Pods that are ready and one that never is; its server works."""
    published = service("published", publishNotReadyAddresses=True)
    with staged(cluster, deployment(replicas=2), service(), published) as stage:
        stage.begin(unready(deployment("unready", replicas=1)))
        stage.settle()
        yield stage


@pytest.fixture(scope="module")
def same_node(cluster: Cluster) -> Object:
    """A Service ``near`` that prefers the Pods of the client's node."""
    version = json.loads(cluster.kubectl("get", "--raw", "/version"))
    if int(version["minor"].rstrip("+")) < 34:
        pytest.skip(f"needs Kubernetes 1.34 or newer, which knows PreferSameNode; this is {version['gitVersion']}")
    return service("near", trafficDistribution="PreferSameNode")


def probe(stage: Stage, *asked: str, target: str = "svc/web") -> Ended:
    return stage.cluster.probe(stage.namespace, *QUICK, *asked, target=target)


def test_a_local_policy_with_one_pod_here_and_three_elsewhere(apart: Stage, nodes: tuple[str, str]) -> None:
    """The client of the first node has one Pod for itself; each of the second node meets three."""
    for node in nodes:
        ended = probe(apart, "--node", node, target="svc/local")

        assert (causes(ended)[0], reached(ended)) == ("traffic-policy-local", on_node(ended, node)), ended.report["diagnosis"]


def test_preferring_the_same_node_with_one_pod_here_and_three_elsewhere(
    apart: Stage, nodes: tuple[str, str], same_node: Object
) -> None:
    """The controller writes hints for nodes beside those for zones, and kube-proxy goes by the nodes."""
    apart.cluster.apply(apart.namespace, same_node)
    apart.settle()
    (one,) = apart.cluster.get("endpointslices", "-n", apart.namespace, "-l", "kubernetes.io/service-name=near")["items"]
    written = {
        e["targetRef"]["name"]: {h["name"] for kind in ("forZones", "forNodes") for h in e["hints"].get(kind, ())}
        for e in one["endpoints"]
    }

    for node in nodes:
        ended = probe(apart, "--node", node, target="svc/near")

        assert (causes(ended)[0], reached(ended)) == ("topology-hints", on_node(ended, node)), ended.report["diagnosis"]
        assert {e["name"]: set(e["hints"]) for e in ended.report["facts"]["endpoints"]} == written
        assert all({e["zone"], e["node"]} == written[e["name"]] for e in ended.report["facts"]["endpoints"])


@pytest.mark.usefixtures("same_node")
def test_preferring_the_same_node_where_both_nodes_are_in_one_zone(cluster: Cluster, nodes: tuple[str, str]) -> None:
    """All endpoints have a hint for the client's zone, and only those of its node are chosen."""
    here, _ = nodes
    zone = cluster.get("node", here)["metadata"]["labels"]["topology.kubernetes.io/zone"]
    with staged(cluster, deployment(replicas=4)) as stage:
        own = service(selector=None, trafficDistribution="PreferSameNode")
        cluster.apply(stage.namespace, own, written_by_hand(stage.pods(), zone=zone))
        stage.settle()
        ended = probe(stage, "--node", here)

    assert reached(ended) == on_node(ended, here)
    assert causes(ended)[0] == "topology-hints", ended.report["diagnosis"]


def test_a_local_policy_without_a_pod_here(away: Stage, nodes: tuple[str, str]) -> None:
    """kube-proxy drops what it has nobody for, although the endpoints answer whoever asks them directly."""
    ended = probe(away, "--node", nodes[0], *FRESH, target="svc/local")

    assert {f["kind"] for f in profile(ended, "short-lived")["failures"]} == {"connect-timeout"}
    assert profile(ended, "per-endpoint")["requests"]["failed"] == 0
    assert causes(ended)[0] == "traffic-policy-local", ended.report["diagnosis"]


def test_a_preference_for_the_same_node_lets_go_where_there_is_nobody(
    away: Stage, nodes: tuple[str, str], same_node: Object
) -> None:
    """Where the policy of the test before is a rule."""
    away.cluster.apply(away.namespace, same_node)
    away.settle()

    ended = probe(away, "--node", nodes[0], target="svc/near")

    assert len(reached(ended)) == 2
    assert (ended.code, causes(ended)[0]) == (0, "connection-pinning"), ended.report["diagnosis"]


@pytest.mark.parametrize("name", ["grpc", "h2c"])
def test_a_port_that_says_http2(apart: Stage, name: str) -> None:
    """The server speaks HTTP/1.1 alone, which is what was asked for; clients that believe the port multiplex."""
    ended = probe(apart, "--protocol", "http1", target=f"svc/{name}")

    finding(ended, "http2-multiplexing")
    assert causes(ended)[0] == "http2-multiplexing", ended.report["diagnosis"]
    assert ended.code == 0


def test_an_external_policy_over_unequal_nodes_is_foretold(apart: Stage, nodes: tuple[str, str]) -> None:
    """From inside all is fair; a load balancer that shares out by node gives one Pod three times what the others get."""
    ended = probe(apart, target="svc/outside")

    told = " ".join(finding(ended, "external-traffic-policy")["evidence"])
    assert all(node in told for node in nodes)
    assert causes(ended)[0] in ("connection-pinning", "mixed-versions"), ended.report["diagnosis"]
    assert len(reached(ended)) == 4


def test_a_node_port_with_a_local_policy_meets_that_nodes_pods(apart: Stage, nodes: tuple[str, str]) -> None:
    """Measured as from outside: the other node is a client like any other."""
    cluster = apart.cluster
    if not cluster.namespaces:
        pytest.skip("needs nodes that are network namespaces of this machine")
    here, there = nodes
    port = cluster.get("service", "outside", "-n", apart.namespace)["spec"]["ports"][0]["nodePort"]
    address = next(a["address"] for a in cluster.get("node", there)["status"]["addresses"] if a["type"] == "InternalIP")
    known = {pod["metadata"]["name"]: pod for pod in apart.pods()}
    named = [part for name, pod in known.items() for part in ("--endpoint", f"{name}={pod['status']['podIP']}:8080")]

    ended = cluster.kbalance("probe", f"http://{address}:{port}/hostname", *named, "-o", "json", *SURE, *QUICK, node=here)

    assert reached(ended) == {name for name, pod in known.items() if pod["spec"]["nodeName"] == there}
    assert profile(ended, "short-lived")["requests"]["failed"] == 0


def test_two_versions_under_one_selector(cluster: Cluster) -> None:
    versions = (versioned(deployment("v1", replicas=2), "1.0"), versioned(deployment("v2", replicas=1), "2.0"))
    with staged(cluster, *versions, service()) as stage:
        ended = probe(stage)

    assert {e["version"] for e in ended.report["facts"]["endpoints"]} == {"1.0", "2.0"}
    assert causes(ended)[0] == "connection-pinning"
    told = " ".join(finding(ended, "mixed-versions")["evidence"])
    assert "1.0" in told
    assert "2.0" in told


def test_affinity_to_pods_of_which_one_fails(cluster: Cluster) -> None:
    """One client in three is kept on the Pod that fails: to it the whole Service does."""
    with staged(cluster, deployment(replicas=2), deaf(), service(sessionAffinity="ClientIP")) as stage:
        ended = probe(stage)

    assert (ended.code, causes(ended)[0]) == (1, "endpoint-failing"), ended.report["diagnosis"]
    finding(ended, "session-affinity")


def test_the_only_pod_of_this_node_fails(cluster: Cluster, nodes: tuple[str, str]) -> None:
    """Every connection from here fails, and asked directly exactly one Pod does."""
    here, there = nodes
    local = service(internalTrafficPolicy="Local")
    with staged(cluster, deaf(**on(here)), deployment(replicas=2, **on(there)), local) as stage:
        ended = probe(stage, "--node", here)

    assert (ended.code, causes(ended)[0]) == (1, "endpoint-failing"), ended.report["diagnosis"]
    finding(ended, "traffic-policy-local")


def test_a_pod_that_is_not_ready_gets_nothing(half_ready: Stage) -> None:
    ended = probe(half_ready)

    assert (causes(ended)[0], len(reached(ended))) == ("connection-pinning", 2), ended.report["diagnosis"]
    assert "unready-" in finding(ended, "not-ready")["summary"]


def test_a_pod_that_is_not_ready_gets_traffic_where_it_is_published(half_ready: Stage) -> None:
    """Its EndpointSlice calls it ready all the same, but not serving."""
    ended = probe(half_ready, target="svc/published")

    (own,) = [e for e in ended.report["facts"]["endpoints"] if e["name"].startswith("unready-")]
    assert (own["ready"], own["serving"]) == (True, False)
    assert own["name"] in reached(ended)
    assert "unready-" in finding(ended, "not-ready")["summary"]


def test_one_slow_pod(cluster: Cluster) -> None:
    with staged(cluster, slow(replicas=2), slow("lame", replicas=1, each_s=0.7), service()) as stage:
        ended = probe(stage, "--requests", "30", "--rate", "20")

    assert (ended.code, causes(ended)[0]) == (1, "slow-endpoint"), ended.report["diagnosis"]
    assert "lame-" in finding(ended, "slow-endpoint")["summary"]
    finding(ended, "connection-pinning")


def test_requests_that_differ_in_work(cluster: Cluster) -> None:
    """Every fifth answer of every Pod takes most of a second: counts are even, and work is not.

    With this tolerance 60 connections count as even where all three Pods get any, but for a chance of 3 * (2/3)^60 < 1e-10.
    """
    even = ("--requests", "60", "--tolerance", "3")
    with staged(cluster, slow(replicas=3, fifth_s=0.8), service()) as stage:
        ended = probe(stage, "--rate", "8", *even, "--profile", "single", *FRESH)

    assert causes(ended)[0] == "connection-pinning", ended.report["diagnosis"]
    finding(ended, "uneven-work")


def test_a_pod_that_leaves_the_selector_while_connections_live(cluster: Cluster) -> None:
    """It goes on answering on the connections that it has, and no new one comes."""
    with staged(cluster, deployment(replicas=2), service()) as stage:
        name = stage.pods()[0]["metadata"]["name"]
        relabel = ("label", "pod", name, "app=elsewhere", "--overwrite")
        ended = cluster.while_measuring(stage.namespace, lambda: stage.kubectl(*relabel), "--requests", "60")

    assert (ended.code, causes(ended)[0]) == (3, "invalid-measurement")
    assert f"{name} left" in ended.report["diagnosis"]["summary"]


def test_a_rollout_under_hints(cluster: Cluster) -> None:
    with staged(cluster, deployment(replicas=2), service(trafficDistribution="PreferSameZone")) as stage:
        ended = cluster.while_measuring(stage.namespace, stage.roll, "--timeout", "1s")

    assert (ended.code, causes(ended)[0]) == (3, "invalid-measurement")
    assert re.search(r"joined|left|began to terminate", ended.report["diagnosis"]["summary"])


def test_pods_of_different_ages(ageing: Stage) -> None:
    """Scaling out long ago helps fresh connections alone; the pods' ages tell what older clients do."""
    ageing.grow_old(AGE_S)
    ageing.scale("web", 5)
    ageing.settle()

    ended = probe(ageing)

    assert causes(ended)[0] == "connection-pinning", ended.report["diagnosis"]
    new = sorted(ageing.pods(), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))[2:]
    told = finding(ended, "stale-membership")
    assert all(pod["metadata"]["name"] in told["summary"] + " ".join(told["evidence"]) for pod in new)
