"""Who is there, who is next, who is left alone: plain values and a clock that the test winds."""

from collections import Counter
from random import Random
from typing import Any

import httpx
import pytest

from kbalance.balancing.attempts import Attempts
from kbalance.balancing.endpoints import Elsewhere, Endpoint, Known, News, Origin, StaticEndpoints, Trouble
from kbalance.balancing.group import Group, State
from kbalance.balancing.hooks import Hooks
from kbalance.balancing.members import Member, give_back
from kbalance.balancing.pool import Pool, Waiter
from kbalance.balancing.settings import Behaviour, Ejection, Lifetime, Retries, Zone
from kbalance.model.target import Address
from kbalance.model.words import EndpointPolicy

ORIGIN = Origin("http", "web.shop", 80)


def known(count: int, *, first: int = 1, zones: tuple[str, ...] = ("a",)) -> Known:
    numbers = range(first, first + count)
    return Known(
        endpoints=tuple(
            Endpoint(address=Address(f"127.0.1.{n}", 80), name=f"web-{n}", zone=zones[n % len(zones)]) for n in numbers
        )
    )


def made(news: Known, behaviour: Behaviour | None = None, hooks: Hooks | None = None) -> Group:
    group = Group(ORIGIN, behaviour or Behaviour(), Random(5), hooks or Hooks())
    group.hear(news, 0.0)
    return group


def drawn(group: Group, count: int, now: float = 0.0) -> Counter[str]:
    """Whom so many requests meet, one after the other."""
    met: Counter[str] = Counter()
    for _ in range(count):
        member = group.take(now)
        assert member is not None
        met[str(member)] += 1
        give_back(member)
    return met


def named(group: Group, name: str) -> Member:
    return next(m for m in group.members if str(m) == name)


# Policies


def test_round_robin_is_exact() -> None:
    group = made(known(7))

    assert set(drawn(group, 700).values()) == {100}
    assert max(drawn(group, 10).values()) - 1 <= min(drawn(group, 7).values())


def test_clients_begin_anywhere() -> None:
    begun: Counter[str] = Counter()
    for seed in range(200):
        group = Group(ORIGIN, Behaviour(), Random(seed), Hooks())
        group.hear(known(5), 0.0)
        begun.update(drawn(group, 1))

    assert set(begun) == {f"web-{n}" for n in range(1, 6)}
    assert max(begun.values()) < 80


def test_random_draws_reach_everybody_alike() -> None:
    met = drawn(made(known(4), Behaviour(policy=EndpointPolicy.RANDOM)), 8000)

    assert all(1800 < count < 2200 for count in met.values())


def test_two_choices_leave_the_busiest_alone() -> None:
    group = made(known(3), Behaviour(policy=EndpointPolicy.TWO_CHOICES))
    busy = group.take(0.0)
    assert busy is not None
    busy.busy = 10

    met = drawn(group, 300)

    assert str(busy) not in met
    assert len(met) == 2


def test_a_full_endpoint_is_passed_over_and_comes_back() -> None:
    group = made(known(2), Behaviour(per_endpoint=1))
    one, other = group.take(0.0), group.take(0.0)
    assert one is not None
    assert other is not None
    assert group.take(0.0) is None

    give_back(one)

    assert group.take(0.0) is one


# Membership


def test_what_comes_gets_requests_and_what_leaves_gets_none() -> None:
    group = made(known(3))
    held = group.take(0.0)
    assert held is not None

    left = group.hear(known(3, first=2), 1.0)

    assert [str(m) for m in left] == ["web-1"]
    assert set(drawn(group, 9)) == {"web-2", "web-3", "web-4"}


def test_an_endpoint_that_returns_before_its_connections_ended_is_the_same_one() -> None:
    group = made(known(2))
    one = named(group, "web-1")
    one.open = 1

    group.hear(known(1, first=2), 1.0)
    assert (one.leaving, group.leaving) == (True, [one])
    group.hear(known(2), 2.0)

    assert (named(group, "web-1"), one.leaving, group.leaving) == (one, False, [])


