"""Servers of HTTP/2 that are broken or mean harm: each costs bounded time and memory, and is told in words."""

import contextlib
import socket
import tracemalloc
from time import perf_counter

import pytest

from kbalance.model.words import Closer, Failure, Profile, Protocol, Stop
from kbalance.traffic.answers import Answer
from kbalance.wire.http1 import MAX_HEAD
from kbalance.wire.tls import make_tls
from tests.wire import http2_peer as frames
from tests.wire.certificates import Certificates

from .http2_servers import MAX_STREAMS, OK, Http2, Step, each, speaks
from .runs import finish, make_driver, plan
from .servers import Peer, Script, Server, answer, hang, in_turn, sends, steady

H2, H2C = Protocol.H2, Protocol.H2C
LONG_S = 10.0
"""No run takes so long, on any machine: those below are over in a second."""
MOST_MEMORY = 8 << 20
"""Held at the worst, with what the server holds, which lives in the same process; a flood brings this much in milliseconds."""
WINDOW = 8


# Frames at odd boundaries


def conversation() -> bytes:
    """All kinds of frames: settings, a ping, windows, one unknown, a head in three frames, padding, trailers, and a farewell."""
    peer = frames.Peer()
    interim = peer.head(1, [(b":status", b"103"), (b"link", b"</a>")])
    block = peer.encode([*OK, (b"x-pod-name", b"pod-1"), (b"content-length", b"10")])
    return b"".join(
        [
            frames.settings({MAX_STREAMS: 10, frames.WINDOW: 100_000}),
            frames.raw(4, 1, 0, b""),
            frames.ping(),
            frames.window(0, 1000),
            frames.raw(0xFA, 0, 0, b"unknown"),
            interim,
            frames.raw(1, 0, 1, block[:1]),
            frames.raw(9, 0, 1, block[1:4]),
            frames.raw(9, 4, 1, block[4:]),
            frames.body(1, b"hello", padding=3),
            frames.body(1, b"", padding=0),
            frames.body(1, b"world"),
            peer.trailers(1, [(b"x-checksum", b"1")]),
            frames.goaway(1, 0, b"bye"),
        ]
    )


def says(*parts: bytes) -> Script:
    """Each of them in a segment, or a TLS record, of its own, once something was asked."""

    def script(peer: Peer) -> None:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.request()
        for part in parts:
            peer.sock.sendall(part)
        peer.until_closed()

    return script


@pytest.mark.parametrize("secure", [False, True])
def test_frames_may_be_cut_anywhere(certificates: Certificates, secure: bool) -> None:
    """At every byte, one connection each. Of TLS, one read gives one record, so the cut is where the server made it."""
    whole = conversation()
    seen: list[Answer] = []

    def script(peer: Peer) -> None:
        says(whole[: peer.index], whole[peer.index :])(peer)

    tls = make_tls("web.test", cacert=certificates.cacert, alpn=("h2",)) if secure else None
    with Server(script, tls=certificates.server() if secure else None) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, len(whole), slots=4)
        protocol = H2 if secure else H2C
        driver = make_driver(spec, protocol=protocol, tls=tls, tap=lambda answer, _: seen.append(answer))
        _, sums = finish(driver)

    assert (sums.answered, sums.unanswered, sums.retried, sums.opened) == (len(whole), {}, 0, len(whole))
    assert {(a.status, a.body, a.length) for a in seen} == {(200, b"helloworld", 10)}
    assert {a.head for a in seen} == {b"HTTP/2 200\r\nx-pod-name: pod-1\r\ncontent-length: 10\r\nx-checksum: 1"}


def test_frames_may_come_a_byte_at_a_time(certificates: Certificates) -> None:
    whole = conversation()
    tls = make_tls("web.test", cacert=certificates.cacert, alpn=("h2",))
    script = says(*[whole[at : at + 1] for at in range(len(whole))])
    with Server(script, tls=certificates.server()) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 1), protocol=H2, tls=tls))

    assert sums.answered == 1
    assert only.goaway in ("", "the server goes away: NO_ERROR, 'bye'")


