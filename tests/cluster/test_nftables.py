"""The classic experiment where kube-proxy writes nftables rules: the cluster is started anew for it, last of all."""

from collections.abc import Iterator

import pytest

from tests.cluster.kube import Cluster, is_up, machine
from tests.cluster.workloads import deployment, service, stand


@pytest.fixture(scope="module")
def nftables(cluster: Cluster) -> Iterator[Cluster]:
    if not cluster.namespaces:
        pytest.skip("needs a cluster that can be started anew; kube-proxy's mode of a given one is what it is")
    machine("down")
    yield Cluster(kubeconfig=machine("up", KBALANCE_PROXY_MODE="nftables"), namespaces=True)
    if is_up():
        machine("down")


def test_the_classic_experiment_over_nftables(nftables: Cluster) -> None:
    nftables.kubectl("create", "namespace", "nft")
    stand(nftables, "nft", deployment(), service())

    ended = nftables.probe("nft")
    nearby = nftables.probe("nft", node="kb-node1")

    assert (ended.code, ended.report["diagnosis"]["cause"]) == (0, "connection-pinning")
    assert (nearby.code, nearby.report["vantage"]["kind"]) == (0, "local")
    assert nftables.leftovers("nft") == []
