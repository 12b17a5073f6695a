"""Kinds of Services and Pods beyond the classic one, as the real API server and kube-proxy know them."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Ended
from tests.cluster.kube import Cluster
from tests.cluster.stage import Stage
from tests.cluster.workloads import deployment, service, stand, unready


def fresh(ended: Ended) -> Any:
    """The profile of fresh connections."""
    return next(p for p in ended.report["profiles"] if p["profile"] == "short-lived")


def endpoints(ended: Ended) -> list[Any]:
    return list(ended.report["facts"]["endpoints"])


def test_a_node_port_is_told_and_the_cluster_address_measured(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service(type="NodePort"))

    ended = cluster.probe(namespace)

    given = cluster.get("service", "web", "-n", namespace)["spec"]["ports"][0]["nodePort"]
    facts = ended.report["facts"]["service"]
    assert (facts["type"], facts["node_port"], facts["external_traffic_policy"]) == ("NodePort", given, "Cluster")
    assert (ended.code, fresh(ended)["placement"]) == (0, "random")


def test_pods_on_their_nodes_network_are_marked(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(replicas=2, hostNetwork=True), service())
    nodes = {
        at["address"]
        for node in cluster.get("nodes")["items"]
        for at in node["status"]["addresses"]
        if at["type"] == "InternalIP"
    }

    ended = cluster.probe(namespace)

    assert {e["address"] for e in endpoints(ended)} <= nodes
    assert all(e["host_network"] for e in endpoints(ended))
    assert not any(e["failed"] for e in fresh(ended)["endpoints"])
    assert all(e["requests"] for e in fresh(ended)["endpoints"])


@pytest.mark.parametrize("published", [True, False])
def test_pods_that_are_not_ready_get_traffic_only_where_they_are_published(
    cluster: Cluster, namespace: str, published: bool
) -> None:
    """The readiness probe of one Pod asks a port where nobody listens; its server works."""
    stand(cluster, namespace, deployment(replicas=2), service(publishNotReadyAddresses=published))
    stage = Stage(cluster=cluster, namespace=namespace)
    stage.begin(unready(deployment("unready", replicas=1)))
    stage.settle()

    ended = cluster.probe(namespace)

    (own,) = [e for e in endpoints(ended) if e["name"].startswith("unready-")]
    (load,) = [e for e in fresh(ended)["endpoints"] if e["name"] == own["name"]] or [{"requests": 0}]
    assert ended.report["facts"]["service"]["publish_not_ready_addresses"] is published
    assert own["ready"] is published
    assert bool(load["requests"]) is published


def test_the_newer_word_for_zone_hints_means_the_same(cluster: Cluster, namespace: str) -> None:
    version = json.loads(cluster.kubectl("get", "--raw", "/version"))
    if int(version["minor"].rstrip("+")) < 34:
        pytest.skip(f"needs Kubernetes 1.34 or newer, which knows PreferSameZone; this is {version['gitVersion']}")
    stand(cluster, namespace, deployment(replicas=4), service(trafficDistribution="PreferSameZone"))

    ended = cluster.probe(namespace, "--profile", "short-lived")

    zone = ended.report["vantage"]["zone"]
    reached = {e["name"] for e in fresh(ended)["endpoints"] if e["connections"]}
    assert {e["zone"] for e in endpoints(ended) if e["name"] in reached} == {zone}
    assert ended.report["facts"]["service"]["traffic_distribution"] == "PreferSameZone"
