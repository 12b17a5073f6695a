from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbalance.model.histogram import quantile_us
from kbalance.model.report import (
    ConnectionCounts,
    EndpointLoad,
    Evidence,
    FailureCount,
    RequestCounts,
    ServerLifetime,
    UnknownLoad,
)
from kbalance.model.words import Closer, Failure, Placement, Profile, Spread, Stop
from tests.builders import (
    PODS,
    answers,
    connection,
    direct,
    fold,
    fresh,
    latency,
    pods,
    pooled,
    profile_plan,
    refused,
    settled,
    single,
)

ONE_MS = 1.007
"""Upper edge of the bucket of 1 ms."""


def fair(n: int, draws: int, seed: int = 1) -> list[str]:
    return Random(seed).choices(pods(n), k=draws)


def test_a_single_connection_is_pinned_and_one_draw_proves_nothing() -> None:
    report = single("web-1", 100)

    bare = [replace(load, expected_share=None, chance_low=None, chance_high=None) for load in report.endpoints]
    assert bare == [
        EndpointLoad(name="web-0", requests=0, connections=0, failed=0, share=0.0, latency_ms=None),
        EndpointLoad(name="web-1", requests=100, connections=1, failed=0, share=1.0, latency_ms=latency(ONE_MS)),
        EndpointLoad(name="web-2", requests=0, connections=0, failed=0, share=0.0, latency_ms=None),
    ]
    assert [load.expected_share for load in report.endpoints] == pytest.approx([1 / 3] * 3)
    assert [load.chance_low for load in report.endpoints] == pytest.approx([0.0, 0.0056, 0.0], abs=0.001)
    assert [load.chance_high for load in report.endpoints] == pytest.approx([0.989, 1.0, 0.989], abs=0.001)
    assert (report.spread, report.busiest, report.expected_busiest, report.idle) == (Spread.PINNED, 3.0, 3.0, 2)
    assert report.placement is Placement.UNKNOWN
    assert report.evidence.e_value == pytest.approx(1.0)
    assert (report.evidence.connections, report.evidence.enough) == (1, False)


def test_connections_are_draws_and_requests_are_not() -> None:
    """Ten thousand requests on four connections are four draws."""
    observations = [connection(answers(name, 2500)) for name in ("web-0", "web-0", "web-0", "web-1")]

    report = settled(observations, profile_plan(Profile.POOLED))

    assert (report.evidence.connections, report.placement, report.spread) == (4, Placement.UNKNOWN, Spread.UNEVEN)
    assert report.evidence.e_value is not None
    assert report.evidence.e_value < 5


def test_a_pool_is_too_small_to_call_its_draw_random() -> None:
    report = pooled((2, 5, 3))

    assert (report.spread, report.busiest) == (Spread.EVEN, 1.5)
    assert report.expected_busiest == pytest.approx(1.48, abs=0.005)
    assert (report.placement, report.evidence.enough) == (Placement.UNKNOWN, False)


@pytest.mark.parametrize(
    ("counts", "placement", "spread"),
    [
        ((100, 105, 99), Placement.RANDOM, Spread.EVEN),
        ((20, 25, 15), Placement.UNKNOWN, Spread.EVEN),
        ((304, 0, 0), Placement.FIXED, Spread.PINNED),
        ((202, 51, 51), Placement.BIASED, Spread.UNEVEN),
        ((152, 152, 0), Placement.BIASED, Spread.UNEVEN),
    ],
    ids=["fair", "too few", "fixed", "biased", "one missing"],
)
def test_placement_of_fresh_connections(counts: tuple[int, ...], placement: Placement, spread: Spread) -> None:
    report = fresh(counts)

    assert (report.placement, report.spread, report.evidence.connections) == (placement, spread, sum(counts))


def test_one_endpoint_beside_a_stranger_is_not_always_the_same() -> None:
    report = settled([connection("web-0"), connection("old-0")] * 60, profile_plan(Profile.SHORT_LIVED))

    assert report.placement is Placement.BIASED


