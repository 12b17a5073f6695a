"""Over HTTP/2 each profile uses connections and streams as its kind of client would, and keeps to what the server allows."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import httpx
import pytest

from kbalance.model.plan import Lifetime
from kbalance.model.target import Address
from kbalance.model.words import Closer, Failure, PoolPolicy, Profile, Protocol, Stop
from kbalance.testbed.scenario import Fault
from kbalance.traffic.answers import Answer
from kbalance.traffic.carrier import Carrier
from kbalance.wire.tls import make_tls
from tests.peers.calls import caller
from tests.peers.go import go
from tests.peers.nghttpd import nghttpd
from tests.peers.nginx import nginx
from tests.peers.node import node
from tests.testbed.conftest import StartPod
from tests.wire import http2_peer as frames
from tests.wire.certificates import Certificates

from .http2_servers import MAX_STREAMS, Http2, each, speaks, together
from .runs import Ticking, finish, make_driver, plan
from .servers import PATIENCE_S, Peer, Server, in_turn, refusing

H2, H2C = Protocol.H2, Protocol.H2C
PeerServer = Callable[..., AbstractContextManager[Address]]


# Profiles


def test_single_puts_all_its_streams_on_one_connection() -> None:
    with Server(speaks(together(8))) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 80, streams=8), protocol=H2C))

    assert server.per_connection == [80]
    assert (only.requests, only.streams, only.closed_by) == (80, 8, Closer.CLIENT)
    assert (sums.answered, sums.opened, sums.retried, server.most_in_flight) == (80, 1, 0, 8)


@pytest.mark.parametrize("profile", [Profile.SINGLE, Profile.POOLED, Profile.PER_ENDPOINT])
def test_a_held_connection_says_goodbye_after_its_last_request_and_lets_the_server_close(profile: Profile) -> None:
    left = []

    def step(server: Http2) -> None:
        server.serve()
        left.append(server.goodbye)

    with Server(speaks(step)) as server:
        (only,), _ = finish(make_driver(plan(profile, (server.address,), 5), protocol=H2C))

    assert left == [True]
    assert only.closed_by is Closer.CLIENT


@pytest.mark.parametrize("policy", PoolPolicy)
def test_pooled_opens_all_its_connections_and_shares_streams_out(policy: PoolPolicy) -> None:
    with Server(speaks(Http2.serve)) as server:
        spec = plan(Profile.POOLED, server.address, 200, slots=4, streams=4, concurrency=4, policy=policy)
        observations, sums = finish(make_driver(spec, protocol=H2C))
        server.until_accepted(4)

    assert (sums.answered, sums.opened, len(server.peers)) == (200, 4, 4)
    assert sorted(o.requests for o in observations) == sorted(server.per_connection)
    if policy is PoolPolicy.ROUND_ROBIN:
        assert [o.requests for o in observations] == [50] * 4


def _once_all_are_there(connections: int) -> Callable[[Http2, int], None]:
    """Answers no request before the whole pool is open, so that the policy has the choice from then on."""

    def act(server: Http2, stream: int) -> None:
        server.peer.server.until_accepted(connections)
        server.answer(stream)

    return act


@pytest.mark.parametrize(
    ("policy", "most"), [(PoolPolicy.ROUND_ROBIN, 10), (PoolPolicy.FIFO, 14), (PoolPolicy.LIFO, 38), (PoolPolicy.RANDOM, 25)]
)
def test_pool_policies_differ_when_requests_come_one_at_a_time(policy: PoolPolicy, most: int) -> None:
    with Server(speaks(each(_once_all_are_there(4)))) as server:
        spec = plan(Profile.POOLED, server.address, 40, slots=4, streams=4, concurrency=1, policy=policy)
        observations, _ = finish(make_driver(spec, protocol=H2C))

    counts = [o.requests for o in observations]
    assert max(counts) <= most or policy is PoolPolicy.LIFO
    assert max(counts) >= {PoolPolicy.LIFO: 37}.get(policy, 10)
    assert {o.streams for o in observations} == {1}


def test_round_robin_with_a_full_pool_fills_every_connection_alike() -> None:
    with Server(speaks(together(3))) as server:
        observations, _ = finish(make_driver(plan(Profile.POOLED, server.address, 72, slots=4, streams=3), protocol=H2C))

    assert [(o.requests, o.streams) for o in observations] == [(18, 3)] * 4
    assert server.per_connection == [18] * 4


def test_per_endpoint_opens_one_connection_to_each_pod() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(speaks(Http2.serve))) for _ in range(3)]
        spec = plan(Profile.PER_ENDPOINT, [s.address for s in servers], 60, slots=3, streams=6, concurrency=6)
        observations, sums = finish(make_driver(spec, protocol=H2C))

    assert [s.per_connection for s in servers] == [[20], [20], [20]]
    assert [(o.endpoint, o.requests) for o in observations] == [("e0", 20), ("e1", 20), ("e2", 20)]
    assert sums.opened == 3


def test_an_endpoint_that_refuses_is_given_up_and_others_keep_their_part() -> None:
    with Server(speaks(Http2.serve)) as server, refusing() as dead:
        spec = plan(Profile.PER_ENDPOINT, [server.address, dead, server.address], 60, slots=3)
        driver = make_driver(spec, protocol=H2C)
        observations, sums = finish(driver)

    assert [sum(o.requests for o in observations if o.endpoint == f"e{i}") for i in range(3)] == [20, 2, 20]
    assert (sums.unanswered, driver.stopped) == ({Failure.REFUSED: 2}, Stop.DONE)


def test_short_lived_opens_a_connection_for_each_request() -> None:
    with Server(speaks(Http2.serve)) as server:
        observations, sums = finish(make_driver(plan(Profile.SHORT_LIVED, server.address, 30, slots=3), protocol=H2C))

    assert server.per_connection == [1] * 30
    assert sums.opened == 30
    assert {(o.streams, o.closed_by) for o in observations} == {(1, Closer.CLIENT)}


@pytest.mark.parametrize("streams", [1, 4])
def test_short_lived_gives_up_a_connection_after_so_many_streams(streams: int) -> None:
    with Server(speaks(Http2.serve)) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 40, streams=streams, lifetime=Lifetime(requests=8))
        observations, sums = finish(make_driver(spec, protocol=H2C))

    assert [o.requests for o in observations] == server.per_connection == [8] * 5
    assert (sums.answered, sums.opened) == (40, 5)


def test_jitter_varies_the_lifetime_within_its_bounds() -> None:
    with Server(speaks(Http2.serve)) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 200, lifetime=Lifetime(requests=10, jitter=0.3))
        observations, _ = finish(make_driver(spec, protocol=H2C))

    whole = [o.requests for o in observations[:-1]]
    assert len(set(whole)) > 1
    assert all(7 <= n <= 13 for n in whole)


def test_age_ends_a_connection_with_its_next_request() -> None:
    clock = Ticking()

    with Server(speaks(Http2.serve)) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 12, lifetime=Lifetime(age_s=2.5))
        observations, _ = finish(make_driver(spec, protocol=H2C, clock=clock, tap=clock.tick, timeout_s=50))

    assert [o.requests for o in observations] == server.per_connection == [4, 4, 4]


def test_streams_under_way_when_the_age_is_reached_are_finished() -> None:
    """The clock jumps once four are under way. Two are answered, which makes room for others; the rest is answered only when one
    of these has come on another connection.
    """
    aged, second = threading.Event(), threading.Event()

    def old(server: Http2) -> None:
        streams = server.requests(4)
        aged.set()
        server.send(*[server.answered(stream) for stream in streams[:2]])
        assert second.wait(PATIENCE_S)
        for stream in streams[2:]:
            server.answer(stream)
        server.serve()

    def new(server: Http2) -> None:
        (stream,) = server.requests(1)
        second.set()
        server.answer(stream)
        server.serve()

    with Server(in_turn(speaks(old), speaks(new))) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 20, streams=4, lifetime=Lifetime(age_s=2.0))
        driver = make_driver(spec, protocol=H2C, clock=lambda: 10.0 if aged.is_set() else 0.0, timeout_s=50)
        (first, other), sums = finish(driver)

    assert (sums.answered, sums.unanswered, sums.retried, sums.abandoned) == (20, {}, 0, 0)
    # The request that finds the connection too old is its last one, unless a sweep has found it before.
    assert first.requests in (4, 5)
    assert (first.streams, first.closed_by, other.requests) == (4, Closer.CLIENT, 20 - first.requests)


# Stock


def test_stock_uses_one_connection_as_long_as_it_has_room() -> None:
    with Server(speaks(together(8))) as server:
        spec = plan(Profile.STOCK, server.address, 80, slots=10, streams=8, concurrency=8)
        (only,), _ = finish(make_driver(spec, protocol=H2C))

    assert server.per_connection == [80]
    assert (only.requests, only.streams) == (80, 8)


def test_stock_opens_another_connection_only_when_the_servers_limit_is_reached() -> None:
    """As many connections as ten streams need, four on each, and the last has what is left.

    The first one waits until the last has been asked twice: a limit is known only when the server had its turn to say it.
    """

    def step(server: Http2) -> None:
        if server.peer.index == 0:
            together(1, batches=10)(server)
            server.peer.server.until_asked(2, on=2)
        server.serve()

    with Server(speaks(step, {MAX_STREAMS: 4})) as server:
        spec = plan(Profile.STOCK, server.address, 300, slots=10, streams=10, concurrency=10)
        observations, sums = finish(make_driver(spec, protocol=H2C))

    assert (sums.answered, sums.retried) == (300, 0)
    assert len(server.peers) == len(observations) == 3
    assert [o.streams for o in observations] == [4, 4, 2]


@pytest.mark.parametrize("concurrency", [1, 8, 50])
def test_stock_opens_as_many_connections_as_libraries_do(start_pod: StartPod, concurrency: int) -> None:
    """httpx and grpcio share one connection, and wait where the server's limit is reached; so does stock below it."""
    counts = []
    for client in ("kbalance", "httpx", "grpcio"):
        pod = start_pod(http2=True, max_streams=50)
        if client == "kbalance":
            spec = plan(Profile.STOCK, pod.address, 200, slots=10, streams=concurrency, concurrency=concurrency)
            finish(make_driver(spec, protocol=H2C))
        elif client == "httpx":
            with httpx.Client(http1=False, http2=True, base_url=f"http://{pod.address}", trust_env=False) as session:
                _at_once(concurrency, lambda session=session: session.get("/"))  # type: ignore[misc]
        else:
            with caller(pod.address) as calls:
                for call in [calls.start() for _ in range(concurrency)]:
                    call.result()
        counts.append((pod.accepted, pod.answered >= concurrency))

    assert counts == [(1, True)] * 3


