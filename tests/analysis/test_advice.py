from dataclasses import replace

import pytest

from kbalance.analysis.advice import NO_WAY_OUT, recommend
from kbalance.analysis.advice.settings import setting_of
from kbalance.analysis.advice.ways import WAYS_OUT
from kbalance.analysis.artifacts import Setting
from kbalance.analysis.case import Case
from kbalance.analysis.rules import RULES, diagnose
from kbalance.model.plan import Options
from kbalance.model.report import Artifact, Diagnosis, Finding, Recommendation
from kbalance.model.target import Facts
from kbalance.model.words import Closer, Confidence, FactsSource, Failure, Profile, Severity
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
    lifo,
    pooled,
    profile_plan,
    refused,
    settled,
    single,
    traffic_plan,
)

from tests.analysis.scenarios import unsigned  # isort: skip
from tests.analysis.test_rules import SCENARIOS, affine  # isort: skip


def advised(of: Case) -> dict[str, Recommendation]:
    return {r.id: r for r in recommend(of, diagnose(of))}


def test_every_cause_has_its_ways_out() -> None:
    assert {rule.id for rule in RULES} == set(WAYS_OUT)
    assert {cause for cause, ways in WAYS_OUT.items() if not ways} == NO_WAY_OUT


def test_pinning_is_answered_with_what_this_run_measured() -> None:
    given = advised(case(single(), pooled(), fresh(), direct()))

    assert [(r.id, r.measured_busiest, r.predicted_busiest) for r in given.values()] == [
        ("client-side-balancing", 1.0, 1.0),
        ("shorter-lifetime", pytest.approx(1.036, abs=0.001), pytest.approx(1.39, abs=0.005)),
        ("meshed-client", None, 1.0),
        ("fewer-bigger-pods", None, pytest.approx(1.25, abs=0.005)),
    ]
    assert given["client-side-balancing"].why == (
        "A connection to each endpoint, the next one for each request: the busiest endpoint got 1.00 times its fair share; "
        "it was 3.00 with 1 kept connection and 1.50 with 10 kept connections."
    )


def test_what_was_not_measured_is_predicted_or_left_open() -> None:
    given = advised(case(single()))

    assert [(r.id, r.measured_busiest) for r in given.values()] == [
        ("client-side-balancing", None),
        ("shorter-lifetime", None),
        ("meshed-client", None),
        ("fewer-bigger-pods", None),
    ]


def test_a_lifo_pool_is_told_what_turns_would_give() -> None:
    best = next(iter(advised(case(lifo(), fresh())).values()))

    assert (best.id, best.measured_busiest) == ("round-robin-pool", None)
    assert best.predicted_busiest == pytest.approx(1.48, abs=0.005)


def test_turns_are_foretold_for_the_users_clients_wherever_the_run_started() -> None:
    """Two vantage points had a pool each, and the user has one client."""
    together = lifo()
    together = replace(together, parameters={**together.parameters, "connections": 20})

    assert "In turn, 10 connections over 3 endpoints" in advised(case(together, fresh()))["round-robin-pool"].why


def test_affinity_comes_with_the_patch_that_removes_it() -> None:
    best = advised(case(fresh((304, 0, 0)), facts=affine(), facts_after=affine()))["affinity-none"]

    removes, shortens = best.artifacts
    assert removes.name == "affinity-none.sh"
    assert """'{"spec":{"sessionAffinity":"None","sessionAffinityConfig":null}}'""" in removes.content
    assert "timeoutSeconds" in shortens.content
    assert best.predicted_busiest == pytest.approx(1.085, abs=0.005)


def test_a_failing_endpoint_is_named_in_the_first_step() -> None:
    first = next(iter(advised(case(fresh((100, 104, 0), failed=100), direct(failing=["web-2"]))).values()))

    assert (first.id, first.title) == ("repair-endpoint", "Repair web-2, or let its readiness probe fail")
    assert first.why == "33 % of the requests on fresh connections failed."


