"""Each profile uses connections as its kind of client would."""

import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest

from kbalance.model.plan import Lifetime
from kbalance.model.words import Closer, Failure, PoolPolicy, Profile, Stop
from kbalance.traffic.identify import Identify

from .runs import Ticking, finish, make_driver, plan
from .servers import PATIENCE_S, Peer, Server, answer, refusing, steady, wants_close


def test_single_sends_everything_on_one_connection() -> None:
    with Server(steady()) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 50)))

    assert server.per_connection == [50]
    assert only.requests == sums.answered == 50
    assert only.endpoint is None


@pytest.mark.parametrize("profile", [Profile.SINGLE, Profile.POOLED, Profile.PER_ENDPOINT])
def test_the_last_request_of_a_held_connection_asks_the_server_to_close(profile: Profile) -> None:
    with Server(steady()) as server:
        (only,), _ = finish(make_driver(plan(profile, (server.address,), 5)))

    assert [wants_close(request) for request in server.peers[0].requests] == [False] * 4 + [True]
    assert only.closed_by is Closer.CLIENT


@pytest.mark.parametrize("policy", [PoolPolicy.LIFO, PoolPolicy.FIFO, PoolPolicy.RANDOM])
def test_pool_opens_all_its_connections_at_the_start(policy: PoolPolicy) -> None:
    """Whether or not they will all be used: only the policy knows."""
    with Server(steady()) as server:
        observations, sums = finish(make_driver(plan(Profile.POOLED, server.address, 3, slots=8, concurrency=1, policy=policy)))
        server.until_accepted(8)

    assert sums.opened == len(observations) == 8
    assert sums.answered == 3


def test_round_robin_opens_no_connection_that_its_turns_will_not_reach() -> None:
    with Server(steady()) as server:
        observations, _ = finish(make_driver(plan(Profile.POOLED, server.address, 3, slots=8, concurrency=1)))

    assert [o.requests for o in observations] == server.per_connection == [1, 1, 1]


def test_round_robin_uses_connections_in_turn() -> None:
    with Server(steady()) as server:
        observations, _ = finish(make_driver(plan(Profile.POOLED, server.address, 40, slots=4, concurrency=1)))

    assert [o.requests for o in observations] == [10, 10, 10, 10]


def test_round_robin_keeps_the_part_of_a_slow_connection_for_it() -> None:
    """The first connection answers only when the others have had all of theirs."""
    others = threading.Semaphore(0)

    def slow(peer: Peer) -> None:
        for _ in range(30):
            assert others.acquire(timeout=PATIENCE_S)
        steady()(peer)

    def script(peer: Peer) -> None:
        (slow if peer.index == 0 else steady(before=others.release))(peer)

    with Server(script) as server:
        observations, _ = finish(make_driver(plan(Profile.POOLED, server.address, 40, slots=4)))

    assert [o.requests for o in observations] == [10, 10, 10, 10]


def test_round_robin_with_a_full_pool_shares_out_evenly() -> None:
    """Every connection has a request under way all the time."""
    meeting = threading.Barrier(4, timeout=PATIENCE_S)

    with Server(steady(before=meeting.wait)) as server:
        observations, _ = finish(make_driver(plan(Profile.POOLED, server.address, 40, slots=4)))

    assert [o.requests for o in observations] == [10, 10, 10, 10]
    assert server.most_in_flight == 4


def pool_of(connections: int) -> Server:
    """Answers no request before the whole pool is open, so that the policy has the choice from then on."""
    server = Server(steady(before=lambda: server.until_accepted(connections)))
    return server


def test_lifo_keeps_using_one_connection() -> None:
    with pool_of(4) as server:
        spec = plan(Profile.POOLED, server.address, 40, slots=4, concurrency=1, policy=PoolPolicy.LIFO)
        observations, _ = finish(make_driver(spec))

    # A connection that opens later than the first one is freed last once, and takes over.
    assert max(o.requests for o in observations) >= 37


def test_fifo_uses_the_connection_that_waited_longest() -> None:
    with pool_of(4) as server:
        spec = plan(Profile.POOLED, server.address, 40, slots=4, concurrency=1, policy=PoolPolicy.FIFO)
        observations, _ = finish(make_driver(spec))

    assert max(o.requests for o in observations) - min(o.requests for o in observations) <= 2


def test_random_choice_uses_every_connection_unevenly() -> None:
    with pool_of(4) as server:
        spec = plan(Profile.POOLED, server.address, 100, slots=4, concurrency=1, policy=PoolPolicy.RANDOM)
        observations, _ = finish(make_driver(spec))

    counts = [o.requests for o in observations]
    assert min(counts) >= 5
    assert len(set(counts)) > 1


def test_short_lived_opens_a_connection_for_each_request_and_lets_the_server_close() -> None:
    with Server(steady()) as server:
        observations, sums = finish(make_driver(plan(Profile.SHORT_LIVED, server.address, 30, slots=3)))

    assert server.per_connection == [1] * 30
    assert sums.opened == 30
    assert all(wants_close(peer.requests[0]) for peer in server.peers)
    assert {o.closed_by for o in observations} == {Closer.CLIENT}


