"""Clients against Pods, lifetimes in words, and what texts are filled in with."""

from dataclasses import replace
from random import Random
from statistics import mean

import pytest

from kbalance.analysis.advice import forecasts, recommend
from kbalance.analysis.advice.settings import setting_of
from kbalance.analysis.advice.shape import each_keeps
from kbalance.analysis.artifacts import Setting
from kbalance.analysis.case import Case
from kbalance.model.report import Forecast, Recommendation, Vantage
from kbalance.model.target import Target
from kbalance.model.words import Placement, TargetKind
from tests.analysis.test_advice_ranking import found, run, speaking
from tests.builders import SERVICE, case, facts, fresh, lifo, pooled, single, stock

LIFETIME = "shorter-lifetime"


def lifetime(of: Case, cause: str = "connection-pinning") -> Recommendation:
    """What is said of lifetimes."""
    (one,) = (r for r in recommend(of, found(cause)) if r.id == LIFETIME)
    return one


def drawn(connections: int, n: int) -> tuple[float, float]:
    """Busiest over fair share, and idle endpoints, as means of simulated draws."""
    draw = Random(f"{connections} {n}")
    loads = []
    for _ in range(3000):
        load = [0] * n
        for _ in range(connections):
            load[draw.randrange(n)] += 1
        loads.append(load)
    return mean(max(load) * n / connections for load in loads), mean(load.count(0) for load in loads)


@pytest.mark.parametrize(
    ("n", "rows"),
    [
        (2, [("now", 1, 2), ("scaled out", 1, 4), ("more clients", 10, 2)]),
        (3, [("now", 1, 3), ("scaled out", 1, 6), ("merged", 1, 2), ("more clients", 10, 3)]),
        (5, [("now", 1, 5), ("scaled out", 1, 10), ("merged", 1, 3), ("more clients", 10, 5)]),
        (10, [("now", 1, 10), ("scaled out", 1, 20), ("merged", 1, 5), ("more clients", 10, 10)]),
    ],
)
def test_each_change_of_numbers_is_foretold(n: int, rows: list[tuple[str, int, int]]) -> None:
    given = forecasts(run(n), found("connection-pinning"))

    assert [(f.what, f.clients, f.endpoints) for f in given] == rows
    assert {f.connections for f in given} == {10}


@pytest.mark.parametrize("n", [3, 10])
def test_the_forecast_is_what_draws_give(n: int) -> None:
    for row in forecasts(run(n, connections=4), found("small-sample")):
        busiest, idle = drawn(row.clients * row.connections, row.endpoints)

        assert row.expected_busiest == pytest.approx(busiest, rel=0.02)
        assert row.expected_idle == pytest.approx(idle, abs=0.1)


def test_the_first_row_is_the_present() -> None:
    assert forecasts(run(clients=20, connections=5), found("healthy"))[0] == Forecast(
        what="now",
        clients=20,
        connections=5,
        endpoints=3,
        expected_busiest=pytest.approx(1.148, abs=0.005),  # type: ignore[arg-type]
        expected_idle=pytest.approx(3 * (2 / 3) ** 100),  # type: ignore[arg-type]
    )


def test_nothing_is_foretold_unless_somebody_asked_or_suffers() -> None:
    assert forecasts(run(), found("healthy")) == ()
    assert forecasts(run(clients=2), found("healthy")) != ()


@pytest.mark.parametrize(
    "of",
    [
        case(single(), clients=5),
        case(single(), fresh((202, 51, 51)), clients=5),
        case(single(), fresh((304, 0, 0)), clients=5),
        run(1, clients=5),
    ],
    ids=["not measured", "biased", "fixed", "one endpoint"],
)
def test_nothing_is_foretold_of_what_is_not_drawn(of: Case) -> None:
    assert forecasts(of, found("connection-pinning")) == ()


def test_bigger_pods_are_weighed_against_more_clients() -> None:
    (one,) = (r for r in recommend(run(10), found("connection-pinning")) if r.id == "fewer-bigger-pods")

    assert one.title == "Run fewer and bigger Pods, or more clients"
    assert one.why == (
        "10 connections of 1 client load the busiest of 10 endpoints 2.75 times its fair share on average, of 5 endpoints 1.88 "
        "times, and 10 times as many clients 1.51 times."
    )
    assert one.predicted_busiest == pytest.approx(1.88, abs=0.01)


def test_two_pods_are_not_merged() -> None:
    (one,) = (r for r in recommend(run(2, connections=4), found("connection-pinning")) if r.id == "fewer-bigger-pods")

    assert one.title == "Run more clients"
    assert one.predicted_busiest == pytest.approx(1.125, abs=0.01)


def test_the_lifetime_comes_with_its_arithmetic() -> None:
    given = lifetime(run(10))

    assert given.title == "End connections after 1 minute, with jitter"
    assert given.why.startswith(
        "Over 15 minutes, 10 connections of 1 client that live 1 minute count as 153 draws: the busiest of 10 endpoints is at "
        "1.41 times its fair share on average. A new Pod has its share of kept connections after 1 minute. This run's 1,020 "
        "fresh connections, the limit of ever shorter lives, gave 1.02."
    )
    assert given.predicted_busiest == pytest.approx(1.41, abs=0.01)
    assert given.costs == (
        "10 handshakes per minute over all clients, each 0.50 ms (median here): under 0.1 % of a connection's life",
        "about 10 sockets in TIME_WAIT on the side that closes",
        "evens out over the window, not at each moment",
        "without jitter of 10 %, connections that were opened together end together: 10 handshakes and all of their load at "
        "once, though the average stays",
    )