def _at_once(number: int, act: Callable[[], object]) -> None:
    act()
    threads = [threading.Thread(target=act) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)


# The server's limit


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (100, 20), (None, 20)])
@pytest.mark.parametrize("profile", [Profile.SINGLE, Profile.POOLED])
def test_the_servers_limit_is_kept_from_the_first_request_on(profile: Profile, limit: int | None, most: int) -> None:
    """The server answers when as many are there as it takes: fewer would wait for ever, and more would be refused by the pod."""
    with Server(speaks(together(most), {} if limit is None else {MAX_STREAMS: limit})) as server:
        (only,), sums = finish(make_driver(plan(profile, server.address, 200, streams=20), protocol=H2C))

    assert (only.streams, sums.answered, sums.retried, sums.unanswered) == (most, 200, 0, {})
    assert server.most_in_flight == most


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_a_pod_that_refuses_what_is_beyond_its_limit_has_nothing_to_refuse(start_pod: StartPod, limit: int) -> None:
    pod = start_pod(http2=True, max_streams=limit)
    (only,), sums = finish(make_driver(plan(Profile.SINGLE, pod.address, 300, streams=16), protocol=H2C))

    assert (sums.answered, sums.retried, pod.streams, pod.accepted) == (300, 0, 300, 1)
    assert only.streams <= min(16, limit)


