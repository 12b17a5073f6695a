"""What one stream's fate means for the others on its connection, and one connection's for the next."""

import threading
from time import perf_counter

import pytest

from kbalance.model.plan import Lifetime, RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Closer, Failure, Profile, Protocol, Stop
from kbalance.traffic.answers import Answer
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.connections import MOST_LINGERING
from kbalance.traffic.driver import Budget, Driver
from kbalance.traffic.failing import GIVE_UP_AFTER, Patience
from kbalance.traffic.poller import Epoll
from kbalance.traffic.session import Session
from kbalance.wire.tls import make_tls
from tests.wire import http2_peer as frames

from .http2_servers import OK, Http2, speaks
from .runs import Ticking, finish, make_driver, plan
from .servers import Peer, Server

H2C = Protocol.H2C
GONE = ((b":status", b"503"),)


EVERY_S = 1 / 32
"""Between requests; a power of two, which adds up to when they are due without an error."""


def stalled(server: Http2, clock: Ticking) -> None:
    """Takes eight requests as they are due, answers nothing until the client has given the first one up, and everything then."""
    first, *waiting = [stream for _ in range(8) for stream in _next(server, clock)]
    clock.now += 0.5 - 7.5 * EVERY_S
    while not server.resets and (frame := server.frame()) is not None:
        server._see_to(frame)
    for stream in waiting:
        server.answer(stream)
    assert server.resets == [first]
    server.serve()


def _next(server: Http2, clock: Ticking) -> list[int]:
    streams = server.requests(1)
    clock.now += EVERY_S
    return streams


@pytest.mark.parametrize("profile", [Profile.SINGLE, Profile.PER_ENDPOINT])
def test_a_stall_costs_those_that_waited_too_long_and_no_others(profile: Profile) -> None:
    """Younger requests on the same connection keep their own time."""
    clock = Ticking()
    served: list[int] = []

    def script(peer: Peer) -> None:
        server = Http2(peer)
        stalled(server, clock) if peer.index == 0 else server.serve()

    def tap(_: Answer, carrier: Carrier) -> None:
        # New requests on another connection must not make those older that still wait on the first.
        served.append(carrier.serial)
        if carrier.serial == 0 or served.count(0) == 7:
            clock.now += EVERY_S

    with Server(script) as server:
        spec = plan(profile, [server.address], 40, streams=8, concurrency=8, rate=1 / EVERY_S)
        _, sums = finish(make_driver(spec, protocol=H2C, timeout_s=0.5, clock=clock, tap=tap))

    assert sums.unanswered == {Failure.TIMEOUT: 1}
    assert sums.answered == 39


def test_many_requests_of_one_connection_are_one_failure_of_the_profile_but_all_count_in_its_share() -> None:
    patience = Patience(1)
    verdicts = [patience.ends_with_profile(Failure.TIMEOUT, ended, counts=ended % 4 == 1) for ended in range(1, 10)]

    assert verdicts == [False] * 8 + [True]


def test_an_endpoint_is_given_up_after_so_many_connections_not_requests() -> None:
    """On each of them four requests are under way when nothing comes."""
    with Server(speaks(Http2.until_left)) as server:
        spec = plan(Profile.PER_ENDPOINT, [server.address], 100, streams=4, concurrency=4)
        observations, sums = finish(make_driver(spec, protocol=H2C, timeout_s=0.2))

    assert len(observations) == GIVE_UP_AFTER
    assert sums.unanswered == {Failure.TIMEOUT: 4 * GIVE_UP_AFTER}
    assert {o.closed_by for o in observations} == {Closer.FAILURE}


def test_a_bare_status_is_not_taken_for_the_one_before() -> None:
    """Heads without fields are alike but for it."""

    def step(server: Http2) -> None:
        bad = False
        while (stream := server.request()) is not None:
            server.answer_with(stream, GONE if bad else OK, b"", ())
            bad = not bad

    with Server(speaks(step)) as server:
        _, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 18), protocol=H2C))

    assert (sums.answered, sums.bad) == (18, 9)


def test_a_request_that_goes_out_again_keeps_its_time() -> None:
    """Servers that take their time and then say that they have not looked at it: none of them takes as long as is allowed."""
    clock = Ticking()

    def slow(server: Http2) -> None:
        server.requests(1)
        clock.tick()
        server.send(frames.goaway(0))
        server.until_left()

    with Server(speaks(slow)) as server:
        spec = plan(Profile.SINGLE, server.address, 1)
        _, sums = finish(make_driver(spec, protocol=H2C, timeout_s=1.5, clock=clock))

    assert sums.unanswered == {Failure.TIMEOUT: 1}


