"""Servers that ask clients to leave lose nothing: what they left out goes out again, and only what is cut off fails."""

import socket
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from kbalance.model.observation import ConnectionObservation
from kbalance.model.plan import Lifetime
from kbalance.model.target import Address
from kbalance.model.words import Closer, Failure, PoolPolicy, Profile, Protocol, Stop
from kbalance.traffic.answers import Answer
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.driver import Budget
from kbalance.traffic.identify import Identify
from kbalance.traffic.multiplexed import MOST_TRIES
from kbalance.wire.grpc import frame
from tests.peers.envoy import envoy
from tests.peers.go import go
from tests.peers.grpcio import grpcio
from tests.peers.nghttpd import nghttpd
from tests.peers.nginx import nginx
from tests.peers.node import node
from tests.testbed.conftest import StartPod
from tests.wire import http2_peer as frames
from tests.wire.http2_talk import Talk

from .http2_servers import MAX_STREAMS, Http2, Step, each, speaks
from .runs import Ticking, Total, finish, make_driver, plan
from .servers import PATIENCE_S, Peer, Script, Server, in_turn

H2C, GRPC = Protocol.H2C, Protocol.GRPC
ANY_STREAM = 2**31 - 1
CHECK = "/grpc.health.v1.Health/Check"
RATES = [None, 600.0]
"""A closed loop, and an open one."""


def nothing_lost(sums: Total, requests: int) -> bool:
    return (sums.answered, sums.bad, sums.unanswered, sums.abandoned) == (requests, 0, {}, 0)


def drains(observations: list[ConnectionObservation]) -> int:
    return sum(o.goaway_s is not None for o in observations)


# What the frame says


@pytest.mark.parametrize("announced", [False, True])
def test_streams_above_the_last_one_go_out_again_and_the_others_complete(announced: bool) -> None:
    def going(server: Http2) -> None:
        streams = server.requests(8)
        if announced:
            server.send(frames.goaway(ANY_STREAM, 0, b"bye"))
        server.send(frames.goaway(streams[4], 0, b"bye"))
        for stream in streams[:5]:
            server.answer(stream)
        server.until_left()

    with Server(in_turn(speaks(going), speaks(Http2.serve))) as server:
        (first, second), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 40, streams=8), protocol=H2C))

    assert nothing_lost(sums, 40)
    assert (first.requests, first.retried, first.closed_by, first.detail) == (5, 3, Closer.SERVER, "")
    assert first.goaway_s is not None
    assert 0 < first.goaway_s <= first.age_s
    assert first.goaway == "the server goes away: NO_ERROR, 'bye'"
    assert (second.requests, second.retried, second.goaway_s, second.closed_by) == (35, 0, None, Closer.CLIENT)
    assert server.per_connection == [8, 35]


def test_requests_that_had_not_gone_out_yet_are_moved_and_not_counted_as_sent_again() -> None:
    def going(server: Http2) -> None:
        streams = server.requests(2)
        server.send(frames.goaway(streams[-1]))
        for stream in streams:
            server.answer(stream)
        server.until_left()

    with Server(in_turn(speaks(going, {MAX_STREAMS: 2}), speaks(Http2.serve))) as server:
        (first, second), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 30, streams=6), protocol=H2C))

    assert nothing_lost(sums, 30)
    assert (first.requests, second.requests, sums.retried) == (2, 28, 0)


@pytest.mark.parametrize(("code", "words"), [(11, "ENHANCE_YOUR_CALM, 'too_many_pings'"), (99, "error 99, 'too_many_pings'")])
def test_a_server_that_goes_with_an_error_says_which_one(code: int, words: str) -> None:
    def going(server: Http2) -> None:
        streams = server.requests(4)
        server.send(server.answered(streams[0]), frames.goaway(streams[0], code, b"too_many_pings"))
        server.until_left()

    with Server(in_turn(speaks(going), speaks(Http2.serve))) as server:
        (first, _), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 20, streams=4), protocol=H2C))

    assert nothing_lost(sums, 20)
    assert (first.requests, first.retried) == (1, 3)
    assert first.goaway == f"the server goes away: {words}"