def test_the_same_list_again_says_only_that_it_is_fresh() -> None:
    told: list[str] = []

    class Watch(Hooks):
        def endpoints(self, origin: Origin, joined: object, left: object) -> None:
            told.append(f"{joined} {left}")

    group = made(known(2), hooks=Watch())
    before = group.members

    assert group.hear(known(2), 9.0) == []
    assert (group.told_s, group.members, len(told)) == (9.0, before, 1)


def test_trouble_takes_nothing_away_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    group = made(known(2))

    group.hear(Trouble(reason="the API is away"), 1.0)
    state = group.state
    met = drawn(group, 4)
    group.hear(known(2), 2.0)

    assert (state, group.state, met) == (State.STALE, State.KNOWN, {"web-1": 2, "web-2": 2})
    (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "keeping 2 endpoints" in said
    assert "the API is away" in said


def test_trouble_before_anything_is_known_leads_where_the_name_leads() -> None:
    group = Group(ORIGIN, Behaviour(), Random(1), Hooks())

    group.hear(Trouble(reason="no permission"), 0.0)

    assert (group.state, drawn(group, 2)) == (State.FALLBACK, {"web.shop": 2})
    assert [m.endpoint for m in group.hear(known(1), 1.0)] == [None]
    assert (group.state, drawn(group, 1)) == (State.KNOWN, {"web-1": 1})


def test_what_is_elsewhere_may_become_a_service_later() -> None:
    group = Group(ORIGIN, Behaviour(), Random(1), Hooks())
    group.hear(Elsewhere(reason="no such Service"), 0.0)
    before = group.state

    group.hear(known(1), 1.0)

    assert (before, group.state) == (State.ELSEWHERE, State.KNOWN)


def test_no_endpoint_is_an_answer_too() -> None:
    group = made(known(1))

    group.hear(Known(endpoints=()), 1.0)

    assert (group.take(1.0), group.has_other([])) == (None, False)


# Zones


def test_the_near_ones_are_preferred() -> None:
    group = made(known(4, zones=("a", "b")), Behaviour(zone=Zone(name="a")))

    assert drawn(group, 10) == {"web-2": 5, "web-4": 5}


def test_all_help_out_when_too_few_near_ones_are_left() -> None:
    group = made(known(4, zones=("a", "b")), Behaviour(zone=Zone(name="a", least_share=0.6), ejection=Ejection(after=1)))

    group.failed(named(group, "web-2"), 0.0, "refused")

    assert drawn(group, 9) == {"web-1": 3, "web-3": 3, "web-4": 3}


def test_all_help_out_when_the_near_ones_are_busy() -> None:
    group = made(known(2, zones=("a", "b")), Behaviour(zone=Zone(name="a", most_busy=2)))

    met = Counter(str(group.take(0.0)) for _ in range(2))
    spilled = Counter(str(group.take(0.0)) for _ in range(4))

    assert met == {"web-2": 2}
    assert spilled == {"web-1": 2, "web-2": 2}


def test_a_zone_without_endpoints_is_no_reason_to_fail() -> None:
    assert set(drawn(made(known(2), Behaviour(zone=Zone(name="z"))), 4)) == {"web-1", "web-2"}


# Slow start


@pytest.mark.parametrize("policy", EndpointPolicy)
def test_an_endpoint_that_joins_starts_slowly(policy: EndpointPolicy) -> None:
    group = made(known(2), Behaviour(policy=policy, slow_start_s=10.0))
    group.hear(known(3), 100.0)

    early, middle, late = (drawn(group, 6000, 100.0 + after)["web-3"] / 6000 for after in (0.0, 5.0, 10.0))

    # Weights 0.1, 0.5 and 1 beside two of weight 1.
    assert 0.03 < early < 0.07
    assert 0.16 < middle < 0.24
    assert 0.30 < late < 0.37


def test_those_that_were_there_from_the_start_do_not_start_slowly() -> None:
    group = made(known(2), Behaviour(slow_start_s=10.0))

    assert drawn(group, 10, 1.0) == {"web-1": 5, "web-2": 5}


def test_when_all_start_slowly_all_are_alike() -> None:
    group = made(known(1), Behaviour(slow_start_s=10.0))
    group.hear(known(2, first=2), 50.0)

    assert min(drawn(group, 1000, 50.0).values()) > 400


# Ejection


def test_failures_in_a_row_eject_and_time_brings_back() -> None:
    group = made(known(3), Behaviour(ejection=Ejection(after=3, for_s=10.0)))
    bad = named(group, "web-2")

    for _ in range(2):
        group.failed(bad, 0.0, "refused")
    group.succeeded(bad, 200, 0.0)
    for _ in range(3):
        group.failed(bad, 1.0, "refused")

    assert set(drawn(group, 6, 10.9)) == {"web-1", "web-3"}
    assert set(drawn(group, 6, 11.0)) == {"web-1", "web-2", "web-3"}


def test_the_first_failure_after_the_return_ejects_for_longer() -> None:
    group = made(known(3), Behaviour(ejection=Ejection(after=3, for_s=10.0, longest_s=15.0)))
    bad = named(group, "web-2")
    for _ in range(3):
        group.failed(bad, 0.0, "refused")
    drawn(group, 1, 10.0)

    group.failed(bad, 10.0, "refused")

    assert bad.ejected_until_s == 25.0


def test_an_answer_that_refuses_counts_as_a_failure() -> None:
    group = made(known(3), Behaviour(ejection=Ejection(after=2)))
    bad = named(group, "web-2")

    for status in (503, 500, 503, 502):
        group.succeeded(bad, status, 0.0)

    assert "web-2" not in drawn(group, 9)


@pytest.mark.parametrize(("count", "share", "ejected"), [(1, 0.5, 0), (2, 0.5, 1), (3, 0.5, 1), (10, 0.3, 3), (3, 1.0, 3)])
def test_only_a_share_is_ejected(count: int, share: float, ejected: int) -> None:
    group = made(known(count), Behaviour(ejection=Ejection(after=1, share=share)))

    for member in group.members:
        group.failed(member, 0.0, "refused")

    assert sum(bool(m.ejected_until_s) for m in group.members) == ejected
    # Where all are ejected, nobody is.
    assert len(drawn(group, 20)) == (count - ejected or count)


def test_nobody_is_ejected_where_that_is_off() -> None:
    group = made(known(2), Behaviour(ejection=Ejection(after=0)))

    for _ in range(100):
        group.failed(group.members[0], 0.0, "refused")

    assert set(drawn(group, 4)) == {"web-1", "web-2"}


def test_an_ejected_endpoint_that_leaves_and_returns_is_tried_again_in_its_time() -> None:
    group = made(known(2), Behaviour(ejection=Ejection(after=1, for_s=10.0)))
    one = named(group, "web-1")
    one.open = 1
    group.failed(one, 0.0, "refused")
    group.hear(known(1, first=2), 1.0)
    drawn(group, 1, 2.0)
    group.hear(known(2), 3.0)

    assert (set(drawn(group, 4, 9.9)), set(drawn(group, 4, 10.0))) == ({"web-2"}, {"web-1", "web-2"})


def test_who_waits_for_an_ejection_to_end_is_not_woken_again_and_again_after_it() -> None:
    """With no place for another connection the end of an ejection changes nothing, and a clock would spin."""
    group = made(known(2), Behaviour(ejection=Ejection(after=1, for_s=10.0)))
    group.failed(named(group, "web-1"), 0.0, "refused")
    pool = Pool(httpx.Limits(max_connections=1), Lifetime(), 0, Random(1), Hooks())
    pool.taken = 1
    pool.queue.append(Waiter(group, Attempts(group, "GET", at_hand=True), lambda: None))

    before = pool.returns_s(5.0)
    pool.serve(10.0)

    assert (before, len(pool.queue), pool.returns_s(10.0)) == (10.0, 1, float("inf"))


def test_a_full_zone_is_helped_by_the_others() -> None:
    group = made(known(2, zones=("a", "b")), Behaviour(zone=Zone(name="a"), per_endpoint=1))

    assert [str(group.take(0.0)) for _ in range(3)] == ["web-2", "web-1", "None"]


# Retries


def test_another_endpoint_is_one_that_was_not_tried() -> None:
    for policy in EndpointPolicy:
        group = made(known(3), Behaviour(policy=policy))
        tried = [named(group, "web-1"), named(group, "web-3")]

        assert {str(group.take(0.0, tried)) for _ in range(20)} == {"web-2"}
        assert (group.has_other(tried), group.has_other(group.members)) == (True, False)


def test_an_ejected_endpoint_is_tried_rather_than_nobody() -> None:
    group = made(known(2), Behaviour(ejection=Ejection(after=1)))
    group.failed(named(group, "web-1"), 0.0, "refused")
    tried = [named(group, "web-2")]

    assert (group.has_other(tried), str(group.take(0.0, tried))) == (True, "web-1")


def test_retries_are_a_share_of_the_requests_in_the_long_run() -> None:
    group = made(known(3), Behaviour(retries=Retries(share=0.2, least_per_s=0.0)))
    while group.allows_retry(0.0):
        pass

    allowed = 0
    for _ in range(1000):
        group.earn()
        allowed += group.allows_retry(0.0)

    assert 195 <= allowed <= 200


def test_some_retries_are_allowed_however_few_requests_there_are() -> None:
    group = made(known(3), Behaviour(retries=Retries(share=0.0, least_per_s=2.0)))
    while group.allows_retry(0.0):
        pass

    assert [group.allows_retry(now) for now in (0.1, 0.6, 0.7, 1.2)] == [False, True, False, True]


# Settings


@pytest.mark.parametrize("wrong", [{"age_s": 0.0}, {"requests": 0}, {"jitter": 1.0}, {"jitter": -0.1}])
def test_a_lifetime_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"connection lives|jitter"):
        Lifetime(**wrong)  # type: ignore[arg-type]


