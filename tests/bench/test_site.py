"""Arrangements stand in namespaces, and one that does not do what it says is none."""

from dataclasses import replace

import pytest

from bench.accuracy import checks
from bench.accuracy.rows.choosers import without
from bench.accuracy.rows.kube_proxy import remembered, says_affinity
from bench.accuracy.site import stand
from bench.accuracy.trial import NotArranged
from tests.kernel.cluster import Mode
from tests.needs import needs_kernel

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _root() -> None:
    needs_kernel()


def test_a_probe_inside_has_the_facts_that_are_told() -> None:
    with stand(Mode.IPTABLES, 3, arrange=remembered, check=checks.on_one, tell=says_affinity) as probe:
        report = probe(1)

    assert report["diagnosis"]["cause"] == "session-affinity"
    assert (report["vantage"]["kind"], report["vantage"]["node"]) == ("local", "node-1")
    assert [endpoint["name"] for endpoint in report["facts"]["endpoints"]] == ["pod-1", "pod-2", "pod-3"]


def test_a_dataplane_that_does_something_else_is_not_probed() -> None:
    with (
        pytest.raises(NotArranged, match="each connection is a fair draw, yet the pods counted"),
        stand(Mode.NFTABLES, 3, arrange=without("pod-2"), check=checks.fairly()),
    ):
        pytest.fail("it stood")


def test_the_api_is_told_of_the_pods_alone_that_it_should_know() -> None:
    with stand(Mode.NFTABLES, 3, check=checks.fairly(), tell=lambda known: replace(known, pods=known.pods[:2])) as probe:
        report = probe(1)

    assert report["diagnosis"]["cause"] == "unknown-endpoint"