def test_a_server_that_goes_silently_fails_what_it_kept_and_nothing_else() -> None:
    """Time passes when everything else is answered."""
    clock = Ticking()
    answered: list[object] = []

    def tap(*given: object) -> None:
        answered.append(given)
        if len(answered) == 19:
            clock.tick()

    def going(server: Http2) -> None:
        streams = server.requests(4)
        server.send(frames.goaway(streams[1]), server.answered(streams[0]))
        server.peer.until_closed()

    with Server(in_turn(speaks(going), speaks(Http2.serve))) as server:
        spec = plan(Profile.SINGLE, server.address, 20, streams=4)
        (first, _), sums = finish(make_driver(spec, protocol=H2C, timeout_s=0.3, clock=clock, tap=tap))

    assert (sums.answered, sums.unanswered, first.retried) == (19, {Failure.TIMEOUT: 1}, 2)
    assert first.detail == "no complete answer after 0.3 s"
    assert first.goaway == "the server goes away: NO_ERROR"


def test_an_idle_connection_that_is_asked_to_leave_is_left_at_once() -> None:
    """The next request is due only when the client has left."""
    clock = Ticking()
    goodbyes: list[bool] = []

    def going(server: Http2) -> None:
        for stream in server.requests(1):
            server.send(server.answered(stream), frames.goaway(stream))
        server.peer.sock.settimeout(PATIENCE_S)
        try:
            server.until_left()
            goodbyes.append(server.goodbye)
        finally:
            clock.tick()

    with Server(in_turn(speaks(going), speaks(Http2.serve))) as server:
        spec = plan(Profile.SINGLE, server.address, 3, rate=4.0)
        (first, second), sums = finish(make_driver(spec, protocol=H2C, clock=clock))

    assert goodbyes == [True]
    assert (first.requests, first.closed_by, second.requests, sums.retried) == (1, Closer.SERVER, 2, 0)


def test_a_server_that_takes_one_request_a_connection_loses_none_of_sixteen() -> None:
    """The last of them is left out fifteen times, each time by a server that took another one."""

    def one(server: Http2) -> None:
        streams = server.requests(1)
        if streams:
            server.send(frames.goaway(streams[0]), server.answered(streams[0]))
            server.until_left()

    with Server(speaks(one)) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 64, streams=16), protocol=H2C))

    assert nothing_lost(sums, 64)
    assert [o.requests for o in observations] == [1] * 64


def test_a_server_that_goes_before_it_takes_anything_is_asked_so_often_and_no_more() -> None:
    def none(server: Http2) -> None:
        server.requests(1)
        server.send(frames.goaway(0))
        server.until_left()

    with Server(speaks(none)) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 3), protocol=H2C)
        observations, sums = finish(driver)

    assert sums.unanswered == {Failure.CLOSED: 3}
    assert len(observations) == server.requests == 3 * (1 + MOST_TRIES)
    assert {o.detail for o in observations} == {"", "the server goes away: NO_ERROR"}
    assert [o.retried for o in observations] == [1, 1, 1, 0] * 3


@pytest.mark.parametrize("lifetime", [1, 5])
def test_short_lived_connections_stay_short_when_servers_drain(lifetime: int) -> None:
    """What goes out again counts on the connection that it then goes out on."""

    def script(peer: Peer) -> None:
        server = Http2(peer)
        if peer.index % 3 == 0:
            server.requests(1)
            server.send(frames.goaway(0))
            server.until_left()
        else:
            server.serve()

    with Server(script) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 60, lifetime=Lifetime(requests=lifetime))
        observations, sums = finish(make_driver(spec, protocol=H2C))

    assert nothing_lost(sums, 60)
    assert max(o.requests for o in observations) == max(server.per_connection) == lifetime


# Where nothing may be opened any more


def _goes_after(requests: int, *, last: int) -> Step:
    def going(server: Http2) -> None:
        streams = server.requests(requests)
        server.send(frames.goaway(streams[last]))
        for stream in streams[: last + 1]:
            server.answer(stream)
        server.until_left()

    return going


