"""What goes wrong becomes an observation with its reason, in bounded time."""

import contextlib
import threading
from time import perf_counter

import pytest

from kbalance.model.plan import Lifetime
from kbalance.model.target import Address
from kbalance.model.words import Closer, Failure, Profile, Stop
from kbalance.traffic.driver import LINGER_S, Budget
from kbalance.traffic.poller import Epoll
from kbalance.wire.http1 import MAX_HEAD

from .runs import Ticking, finish, make_driver, plan
from .servers import Peer, Script, Server, answer, hang, in_turn, refusing, sends, steady


def drip(peer: Peer) -> None:
    """Sends an answer a byte at a time, for ever."""
    peer.request()
    peer.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    peer.sock.settimeout(0.01)
    while True:
        peer.sock.sendall(b".")
        with contextlib.suppress(TimeoutError):
            if not peer.sock.recv(1):
                return


@pytest.mark.parametrize(
    ("script", "failure", "detail"),
    [
        (hang, Failure.TIMEOUT, "no complete answer after 0.2 s"),
        (drip, Failure.TIMEOUT, "no complete answer after 0.2 s"),
        (sends(b"HTTP/1.1 200 OK\r\n", reset=True), Failure.RESET, "reset by peer"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour", reset=True), Failure.RESET, "reset by peer"),
        (sends(b"", reset=True), Failure.RESET, "reset by peer"),
        (sends(b""), Failure.CLOSED, "closed before the answer"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Le"), Failure.CLOSED, "closed within the answer"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour"), Failure.CLOSED, "closed within the answer"),
        (sends(b"220 smtp.example ready\r\n", stay=True), Failure.MALFORMED, "not a status line"),
        (sends(b"\x16\x03\x01\x00", stay=True), Failure.MALFORMED, "not a status line"),
        (sends(answer(headers=(b"X: " + b"x" * MAX_HEAD,)), stay=True), Failure.TOO_LARGE, "bytes of headers"),
        (sends(answer(headers=(b"Content-Length: 7",)), stay=True), Failure.MALFORMED, "Content-Length"),
    ],
    ids=str,
)
def test_an_answer_that_does_not_come_whole_is_counted_by_its_reason(script: Script, failure: Failure, detail: str) -> None:
    """The next connection of the same run is not concerned. Time passes once the first request has come to the server."""
    late, clock = failure is Failure.TIMEOUT, Ticking()
    with Server(in_turn(script, steady())) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 3)
        driver = make_driver(spec, timeout_s=0.2, clock=clock) if late else make_driver(spec)
        with server.when_asked(1, clock.tick):
            observations, sums = finish(driver)

    first = observations[0]
    assert first.unanswered == ((failure, 1),)
    assert first.closed_by is Closer.FAILURE
    assert detail in first.detail
    assert first.connect_s is not None
    assert (sums.answered, sums.retried) == (2, 0)


def test_refused_connections_are_counted_with_their_request() -> None:
    with refusing() as address:
        observations, sums = finish(make_driver(plan(Profile.SHORT_LIVED, address, 5)))

    assert sums.unanswered == {Failure.REFUSED: 5}
    assert sums.opened == 0
    assert "refused" in observations[0].detail.lower()


def test_a_black_hole_times_out_while_connecting() -> None:
    with Server(steady(), deaf=True) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 4, slots=2), timeout_s=0.2)
        observations, sums = finish(driver)

    assert sums.unanswered == {Failure.CONNECT_TIMEOUT: 4}
    assert sums.opened == 0
    assert {o.detail for o in observations} == {"not open after 0.2 s"}


def test_a_black_hole_behind_a_held_connection_does_not_delay_the_others() -> None:
    """The connection that was opened ahead carries no request, but is the first of the three failures that may cost a timeout.

    No time passes before the other endpoint has given all of its answers.
    """
    clock = Ticking()
    answered: list[object] = []

    def when_answered() -> None:
        if len(answered) == 10:
            clock.tick()

    def tap(*given: object) -> None:
        answered.append(given)
        when_answered()

    with Server(steady()) as good, Server(steady(), deaf=True) as hole:
        spec = plan(Profile.PER_ENDPOINT, [hole.address, good.address], 20, slots=2)
        driver = make_driver(spec, timeout_s=0.15, clock=clock, tap=tap, on_sweep=when_answered)
        observations, sums = finish(driver)

    by_endpoint = [[(o.requests, o.connect_s is not None) for o in observations if o.endpoint == e] for e in ("e0", "e1")]
    assert by_endpoint == [[(0, False), (1, False), (1, False)], [(10, True)]]
    assert sums.unanswered == {Failure.CONNECT_TIMEOUT: 2}
    assert driver.ended == 12


