"""Which way out comes first, and for whom it is none."""

from dataclasses import replace

import pytest

from kbalance.analysis.advice import recommend
from kbalance.analysis.advice.ranking import effect, ranked
from kbalance.analysis.case import Case
from kbalance.analysis.rules import diagnose
from kbalance.model.report import Diagnosis, Finding, Recommendation
from kbalance.model.target import Facts
from kbalance.model.words import Confidence, Severity
from tests.builders import (
    PODS,
    SERVICE,
    case,
    direct,
    facts,
    fresh,
    lifo,
    pods,
    pooled,
    single,
    traffic_plan,
)


def ids(of: Case, *causes: str) -> list[str]:
    """What is recommended, for the run's own diagnosis or for these causes."""
    return [r.id for r in recommend(of, found(*causes) if causes else diagnose(of))]


def found(*causes: str) -> Diagnosis:
    """A diagnosis of causes that need not have a rule yet."""
    findings = tuple(
        Finding(cause=cause, severity=Severity.RISK, confidence=Confidence.CERTAIN, summary="", evidence=()) for cause in causes
    )
    return Diagnosis(cause=causes[0], severity=Severity.RISK, confidence=Confidence.CERTAIN, summary="", findings=findings)


def run(n: int = 3, **changes: object) -> Case:
    """All four profiles on a Service of n pods whose fresh connections are drawn fairly."""
    names = pods(n)
    counts = [100 + (7 * i) % 5 for i in range(n)]
    kept = [10 // n] * n
    kept[0], kept[-1] = kept[0] + 10 % n + 1, kept[-1] - 1
    known = facts(names)
    of = case(
        single(names=names),
        pooled(kept, names),
        fresh(counts, names),
        direct(names),
        facts=known,
        facts_after=known,
        plan=traffic_plan(known),
    )
    return replace(of, **changes)  # type: ignore[arg-type]


def speaking(n: int = 3, **service: object) -> Facts:
    return facts(pods(n), service=replace(SERVICE, **service))  # type: ignore[arg-type]


def test_what_was_measured_comes_before_what_is_predicted() -> None:
    """Both a connection to each endpoint and short lives were measured; a mesh was not."""
    assert ids(run()) == ["client-side-balancing", "shorter-lifetime", "meshed-client", "fewer-bigger-pods"]


def test_without_a_connection_to_each_endpoint_short_lives_are_what_was_measured() -> None:
    of = case(single(), pooled((1, 7, 2)), fresh())

    assert ids(of)[:2] == ["shorter-lifetime", "client-side-balancing"]


def test_many_clients_need_nothing() -> None:
    first, *rest = recommend(run(clients=200), found("connection-pinning"))

    assert first.id == "shorter-lifetime"
    assert first.title == (
        "Nothing is needed for balance; end connections after 15 minutes, with jitter, so that new Pods get their share"
    )
    assert first.why == (
        "As they are, 2,000 connections of 200 clients load the busiest of 3 endpoints 1.03 times its fair share on average. "
        "A new Pod has its share of kept connections after 15 minutes. "
        "At this run's 20 requests per second on a connection, 15 minutes are 18,000 requests; count with your own."
    )
    assert first.measured_busiest is None
    assert first.predicted_busiest == pytest.approx(1.027, abs=0.002)
    assert [r.id for r in rest] == ["client-side-balancing", "meshed-client"]


def test_few_clients_over_many_pods_balance_themselves() -> None:
    """One connection and ten pods: no lifetime is enough, and bigger pods are still more than connections."""
    of = case(
        single(names=pods(10)),
        fresh([60 + i % 3 for i in range(10)], pods(10)),
        facts=facts(pods(10)),
        facts_after=facts(pods(10)),
        connections=1,
    )

    given = recommend(of, found("connection-pinning"))

    assert [r.id for r in given] == ["client-side-balancing", "meshed-client", "shorter-lifetime"]
    assert given[2].title == "End connections after 30 seconds, with jitter; that alone is not enough"
    assert "30 draws: the busiest of 10 endpoints is at 1.96 times its fair share on average, above 1.5;" in given[2].why


def test_fewer_connections_than_pods_need_one_to_each_though_short_lives_were_measured() -> None:
    """Over a quarter of an hour a short life would do; at each moment half of the pods are idle."""
    of = run(10, connections=5)
    unasked = replace(of, profiles=of.profiles[:3])

    assert ids(unasked, "connection-pinning")[:2] == ["client-side-balancing", "shorter-lifetime"]
    assert ids(replace(unasked, connections=10), "connection-pinning")[:2] == ["shorter-lifetime", "client-side-balancing"]


@pytest.mark.parametrize("service", [("app_protocol", "grpc"), ("port_name", "grpc-api"), ("port_name", "GRPC")])
def test_grpc_is_told_of_its_own_round_robin_first(service: tuple[str, str]) -> None:
    given = recommend(run(facts=speaking(3, **dict([service]))), found("connection-pinning"))

    assert [r.id for r in given][:3] == ["client-side-balancing", "meshed-client", "shorter-lifetime"]
    assert given[0].title == "Balance in the client: gRPC's round_robin over a headless Service"
    assert "calls under way need MAX_CONNECTION_AGE_GRACE to end, and streams that live longer are cut off" in given[2].costs


@pytest.mark.parametrize("word", ["kubernetes.io/h2c", "http2", "h2c"])
def test_http2_is_placed_by_request_first(word: str) -> None:
    given = ids(run(facts=speaking(app_protocol=word)), "http2-multiplexing")

    assert given == ["client-side-balancing", "meshed-client", "shorter-lifetime", "stream-proxy"]


@pytest.mark.parametrize("word", ["http", "http1", "grpc-web", "https", "h2o"])
def test_other_words_are_not_taken_for_http2(word: str) -> None:
    given = ids(run(facts=speaking(port_name=word)), "connection-pinning")

    assert given[:2] == ["client-side-balancing", "shorter-lifetime"]


def test_so_many_grpc_clients_need_nothing_either() -> None:
    assert ids(run(facts=speaking(app_protocol="grpc"), clients=2000), "connection-pinning")[0] == "shorter-lifetime"


def test_a_lifo_pool_is_taken_in_turn_first() -> None:
    assert ids(case(single(), lifo(), fresh(), direct()))[:2] == ["round-robin-pool", "client-side-balancing"]


def test_a_pool_in_turn_is_not_told_to_go_in_turn() -> None:
    assert "round-robin-pool" not in ids(run(), "pool-order")


@pytest.mark.parametrize(("ms", "fits"), [(80.0, False), (100.0, True), (3000.0, True)])
def test_a_queue_is_for_slow_work_and_comes_last(ms: float, fits: bool) -> None:
    slow = direct(ms=dict.fromkeys(PODS, ms))
    given = ids(case(single(), pooled((7, 2, 1)), fresh(), slow), "connection-pinning", "session-affinity")

    assert ("event-driven" in given) is fits
    assert "event-driven" not in given[:-1]


def test_one_slow_pod_is_no_reason_for_a_queue() -> None:
    assert "event-driven" not in ids(case(single(), fresh(), direct(ms={"web-2": 5000.0})), "slow-endpoint", "connection-pinning")


def test_uneven_work_is_split_before_it_is_queued() -> None:
    assert ids(run(), "uneven-work") == ["split-work", "event-driven"]


def test_the_repair_of_a_cause_comes_before_what_was_measured() -> None:
    of = case(fresh((304, 0, 0)), direct(), facts=facts(service=replace(SERVICE, session_affinity="ClientIP")))

    assert ids(of, "session-affinity") == ["affinity-none", "client-side-balancing"]


def test_what_would_be_no_better_here_is_not_recommended() -> None:
    """Half a minute gives 1.96 on average; a pool that luck had left at 1.2 gains nothing from it."""
    of = replace(run(10, connections=1), profiles=(pooled((2, 2, 2, 2, 2, 2, 2, 2, 2, 3), pods(10)), direct(pods(10))))

    assert ids(of, "small-sample") == ["client-side-balancing"]


def test_new_pods_are_helped_though_the_old_ones_are_even() -> None:
    of = case(pooled((3, 3, 4)), direct())

    assert ids(of, "stale-membership") == ["shorter-lifetime", "client-side-balancing"]
    assert ids(of, "connection-pinning") == ["client-side-balancing", "meshed-client"]


def test_effect_is_the_worse_of_what_is_known() -> None:
    def one(measured: float | None, predicted: float | None) -> Recommendation:
        return Recommendation(id="x", title="x", why="x.", measured_busiest=measured, predicted_busiest=predicted, costs=("x",))

    assert [effect(one(*of)) for of in ((1.1, 1.4), (1.4, 1.1), (None, 1.2), (1.2, None), (None, None))] == [
        1.4, 1.4, 1.2, 1.2, None,
    ]  # fmt: skip
    assert ranked("connection-pinning", [one(None, None)], case()) == [one(None, None)]


def test_no_lifetime_is_advised_where_connections_are_not_drawn_fairly() -> None:
    biased = case(single(), pooled((7, 2, 1)), fresh((202, 51, 51)), direct())

    assert "shorter-lifetime" not in ids(biased, "connection-pinning", "stale-membership")