def test_a_limit_that_is_lowered_is_kept_by_what_comes_next() -> None:
    """Ten are under way when it falls to two; from then on the server never has more than that."""
    most = []

    def step(server: Http2) -> None:
        streams = server.requests(10)
        server.settle({MAX_STREAMS: 2})
        for stream in streams:
            server.answer(stream)
        while pair := server.requests(2):
            most.append(server.peer.server._in_flight)
            for stream in pair:
                server.answer(stream)

    with Server(speaks(step, {MAX_STREAMS: 100})) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 50, streams=10), protocol=H2C))

    assert (sums.answered, sums.unanswered, sums.retried, only.streams) == (50, {}, 0, 10)
    assert most == [2] * 20


def test_a_limit_that_is_raised_is_used() -> None:
    def step(server: Http2) -> None:
        for stream in server.requests(1):
            server.answer(stream)
        server.settle({MAX_STREAMS: 5})
        together(5)(server)

    with Server(speaks(step, {MAX_STREAMS: 1})) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 51, streams=5), protocol=H2C))

    assert (sums.answered, only.streams) == (51, 5)


def test_a_server_that_takes_no_streams_for_a_while_is_waited_for() -> None:
    def step(server: Http2) -> None:
        server.settle({MAX_STREAMS: 3})
        together(3)(server)

    with Server(speaks(step, {MAX_STREAMS: 0})) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 30, streams=3), protocol=H2C))

    assert (sums.answered, sums.unanswered, only.streams) == (30, {}, 3)