def test_an_unroutable_address_is_unreachable() -> None:
    """A loopback source cannot reach the limited broadcast address: the system refuses at once, without a socket to close."""
    driver = make_driver(plan(Profile.SHORT_LIVED, Address("255.255.255.255", 9), 3))
    observations, sums = finish(driver)

    assert sums.unanswered == {Failure.UNREACHABLE: 3}
    assert {o.closed_by for o in observations} == {Closer.FAILURE}


def test_answers_of_500_and_above_are_answers() -> None:
    with Server(steady(answer(status=b"503 Busy"))) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 5)))

    assert (only.answers[0].requests, only.answers[0].failed) == (5, 5)
    assert sums.unanswered == {}


def test_a_server_that_closes_idle_connections_is_seen_as_the_closer() -> None:
    """Unannounced; a request that meets the close goes out again, and no request is lost or counted twice."""

    def script(peer: Peer) -> None:
        for _ in range(3):
            if peer.request() is None:
                return
            peer.reply(answer())

    with Server(script) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 12)))

    assert [o.requests for o in observations] == [3, 3, 3, 3]
    assert [o.closed_by for o in observations[:3]] == [Closer.SERVER] * 3
    assert (sums.answered, sums.unanswered) == (12, {})


def test_a_server_that_closes_after_each_answer_still_gives_every_answer() -> None:
    def script(peer: Peer) -> None:
        if peer.request() is not None:
            peer.reply(answer())

    with Server(script) as server:
        observations, sums = finish(make_driver(plan(Profile.POOLED, server.address, 30, slots=3)))

    assert (sums.answered, sums.unanswered) == (30, {})
    assert {o.requests for o in observations} <= {0, 1}


def test_a_server_that_announces_its_close_is_not_asked_again() -> None:
    with Server(sends(answer(close=True))) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 4)))

    assert [o.closed_by for o in observations] == [Closer.SERVER] * 3 + [Closer.CLIENT]
    assert (sums.answered, sums.retried) == (4, 0)


def drops_second(peer: Peer) -> None:
    """Answers one request, and closes on the next as if it had never seen it."""
    if peer.request() is not None:
        peer.reply(answer())
        peer.request()


def resets_second(peer: Peer) -> None:
    drops_second(peer)
    peer.reset()


@pytest.mark.parametrize("script", [drops_second, resets_second])
def test_a_request_that_met_a_close_is_sent_again_and_shown(script: Script) -> None:
    with Server(in_turn(script, steady())) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 5)))

    assert [(o.requests, o.retried, o.closed_by) for o in observations] == [
        (1, 1, Closer.SERVER),
        (4, 0, Closer.CLIENT),
    ]
    assert (sums.answered, sums.unanswered) == (5, {})


def test_a_post_that_met_a_close_is_not_sent_again() -> None:
    with Server(in_turn(drops_second, steady())) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 5), method="POST", body=b"x"))

    assert observations[0].unanswered == ((Failure.CLOSED, 1),)
    assert (sums.answered, sums.retried) == (4, 0)


def test_a_request_is_sent_again_only_once() -> None:
    """The connection that it gets then is new: a close on that one is a failure."""
    with Server(in_turn(drops_second, sends(b""), steady())) as server:
        _, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 5)))

    assert (sums.answered, sums.unanswered, sums.retried) == (4, {Failure.CLOSED: 1}, 1)


def test_a_request_that_cannot_be_sent_again_for_lack_of_connections_is_abandoned() -> None:
    with Server(drops_second) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 5), budget=Budget(1))
        observations, sums = finish(driver)

    assert [(o.requests, o.abandoned, o.retried) for o in observations] == [(2, 1, 0)]
    assert (sums.answered, sums.unanswered) == (1, {})
    assert driver.stopped is Stop.CONNECTION_CAP