def test_turns_are_even_placement() -> None:
    report = settled([connection(PODS[i % 3]) for i in range(60)], profile_plan(Profile.SHORT_LIVED))

    assert (report.placement, report.spread, report.busiest) == (Placement.EVEN, Spread.EVEN, 1.0)


def test_a_connection_answered_by_several_endpoints_is_no_draw() -> None:
    report = settled([connection(answers("web-0", 4), answers("web-1", 3), answers("web-2", 3))], profile_plan(Profile.SINGLE))

    assert (report.placement, report.several, report.spread) == (Placement.PER_REQUEST, 1, Spread.EVEN)
    assert report.evidence == Evidence(e_value=None, connections=0, enough=False, alpha=0.005)
    assert [e.connections for e in report.endpoints] == [1, 1, 1]
    assert report.expected_busiest == pytest.approx(1.48, abs=0.005)


def test_one_endpoint_is_even_and_there_is_nothing_to_place() -> None:
    report = settled([connection("web-0") for _ in range(20)], profile_plan(Profile.SHORT_LIVED, enough_connections=0), ["web-0"])

    assert (report.spread, report.busiest, report.expected_busiest, report.idle) == (Spread.EVEN, 1.0, 1.0, 0)
    assert (report.placement, report.evidence.e_value) == (Placement.UNKNOWN, None)


def test_strangers_and_the_unidentified_are_kept_apart() -> None:
    report = settled(
        [connection("web-0"), connection("old-0"), connection("old-0"), connection(None), connection(answers(None, 3, failed=1))],
        profile_plan(Profile.SHORT_LIVED),
    )

    assert report.unknown == (UnknownLoad(name="old-0", requests=2),)
    assert (report.unidentified, report.evidence.connections) == (4, 1)
    assert report.requests == RequestCounts(sent=7, answered=6, failed=1)
    assert report.failures == (FailureCount(kind=Failure.STATUS, endpoint=None, requests=1),)
    assert report.spread is Spread.FAILED


def test_a_direct_connection_is_the_dialled_endpoints_whoever_signs() -> None:
    report = settled(
        [connection(answers(None, 5), endpoint="web-0"), connection("web-2", endpoint="web-1"), refused("web-2", 4)],
        profile_plan(Profile.PER_ENDPOINT),
    )

    assert [(e.name, e.requests, e.connections, e.failed) for e in report.endpoints] == [
        ("web-0", 5, 1, 0),
        ("web-1", 1, 1, 0),
        ("web-2", 4, 1, 4),
    ]
    assert report.failures == (FailureCount(kind=Failure.REFUSED, endpoint="web-2", requests=4, detail="Connection refused"),)
    assert (report.unidentified, report.placement, report.expected_busiest) == (0, Placement.UNKNOWN, None)
    assert report.evidence == Evidence(e_value=None, connections=0, enough=False)


def test_every_kind_of_end_is_counted() -> None:
    report = settled(
        [
            connection(answers("web-0", 7), closed_by=Closer.SERVER, age_s=2.0, retried=1),
            connection(answers("web-1", 9, failed=2), closed_by=Closer.SERVER, age_s=3.0),
            connection(closed_by=Closer.SERVER),
            connection(answers("web-1", 3), unanswered=((Failure.RESET, 2),), closed_by=Closer.FAILURE, detail="reset"),
            connection(abandoned=4),
            refused(),
        ],
        profile_plan(Profile.POOLED),
        stopped=Stop.DEADLINE,
    )

    assert report.requests == RequestCounts(sent=26, answered=17, failed=5, abandoned=4, retried=1)
    assert report.connections == ConnectionCounts(
        planned=10,
        opened=5,
        failed=1,
        closed_by_server=3,
        requests_min=0,
        requests_median=5.0,
        requests_max=9,
        closed_by_failure=1,
    )
    assert report.server_lifetime == ServerLifetime(connections=2, requests_min=7, requests_max=9, age_min_s=2.0, age_max_s=3.0)
    assert [(f.kind, f.endpoint, f.requests, f.detail) for f in report.failures] == [
        (Failure.RESET, None, 2, "reset"),
        (Failure.STATUS, "web-1", 2, ""),
        (Failure.REFUSED, None, 1, "Connection refused"),
    ]
    assert report.stopped is Stop.DEADLINE