def test_lifetimes_lie_within_their_jitter() -> None:
    lifetime, random = Lifetime(age_s=100.0, requests=50, jitter=0.2), Random(3)
    ages = [lifetime.drawn_age_s(random) for _ in range(500)]
    requests = [lifetime.drawn_requests(random) for _ in range(500)]

    assert 80 <= min(ages) < 82
    assert 118 < max(ages) <= 120
    assert (min(requests), max(requests)) == (40, 60)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (Ejection, {"after": -1}),
        (Ejection, {"for_s": 0.0}),
        (Ejection, {"share": 7.0}),
        (Retries, {"attempts": 0}),
        (Retries, {"share": -1.0}),
        (Zone, {"name": "a", "least_share": 9.0}),
        (Zone, {"name": "a", "most_busy": 0}),
    ],
)
def test_rules_that_make_no_sense_are_refused(make: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ejection|attempt|least_share"):
        make(**wrong)


@pytest.mark.parametrize("host", ["web:80", "http://web/", ""])
def test_a_host_is_a_host(host: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        StaticEndpoints({host: []})


@pytest.mark.parametrize("address", ["127.0.0.1:80", ("web", 80), ("127.0.0.1", 0), ("127.0.0.1", "80")])
def test_an_address_is_an_address(address: Any) -> None:
    with pytest.raises(ValueError, match="no endpoint's address"):
        StaticEndpoints({"web": [address]})


def test_a_list_may_be_changed_by_whoever_is_told_of_it() -> None:
    source, told = StaticEndpoints({"web.": [("127.0.0.1", 80)]}), list[News]()

    def tell(news: News) -> None:
        told.append(news)
        if len(told) == 1:
            source.update("WEB", [("::1", 81)])

    following = source.follow(Origin("http", "web", 80), tell)
    assert following is not None
    following.close()
    following.close()
    source.update("web", [])

    assert [[str(e.address) for e in one.endpoints] for one in told if isinstance(one, Known)] == [["127.0.0.1:80"], ["[::1]:81"]]
    assert repr(source) == "<StaticEndpoints web: 0>"


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="per_endpoint"):
        Behaviour(per_endpoint=0)
    with pytest.raises(ValueError, match="round-roobin"):
        Behaviour(policy="round-roobin")  # type: ignore[arg-type]