def test_a_server_that_never_takes_a_stream_is_a_timeout_that_says_so() -> None:
    """The first request may be out before the settings are read."""
    with Server(speaks(Http2.until_left, {MAX_STREAMS: 0})) as server:
        driver = make_driver(plan(Profile.POOLED, server.address, 30, streams=3), protocol=H2C, timeout_s=0.2)
        observations, sums = finish(driver)

    assert set(sums.unanswered) == {Failure.TIMEOUT}
    assert sums.answered == 0
    assert driver.stopped is Stop.FAILING
    assert {o.detail for o in observations} <= {"no room on the connection for 0.2 s", "no complete answer after 0.2 s"}


def test_the_limit_of_a_connection_that_goes_is_none_of_the_next_ones() -> None:
    """A server that drains may take fewer; the one after it is used as its own limit has it."""

    def going(server: Http2) -> None:
        streams = server.requests(4)
        server.send(frames.goaway(streams[-1]))
        server.settle({MAX_STREAMS: 1})
        for stream in streams:
            server.answer(stream)
        server.until_left()

    with Server(in_turn(speaks(going), speaks(together(4)))) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 44, streams=4), protocol=H2C))

    assert [(o.requests, o.streams) for o in observations] == [(4, 4), (40, 4)]
    assert sums.unanswered == {}


# Real servers


@pytest.mark.parametrize("server", [nghttpd, nginx, go, node])
@pytest.mark.parametrize(
    ("profile", "slots", "connections"),
    [(Profile.SINGLE, 1, 1), (Profile.POOLED, 4, 4), (Profile.SHORT_LIVED, 2, 30), (Profile.STOCK, 4, 1)],
)
def test_profiles_with_real_servers(server: PeerServer, profile: Profile, slots: int, connections: int, tmp_path: Path) -> None:
    lifetime = Lifetime(requests=10) if profile is Profile.SHORT_LIVED else None
    streams = 1 if profile is Profile.SHORT_LIVED else 16
    with server(tmp_path, max_streams=40) as address:
        spec = plan(profile, address, 300, slots=slots, streams=streams, concurrency=16, lifetime=lifetime)
        observations, sums = finish(make_driver(spec, protocol=H2C))

    assert (sums.answered, sums.bad, sums.unanswered, sums.retried) == (300, 0, {}, 0)
    # Two slots of short-lived share 300 requests as they come: the last connection of each may be cut short.
    assert connections <= sums.opened <= connections + (slots if profile is Profile.SHORT_LIVED else 0)
    assert max(o.streams for o in observations) <= 16


@pytest.mark.parametrize("server", [nghttpd, nginx, go, node])
def test_per_endpoint_with_real_servers(server: PeerServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        addresses = [stack.enter_context(server(tmp_path, name=f"pod-{n}")) for n in range(3)]
        spec = plan(Profile.PER_ENDPOINT, addresses, 60, slots=3, streams=8, concurrency=8)
        observations, sums = finish(make_driver(spec, protocol=H2C))

    assert [(o.endpoint, o.requests) for o in observations] == [("e0", 20), ("e1", 20), ("e2", 20)]
    assert sums.unanswered == {}


@pytest.mark.parametrize("server", [nghttpd, nginx, go, node])
@pytest.mark.parametrize("limit", [1, 2])
def test_real_servers_are_asked_within_their_limits(server: PeerServer, limit: int, tmp_path: Path) -> None:
    with server(tmp_path, max_streams=limit) as address:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, address, 200, streams=16), protocol=H2C))

    assert (sums.answered, sums.unanswered, sums.retried) == (200, {}, 0)
    assert only.streams <= limit


def test_profiles_over_tls(certificates: Certificates, tmp_path: Path) -> None:
    tls = make_tls("web.test", cacert=certificates.cacert, alpn=("h2",))
    with node(tmp_path, certificate=certificates.server_files("web.test", tmp_path)) as address:
        found = []
        for profile, slots in ((Profile.SINGLE, 1), (Profile.POOLED, 3), (Profile.SHORT_LIVED, 2), (Profile.STOCK, 3)):
            streams = 1 if profile is Profile.SHORT_LIVED else 10
            spec = plan(profile, address, 30, slots=slots, streams=streams, concurrency=10)
            _, sums = finish(make_driver(spec, protocol=H2, tls=tls))
            found.append((sums.answered, sums.unanswered, sums.opened))

    assert found == [(30, {}, 1), (30, {}, 3), (30, {}, 30), (30, {}, 1)]