def test_surplus_bytes_behind_an_answer_end_the_connection() -> None:
    with Server(in_turn(sends(answer() + b"surplus", stay=True), steady())) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 5)))

    assert [o.requests for o in observations] == [1, 4]
    assert sums.answered == 5


def test_unsolicited_data_on_an_idle_connection_ends_it() -> None:
    """The next request, which is due only when the client has found nothing more to read, is not answered by it."""
    clock = Ticking()
    spoken = threading.Event()

    class Attentive(Epoll):
        def __init__(self) -> None:
            super().__init__()
            poll = self.poll

            def noticed(timeout: float) -> list[tuple[int, int]]:
                there = spoken.is_set()
                ready = poll(timeout)
                if there and timeout and not ready:
                    spoken.clear()
                    clock.tick()
                return ready

            self.poll = noticed  # type: ignore[assignment]

    def chatty(peer: Peer) -> None:
        peer.request()
        peer.reply(answer())
        peer.sock.sendall(answer(b"unasked"))
        spoken.set()
        peer.until_closed()

    with Server(in_turn(chatty, steady())) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 3, rate=2.0), clock=clock, poller=Attentive)
        observations, sums = finish(driver)

    # The bytes may come in one piece with the answer, or by themselves on the idle connection.
    assert [o.requests for o in observations] == [1, 2]
    assert observations[0].closed_by in (Closer.FAILURE, Closer.SERVER)
    assert sums.answered == 3


def test_the_connection_cap_holds_exactly() -> None:
    budget = Budget(5)
    with Server(steady()) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 20, slots=2), budget=budget)
        _, sums = finish(driver)

    assert len(server.peers) == sums.opened == sums.answered == 5
    assert (driver.stopped, budget.left) == (Stop.CONNECTION_CAP, 0)


def test_the_connection_cap_holds_for_a_pool_that_is_larger() -> None:
    budget = Budget(5)
    with Server(steady()) as server:
        driver = make_driver(plan(Profile.POOLED, server.address, 20, slots=8), budget=budget)
        _, sums = finish(driver)
        server.until_accepted(5)

    assert len(server.peers) == sums.opened == 5
    assert driver.stopped is Stop.CONNECTION_CAP


def test_the_cap_does_not_stop_a_run_that_needs_no_more_connections() -> None:
    with Server(steady()) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 20, lifetime=Lifetime(requests=5)), budget=Budget(4))
        _, sums = finish(driver)

    assert sums.answered == 20
    assert driver.stopped is Stop.DONE


def test_a_profile_that_mostly_fails_is_stopped() -> None:
    with Server(steady(answer(status=b"500 Oops"))) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 1000))
        _, sums = finish(driver)

    assert driver.stopped is Stop.FAILING
    assert sums.answered == sums.bad == 10


def test_a_profile_that_fails_now_and_then_goes_on() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.reply(answer(status=b"500 Oops" if len(peer.requests) % 2 == 0 else b"200 OK"))

    with Server(script) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 60))
        _, sums = finish(driver)

    assert driver.stopped is Stop.DONE
    assert sums.bad == 30


def test_a_profile_is_stopped_after_ten_timeouts_whatever_their_share() -> None:
    """They cost the most time, which passes whenever none of the four under way is to be answered."""
    clock = Ticking()
    hung: list[int] = []

    def script(peer: Peer) -> None:
        if peer.index % 4 != 3:
            return steady()(peer)
        peer.request()
        hung.append(peer.index)
        if len(hung) % 4 == 0:
            clock.tick()
        peer.until_closed()

    with Server(script) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 400, slots=4), timeout_s=0.1, clock=clock)
        _, sums = finish(driver)

    assert driver.stopped is Stop.FAILING
    assert 10 <= sums.unanswered[Failure.TIMEOUT] <= 13
    assert sums.answered > 20


def test_a_server_that_ignores_the_wish_to_close_holds_nobody_up() -> None:
    """The slot goes on with a new connection while the old one lingers."""

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.reply(answer())

    with Server(script) as server:
        began = perf_counter()
        observations, sums = finish(make_driver(plan(Profile.SHORT_LIVED, server.address, 60, slots=2)))

    assert sums.answered == 60
    assert perf_counter() - began < 30 * LINGER_S / 2
    assert {o.closed_by for o in observations} == {Closer.CLIENT}