# Floods and lies


def once(*parts: bytes) -> Step:
    """Says so when it is asked first, and nothing more."""

    def step(server: Http2) -> None:
        server.request()
        server.send(*parts)
        server.peer.until_closed()

    return step


def endlessly(part: bytes, *, first: bytes = b"") -> Step:
    """Says so when it is asked first, and goes on with the part until the client hangs up."""

    def step(server: Http2) -> None:
        server.request()
        server.send(first)
        with contextlib.suppress(OSError):
            while True:
                server.send(part * (1 + 30_000 // len(part)))

    return step


def head(fields: tuple[tuple[bytes, bytes], ...] = OK, *, end: bool = False) -> bytes:
    return frames.Peer().head(1, fields, end=end)


def large_head() -> bytes:
    """One of 100 kB, in frames of 16 KiB."""
    block = frames.Peer().encode([*OK, *((b"x-%d" % n, b"\xff" * 700) for n in range(150))])
    first, *more = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    return frames.raw(1, 0, 1, first) + b"".join(frames.raw(9, 0, 1, part) for part in more)


BOMB = b"\x88\x40\x01a\x7f\x81\x1e" + b"x" * 4000 + b"\xbe" * 4000
"""Status 200, a field of 4,000 bytes that goes into the table, and 4,000 mentions of it, a byte each."""
INTERIM = ((b":status", b"103"),)

HOSTILE: dict[str, tuple[Step, Failure, str]] = {
    "large head": (once(large_head()), Failure.TOO_LARGE, f"more than {MAX_HEAD} bytes of headers"),
    "small head that becomes large": (once(frames.raw(1, 5, 1, BOMB)), Failure.TOO_LARGE, f"more than {MAX_HEAD} bytes"),
    "endless continuation": (
        endlessly(frames.raw(9, 0, 1, b"x" * 1000), first=frames.raw(1, 0, 1, b"\x88")),
        Failure.TOO_LARGE,
        f"more than {MAX_HEAD} bytes of headers",
    ),
    "endless empty continuation": (
        endlessly(frames.raw(9, 0, 1, b""), first=frames.raw(1, 0, 1, b"\x88")),
        Failure.TOO_LARGE,
        f"more than {MAX_HEAD} bytes of headers",
    ),
    "endless interim heads": (endlessly(head(INTERIM)), Failure.TOO_LARGE, "a flood of informational heads"),
    "endless settings": (endlessly(frames.settings({4: 70_000})), Failure.MALFORMED, "a flood of SETTINGS frames"),
    "endless pings": (endlessly(frames.ping()), Failure.MALFORMED, "a flood of PING frames"),
    "endless empty data": (endlessly(frames.body(1), first=head()), Failure.MALFORMED, "a flood of empty frames"),
    "endless padding": (endlessly(frames.body(1, b"", padding=200), first=head()), Failure.MALFORMED, "a flood of empty frames"),
    "window beyond all bounds": (once(frames.window(0, 2**31 - 1)), Failure.MALFORMED, "a window beyond all bounds"),
    "stream's window beyond all bounds": (once(frames.window(1, 2**31 - 1)), Failure.MALFORMED, "a window beyond all bounds"),
    "first window beyond all bounds": (once(frames.settings({4: 2**31})), Failure.MALFORMED, "a window beyond all bounds"),
    "window that opens by nothing": (once(frames.raw(WINDOW, 0, 0, bytes(4))), Failure.MALFORMED, "opens by nothing"),
    "frame that is too long": (once(frames.raw(0, 0, 1, bytes(20_000))), Failure.MALFORMED, "a frame of 20000 bytes"),
    "frame that would be long": (once(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"), Failure.MALFORMED, "a frame of 16777215 bytes"),
    "padding beyond the frame": (once(head(), frames.raw(0, 8, 1, b"\x09abc")), Failure.MALFORMED, "more padding than frame"),
    "fields that cannot be decoded": (once(frames.raw(1, 5, 1, b"\xff" * 9)), Failure.MALFORMED, "cannot be decoded"),
    "pushed stream": (once(frames.push(1, frames.Peer().encode(OK))), Failure.MALFORMED, "a pushed stream"),
    "stream that nobody opened": (once(frames.body(7, b"x")), Failure.MALFORMED, "stream 7, which was not opened"),
    "body before its head": (once(frames.body(1, b"x", end=True)), Failure.MALFORMED, "a body before its head"),
    "head without status": (once(head(((b"a", b"b"),))), Failure.MALFORMED, "a head without status"),
    "second head": (once(head(), head()), Failure.MALFORMED, "a second head"),
    "short body": (
        once(head((*OK, (b"content-length", b"9"))), frames.body(1, b"four", end=True)),
        Failure.MALFORMED,
        "a body that is not as long as announced",
    ),
    "reset of each stream": (each(lambda s, stream: s.send(frames.reset(stream, 2))), Failure.RESET, "INTERNAL_ERROR"),
    "settings of seven bytes": (once(frames.raw(4, 0, 0, bytes(7))), Failure.MALFORMED, "SETTINGS of 7 bytes"),
    "farewell of no bytes": (once(frames.raw(7, 0, 0, b"")), Failure.MALFORMED, "a GOAWAY that is none"),
    # What never ends, and breaks no rule.
    "endless body": (endlessly(frames.body(1, b"x" * 16000), first=head()), Failure.TIMEOUT, "no complete answer after 0.3 s"),
    "endless windows": (endlessly(frames.window(0, 1)), Failure.TIMEOUT, "no complete answer after 0.3 s"),
    "endless unknown frames": (endlessly(frames.raw(0xFA, 0, 0, b"?")), Failure.TIMEOUT, "no complete answer after 0.3 s"),
    "half an answer": (once(head(), frames.body(1, b"half")), Failure.TIMEOUT, "no complete answer after 0.3 s"),
    "settings alone": (once(), Failure.TIMEOUT, "no complete answer after 0.3 s"),
}


@pytest.mark.parametrize(("step", "failure", "detail"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_server_is_told_and_costs_little(step: Step, failure: Failure, detail: str) -> None:
    timeout_s = 0.3 if failure is Failure.TIMEOUT else 5.0
    with Server(speaks(step)) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 3, slots=3), protocol=H2C, timeout_s=timeout_s)
        began = perf_counter()
        tracemalloc.start(1)
        try:
            observations, sums = finish(driver)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert sums.unanswered == {failure: 3}
    assert [(o.requests, o.closed_by is not Closer.SERVER) for o in observations] == [(1, True)] * 3
    assert all(detail in o.detail for o in observations), observations[0].detail
    assert peak < MOST_MEMORY
    assert perf_counter() - began < LONG_S


def test_what_one_server_does_is_not_held_against_the_next() -> None:
    """The connection of a hostile server is given up; the run goes on with others."""
    with Server(in_turn(speaks(endlessly(frames.ping())), speaks(Http2.serve))) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 20, streams=1), protocol=H2C))

    assert (sums.answered, sums.unanswered) == (19, {Failure.MALFORMED: 1})
    assert [o.closed_by for o in observations] == [Closer.FAILURE, Closer.CLIENT]


def test_a_storm_of_resets_ends_the_profile() -> None:
    """On one connection, which lives on."""
    with Server(speaks(each(lambda server, stream: server.send(frames.reset(stream, 2))))) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 10_000, streams=50), protocol=H2C)
        (only,), sums = finish(driver)

    assert driver.stopped is Stop.FAILING
    assert 10 <= sums.unanswered[Failure.RESET] <= 100
    assert only.detail == "reset by the server: INTERNAL_ERROR"