# Bodies


def test_bodies_larger_than_all_windows_go_out_and_come_back(tmp_path: Path) -> None:
    sizes = []

    def tap(answer: Answer, carrier: Carrier) -> None:
        sizes.append(answer.length)

    with node(tmp_path) as address:
        spec = plan(Profile.SINGLE, address, 24, streams=8)
        driver = make_driver(spec, protocol=H2C, method="POST", path="/echo", body=bytes(400_000), tap=tap)
        (only,), sums = finish(driver)

    assert sizes == [400_000] * 24
    assert (sums.answered, sums.unanswered, only.streams) == (24, {}, 8)


def test_what_the_server_reads_is_what_was_given() -> None:
    bodies: list[bytes] = []
    heads: list[dict[bytes, bytes]] = []

    def step(server: Http2) -> None:
        server.serve()
        bodies.extend(server.bodies.values())
        heads.extend(server.heads.values())

    body = bytes(range(256)) * 600
    with Server(speaks(step)) as server:
        spec = plan(Profile.SINGLE, server.address, 6, streams=3)
        driver = make_driver(spec, protocol=H2C, method="PUT", path="/a?b=c", body=body, headers=[("X-Mine", "1")])
        _, sums = finish(driver)

    assert bodies == [body] * 6
    assert sums.answered == 6
    assert {(h[b":method"], h[b":path"], h[b":scheme"], h[b":authority"], h[b"x-mine"], h[b"content-length"]) for h in heads} == {
        (b"PUT", b"/a?b=c", b"http", b"test.invalid", b"1", b"153600")
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "length"),
    [
        ("GET", "/large", 200, 300_000),
        ("HEAD", "/", 200, 0),
        ("GET", "/none", 204, 0),
        ("HEAD", "/length", 200, 0),
        ("GET", "/hints", 200, 6),
        ("GET", "/ping", 200, 8),
    ],
)
def test_answers_of_every_shape(tmp_path: Path, method: str, path: str, status: int, length: int) -> None:
    seen = []

    def tap(answer: Answer, carrier: Carrier) -> None:
        seen.append((answer.status, answer.length))

    with node(tmp_path) as address:
        spec = plan(Profile.SINGLE, address, 40, streams=8)
        (only,), sums = finish(make_driver(spec, protocol=H2C, method=method, path=path, tap=tap))

    assert seen == [(status, length)] * 40
    assert (sums.answered, sums.bad, sums.unanswered, only.streams) == (40, 0, {}, 8)


def test_an_answer_before_the_body_has_gone_out_is_an_answer(tmp_path: Path) -> None:
    with node(tmp_path) as address:
        spec = plan(Profile.SINGLE, address, 10, streams=2)
        _, sums = finish(make_driver(spec, protocol=H2C, method="POST", path="/early", body=bytes(3_000_000)))

    assert (sums.answered, sums.bad, sums.unanswered) == (10, 0, {})


def test_a_window_that_opens_bit_by_bit_is_used_bit_by_bit() -> None:
    def step(server: Http2) -> None:
        server.serve()

    with Server(speaks(step, {frames.WINDOW: 10})) as server:
        spec = plan(Profile.SINGLE, server.address, 4, streams=2)
        _, sums = finish(make_driver(spec, protocol=H2C, method="POST", body=b"x" * 95))

    assert (sums.answered, sums.unanswered) == (4, {})


# Failures


def test_a_stream_that_is_reset_fails_alone_and_is_not_sent_again() -> None:
    """Nothing says that the server has done nothing with it, though its connection had answered before."""

    def act(server: Http2, stream: int) -> None:
        if len(server.peer.requests) % 5 == 0:
            server.peer.server.left()
            server.send(frames.reset(stream, 2))
        else:
            server.answer(stream)

    with Server(speaks(each(act))) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 50, streams=4), protocol=H2C))

    assert (sums.answered, sums.unanswered, sums.retried) == (40, {Failure.RESET: 10}, 0)
    assert server.requests == 50
    assert only.detail == "reset by the server: INTERNAL_ERROR"