def test_nothing_at_all_is_a_report_too() -> None:
    report = settled([], profile_plan(Profile.SHORT_LIVED), stopped=Stop.INTERRUPTED)

    assert (report.spread, report.placement) == (Spread.FAILED, Placement.UNKNOWN)
    assert (report.busiest, report.expected_busiest) == (None, None)
    assert [e.share for e in report.endpoints] == [None, None, None]
    assert report.connect_ms is None


def test_lost_connections_hide_a_bias_and_never_make_one() -> None:
    """One endpoint of three refuses: the others get all draws, and that is no sign of an unfair chooser."""
    hidden, shown = fresh((150, 154, 0), failed=150), fresh((150, 154, 0))

    assert (hidden.placement, shown.placement) == (Placement.UNKNOWN, Placement.BIASED)


def test_connections_cut_off_by_the_stop_are_not_lost() -> None:
    observations = [*(connection("web-0") for _ in range(12)), *(connection(abandoned=1) for _ in range(4))]

    assert settled(observations, profile_plan(Profile.SHORT_LIVED)).placement is Placement.FIXED


def test_what_was_settled_stays_settled() -> None:
    """The test holds at every look, so what was under way when it was reached cannot undo it."""
    folded = fold([connection("web-0") for _ in range(44)], profile_plan(Profile.SHORT_LIVED))
    settled_then = folded.certain

    for name in ("web-1", "web-2", "web-1", "web-2"):
        folded.add(connection(name))

    assert (settled_then, folded.certain) == (True, True)
    assert folded.settle(Stop.CERTAIN, 1.0).placement is Placement.BIASED


@pytest.mark.parametrize(
    ("profile", "names", "expected"),
    [
        (Profile.SHORT_LIVED, fair(3, 60), False),
        (Profile.SHORT_LIVED, fair(3, 240), True),
        (Profile.SHORT_LIVED, ["web-0"] * 43, False),
        (Profile.SHORT_LIVED, ["web-0"] * 44, True),
        (Profile.SHORT_LIVED, ["web-0", "web-1"] * 47, False),
        (Profile.SHORT_LIVED, ["web-0", "web-1"] * 48, True),
        (Profile.SHORT_LIVED, ["web-0"] * 30 + ["web-1", "web-2"], True),
        (Profile.SINGLE, ["web-0"] * 44, False),
        (Profile.POOLED, ["web-0"] * 44, False),
    ],
)
def test_only_the_question_of_short_lived_can_be_settled_early(profile: Profile, names: list[str], expected: bool) -> None:
    assert fold([connection(name) for name in names], profile_plan(profile)).certain is expected


def test_endpoints_are_learned_from_the_answers() -> None:
    folded = fold([connection(name) for name in fair(3, 300)], profile_plan(Profile.SHORT_LIVED, enough_connections=0), ())

    report = folded.settle(Stop.DONE, 1.0)

    assert folded.seen == PODS
    assert [e.name for e in report.endpoints] == list(PODS)
    assert (report.placement, report.spread, report.unknown, report.idle) == (Placement.RANDOM, Spread.EVEN, (), 0)
    assert not folded.certain


def test_turns_among_learned_endpoints_are_recognised() -> None:
    report = fold([connection(PODS[i % 3]) for i in range(60)], profile_plan(Profile.SHORT_LIVED), ()).settle(Stop.DONE, 1.0)

    assert report.placement is Placement.EVEN