def test_what_cannot_go_out_again_for_lack_of_connections_is_abandoned() -> None:
    with Server(speaks(_goes_after(4, last=1), {MAX_STREAMS: 4})) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 40, streams=6), protocol=H2C, budget=Budget(1))
        (only,), sums = finish(driver)

    assert driver.stopped is Stop.CONNECTION_CAP
    assert (only.requests, only.abandoned, only.retried, sums.unanswered) == (6, 4, 0, {})


def test_what_cannot_go_out_again_as_the_run_is_over_is_abandoned() -> None:
    stop = threading.Event()

    def going(server: Http2) -> None:
        server.requests(4)
        stop.set()
        assert stopped.wait(PATIENCE_S)
        server.send(frames.goaway(0))
        server.until_left()

    stopped = threading.Event()
    with Server(speaks(going)) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 40, streams=4), protocol=H2C)

        def hand() -> None:
            assert stop.wait(PATIENCE_S)
            driver.stop(Stop.CERTAIN)
            stopped.set()

        thread = threading.Thread(target=hand)
        thread.start()
        (only,), sums = finish(driver)
        thread.join()

    assert driver.stopped is Stop.CERTAIN
    assert (only.abandoned, only.retried, sums.answered, sums.unanswered) == (4, 0, 0, {})


@pytest.mark.parametrize("settings", [{MAX_STREAMS: 1}, {}])
def test_a_lost_connection_with_requests_that_wait_ends_the_run_all_the_same(settings: dict[int, int]) -> None:
    """The budget is spent: those that failed, failed; those that waited are abandoned."""

    def closing(server: Http2) -> None:
        server.requests(1)

    with Server(speaks(closing, settings)) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 40, streams=6), protocol=H2C, budget=Budget(1))
        (only,), sums = finish(driver)

    assert driver.stopped is Stop.CONNECTION_CAP
    assert sum(sums.unanswered.values()) >= 1
    assert (sums.answered, sum(sums.unanswered.values()) + only.abandoned) == (0, 6)


def test_what_was_left_out_fails_when_nothing_listens_any_more() -> None:
    def going(server: Http2) -> None:
        streams = server.requests(4)
        server.peer.server.stop_listening()
        server.send(frames.goaway(streams[1]), *[server.answered(stream) for stream in streams[:2]])
        server.until_left()

    with Server(speaks(going)) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 8, streams=4), protocol=H2C)
        (first, *_), sums = finish(driver)

    assert (first.requests, first.retried, first.detail) == (2, 2, "")
    assert (sums.answered, sums.abandoned, sums.unanswered) == (2, 0, {Failure.REFUSED: 6})


# Refused streams


def test_refused_streams_go_out_again_on_their_connection(start_pod: StartPod) -> None:
    pod = start_pod(http2=True, refuse_every=3)
    (only,), sums = finish(make_driver(plan(Profile.SINGLE, pod.address, 100, streams=4), protocol=H2C))

    assert nothing_lost(sums, 100)
    assert only.retried == pod.streams - 100
    assert 40 <= only.retried <= 60


def test_streams_that_are_refused_again_and_again_fail() -> None:
    def script(server: Http2, stream: int) -> None:
        server.refuse(stream)

    with Server(speaks(each(script))) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 50, streams=2), protocol=H2C)
        (only,), sums = finish(driver)

    assert driver.stopped is Stop.FAILING
    assert set(sums.unanswered) == {Failure.RESET}
    failed = sums.unanswered[Failure.RESET]
    assert 10 <= failed <= 12
    assert (server.requests, only.retried) == (failed * (1 + MOST_TRIES), failed * MOST_TRIES)
    assert only.detail == "reset by the server: REFUSED_STREAM"


def test_a_stream_that_is_refused_by_a_server_that_then_goes_is_sent_elsewhere() -> None:
    def going(server: Http2) -> None:
        streams = server.requests(4)
        server.send(*[frames.reset(stream, 7) for stream in streams[2:]], frames.goaway(streams[1]))
        for stream in streams[:2]:
            server.answer(stream)
        server.until_left()

    with Server(in_turn(speaks(going), speaks(Http2.serve))) as server:
        (first, second), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 20, streams=4), protocol=H2C))

    assert nothing_lost(sums, 20)
    assert (first.requests, first.retried, second.requests) == (2, 2, 18)


