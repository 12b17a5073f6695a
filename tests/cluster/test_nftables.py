"""The classic experiment where kube-proxy writes nftables rules: the cluster is started anew for it, last of all."""

import pytest

from tests.cluster.kube import Cluster, machine
from tests.cluster.workloads import deployment, service, stand


@pytest.fixture(scope="module")
def nftables(cluster: Cluster) -> Cluster:
    if not cluster.namespaces:
        pytest.skip("needs a cluster that can be started anew; kube-proxy's mode of a given one is what it is")
    if not cluster.own:
        pytest.skip("the cluster was up before the tests, and starting it anew would take away what runs there")
    machine("down")
    return Cluster(kubeconfig=machine("up", KBALANCE_PROXY_MODE="nftables"), namespaces=True)


def test_the_classic_experiment_over_nftables(nftables: Cluster) -> None:
    nftables.kubectl("create", "namespace", "nft")
    stand(nftables, "nft", deployment(), service())

    ended = nftables.probe("nft")
    nearby = nftables.probe("nft", node="kb-node1")

    assert (ended.code, ended.report["diagnosis"]["cause"]) == (0, "connection-pinning")
    assert (nearby.code, nearby.report["vantage"]["kind"]) == (0, "local")
    assert nftables.leftovers("nft") == []
