import pytest

from kbalance.analysis.advice import WAYS_OUT, recommend
from kbalance.analysis.case import Case
from kbalance.analysis.rules import RULES, diagnose
from kbalance.model.plan import Options
from kbalance.model.report import Artifact, Recommendation
from kbalance.model.target import Facts
from kbalance.model.words import FactsSource, PoolPolicy, Profile
from tests.builders import (
    PODS,
    SERVICE,
    answers,
    case,
    connection,
    direct,
    endpoint,
    facts,
    fresh,
    pooled,
    profile_plan,
    settled,
    single,
    traffic_plan,
)

from tests.analysis.test_rules import SCENARIOS, affine  # isort: skip


def advised(of: Case) -> dict[str, Recommendation]:
    return {r.id: r for r in recommend(of, diagnose(of))}


def test_every_cause_has_its_ways_out() -> None:
    assert set(WAYS_OUT) == {rule.id for rule in RULES}


def test_pinning_is_answered_with_what_this_run_measured() -> None:
    given = advised(case(single(), pooled(), fresh(), direct()))

    assert [(r.id, r.measured_busiest, r.predicted_busiest) for r in given.values()] == [
        ("client-side-balancing", 1.0, 1.0),
        ("meshed-client", None, 1.0),
        ("shorter-lifetime", pytest.approx(1.036, abs=0.001), pytest.approx(1.085, abs=0.005)),
        ("fewer-bigger-pods", None, pytest.approx(1.08, abs=0.005)),
        ("event-driven", None, None),
    ]
    assert given["client-side-balancing"].why == (
        "A connection to each endpoint, the next one for each request: the busiest endpoint got 1.00 times its fair share; "
        "it was 3.00 with 1 kept connection and 1.50 with 10 kept connections."
    )


def test_what_was_not_measured_is_predicted_or_left_open() -> None:
    given = advised(case(single()))

    assert [(r.id, r.measured_busiest) for r in given.values()] == [
        ("client-side-balancing", None),
        ("meshed-client", None),
        ("shorter-lifetime", None),
        ("fewer-bigger-pods", None),
        ("event-driven", None),
    ]


def test_a_lifo_pool_is_told_what_turns_would_give() -> None:
    lifo = settled(
        [connection(answers("web-0", 182)), *(connection(answers(PODS[i % 3], 2)) for i in range(9))],
        profile_plan(Profile.POOLED, pool_policy=PoolPolicy.LIFO),
    )

    best = next(iter(advised(case(lifo, fresh())).values()))

    assert (best.id, best.measured_busiest) == ("round-robin-pool", None)
    assert best.predicted_busiest == pytest.approx(1.48, abs=0.005)


def test_affinity_comes_with_the_patch_that_removes_it() -> None:
    best = advised(case(fresh((304, 0, 0)), facts=affine(), facts_after=affine()))["affinity-none"]

    assert best.artifacts == (
        Artifact(
            name="affinity-none.sh",
            kind="shell",
            content="kubectl patch service web --namespace shop --type merge "
            """--patch '{"spec":{"sessionAffinity":"None","sessionAffinityConfig":null}}'\n""",
        ),
    )
    assert best.predicted_busiest == pytest.approx(1.085, abs=0.005)


def test_a_failing_endpoint_is_named_in_the_first_step() -> None:
    first = next(iter(advised(case(fresh((100, 104, 0), failed=100), direct(failing=["web-2"]))).values()))

    assert (first.id, first.title) == ("repair-endpoint", "Repair web-2, or let its readiness probe fail")
    assert first.why == "33 % of the requests on fresh connections failed."


def test_nothing_is_recommended_where_nothing_is_wrong() -> None:
    assert advised(case(fresh(), direct())) == {}


def test_each_way_out_is_named_once() -> None:
    given = case(single(), pooled((7, 2, 1)), fresh((202, 51, 51)), direct())

    ids = [r.id for r in recommend(given, diagnose(given))]

    assert len(ids) == len(set(ids))
    assert ids[:2] == ["change-scheduler", "client-side-balancing"]


@pytest.mark.parametrize("make", [row[1] for rows in SCENARIOS.values() for row in rows])
def test_advice_is_whole_for_every_case(make: object) -> None:
    assert callable(make)
    given: Case = make()

    for recommendation in recommend(given, diagnose(given)):
        assert recommendation.why.endswith("."), recommendation
        assert recommendation.costs, recommendation
        assert not any(cost.endswith(".") or cost[0].isupper() for cost in recommendation.costs), recommendation


def test_a_sample_case_is_planned_like_a_run() -> None:
    known = Facts(source=FactsSource.API, service=SERVICE, endpoints=tuple(endpoint(name) for name in PODS))

    assert facts() == known
    assert case().plan == traffic_plan(known, Options(max_connections=500))