# Lost without a word


def _drops_after(answers: int, *, then: int, part: bytes = b"", reset: bool = False) -> Script:
    """Answers some, takes some more, says a part of an answer to the first of these, and is gone."""

    def script(peer: Peer) -> None:
        server = Http2(peer)
        for stream in server.requests(answers):
            server.answer(stream)
        streams = server.requests(then)
        if part:
            server.send(server.writer.head(streams[0]), frames.body(streams[0], part))
        if reset:
            peer.reset()
        else:
            peer.sock.shutdown(socket.SHUT_WR)
            peer.until_closed()

    return script


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("method", "again"), [("GET", True), ("PUT", True), ("POST", False), ("PATCH", False)])
def test_a_connection_that_is_lost_costs_what_may_not_be_done_twice(method: str, again: bool, reset: bool) -> None:
    with Server(in_turn(_drops_after(4, then=4, reset=reset), speaks(Http2.serve))) as server:
        spec = plan(Profile.SINGLE, server.address, 20, streams=4)
        (first, _), sums = finish(make_driver(spec, protocol=H2C, method=method))

    lost = Failure.RESET if reset else Failure.CLOSED
    assert (sums.answered, sums.retried, sums.unanswered) == ((20, 4, {}) if again else (16, 0, {lost: 4}))
    assert first.closed_by is (Closer.SERVER if again else Closer.FAILURE)
    assert first.detail == ("" if again else "Connection reset by peer" if reset else "closed by the server")


@pytest.mark.parametrize("reset", [False, True])
def test_calls_of_grpc_are_not_made_twice(reset: bool) -> None:
    with Server(in_turn(_drops_after(4, then=4, reset=reset), speaks(Http2.serve))) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 8, streams=4), protocol=GRPC, path=CHECK, body=frame(b""))
        (only,), sums = finish(driver)

    assert (sums.answered, sums.retried, server.requests) == (4, 0, 8)
    assert only.unanswered == ((Failure.RESET if reset else Failure.CLOSED, 4),)


def test_a_request_of_which_something_came_is_not_sent_again() -> None:
    with Server(in_turn(_drops_after(4, then=4, part=b"hel"), speaks(Http2.serve))) as server:
        (first, _), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 20, streams=4), protocol=H2C))

    assert (sums.answered, sums.unanswered, sums.retried) == (19, {Failure.CLOSED: 1}, 3)
    assert (first.closed_by, first.detail) == (Closer.FAILURE, "closed by the server")


def test_a_request_is_sent_again_only_once() -> None:
    with Server(in_turn(_drops_after(1, then=1), _drops_after(0, then=1), speaks(Http2.serve))) as server:
        _, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 5), protocol=H2C))

    assert (sums.answered, sums.unanswered, sums.retried) == (4, {Failure.CLOSED: 1}, 1)


# Drains under load


@pytest.mark.parametrize("rate", RATES)
def test_nginx_drains_hundreds_of_connections_and_nothing_is_lost(tmp_path: Path, rate: float | None) -> None:
    requests = 4000 if rate is None else 1200
    with nginx(tmp_path, keepalive_requests=10 if rate is None else 5) as address:
        spec = plan(Profile.POOLED, address, requests, slots=4, streams=16, concurrency=16, rate=rate, policy=PoolPolicy.RANDOM)
        observations, sums = finish(make_driver(spec, protocol=H2C, budget=Budget(5000)))

    assert nothing_lost(sums, requests)
    assert drains(observations) >= 200
    assert {o.goaway for o in observations} <= {"the server goes away: NO_ERROR", ""}
    assert {o.closed_by for o in observations if o.goaway} == {Closer.SERVER}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("profile", [Profile.SINGLE, Profile.STOCK, Profile.POOLED])
