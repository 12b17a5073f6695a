from dataclasses import replace
from random import Random

import pytest

from kbalance.analysis.expectation import expectation, from_outside
from kbalance.model.report import Vantage
from kbalance.model.target import EndpointFacts, Facts
from kbalance.model.words import FactsSource, Placement, Profile, Stop
from tests.builders import SERVICE, connection, endpoint, facts, fold, profile_plan

HERE = Vantage(kind="job", node="node-a", zone="zone-a")
PLACES = ("a", "a", "b", "b")


def placed(hints: str = "", policy: str = "Cluster", cluster_ip: str = "198.18.1.10") -> Facts:
    """Two endpoints on node and zone a, two on b, hinted for their own zone (z), node (n) or both, in this order."""

    def named(place: str) -> tuple[str, ...]:
        return tuple({"z": f"zone-{place}", "n": f"node-{place}"}[kind] for kind in hints)

    endpoints = tuple(endpoint(f"web-{i}", node=f"node-{p}", zone=f"zone-{p}", hints=named(p)) for i, p in enumerate(PLACES))
    service = replace(SERVICE, internal_traffic_policy=policy, cluster_ip=cluster_ip)
    return Facts(source=FactsSource.API, service=service, endpoints=endpoints)


ALL = ("web-0", "web-1", "web-2", "web-3")
OURS = ("web-0", "web-1")


@pytest.mark.parametrize(
    ("known", "vantage", "among", "because"),
    [
        (placed(), HERE, ALL, None),
        (placed("z"), HERE, OURS, "topology hints for zone zone-a"),
        (placed("nz"), HERE, OURS, "topology hints for node node-a"),
        (placed("z"), replace(HERE, node="node-c", zone="zone-c"), ALL, None),
        (placed("z"), replace(HERE, zone=None), ALL, None),
        (placed("nz"), replace(HERE, node="node-c"), OURS, "topology hints for zone zone-a"),
        (placed("z"), None, ALL, None),
        (placed("z"), Vantage(kind="local"), ALL, None),
        (placed(policy="Local"), HERE, OURS, "internalTrafficPolicy: Local on node-a"),
        (placed("z", policy="Local"), replace(HERE, node="node-b"), ALL[2:], "internalTrafficPolicy: Local on node-b"),
        (placed(policy="Local"), replace(HERE, node="node-c"), ALL, None),
        (placed("z", cluster_ip="None"), HERE, ALL, None),
        (facts(source=FactsSource.GIVEN), HERE, ("web-0", "web-1", "web-2"), None),
    ],
    ids=[
        *("nothing is set", "our zone", "our node before our zone", "nobody is hinted for us", "our zone is not known"),
        *("no hint for our node, one for our zone", "no vantage", "not on a node", "our node's own", "another node's own"),
        *("nobody on our node", "headless", "no Service"),
    ],
)
def test_who_is_expected(known: Facts, vantage: Vantage | None, among: tuple[str, ...], because: str | None) -> None:
    found = expectation(known, vantage)

    assert (found.among, found.because) == (among, because)


def test_hints_count_only_if_every_ready_endpoint_has_one() -> None:
    known = placed("z")
    bare = replace(known, endpoints=(*known.endpoints[:3], replace(known.endpoints[3], hints=())))

    assert expectation(bare, HERE).among == ALL


def test_shares_from_outside_are_each_nodes_share_over_its_endpoints() -> None:
    one_and_three: list[EndpointFacts] = [endpoint(f"web-{i}", node=n) for i, n in enumerate("abbb")]

    assert from_outside(one_and_three) == pytest.approx({"web-0": 1 / 2, "web-1": 1 / 6, "web-2": 1 / 6, "web-3": 1 / 6})
    assert from_outside([*one_and_three, endpoint("web-4")]) is None
    assert from_outside([]) is None


def test_a_fair_draw_among_those_expected_is_random_and_the_others_are_idle() -> None:
    names = (*OURS, "web-2")
    folded = fold([], profile_plan(Profile.SHORT_LIVED), names, among=OURS)
    for name in Random(1).choices(OURS, k=200):
        folded.add(connection(name))
    report = folded.settle(Stop.DONE, 1.0)

    assert report.placement is Placement.RANDOM
    assert folded.certain
    assert [load.expected_share for load in report.endpoints] == [0.5, 0.5, 0.0]
    assert report.idle == 1
    assert report.expected_busiest == pytest.approx(1.5 * 1.06, abs=0.05)


def test_one_endpoint_alone_that_is_expected_is_met_a_few_times_before_that_is_believed() -> None:
    folded = fold([connection(OURS[0])] * 19, profile_plan(Profile.SHORT_LIVED), (*OURS, "web-2"), among=OURS[:1])
    before = folded.certain

    folded.add(connection(OURS[0]))

    assert (before, folded.certain) == (False, True)


def test_one_connection_that_goes_elsewhere_makes_it_a_draw_among_all() -> None:
    folded = fold([connection(OURS[0])] * 5, profile_plan(Profile.SHORT_LIVED), (*OURS, "web-2"), among=OURS[:1])
    before = folded.settle(Stop.DONE, 1.0)

    folded.add(connection("web-2"))
    after = folded.settle(Stop.DONE, 1.0)

    assert (before.placement, before.evidence.e_value) == (Placement.UNKNOWN, None)
    assert [load.expected_share for load in after.endpoints] == pytest.approx([1 / 3] * 3)
    assert after.evidence.connections == 6
    assert after.evidence.e_value is not None
