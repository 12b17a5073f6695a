"""The comparison of two reports: what is claimed, what is not, and how often that is wrong."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from kbalance.analysis.comparison import compare
from kbalance.model.comparison import Comparison, Item
from kbalance.model.past import PastReport
from kbalance.model.words import Matching, Outcome, Verdict
from tests.analysis.test_two_samples import drawn
from tests.pasts import TARGET, direct, fresh, pods, pooled, profile, report

FAIR = (100, 105, 99)
ALPHA = 0.01


def compared(before: PastReport, after: PastReport, alpha: float = ALPHA) -> Comparison:
    return compare(before, after, alpha)


def item(comparison: Comparison, what: str, of: str | None = None) -> Item:
    return next(i for i in comparison.items if i.what == what and (of is None or i.profile == of))


def test_affinity_that_is_gone_is_better_and_back_again_worse() -> None:
    before = report(fresh((0, 25, 0)), causes={"session-affinity": "risk"}, settings={"session_affinity": "ClientIP"})
    after = report(fresh(FAIR), settings={"session_affinity": "None"})

    there, back = compared(before, after), compared(after, before)

    assert (there.outcome, back.outcome) == (Outcome.BETTER, Outcome.WORSE)
    assert (
        there.headline
        == "short-lived: busiest endpoint 3.00x -> 1.04x; quietest endpoint 0.00x -> 0.98x; session-affinity is gone"
    )
    assert there.settings == ("session affinity was ClientIP and is None",)
    assert "session-affinity is new" not in there.headline
    assert back.new == ("session-affinity",)


def test_every_part_of_alpha_is_given_out_once() -> None:
    comparison = compared(report(fresh(FAIR), pooled((2, 5, 3)), direct()), report(fresh(FAIR), pooled((3, 3, 4)), direct()))

    assert sum(i.alpha for i in comparison.items if i.what != "load") == pytest.approx(ALPHA)


def test_a_pool_alone_proves_nothing() -> None:
    comparison = compared(report(pooled((6, 2, 2))), report(pooled((4, 3, 3))))

    assert comparison.outcome is Outcome.NO_CHANGE
    assert item(comparison, "load").summary == (
        "pooled: the busiest endpoint got 1.80 times its fair share of requests before and 1.20 times after; fair draws of 10 "
        "connections over 3 endpoints give 1.48 on average, and vary by luck."
    )
    assert any("--profile short-lived" in advice for advice in comparison.surer)


def test_a_pool_follows_the_chances_that_fresh_connections_prove() -> None:
    comparison = compared(report(pooled((10, 0, 0)), fresh((14, 0, 0))), report(pooled((4, 3, 3)), fresh(FAIR)))

    assert item(comparison, "load", "pooled").verdict is Verdict.BETTER


def test_two_even_runs_are_the_same() -> None:
    comparison = compared(report(fresh(FAIR)), report(fresh((95, 99, 110))))

    assert comparison.outcome is Outcome.NO_CHANGE
    assert item(comparison, "busiest").verdict is Verdict.SAME
    assert comparison.surer == ()


def test_few_draws_are_unclear_and_the_run_that_stopped_early_is_named() -> None:
    comparison = compared(report(fresh((16, 4, 4), stopped="certain")), report(fresh(FAIR)))

    assert item(comparison, "busiest").verdict is Verdict.UNCLEAR
    assert comparison.surer[0] == (
        "BEFORE stopped after 24 fresh connections, once its own answer was certain; --no-early-stop makes them all."
    )


def test_affinity_to_another_endpoint_is_neither_better_nor_worse() -> None:
    assert compared(report(fresh((30, 0, 0))), report(fresh((0, 0, 30)))).outcome is Outcome.NO_CHANGE


def test_a_rollout_is_matched_by_rank() -> None:
    renamed = report(fresh(FAIR, pods(3, "new")))

    comparison = compared(report(fresh((25, 0, 0))), renamed)

    assert comparison.matching is Matching.RANK
    assert comparison.outcome is Outcome.BETTER
    assert comparison.settings == ("all endpoints have other names: 3 before and 3 after",)
    first = comparison.profiles[0].endpoints[0]
    assert (first.before, first.after) == ("web-00", "new-01")


def test_scale_out_compares_loads_over_the_fair_share() -> None:
    """Three even endpoints and six even ones; then six of which the new ones get nothing."""
    three, six, stale = report(fresh(FAIR)), report(fresh((50,) * 6)), report(fresh((100, 100, 100, 0, 0, 0)))

    assert compared(three, six).outcome is Outcome.NO_CHANGE
    assert compared(three, stale).outcome is Outcome.WORSE
    assert compared(three, six).settings == ("endpoints were 3 and are 6: web-03, web-04 and web-05 came",)


def test_a_proxy_that_places_requests_is_better_than_pinned_connections() -> None:
    pinned = report(pooled((6, 2, 2)), profile("single", (1, 0, 0), each=100))
    proxied = report(
        pooled((10, 10, 10), opened=10, several=10), profile("single", (1, 1, 1), each=34, opened=1, several=1, requests_most=100)
    )

    assert item(compared(pinned, proxied), "per-request").verdict is Verdict.BETTER
    assert compared(proxied, pinned).outcome is Outcome.WORSE


def test_failures_are_counted_by_connection() -> None:
    """Three of ten pooled connections on a dead endpoint and then four are luck, however many requests that was."""
    before, after = (report(pooled((3, 3, 4), failed=20 * dead, requests=200)) for dead in (3, 6))

    assert item(compared(before, after), "failed").verdict is Verdict.UNCLEAR
    assert compared(report(fresh(FAIR, failed=100)), report(fresh(FAIR))).outcome is Outcome.BETTER
    assert compared(report(fresh(FAIR)), report(fresh(FAIR, failed=100))).outcome is Outcome.WORSE


@pytest.mark.parametrize("names", [None, pods(3, "new")])
def test_an_endpoint_that_stopped_failing_is_better(names: Sequence[str] | None) -> None:
    before, after = report(direct(failed={1: 20})), report(direct(names=names))

    assert compared(before, after).headline == "web-01 asked directly: failed 33 % -> 0 %"
    assert compared(before, after).outcome is Outcome.BETTER
    assert compared(after, before).outcome is Outcome.WORSE


def test_a_newcomer_that_fails_is_worse() -> None:
    assert compared(report(direct(3)), report(direct(4, failed={3: 20}))).outcome is Outcome.WORSE


@pytest.mark.parametrize("names", [None, pods(3, "new")])
def test_an_endpoint_that_became_slow_is_worse(names: Sequence[str] | None) -> None:
    slow, quick = report(direct(ms={2: 50.0}, names=names)), report(direct())

    assert compared(quick, slow).headline == "slowest endpoint's p50 1.0 ms -> 50 ms"
    assert compared(quick, slow).outcome is Outcome.WORSE
    assert compared(slow, quick).outcome is Outcome.BETTER


@pytest.mark.parametrize("after_ms", [1.9, 5.9])
def test_a_difference_that_a_client_may_make_is_the_same(after_ms: float) -> None:
    comparison = compared(report(direct()), report(direct(ms=dict.fromkeys(range(3), after_ms))))

    assert item(comparison, "p50").verdict is Verdict.SAME


def test_few_requests_do_not_show_a_latency() -> None:
    comparison = compared(report(direct(requests=3)), report(direct(requests=3, ms={0: 80.0})))

    assert item(comparison, "p50").verdict is Verdict.UNCLEAR


def test_better_and_worse_at_once_is_worse_and_says_so() -> None:
    comparison = compared(report(fresh((25, 0, 0))), report(fresh(FAIR, failed=150)))

    assert comparison.outcome is Outcome.WORSE
    assert comparison.headline == "short-lived: failed 0 % -> 49 %; other things are better"


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (
            report(fresh(FAIR), target=replace(TARGET, name="api")),
            "the targets are different: svc/web:http in namespace shop before",
        ),
        (report(fresh(FAIR), target=replace(TARGET, scheme="https")), "(http and https)"),
        (report(fresh(FAIR), cause="invalid-measurement", summary="The endpoints changed."), "AFTER is no measurement"),
        (report(pooled((3, 3, 4))), "no profile stands in both reports"),
        (
            report(fresh(FAIR, protocol="grpc")),
            "HTTP/1.1 was spoken before, gRPC over HTTP/2 after, and what clients and proxies do with connections differs "
            "between them; measure both with the same --protocol",
        ),
        (report(fresh(FAIR, parameters={"concurrency": 8, "later": 1})), "short-lived: concurrency 4 before, 8 after"),
    ],
)
def test_what_cannot_be_compared_is_told(after: PastReport, why: str) -> None:
    comparison = compared(report(fresh(FAIR)), after)

    assert comparison.outcome is Outcome.NOT_COMPARABLE
    assert comparison.items == ()
    assert why in comparison.headline


def test_protocols_are_told_by_profile_where_not_all_changed() -> None:
    mixed = report(fresh(FAIR), pooled((3, 3, 4), protocol="h9"))

    comparison = compared(report(fresh(FAIR), pooled((2, 5, 3))), mixed)

    assert comparison.obstacles == ("pooled: HTTP/1.1 was spoken before, h9 after",)
    assert comparison.outcome is Outcome.NO_CHANGE


def test_an_ordinary_client_is_compared_like_any_other() -> None:
    before, after = (
        report(fresh(FAIR, protocol="grpc"), profile("stock", counts, each=200, protocol="grpc"))
        for counts in ((1, 0, 0), (0, 1, 0))
    )

    comparison = compared(before, after)

    assert comparison.obstacles == ()
    assert item(comparison, "load", "stock").verdict is Verdict.UNCLEAR
    assert "1 connection is 1 draw" in item(comparison, "load", "stock").summary


def test_the_rest_is_compared_where_one_profile_cannot_be() -> None:
    other_pool = pooled((10, 10, 12), parameters={"connections": 32})

    comparison = compared(report(fresh((25, 0, 0)), pooled((10, 0, 0))), report(fresh(FAIR), other_pool))

    assert comparison.outcome is Outcome.BETTER
    assert comparison.obstacles == ("pooled: connections 10 before, 32 after",)
    assert all(i.profile != "pooled" for i in comparison.items)


def test_a_profile_of_one_report_alone_is_named() -> None:
    comparison = compared(report(fresh(FAIR), direct()), report(fresh(FAIR)))

    assert comparison.obstacles == ("per-endpoint: only BEFORE has this profile",)


def test_other_places_spoil_latencies_and_where_the_service_minds_everything() -> None:
    here, there = (("kind", "job"), ("node", "a"), ("zone", None)), (("kind", "job"), ("node", "b"), ("zone", None))
    before, after = report(fresh(FAIR), direct(), vantage=here), report(fresh(FAIR), direct(ms={0: 90.0}), vantage=there)

    assert compared(before, after).outcome is Outcome.NO_CHANGE
    assert compared(before, after).obstacles == ("latencies: the runs started at different places (node a and b)",)
    local = {"internal_traffic_policy": "Local"}
    assert compared(replace(before, settings=local), after).outcome is Outcome.NOT_COMPARABLE


def test_another_path_spoils_failures() -> None:
    comparison = compared(report(fresh(FAIR)), report(fresh(FAIR, failed=200), target=replace(TARGET, asked="/login")))

    assert comparison.outcome is Outcome.NO_CHANGE
    assert comparison.obstacles == ("failures and latencies: /hostname was asked before, /login after",)


def test_profiles_that_nobody_knows_yet_are_left_alone() -> None:
    comparison = compared(report(fresh(FAIR), fresh(FAIR, profile="bursty")), report(fresh(FAIR), fresh(FAIR, profile="bursty")))

    assert comparison.obstacles == ("bursty: this version of kbalance does not know the profile",)


def test_endpoints_known_from_answers_alone_are_those_that_either_run_met() -> None:
    """Who was never met is not known, so nobody is called quietest."""
    before = report(fresh((30,), pods(1)), source="answers")
    after = report(fresh(FAIR), source="answers")

    comparison = compared(before, after)

    assert comparison.outcome is Outcome.BETTER
    assert {i.what for i in comparison.items} == {"load", "busiest", "failed"}


@pytest.mark.parametrize("n", [1, 2])
def test_nothing_attributed_is_no_crash(n: int) -> None:
    blind = report(fresh((0,) * n), profile("single", (0,) * n), direct(n))

    assert compared(blind, blind).outcome is Outcome.NO_CHANGE


def _run(rng: Random, weights: Sequence[float], dead: float, most: int) -> PastReport:
    """A whole run: pool and fresh connections drawn with these chances, some of them failing."""
    n = len(weights)
    pool, counts = drawn(rng, weights, 10, stops=False), drawn(rng, weights, most)
    failed = sum(rng.random() < dead for _ in range(sum(counts)))
    asked = {i: sum(rng.random() < dead for _ in range(20)) for i in range(n)}
    return report(pooled(pool), fresh(counts, failed=failed), direct(n, failed=asked))


@pytest.mark.parametrize(("n", "runs"), [(2, 200), (3, 200), (5, 150), (10, 80), (50, 40)])
@pytest.mark.parametrize("weight", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("renamed", [False, True])
def test_two_runs_of_the_same_thing_are_hardly_ever_called_worse(n: int, runs: int, weight: float, renamed: bool) -> None:
    """At alpha 5 %, with runs that stop early, of equal and unequal sizes, and 10 % of failures."""
    rng, weights, most = Random(n), [weight] + [1.0] * (n - 1), min(1000, 100 * n)
    called = []
    for turn in range(runs):
        before, after = _run(rng, weights, 0.1, most), _run(rng, weights, 0.1, most if turn % 2 else 30)
        called.append(compare(before, _renamed(after) if renamed else after, 0.05).outcome)

    assert called.count(Outcome.WORSE) <= 0.05 * runs
    assert called.count(Outcome.BETTER) <= 0.05 * runs


def _renamed(past: PastReport) -> PastReport:
    profiles = tuple(replace(p, endpoints=tuple(replace(e, name=f"new-{e.name}") for e in p.endpoints)) for p in past.profiles)
    return replace(past, profiles=profiles)