def test_pods_that_end_connections_after_their_requests_lose_nothing(
    start_pod: StartPod, rate: float | None, profile: Profile
) -> None:
    requests = 2400 if rate is None else 600
    pod = start_pod(http2=True, close_after_requests=20 if rate is None else 5)
    slots = 1 if profile is Profile.SINGLE else 4
    spec = plan(profile, pod.address, requests, slots=slots, streams=16, concurrency=16, rate=rate)
    observations, sums = finish(make_driver(spec, protocol=H2C, budget=Budget(5000)))

    assert nothing_lost(sums, requests)
    assert pod.answered == requests
    assert drains(observations) >= 100


@pytest.mark.parametrize("rate", RATES)
def test_pods_that_end_connections_at_an_age_lose_nothing(start_pod: StartPod, rate: float | None) -> None:
    requests = 3000 if rate is None else 900
    pod = start_pod(http2=True, max_age_s=0.02)
    spec = plan(Profile.POOLED, pod.address, requests, slots=8, streams=16, concurrency=16, rate=rate)
    observations, sums = finish(make_driver(spec, protocol=H2C, budget=Budget(5000)))

    assert nothing_lost(sums, requests)
    assert (pod.answered, sums.retried) == (requests, pod.streams - requests)
    assert drains(observations) >= 100
    assert {o.goaway for o in observations} == {"the server goes away: NO_ERROR, 'max_age'", ""}


@pytest.mark.parametrize("rate", [None, 400.0])
def test_grpcio_asks_clients_to_leave_at_an_age_and_nothing_is_lost(tmp_path: Path, rate: float | None) -> None:
    with grpcio(tmp_path, max_connection_age_ms=50, max_connection_age_grace_ms=5000) as address:
        spec = plan(Profile.POOLED, address, 4000 if rate is None else 500, slots=10, streams=16, concurrency=16, rate=rate)
        observations, sums = finish(make_driver(spec, protocol=GRPC, path=CHECK, body=frame(b""), budget=Budget(5000)))

    assert nothing_lost(sums, spec.requests)
    assert drains(observations) >= 30
    assert {o.goaway for o in observations} == {"the server goes away: NO_ERROR, 'max_age'", ""}
    assert all(0.04 <= o.goaway_s <= o.age_s for o in observations if o.goaway_s is not None)


def test_grpcio_cancels_at_the_end_of_its_grace_and_that_is_a_failure(tmp_path: Path) -> None:
    with grpcio(tmp_path, max_connection_age_ms=50, max_connection_age_grace_ms=50, delay_ms=60_000) as address:
        spec = plan(Profile.SINGLE, address, 8, streams=4)
        observations, sums = finish(make_driver(spec, protocol=GRPC, path=CHECK, body=frame(b"")))

    assert sums.bad + sum(sums.unanswered.values()) == 8
    assert all(o.goaway for o in observations)


@pytest.mark.parametrize(
    ("limits", "rate", "requests"),
    [
        ({"max_requests_per_connection": 10}, None, 3000),
        ({"max_requests_per_connection": 10}, 400.0, 400),
        # By age: the pace makes it a second, however fast the answers come.
        ({"max_connection_duration_s": 0.1}, 2000.0, 2000),
        ({"max_connection_duration_s": 0.1}, 400.0, 400),
    ],
    ids=str,
)
def test_envoy_drains_and_nothing_is_lost(tmp_path: Path, limits: dict[str, float], rate: float | None, requests: int) -> None:
    with ExitStack() as stack:
        pods = [stack.enter_context(nghttpd(tmp_path, name=f"pod-{n}")) for n in range(2)]
        address = stack.enter_context(envoy(tmp_path, pods, **limits))  # type: ignore[arg-type]
        spec = plan(Profile.POOLED, address, requests, slots=4, streams=16, concurrency=16, rate=rate)
        observations, sums = finish(make_driver(spec, protocol=H2C, budget=Budget(5000)))

    assert nothing_lost(sums, spec.requests)
    assert drains(observations) >= 4
    assert {o.closed_by for o in observations if o.goaway} == {Closer.SERVER}