def test_several_that_fail_have_probes_of_their_own() -> None:
    first = next(iter(advised(case(fresh((100, 0, 0), failed=200), direct(failing=["web-1", "web-2"]))).values()))

    assert first.title == "Repair web-1 and web-2, or let their readiness probes fail"


def test_an_endpoint_that_failed_once_is_not_to_be_repaired() -> None:
    once = connection(answers("web-0", 19), endpoint="web-0", unanswered=((Failure.RESET, 1),), closed_by=Closer.FAILURE)
    dead = [refused("web-1") for _ in range(20)]
    asked = settled([once, *dead, connection(answers("web-2", 20), endpoint="web-2")], profile_plan(Profile.PER_ENDPOINT))

    assert only(case(asked), "endpoint-failing").title == "Repair web-1, or let its readiness probe fail"


def test_a_proxy_that_fails_by_itself_is_looked_at_and_no_endpoint() -> None:
    of = case(unsigned(6), direct(), proxy_signs=("via",))
    (finding, *_), (first, *_) = diagnose(of).findings, advised(of).values()

    assert finding.summary.endswith("though every endpoint answered directly: the proxy on the way fails at times.")
    assert "6 error answers by way of the proxy had no endpoint's name: most likely its own." in finding.evidence
    assert first.id == "proxy-retries"
    assert first.why.startswith("6 error answers had no endpoint's name, and of 60 direct requests none failed.")
    assert [one.name for one in first.artifacts] == ["envoy-retries.yaml"]


@pytest.mark.parametrize(
    "of",
    [
        case(unsigned(6), direct()),
        case(unsigned(6), direct(failing=["web-1"]), proxy_signs=("via",)),
        case(fresh((120, 78, 118), failed=40), direct(), proxy_signs=("via",)),
    ],
    ids=["no proxy", "an endpoint fails directly", "one got fewer"],
)
def test_a_proxy_is_not_blamed_for_others(of: Case) -> None:
    assert [r.id for r in recommend(of, diagnosed("endpoint-failing"))] == ["repair-endpoint"]


def test_who_fails_only_at_times_is_named_in_the_first_step() -> None:
    of = case(fresh((120, 78, 118), failed=40), direct())

    assert only(of, "endpoint-failing").title == "Repair web-1, or let its readiness probe fail"


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


def diagnosed(cause: str) -> Diagnosis:
    """A diagnosis of a cause, whether or not there is a rule for it yet."""
    finding = Finding(cause=cause, severity=Severity.RISK, confidence=Confidence.CERTAIN, summary="", evidence=())
    return Diagnosis(cause=cause, severity=Severity.RISK, confidence=Confidence.CERTAIN, summary="", findings=(finding,))


def only(of: Case, cause: str) -> Recommendation:
    (one,) = recommend(of, diagnosed(cause))
    return one


@pytest.mark.parametrize("cause", sorted(WAYS_OUT))
def test_advice_is_whole_for_every_cause(cause: str) -> None:
    """Also where hardly anything is known."""
    for of in (case(single(), pooled((7, 2, 1)), fresh(), direct()), case(), case(facts=facts(())), case(facts=facts(PODS[:1]))):
        for one in recommend(of, diagnosed(cause)):
            assert one.why.endswith("."), one
            assert one.costs, one
            assert "  " not in one.why + one.title, one


def test_pods_of_unlike_nodes_are_spread_for_traffic_from_outside() -> None:
    """Two nodes, of which one has two of the three Pods: half of the traffic for the third Pod."""
    placed = facts()
    placed = replace(placed, endpoints=tuple(replace(e, node="a" if e.name == "web-0" else "b") for e in placed.endpoints))

    one = only(case(fresh((152, 76, 76)), facts=placed), "external-traffic-policy")

    assert (one.id, one.predicted_busiest) == ("external-spread", 1.0)
    assert "the busiest Pod gets 1.50 times its fair share" in one.why
    assert only(case(), "external-traffic-policy").predicted_busiest is None