@pytest.mark.parametrize("policy", [PoolPolicy.ROUND_ROBIN, PoolPolicy.RANDOM])
def test_what_failed_is_told_though_the_connection_lives_to_the_end(policy: PoolPolicy) -> None:
    def act(server: Http2, stream: int) -> None:
        if stream == 1:
            server.peer.server.left()
            server.send(frames.reset(stream, 11))
        else:
            server.answer(stream)

    with Server(speaks(each(act))) as server:
        spec = plan(Profile.POOLED, server.address, 40, slots=2, streams=2, policy=policy)
        observations, sums = finish(make_driver(spec, protocol=H2C))

    assert sums.unanswered == {Failure.RESET: 2}
    assert {o.detail for o in observations} == {"reset by the server: ENHANCE_YOUR_CALM"}


def test_answers_of_500_and_above_are_answers(start_pod: StartPod) -> None:
    pod = start_pod(http2=True, fault=Fault.ERROR_500)
    (only,), sums = finish(make_driver(plan(Profile.SINGLE, pod.address, 6, streams=3), protocol=H2C))

    assert (only.answers[0].requests, only.answers[0].failed, sums.unanswered) == (6, 6, {})


def test_a_stream_that_times_out_is_given_up_and_the_others_go_on() -> None:
    """Every answer takes a tenth of a second by this clock."""
    clock = Ticking()
    resets = []

    def tap(*_: object) -> None:
        clock.now += 0.1

    def step(server: Http2) -> None:
        while (stream := server.request()) is not None:
            if stream != 3:
                server.answer(stream)
        resets.extend(server.resets)

    with Server(speaks(step)) as server:
        spec = plan(Profile.SINGLE, server.address, 12, streams=2)
        (only,), sums = finish(make_driver(spec, protocol=H2C, timeout_s=0.25, clock=clock, tap=tap))

    assert (sums.answered, sums.unanswered) == (11, {Failure.TIMEOUT: 1})
    assert only.detail == "no complete answer after 0.25 s"
    assert resets == [3]


def test_a_connection_on_which_nothing_comes_is_given_up_with_all_that_is_on_it() -> None:
    """Time passes once all four are there."""
    clock = Ticking()

    def step(server: Http2) -> None:
        server.send(*[server.answered(stream) for stream in server.requests(4)])
        server.requests(4)
        clock.tick()
        server.until_left()

    with Server(in_turn(speaks(step), speaks(Http2.serve))) as server:
        spec = plan(Profile.SINGLE, server.address, 20, streams=4)
        observations, sums = finish(make_driver(spec, protocol=H2C, timeout_s=0.2, clock=clock))

    assert sums.unanswered == {Failure.TIMEOUT: 4}
    assert [(o.requests, o.closed_by) for o in observations] == [(8, Closer.FAILURE), (12, Closer.CLIENT)]


def test_a_run_that_is_interrupted_counts_what_was_under_way() -> None:
    def step(server: Http2) -> None:
        for stream in server.requests(3):
            server.answer(stream)
        server.until_left()

    with Server(speaks(step)) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 100, streams=4), protocol=H2C)
        with server.when_asked(7, lambda: driver.stop(Stop.INTERRUPTED)):
            (only,), sums = finish(driver)

    assert (sums.answered, sums.abandoned, sums.unanswered) == (3, 4, {})
    assert only.requests == 7


def test_a_pool_that_the_system_refuses_to_open_is_accounted_for() -> None:
    """Loopback cannot reach the limited broadcast address, which is said at once."""
    driver = make_driver(plan(Profile.POOLED, Address("255.255.255.255", 9), 12, slots=2, streams=3), protocol=H2C)
    observations, sums = finish(driver)

    assert set(sums.unanswered) == {Failure.UNREACHABLE}
    assert (sums.answered, sums.abandoned, sums.opened) == (0, 0, 0)
    assert {o.closed_by for o in observations} == {Closer.FAILURE}


def test_hundreds_of_streams_share_a_connection() -> None:
    with Server(speaks(together(200))) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 2000, streams=200), protocol=H2C))

    assert (only.streams, sums.answered) == (200, 2000)


def test_the_peer_is_closed_for_good(tmp_path: Path) -> None:
    """No descriptor stays open, whatever became of its connection."""
    done = threading.Event()

    def script(peer: Peer) -> None:
        Http2(peer).serve()
        peer.until_closed()
        done.set()

    with Server(script) as server:
        finish(make_driver(plan(Profile.SINGLE, server.address, 4, streams=2), protocol=H2C))
        assert done.wait(PATIENCE_S)
