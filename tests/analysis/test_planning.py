from dataclasses import replace

import pytest

from kbalance.analysis.planning import alpha_share, plan, planned_connections, reachable, request, stops_early
from kbalance.analysis.thresholds import parse
from kbalance.errors import TargetError
from kbalance.model.plan import Lifetime, Options, ProfilePlan, RequestSpec
from kbalance.model.target import Address, Facts
from kbalance.model.words import FactsSource, Profile
from tests.builders import ADDRESS, TARGET, endpoint, facts, pods, traffic_plan


def of(profile: Profile, known: Facts | None = None, options: Options | None = None) -> ProfilePlan:
    (found,) = (p for p in traffic_plan(known, options).profiles if p.profile is profile)
    return found


def test_a_default_run_on_three_pods() -> None:
    planned = traffic_plan()

    assert [(p.profile, p.requests, p.slots, p.concurrency, p.enough_connections) for p in planned.profiles] == [
        (Profile.SINGLE, 100, 1, 1, 0),
        (Profile.POOLED, 200, 10, 4, 0),
        (Profile.SHORT_LIVED, 420, 4, 4, 400),
        (Profile.PER_ENDPOINT, 60, 3, 3, 0),
    ]
    assert [planned_connections(p) for p in planned.profiles] == [1, 10, 420, 3]
    assert (planned.timeout_s, planned.deadline_s, planned.max_connections, planned.seed) == (5.0, 120.0, 500, 0)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 20, 100, 200, 400])
def test_the_default_plan_fits_its_own_cap(n: int) -> None:
    planned = traffic_plan(facts(pods(n)), Options())

    assert sum(planned_connections(p) for p in planned.profiles) <= Options().max_connections


def test_short_lived_gives_way_where_all_it_wants_would_not_fit() -> None:
    planned = of(Profile.SHORT_LIVED, facts(pods(20)))

    assert (planned.requests, planned.enough_connections) == (500 - 1 - 10 - 20, 1645)


def test_a_raised_cap_makes_room_for_the_answer() -> None:
    planned = of(Profile.SHORT_LIVED, facts(pods(20)), Options(max_connections=5000))

    assert planned.requests > planned.enough_connections == 1645


def test_more_connections_than_the_cap_are_refused_with_the_flag_and_the_numbers() -> None:
    with pytest.raises(TargetError, match=r"up to 1014 connections \(.*short-lived 1000.*\).*500.*--max-connections 1014"):
        traffic_plan(options=Options(requests=1000, max_connections=500))


def test_a_cap_below_what_the_other_profiles_need_is_refused() -> None:
    with pytest.raises(TargetError, match="--max-connections"):
        traffic_plan(facts(pods(600)))


def test_requests_given_hold_for_every_profile() -> None:
    assert [p.requests for p in traffic_plan(options=Options(requests=120)).profiles] == [120, 120, 120, 120]


def test_per_endpoint_is_left_out_where_no_address_is_known() -> None:
    unknown = Facts(source=FactsSource.ANSWERS)

    planned = traffic_plan(unknown)

    assert [p.profile for p in planned.profiles] == [Profile.SINGLE, Profile.POOLED, Profile.SHORT_LIVED]
    assert (planned.profiles[2].enough_connections, planned.profiles[2].requests) == (0, 489)


def test_only_ready_endpoints_with_an_address_are_asked_directly() -> None:
    known = Facts(
        source=FactsSource.API,
        endpoints=(endpoint("web-0"), endpoint("web-1", ready=False), endpoint("web-2", address=None), endpoint("web-3")),
    )

    planned = of(Profile.PER_ENDPOINT, known)

    assert (planned.endpoints, planned.addresses) == (
        ("web-0", "web-3"),
        (Address("198.18.10.2", 8080), Address("198.18.10.5", 8080)),
    )
    assert [e.name for e in reachable(known)] == ["web-0", "web-3"]


@pytest.mark.parametrize(("n", "requests"), [(3, 60), (100, 2000), (200, 2000), (300, 1800), (480, 1920)])
def test_direct_requests_are_bounded(n: int, requests: int) -> None:
    assert of(Profile.PER_ENDPOINT, facts(pods(n))).requests == requests


def test_several_requests_per_connection_make_as_many_connections() -> None:
    planned = of(Profile.SHORT_LIVED, options=Options(lifetime=Lifetime(requests=5)))

    assert (planned.requests, planned_connections(planned)) == (2100, 420)


def test_lifetime_by_age_is_planned_from_the_rate() -> None:
    """200 requests per second on 4 connections that live 0.5 s: 25 requests each."""
    planned = of(Profile.SHORT_LIVED, options=Options(lifetime=Lifetime(age_s=0.5)))

    assert (planned.requests, planned_connections(planned)) == (10500, 420)


def test_the_shorter_of_two_lifetimes_counts() -> None:
    options = Options(lifetime=Lifetime(requests=5, age_s=0.5))

    assert of(Profile.SHORT_LIVED, options=options).requests == 2100


def test_jitter_counts_as_its_shortest_against_the_cap() -> None:
    planned = of(Profile.SHORT_LIVED, options=Options(lifetime=Lifetime(requests=10, jitter=0.5), max_connections=500))

    assert (planned_connections(planned), planned.requests) == (486, 2430)


def test_connections_that_would_never_end_are_refused() -> None:
    with pytest.raises(TargetError, match="--max-requests-per-connection"):
        traffic_plan(options=Options(lifetime=Lifetime()))


def test_one_endpoint_needs_few_fresh_connections() -> None:
    planned = of(Profile.SHORT_LIVED, facts(pods(1)))

    assert (planned.requests, planned.enough_connections) == (21, 0)


@pytest.mark.parametrize("profiles", [tuple(Profile), (Profile.SINGLE,), (Profile.POOLED, Profile.SHORT_LIVED)])
def test_shares_of_alpha_add_up(profiles: tuple[Profile, ...]) -> None:
    options = Options(profiles=profiles, alpha=0.01)

    assert sum(alpha_share(p, options) for p in profiles) == pytest.approx(0.01)


def test_nothing_to_test_takes_no_alpha() -> None:
    assert alpha_share(Profile.PER_ENDPOINT, Options(profiles=(Profile.PER_ENDPOINT,))) == 0


def test_profiles_run_in_their_own_order() -> None:
    planned = traffic_plan(options=Options(profiles=(Profile.PER_ENDPOINT, Profile.SINGLE)))

    assert [p.profile for p in planned.profiles] == [Profile.SINGLE, Profile.PER_ENDPOINT]


def test_the_request_is_the_users() -> None:
    options = Options(method="POST", headers=(("X-A", "1"),), body=b"{}", host="shop.example")

    assert request(TARGET, options, path="/x?y=1", nonce="n") == RequestSpec(
        method="POST", authority="shop.example", path="/x?y=1", headers=(("X-A", "1"),), body=b"{}", nonce="n"
    )
    assert request(replace(TARGET, port=8080), Options(), path="/", nonce="").authority == "198.18.1.10:8080"


def test_the_plan_repeats_its_request() -> None:
    asked = request(TARGET, Options(), path="/", nonce="n")

    assert plan(facts(), ADDRESS, Options(seed=7), asked).request is asked


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), True),
        (Options(early_stop=False), False),
        (Options(thresholds=(parse("pooled.idle==0"), parse("failed_share==0"))), True),
        (Options(thresholds=(parse("short-lived.busiest<=1.5"),)), False),
    ],
)
def test_a_demand_on_fresh_connections_takes_all_that_were_planned(options: Options, expected: bool) -> None:
    assert stops_early(options) is expected