def test_short_lived_by_requests_gives_up_each_connection_in_time() -> None:
    with Server(steady()) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 22, lifetime=Lifetime(requests=5))
        observations, _ = finish(make_driver(spec))

    assert [o.requests for o in observations] == server.per_connection == [5, 5, 5, 5, 2]


def test_jitter_varies_the_lifetime_within_its_bounds() -> None:
    with Server(steady()) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 200, lifetime=Lifetime(requests=10, jitter=0.3))
        observations, _ = finish(make_driver(spec))

    whole = [o.requests for o in observations[:-1]]
    assert len(set(whole)) > 1
    assert all(7 <= n <= 13 for n in whole)


def test_age_ends_a_connection_with_its_next_request() -> None:
    """Every answer takes a second by this clock; after three the next request asks for the close."""
    clock = Ticking()

    with Server(steady()) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 12, lifetime=Lifetime(age_s=2.5))
        observations, _ = finish(make_driver(spec, clock=clock, tap=clock.tick))

    assert [o.requests for o in observations] == server.per_connection == [4, 4, 4]


def test_age_ends_an_idle_connection() -> None:
    """Also one that has been idle for longer than a request may take; the next one is due only when it was closed."""
    clock = Ticking()

    def script(peer: Peer) -> None:
        peer.sock.settimeout(PATIENCE_S)
        steady()(peer)
        if peer.index == 0:
            clock.tick()

    with Server(script) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 2, rate=0.7, lifetime=Lifetime(age_s=0.15))
        observations, _ = finish(make_driver(spec, timeout_s=0.1, clock=clock, tap=clock.tick))

    assert [(o.requests, o.closed_by) for o in observations] == [(1, Closer.CLIENT)] * 2
    assert observations[0].age_s < 1 / 0.7 <= observations[1].opened_s


def test_per_endpoint_gives_each_endpoint_its_exact_part_on_one_connection() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(steady())) for _ in range(3)]
        spec = plan(Profile.PER_ENDPOINT, [s.address for s in servers], 20, slots=3, concurrency=2)
        observations, sums = finish(make_driver(spec))

    assert [s.per_connection for s in servers] == [[7], [7], [6]]
    assert [(o.endpoint, o.requests) for o in observations] == [("e0", 7), ("e1", 7), ("e2", 6)]
    assert [a.who for o in observations for a in o.answers] == ["e0", "e1", "e2"]
    assert sums.requests == 20


def test_endpoints_without_a_part_are_left_alone() -> None:
    with Server(steady()) as server:
        observations, _ = finish(make_driver(plan(Profile.PER_ENDPOINT, [server.address] * 5, 3, slots=5)))

    assert [o.endpoint for o in observations] == ["e0", "e1", "e2"]


def test_an_endpoint_that_refuses_is_given_up_and_others_keep_their_part() -> None:
    """After three failures, of which the first is that of the connection opened ahead."""
    with Server(steady()) as server, refusing() as dead:
        spec = plan(Profile.PER_ENDPOINT, [server.address, dead, server.address], 60, slots=3)
        driver = make_driver(spec)
        observations, sums = finish(driver)

    requests = [sum(o.requests for o in observations if o.endpoint == f"e{i}") for i in range(3)]
    assert requests == [20, 2, 20]
    assert sums.unanswered == {Failure.REFUSED: 2}
    assert driver.stopped is Stop.DONE


def test_an_endpoint_that_answers_with_errors_is_given_up_with_its_connection_kept() -> None:
    with Server(steady(answer(status=b"503 Busy"))) as bad, Server(steady()) as good:
        driver = make_driver(plan(Profile.PER_ENDPOINT, [bad.address, good.address], 40, slots=2))
        observations, sums = finish(driver)

    assert [(o.endpoint, o.requests) for o in observations] == [("e0", 3), ("e1", 20)]
    assert sums.bad == 3
    assert bad.per_connection == [3]


def test_failures_that_are_not_in_a_row_do_not_give_an_endpoint_up() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.reply(answer(status=b"200 OK" if len(peer.requests) % 3 == 0 else b"503 Busy"))

    with Server(script) as server:
        _, sums = finish(make_driver(plan(Profile.PER_ENDPOINT, [server.address], 30)))

    assert (sums.answered, sums.bad) == (30, 20)


@pytest.mark.parametrize("profile", [Profile.SINGLE, Profile.POOLED, Profile.SHORT_LIVED])
def test_an_address_with_nothing_behind_it_to_choose_is_its_endpoint(profile: Profile) -> None:
    """The plan names the endpoint of the one address; whatever the answers say, they come from it."""
    with Server(steady()) as server:
        spec = replace(plan(profile, server.address, 6), endpoints=("web-0",))
        observations, _ = finish(make_driver(spec, identify=Identify(lambda body: "other", from_head=False)))

    assert {o.endpoint for o in observations} == {"web-0"}
    assert {a.who for o in observations for a in o.answers} == {"web-0"}