def test_pings_and_settings_within_reason_are_answered() -> None:
    def act(server: Http2, stream: int) -> None:
        server.send(frames.ping(), frames.settings({4: 70_000}), server.answered(stream))

    with Server(speaks(each(act))) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 500, streams=4), protocol=H2C))

    assert (sums.answered, only.requests, only.closed_by) == (500, 500, Closer.CLIENT)


# What is no HTTP/2 at all


def closes(peer: Peer) -> None:
    """At once, before anything was said."""


def closes_when_asked(peer: Peer) -> None:
    peer.request()


NOT_HTTP2: dict[str, tuple[Script, tuple[Failure, ...], str]] = {
    "HTTP/1.1": (
        sends(answer(b"no", status=b"400 Bad Request", close=True)),
        (Failure.MALFORMED,),
        "not HTTP/2: 'HTTP/1.1 400 Bad Request",
    ),
    "HTTP/1.1 that stays": (steady(), (Failure.MALFORMED,), "not HTTP/2: 'HTTP/1.1 200 OK"),
    "another protocol": (sends(b"220 smtp.example ready\r\n", stay=True), (Failure.MALFORMED,), "not HTTP/2: '220 smtp"),
    "TLS": (sends(b"\x15\x03\x01\x00\x02\x02\x46", stay=True), (Failure.TIMEOUT,), "no complete answer after 0.3 s"),
    "a close at once": (closes, (Failure.CLOSED, Failure.RESET), ""),
    "a close when asked": (closes_when_asked, (Failure.CLOSED, Failure.RESET), ""),
    "a reset": (sends(b"", reset=True), (Failure.RESET,), "reset by peer"),
    "half the settings": (sends(frames.settings({3: 5})[:11], stay=True), (Failure.TIMEOUT,), "no complete answer after 0.3 s"),
    "silence": (hang, (Failure.TIMEOUT,), "no complete answer after 0.3 s"),
}


