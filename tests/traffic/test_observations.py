"""What a run yields: one observation per connection, in order, with every request in exactly one place."""

import threading
import tracemalloc

from kbalance.model.histogram import quantile_us
from kbalance.model.words import PoolPolicy, Profile, Stop
from kbalance.traffic.answers import Answer
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.identify import Identify

from .runs import Ticking, finish, make_driver, plan
from .servers import PATIENCE_S, Peer, Server, answer, hang, in_turn, sends, steady, wants_close


def test_observations_come_in_order_of_opening_though_the_first_ends_last() -> None:
    later = threading.Event()

    def slow(peer: Peer) -> None:
        peer.request()
        assert later.wait(PATIENCE_S)
        peer.reply(answer())

    def script(peer: Peer) -> None:
        (slow if peer.index == 0 else steady())(peer)
        if peer.index == 9:
            later.set()

    with Server(script) as server:
        observations, _ = finish(make_driver(plan(Profile.SHORT_LIVED, server.address, 20, slots=2)))

    assert len(observations) == 20
    assert observations[0].age_s > max(o.age_s for o in observations[1:10])


def test_every_request_is_in_exactly_one_place() -> None:
    """Good answers, bad ones, none, and one under way when the run was stopped."""
    with Server(in_turn(steady(), sends(b"junk\r\n\r\n"), steady(answer(status=b"500 Oops")), sends(b""), hang)) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 5))
        with server.when_asked(5, lambda: driver.stop(Stop.INTERRUPTED)):
            observations, sums = finish(driver)

    assert [o.requests for o in observations] == [1] * 5
    assert (sums.answered, sums.bad, sum(sums.unanswered.values()), sums.abandoned) == (2, 1, 2, 1)
    assert server.requests == sums.requests == 5


def test_opened_connections_are_those_that_the_server_counted() -> None:
    with Server(steady()) as server:
        _, sums = finish(make_driver(plan(Profile.POOLED, server.address, 5, slots=12, policy=PoolPolicy.FIFO)))
        server.until_accepted(12)

    assert sums.opened == len(server.peers) == 12


def test_latency_lies_within_the_age_of_the_connection() -> None:
    with Server(steady()) as server:
        (only,), _ = finish(make_driver(plan(Profile.SINGLE, server.address, 10)))

    assert only.connect_s is not None
    assert 0 <= only.opened_s < only.opened_s + only.connect_s < only.opened_s + only.age_s
    longest = quantile_us(only.answers[0].latency, 1.0)
    assert longest is not None
    assert longest * 0.9 < only.age_s * 1e6


def test_each_who_has_one_account_on_a_connection() -> None:
    """Two pods that answer in turn behind one connection, one of them badly; an empty name is a name too."""

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            odd = len(peer.requests) % 2
            peer.reply(answer(b"" if odd else b"b", status=b"500 Oops" if odd else b"200 OK"))

    with Server(script) as server:
        driver = make_driver(
            plan(Profile.POOLED, server.address, 18, slots=2, concurrency=1),
            identify=Identify(lambda body: body.decode(), from_head=False),
        )
        observations, _ = finish(driver)

    for observation in observations:
        assert sorted((a.who, a.requests, a.failed) for a in observation.answers) == [("", 5, 5), ("b", 4, 0)]


def test_identity_in_the_head_is_told_for_every_answer() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.reply(answer(headers=(b"X-Pod: %d" % (len(peer.requests) // 5),)))

    with Server(script) as server:
        driver = make_driver(
            plan(Profile.SINGLE, server.address, 20),
            identify=Identify(lambda head: head.partition(b"X-Pod: ")[2][:1].decode(), from_head=True),
        )
        (only,), _ = finish(driver)

    assert [(a.who, a.requests) for a in only.answers] == [("0", 4), ("1", 5), ("2", 5), ("3", 5), ("4", 1)]


def test_an_answer_that_nobody_is_asked_to_identify_is_of_nobody() -> None:
    with Server(steady()) as server:
        (only,), _ = finish(make_driver(plan(Profile.SINGLE, server.address, 3)))

    assert [a.who for a in only.answers] == [None]


def test_the_tap_sees_every_complete_response() -> None:
    seen: list[tuple[int, bytes]] = []

    def tap(answer: Answer, carrier: Carrier) -> None:
        seen.append((carrier.serial, answer.body))

    with Server(steady(answer(b"x"))) as server:
        finish(make_driver(plan(Profile.SHORT_LIVED, server.address, 3), tap=tap))

    assert seen == [(0, b"x"), (1, b"x"), (2, b"x")]


def _memory_near_the_end(requests: int) -> int:
    """Bytes held by the package's own allocations when the last answer is in."""
    held: list[int] = []

    def measure(answer: Answer, carrier: Carrier) -> None:
        if driver.ended == requests - 1:
            ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/kbalance/*")])
            held.append(sum(trace.size for trace in ours.traces))

    def forgetful(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            peer.reply(answer())
            peer.requests.clear()
            if wants_close(request):
                return

    with Server(forgetful) as server:
        driver = make_driver(plan(Profile.POOLED, server.address, requests, slots=4), tap=measure, clock=Ticking())
        tracemalloc.start(1)
        try:
            finish(driver)
        finally:
            tracemalloc.stop()
    return held[0]


def test_memory_does_not_grow_with_requests() -> None:
    """Buckets of histograms aside, of which a slow machine fills more: the clock stands, and all answers fall into one."""
    assert _memory_near_the_end(15_000) - _memory_near_the_end(1_500) < 32 * 1024