def _by_name(raw: bytes) -> str:
    return raw.lower().partition(b"x-pod-name: ")[2].split(b"\r\n")[0].decode()


def forwards(addresses: list[Address]) -> Script:
    """Leads the first connection to the first server, and so on; all later ones to the last."""

    def script(peer: Peer) -> None:
        with socket.create_connection(addresses[min(peer.index, len(addresses) - 1)], PATIENCE_S) as other:
            back = threading.Thread(target=_pump, args=(other, peer.sock))
            back.start()
            _pump(peer.sock, other)
            back.join(PATIENCE_S)

    return script


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def last_words(address: Address, waiting: int = 0) -> bytes:
    """What Go's server answers to whoever shuts it down, once so many requests wait there."""
    with socket.create_connection(address, PATIENCE_S) as sock:
        talk = Talk(sock)
        answer = talk.ask(f"/shutdown?waiting={waiting}")
        talk.until_closed()
        return answer.body


@pytest.mark.parametrize("rate", [None, 300.0])
def test_gos_shutdown_under_load_loses_nothing(tmp_path: Path, rate: float | None) -> None:
    """Requests under way are answered by the one that goes; the load goes on until the other one has answered fifty."""
    asked = threading.Event()
    said = []

    def shut_down(address: Address) -> None:
        assert asked.wait(PATIENCE_S)
        said.append(last_words(address))

    with go(tmp_path, name="old") as old, go(tmp_path, name="new") as new, Server(forwards([old, new])) as server:
        thread = threading.Thread(target=shut_down, args=(old,))
        thread.start()
        spec = plan(Profile.SINGLE, server.address, 200_000 if rate is None else 10_000, streams=16, rate=rate)
        answered: Counter[int] = Counter()

        def tap(_: Answer, carrier: Carrier) -> None:
            answered[carrier.serial] += 1
            if answered[0] == 50:
                asked.set()
            if answered[1] == 50:
                driver.stop(Stop.CERTAIN)

        driver = make_driver(spec, protocol=H2C, tap=tap, identify=Identify(_by_name, from_head=True))
        observations, sums = finish(driver)
        thread.join()

    assert nothing_lost(sums, sums.requests)
    assert driver.stopped is Stop.CERTAIN
    assert said == [b"last words"]
    first, second = observations
    assert [{a.who for a in o.answers} for o in observations] == [{"old"}, {"new"}]
    assert (first.goaway, first.closed_by) == ("the server goes away: NO_ERROR", Closer.SERVER)
    assert second.goaway_s is None


def test_go_answers_what_is_under_way_when_it_shuts_down(tmp_path: Path) -> None:
    with go(tmp_path) as address:
        spec = plan(Profile.SINGLE, address, 6, streams=6)
        asked = threading.Thread(target=last_words, args=(address, 6))
        asked.start()
        (only,), sums = finish(make_driver(spec, protocol=H2C, path="/wait"))
        asked.join()

    assert nothing_lost(sums, 6)
    assert (only.requests, only.streams) == (6, 6)


@pytest.mark.parametrize(("path", "words", "streams"), [("/close", "NO_ERROR", 4), ("/goaway", "NO_ERROR, 'bye'", 1)])
def test_node_sessions_that_end_lose_nothing(tmp_path: Path, path: str, words: str, streams: int) -> None:
    """Every request ends its session: one of them is answered on each connection, at least."""
    with node(tmp_path) as address:
        spec = plan(Profile.SINGLE, address, 60, streams=streams)
        observations, sums = finish(make_driver(spec, protocol=H2C, path=path))

    assert nothing_lost(sums, 60)
    assert {o.goaway for o in observations} <= {f"the server goes away: {words}", ""}
    assert drains(observations) >= 15


def test_a_node_session_that_is_torn_down_fails_what_was_on_it(tmp_path: Path) -> None:
    with node(tmp_path) as address:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, address, 4, streams=2), protocol=H2C, path="/destroy"))

    assert sums.answered == 0
    assert sum(sums.unanswered.values()) == 4
    assert all(o.detail for o in observations if o.unanswered)