@pytest.mark.parametrize("profile", [Profile.SHORT_LIVED, Profile.POOLED])
@pytest.mark.parametrize(("script", "failures", "detail"), NOT_HTTP2.values(), ids=NOT_HTTP2)
def test_what_speaks_no_http2_is_told(script: Script, failures: tuple[Failure, ...], detail: str, profile: Profile) -> None:
    timeout_s = 0.3 if Failure.TIMEOUT in failures else 5.0
    with Server(script) as server:
        streams = 1 if profile is Profile.SHORT_LIVED else 2
        spec = plan(profile, server.address, 3, slots=3, streams=streams)
        observations, sums = finish(make_driver(spec, protocol=H2C, timeout_s=timeout_s))

    assert (sums.answered, sums.abandoned, sums.retried) == (0, 0, 0)
    assert set(sums.unanswered) <= set(failures)
    assert sum(sums.unanswered.values()) == 3
    assert all(detail in o.detail and o.detail for o in observations if o.unanswered)


@pytest.mark.parametrize(
    ("offered", "chosen", "detail"),
    [
        (("h2",), ["http/1.1"], "no HTTP/2 here: the server does not choose a protocol in the TLS handshake (ALPN)"),
        (("h2", "http/1.1"), ["http/1.1"], "no HTTP/2 here: the server chose http/1.1 in the TLS handshake (ALPN)"),
    ],
)
def test_a_tls_server_that_does_not_choose_http2_is_told(
    certificates: Certificates, offered: tuple[str, ...], chosen: list[str], detail: str
) -> None:
    context = certificates.server()
    context.set_alpn_protocols(chosen)
    tls = make_tls("web.test", cacert=certificates.cacert, alpn=offered)
    with Server(steady(), tls=context) as server:
        spec = plan(Profile.POOLED, server.address, 6, slots=2, streams=2)
        observations, sums = finish(make_driver(spec, protocol=H2, tls=tls))

    assert sums.unanswered == {Failure.TLS: 6}
    assert {o.detail for o in observations} == {f"{detail}; give --protocol http1"}
    assert sums.opened == 0