def test_a_proxy_that_keeps_connections_is_pointed_at_the_endpoints() -> None:
    one = only(case(fresh((200, 104, 0))), "proxy-keepalive")

    assert (one.id, one.predicted_busiest) == ("proxy-to-endpoints", 1.0)
    assert "304 fresh connections of clients loaded the busiest endpoint 1.97 times its fair share" in one.why


@pytest.mark.parametrize(
    ("ms", "advised"),
    [({"web-2": 50.0}, True), ({"web-2": 1.5}, False), ({}, False), (dict.fromkeys(PODS, 50.0), False)],
)
def test_a_proxys_policy_needs_a_cure_only_where_endpoints_are_unlike(ms: dict[str, float], advised: bool) -> None:
    given = recommend(case(fresh(), direct(ms=ms)), diagnosed("proxy-policy"))

    assert [r.id for r in given] == (["proxy-least-request"] if advised else [])


def test_versions_get_the_share_of_their_pods() -> None:
    known = facts()
    known = replace(known, endpoints=tuple(replace(e, version="v2" if e.name == "web-2" else "v1") for e in known.endpoints))

    one = only(case(facts=known), "mixed-versions")

    assert (one.id, one.why) == (
        "weight-versions",
        "Each Pod gets the same share, so a version gets that of its Pods: v1 67 % and v2 33 %.",
    )


def test_versions_count_only_where_every_pod_has_one() -> None:
    """As in the finding, makers of Pods take their place."""
    known = facts()
    owners = ("ReplicaSet/a", "ReplicaSet/a", "ReplicaSet/b")
    told = zip(known.endpoints, owners, strict=True)
    known = replace(known, endpoints=tuple(replace(e, owner=o, version="v2" if e.name == "web-1" else None) for e, o in told))

    assert only(case(facts=known), "mixed-versions").why.endswith(": ReplicaSet/a 67 % and ReplicaSet/b 33 %.")


def test_pods_that_are_not_ready_are_named_with_what_their_absence_costs() -> None:
    known = facts()
    known = replace(known, endpoints=tuple(replace(e, ready=e.name != "web-1") for e in known.endpoints))

    one = only(case(facts=known), "not-ready")

    assert (one.id, one.title) == ("repair-readiness", "See why web-1 is not ready")
    assert one.why == "The ready ones carry 1.50 times what each would if all 3 were."


def test_only_pods_that_are_to_serve_are_missed() -> None:
    """One is on its way out, and one gets traffic though it is not ready."""
    leaving, published = facts(), facts()
    leaving = replace(
        leaving,
        endpoints=(
            *leaving.endpoints[:1],
            *(replace(e, ready=False, terminating=e.name == "web-2") for e in leaving.endpoints[1:]),
        ),
    )
    published = replace(published, endpoints=tuple(replace(e, serving=e.name != "web-1") for e in published.endpoints))

    assert only(case(facts=leaving), "not-ready").title == "See why web-1 is not ready"
    assert only(case(facts=leaving), "not-ready").why == "The ready ones carry 2.00 times what each would if all 2 were."
    assert only(case(facts=published), "not-ready").title == "See why web-1 is not ready"
    assert only(case(facts=published), "not-ready").why == "Only ready endpoints get traffic."


def test_texts_to_paste_come_with_every_recommendation(monkeypatch: pytest.MonkeyPatch) -> None:
    """And take the place of those that advice has itself."""
    asked: list[tuple[str, Setting]] = []

    def artifacts(fix: str, setting: Setting) -> tuple[Artifact, ...]:
        asked.append((fix, setting))
        return (Artifact(name=f"{fix}.yaml", kind="kubernetes", content=""),)

    monkeypatch.setattr("kbalance.analysis.advice.ways.artifacts", artifacts)
    of = case(fresh((304, 0, 0)), direct(), facts=affine(), facts_after=affine())

    given = recommend(of, diagnosed("session-affinity"))

    assert [a.name for r in given for a in r.artifacts] == ["affinity-none.yaml", "client-side-balancing.yaml"]
    assert asked == [("affinity-none", setting_of(of)), ("client-side-balancing", setting_of(of))]