def test_one_learned_endpoint_says_nothing_of_how_many_there_are() -> None:
    report = fold([connection(answers("web-0", 100))], profile_plan(Profile.SINGLE), ()).settle(Stop.DONE, 1.0)

    assert (report.spread, report.busiest, report.placement) == (Spread.FAILED, None, Placement.UNKNOWN)


def test_endpoints_that_other_profiles_met_count_as_idle() -> None:
    report = fold([connection(answers("web-1", 100))], profile_plan(Profile.SINGLE), ()).settle(Stop.DONE, 1.0, PODS)

    assert (report.spread, report.busiest, report.idle) == (Spread.PINNED, 3.0, 2)


@given(st.lists(st.sampled_from([*PODS, "stranger", None]), max_size=60), st.randoms())
@settings(max_examples=50)
def test_the_order_of_connections_changes_no_count(names: list[str | None], random: Random) -> None:
    given_, shuffled = ([connection(n) for n in some] for some in (names, random.sample(names, len(names))))
    one, other = (settled(some, profile_plan(Profile.SHORT_LIVED)) for some in (given_, shuffled))

    same = replace(one, placement=other.placement, evidence=other.evidence)
    assert same == other


@given(st.lists(st.sampled_from(PODS), max_size=60), st.permutations(PODS))
@settings(max_examples=50)
def test_relabelling_endpoints_changes_no_judgement(names: list[str], other_names: list[str]) -> None:
    renamed = dict(zip(PODS, other_names, strict=True))
    both = (names, [renamed[name] for name in names])

    one, other = (settled([connection(n) for n in some], profile_plan(Profile.SHORT_LIVED)) for some in both)

    assert (one.placement, one.spread, one.busiest, one.idle) == (other.placement, other.spread, other.busiest, other.idle)
    assert one.evidence.e_value == pytest.approx(other.evidence.e_value)
    assert {renamed[e.name]: e.requests for e in one.endpoints} == {e.name: e.requests for e in other.endpoints}


@given(st.lists(st.lists(st.integers(0, 5000), min_size=1, max_size=5), min_size=1, max_size=20))
@settings(max_examples=50)
def test_merging_histograms_is_pooling_their_values(groups: list[list[int]]) -> None:
    observations = [connection(answers("web-0", 1, ms=us / 1000)) for group in groups for us in group]
    parts = [answers("web-0", 1, ms=us / 1000).latency for group in groups for us in group]

    report = settled(observations, profile_plan(Profile.SHORT_LIVED))

    measured = report.endpoints[0].latency_ms
    assert measured is not None
    assert measured.p50 == (quantile_us(sum(map(Counter, parts), Counter[int]()), 0.5) or 0) / 1000


def test_a_fair_chooser_is_seldom_called_biased_and_mostly_random() -> None:
    """Of 150 runs at alpha 0.5 %, four or more false alarms have a chance below 1 %."""
    reports = [settled([connection(n) for n in fair(3, 400, seed)], profile_plan(Profile.SHORT_LIVED)) for seed in range(150)]

    alarms = sum(r.placement in (Placement.BIASED, Placement.FIXED) for r in reports)
    assert alarms < 4
    assert sum(r.placement is Placement.RANDOM for r in reports) + alarms == 150


def test_direct_profile_of_endpoints_that_all_refuse_has_failed() -> None:
    report = direct(failing=PODS)

    assert (report.spread, report.requests.failed, report.connections.failed) == (Spread.FAILED, 60, 3)


def test_parameters_are_the_plan_in_the_options_words() -> None:
    assert dict(fresh().parameters) == {
        "requests": 304,
        "connections": 4,
        "concurrency": 1,
        "rate": 200.0,
        "pool_policy": None,
        "max_requests_per_connection": 1,
        "max_connection_age_s": None,
        "jitter": 0.0,
    }
    assert pooled().parameters["pool_policy"] == "round-robin"