def test_an_orderly_close_is_the_servers_though_a_stream_failed_before() -> None:
    def step(server: Http2) -> None:
        first, *others = server.requests(10)
        server.send(frames.reset(first, 2))
        for stream in others[:-1]:
            server.answer(stream)
        # The close comes while the last answer is awaited no more.
        server.answer(others[-1])

    with Server(speaks(step)) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 10, streams=10), protocol=H2C))

    assert (sums.answered, sums.unanswered) == (9, {Failure.RESET: 1})
    assert observations[0].closed_by is not Closer.FAILURE


def test_connections_that_linger_are_bounded() -> None:
    """Servers that never close on a goodbye must not cost the client its descriptors."""
    most = 0

    def stay(server: Http2) -> None:
        server.serve()
        while server.frame() is not None:
            pass

    def look(*_: object) -> None:
        nonlocal most
        most = max(most, len(driver._connections.by_fd))

    with Server(speaks(stay)) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 600, slots=4, lifetime=Lifetime(requests=1))
        driver = make_driver(spec, protocol=H2C, tap=look, budget=Budget(1000))
        _, sums = finish(driver)

    assert sums.answered == 600
    assert most <= MOST_LINGERING + 8


def test_what_a_lingering_connection_still_has_to_send_goes_out_without_spinning() -> None:
    """An answer before a large body has gone out, and a server that reads on."""
    sizes: list[int] = []
    polls = 0

    class Counting(Epoll):
        def __init__(self) -> None:
            super().__init__()
            poll = self.poll

            def counted(timeout: float) -> list[tuple[int, int]]:
                nonlocal polls
                polls += 1
                return poll(timeout)

            self.poll = counted  # type: ignore[assignment]

    def early(server: Http2) -> None:
        server.send(frames.window(0, 60_000_000), frames.settings({frames.WINDOW: 60_000_000}))
        while not server.heads and (frame := server.frame()) is not None:
            server._see_to(frame)
        server.answer(1)
        server.send(frames.goaway(1))
        while server.frame() is not None:
            pass
        sizes.append(1)

    with Server(speaks(early)) as server:
        driver = make_driver(
            plan(Profile.SINGLE, server.address, 1), protocol=H2C, method="POST", body=b"x" * 8_000_000, poller=Counting
        )
        _, sums = finish(driver)

    assert sums.answered == 1
    assert polls < 5000


TIMEOUT_S = 30.0
"""Of an exchange; a session that waited for it would be noticed."""


def session(address: Address, *, deadline_s: float | None = None, tls: bool = False) -> Session:
    made = make_tls("web.test", insecure=True) if tls else None
    return Session(timeout_s=TIMEOUT_S, deadline_s=deadline_s, max_connections=10, seed=1, tls=made)


def silent(peer: Peer) -> None:
    while peer.sock.recv(65536):
        pass


@pytest.mark.parametrize("how", ["deadline", "interrupt"])
def test_a_handshake_ends_with_the_session(how: str) -> None:
    with Server(silent) as server:
        running = session(server.address, deadline_s=0.3 if how == "deadline" else None, tls=True)
        if how == "interrupt":
            threading.Timer(0.2, running.interrupt).start()
        began = perf_counter()
        spoken = running.negotiate(server.address, wanted=None)

    assert spoken is Protocol.HTTP1
    assert perf_counter() - began < TIMEOUT_S
    assert running.connections_left == 9


def test_reflection_ends_with_the_session() -> None:
    call = RequestSpec(method="POST", authority="web.test", path="/shop.Cart/Get", protocol=Protocol.GRPC)
    with Server(speaks(Http2.until_left)) as server:
        running = session(server.address, deadline_s=0.3)
        began = perf_counter()
        with pytest.raises(Exception, match="did not answer in time"):
            running.message("{}", call, server.address)

    assert perf_counter() - began < TIMEOUT_S
    assert running.connections_left == 9


def test_no_driver_is_lost_when_several_are_made_at_once() -> None:
    """An interrupt must reach all of them."""
    running = session(Address("127.0.0.1", 9))
    spec = plan(Profile.SINGLE, Address("127.0.0.1", 9), 5)
    request = RequestSpec(method="GET", authority="web.test", path="/")
    made: list[Driver] = []
    together = threading.Barrier(8)

    def drive() -> None:
        together.wait()
        made.extend(running.drive(spec, request) for _ in range(50))

    threads = [threading.Thread(target=drive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.interrupt()

    assert len(made) == 400
    assert {driver.stopped for driver in made} == {Stop.INTERRUPTED}