def test_a_window_shorter_than_any_life_gains_nothing_by_one() -> None:
    assert all(r.id != LIFETIME for r in recommend(run(10, window_s=0.5), found("connection-pinning")))


def test_a_window_and_a_tolerance_of_ones_own_change_the_lifetime() -> None:
    assert lifetime(run(10, window_s=3600.0)).title == "End connections after 5 minutes, with jitter"
    assert lifetime(run(10, tolerance=2.0)).title == "End connections after 5 minutes, with jitter"
    assert lifetime(run(10, clients=4)).title == "End connections after 5 minutes, with jitter"


def test_requests_are_counted_where_the_run_kept_a_pace() -> None:
    paced = "At this run's 20 requests per second on a connection, 1 minute are 1,200 requests; count with your own."

    assert lifetime(run(10)).why.endswith(paced)
    hasty = replace(run(10), profiles=(pooled([1] * 10, [f"web-{i}" for i in range(10)], rate=None),))
    assert "requests per second" not in lifetime(hasty, "stale-membership").why


def test_a_pool_in_use_counts_by_the_connections_that_carry_requests() -> None:
    of = case(single(), lifo(), fresh())

    assert each_keeps(of) == 1
    assert forecasts(of, found("pool-order"))[0].connections == 1
    assert "1 connection (those that carry requests) of 1 client" in lifetime(of).why


def test_http2_keeps_one_connection_unless_more_were_seen_in_use() -> None:
    """A pool that takes turns opens ten because it was told to; an ordinary client shows what the server makes it open."""
    named = run(facts=speaking(app_protocol="grpc"))
    spoken = replace(named, profiles=tuple(replace(p, protocol="grpc") for p in named.profiles))
    ended, few = stock(), stock()
    ended = replace(ended, connections=replace(ended.connections, opened=4, closed_by_server=3))
    few = replace(few, connections=replace(few.connections, opened=3))
    of_two = replace(few, parameters={**few.parameters, "connections": 20})

    assert (each_keeps(named), each_keeps(spoken), each_keeps(run())) == (1, 1, 10)
    measured = [replace(spoken, profiles=(*spoken.profiles, one)) for one in (stock(), ended, few, of_two)]
    assert [each_keeps(one) for one in measured] == [1, 1, 3, 2]
    assert lifetime(spoken, "http2-multiplexing").why.endswith(
        "At this run's 200 requests per second on a connection, 1 minute are 12,000 requests; count with your own."
    )


def test_several_vantage_points_keep_a_pool_each() -> None:
    """Two workers with ten connections each, nearly all requests on one of them."""
    together = pooled((2, 0, 0), each=170)
    together = replace(
        together,
        parameters={**together.parameters, "connections": 20},
        requests=replace(together.requests, sent=400),
        connections=replace(together.connections, requests_max=182),
    )

    assert each_keeps(case(together)) == 1
    assert each_keeps(case(pooled((7, 7, 6), each=20))) == 10


def test_a_setting_holds_what_the_case_knows() -> None:
    service = speaking(10, port_name="http-api", target_port="8080").service

    assert setting_of(run(10, facts=replace(run(10).facts, service=service))) == Setting(
        service="web",
        namespace="shop",
        port=80,
        port_name="http-api",
        target_port="8080",
        endpoint_port=8080,
        grpc=False,
        connections=10,
        lifetime_s=60.0,
        lifetime_requests=1000,
        jitter=0.1,
    )


def test_a_setting_names_the_deployment_by_its_replica_sets_name() -> None:
    def owned(*owners: str | None) -> Case:
        known = facts()
        endpoints = tuple(replace(e, owner=owner) for e, owner in zip(known.endpoints, owners, strict=True))
        return case(facts=replace(known, endpoints=endpoints), vantage=Vantage(kind="job", node="node-1"))

    assert setting_of(owned(*["ReplicaSet/shop-web-6d4cf56db6"] * 3)).owner == "shop-web"
    assert setting_of(owned(*["ReplicaSet/web-6d4cf56db6"] * 2, "ReplicaSet/web-587d8b84c9")).owner is None
    assert setting_of(owned(*["StatefulSet/web"] * 3)).owner is None
    assert setting_of(owned(None, None, None)).node == "node-1"


def test_a_setting_for_a_url_names_its_host() -> None:
    url = Target(kind=TargetKind.URL, scheme="https", host="shop.example", port=443, path="/", path_given=True)

    given = setting_of(case(target=url))

    assert (given.service, given.namespace, given.port, given.scheme) == ("shop.example", None, 443, "https")
    assert (given.port_name, given.lifetime_s, given.lifetime_requests) == (SERVICE.port_name, 900.0, 1000)


def test_requests_of_a_setting_are_rounded_down() -> None:
    assert setting_of(run(3)).lifetime_requests == 10_000  # 18,000 at 20 per second


def test_what_is_drawn_in_turn_is_foretold_too() -> None:
    of = run()
    assert of.fresh is not None
    in_turn = replace(of, profiles=(replace(of.fresh, placement=Placement.EVEN),))

    assert forecasts(in_turn, found("connection-pinning")) != ()
