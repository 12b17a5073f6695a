"""HTTP/2 without a socket: what each frame of a server's means, and what becomes of hostile ones."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hpack import Decoder
from hyperframe.frame import HeadersFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from kbalance.errors import ExchangeError
from kbalance.model.words import Failure
from kbalance.wire.http2 import MOST_ANSWERS, MOST_EMPTY, MOST_SETTINGS, STREAMS_AT_FIRST, Http2Connection
from kbalance.wire.http2_events import Broken, Data, End, Event, GoingAway, Head, Lost, Settled, WindowOpened
from kbalance.wire.http2_fields import Fields, fields_of
from kbalance.wire.http2_stream import MOST_INTERIM_HEADS
from tests.wire import http2_peer as peer
from tests.wire.http2_peer import GET, HEAD, OK, POST, Peer, fed, opened, sent
from tests.wire.outcome import cut


def lost(events: list[Event]) -> tuple[Failure, str]:
    """How the connection ended, after whatever came before."""
    *_, last = events
    assert isinstance(last, Lost), events
    return last.failure, last.detail


def broken(events: list[Event]) -> list[tuple[int, Failure, bool]]:
    return [(event.stream, event.failure, event.unprocessed) for event in events if isinstance(event, Broken)]


# Asking and being answered


def test_the_preface_forbids_push_and_opens_the_windows() -> None:
    connection = Http2Connection(window=100_000, connection_window=200_000, max_head=9_000)

    data = connection.data_to_send()

    first, second = peer.frames(data)
    assert data.startswith(peer.PREFACE)
    assert getattr(first, "settings", None) == {2: 0, 4: 100_000, 6: 9_000}
    assert (second.stream_id, getattr(second, "window_increment", 0)) == (0, 200_000 - 65_535)


def test_a_response_with_everything_that_may_stand_in_one() -> None:
    connection, server = opened(None, GET)

    events = fed(
        connection,
        [
            server.head(1, [(b":status", b"103"), (b"link", b"a")]),
            server.head(1, [(b":status", b"200"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"empty", b"")], cut=3),
            peer.body(1, b"he", padding=7),
            peer.body(1, b"", padding=3),
            peer.body(1),
            peer.body(1, b"llo"),
            server.trailers(1, [(b"grpc-status", b"0")]),
        ],
    )

    assert events == [
        Head(1, 103, ((b"link", b"a"),)),
        Head(1, 200, ((b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"empty", b""))),
        Data(1, b"he"),
        Data(1, b"llo"),
        End(1, ((b"grpc-status", b"0"),)),
    ]
    assert [type(event) for event in events] == [Head, Head, Data, Data, End]
    assert isinstance(events[0], Head)
    assert events[0].informational
    assert (connection.streams, sent(connection)) == (0, [])


@pytest.mark.parametrize(
    ("fields", "status", "length"),
    [(HEAD, b"200", b"5"), (GET, b"304", b"5"), (GET, b"204", b"0"), (GET, b"200", b"0"), (GET, b"204", None)],
)
def test_a_head_may_be_all(fields: Fields, status: bytes, length: bytes | None) -> None:
    connection, server = opened(None, fields)
    lengths = ((b"content-length", length),) if length is not None else ()

    events = connection.receive(server.head(1, [(b":status", status), *lengths], end=True))

    assert events == [Head(1, int(status), lengths), End(1)]


def test_streams_are_answered_in_any_order() -> None:
    connection, server = opened(None, GET, GET, GET)

    events = fed(connection, [server.head(5), server.head(1, end=True), peer.body(5, b"x", end=True), server.head(3, end=True)])

    assert events == [Head(5, 200, ()), Head(1, 200, ()), End(1), Data(5, b"x"), End(5), Head(3, 200, ()), End(3)]


_RESPONSES = st.lists(
    st.tuples(st.integers(0, 2), st.binary(max_size=60), st.integers(0, 20), st.booleans()), min_size=1, max_size=5
)


def _conversation(responses: list[tuple[int, bytes, int, bool]]) -> bytes:
    server = Peer()
    data = peer.settings({peer.MAX_STREAMS: 7}) + peer.ping()
    for number, (interim, content, padding, trailers) in enumerate(responses):
        stream = 2 * number + 1
        for _ in range(interim):
            data += server.head(stream, [(b":status", b"103"), (b"x", b"%d" % number)])
        data += server.head(stream, [*OK, (b"content-length", b"%d" % len(content)), (b"name", b"pod-1")], cut=2, padding=padding)
        data += peer.body(stream, content, padding=padding, end=not trailers)
        data += server.trailers(stream, [(b"t", content.hex().encode())]) if trailers else b""
    return data + peer.goaway(2 * len(responses) - 1)


def _read(parts: list[bytes], requests: int) -> tuple[list[Event], bytes]:
    connection = Http2Connection()
    for _ in range(requests):
        connection.request(GET, end=True)
    return fed(connection, parts), connection.data_to_send()


@given(responses=_RESPONSES, places=st.lists(st.integers(0, 900), max_size=8))
def test_a_cut_anywhere_changes_nothing(responses: list[tuple[int, bytes, int, bool]], places: list[int]) -> None:
    data = _conversation(responses)
    whole = _read([data], len(responses))

    assert sum(isinstance(event, End) for event in whole[0]) == len(responses)
    assert _read(cut(data, places), len(responses)) == whole
    assert _read([data[i : i + 1] for i in range(len(data))], len(responses)) == whole


# How many streams


def test_room_follows_the_servers_settings() -> None:
    connection = Http2Connection()
    rooms = [connection.room]
    events = []
    for values in ({}, {peer.MAX_STREAMS: 3}, {peer.MAX_STREAMS: 1}, {peer.MAX_STREAMS: 4}):
        events += connection.receive(peer.settings(values))
        rooms.append(connection.room)
        if rooms[-1] > 4:
            connection.request(GET, end=True)
            connection.request(GET, end=True)

    assert rooms == [STREAMS_AT_FIRST, 1 << 30, 1, 0, 2]
    assert events == [Settled(None), Settled(3), Settled(1), Settled(4)]
    assert repr(connection) == "<Http2Connection open, 2 streams, room for 2>"


def test_without_room_a_request_is_refused() -> None:
    connection, server = opened({peer.MAX_STREAMS: 1}, GET)

    with pytest.raises(ExchangeError) as caught:
        connection.request(GET, end=True)

    assert caught.value.failure is Failure.CLOSED
    connection.receive(server.head(1, end=True))
    assert connection.request(GET, end=True) == 3


def test_a_connection_ends_with_its_stream_numbers() -> None:
    connection, server = opened()
    last = (1 << 31) - 1
    connection._next = last - 2

    numbers = [connection.request(GET, end=True), connection.request(GET, end=True)]

    assert numbers == [last - 2, last]
    assert (connection.room, connection.closing) == (0, True)
    assert connection.receive(server.head(last, end=True)) == [Head(last, 200, ()), End(last)]


# Bodies of requests


def test_a_body_goes_out_in_frames_as_far_as_the_windows_go() -> None:
    connection, _ = opened({peer.WINDOW: 40_000}, POST)

    taken = connection.send_data(1, bytes(50_000), end=True)

    assert taken == 40_000
    assert sent(connection) == ["1 data 16384", "1 data 16384", "1 data 7232"]
    assert connection.send_data(1, bytes(10_000), end=True) == 0
    assert connection.receive(peer.window(1, 10_000)) == [WindowOpened(1)]
    assert connection.send_data(1, bytes(10_000), end=True) == 10_000
    assert sent(connection) == ["1 data 10000 end"]


def test_the_connections_window_counts_too() -> None:
    connection, _ = opened({peer.WINDOW: 1 << 20}, POST)

    assert connection.send_data(1, bytes(100_000), end=True) == 65_535
    assert connection.receive(peer.window(0, 50_000)) == [WindowOpened(None)]
    assert connection.send_data(1, bytes(100_000 - 65_535), end=True) == 100_000 - 65_535


def test_new_settings_open_and_shrink_windows() -> None:
    connection, _ = opened({peer.WINDOW: 100}, POST)
    assert connection.send_data(1, bytes(100), end=False) == 100

    assert connection.receive(peer.settings({peer.WINDOW: 50})) == [Settled(None), WindowOpened(None)]
    assert connection.receive(peer.window(1, 50)) == [WindowOpened(1)]
    assert connection.send_data(1, b"x", end=False) == 0
    connection.receive(peer.settings({peer.WINDOW: 70, peer.MAX_FRAME: 1 << 20}))
    assert connection.send_data(1, bytes(30), end=True) == 20


def test_larger_frames_once_the_server_takes_them() -> None:
    connection, _ = opened({peer.WINDOW: 1 << 20, peer.MAX_FRAME: 32_768}, POST)

    connection.send_data(1, bytes(40_000), end=False)

    assert sent(connection) == ["1 data 32768", "1 data 7232"]


def test_the_end_of_a_body_needs_no_window() -> None:
    connection, _ = opened({peer.WINDOW: 5}, POST, POST)

    assert connection.send_data(1, b"12345", end=False) == 5
    assert connection.send_data(1, b"", end=True) == 0
    assert connection.send_data(3, b"12345", end=True) == 5
    assert sent(connection) == ["1 data 5", "1 data 0 end", "3 data 5 end"]


def test_a_body_where_none_can_be_is_the_callers_mistake() -> None:
    connection, _ = opened(None, GET)

    for stream in (1, 3, 2, 0, -1):
        with pytest.raises(ValueError, match="has no body to send"):
            connection.send_data(stream, b"x", end=True)


def test_a_complete_answer_ends_a_request_whose_body_is_not() -> None:
    """Whether the server says so itself (RST_STREAM with NO_ERROR, RFC 9113, 8.1) or not."""
    connection, server = opened(None, POST, POST)
    answer = [server.head(1), peer.body(1, b"no", end=True), peer.reset(1, 0), server.head(3, end=True)]

    events = fed(connection, answer)

    assert events == [Head(1, 200, ()), Data(1, b"no"), End(1), Head(3, 200, ()), End(3)]
    assert sent(connection) == ["1 reset 8", "3 reset 8"]
    assert connection.send_data(1, bytes(100_000), end=True) == 100_000
    assert sent(connection) == []


# Windows for bodies of responses


def test_windows_open_as_the_reader_goes_on() -> None:
    connection, server = opened(None, GET, window=1000, connection_window=65_535)
    connection.receive(server.head(1) + peer.body(1, bytes(900)))

    connection.acknowledge(1, 400)
    early = sent(connection)
    connection.acknowledge(1, 500)

    assert early == []
    assert sent(connection) == ["1 window 900"]
    assert connection.receive(peer.body(1, bytes(1000), end=True)) == [Data(1, bytes(1000)), End(1)]


def _filled(end: bool = False) -> Http2Connection:
    """Half of a connection's window is unread on stream 1."""
    connection, server = opened(None, GET, GET, window=65_535, connection_window=65_535)
    connection.receive(server.head(1) + peer.body(1, bytes(16_384)) + peer.body(1, bytes(16_384), end=end))
    return connection


def test_what_is_unread_counts_after_the_end_too() -> None:
    connection = _filled(end=True)

    connection.acknowledge(1, 32_768)
    connection.acknowledge(1, 32_768)  # more than there is: nothing

    assert sent(connection) == ["0 window 32768"]


def test_a_reset_gives_back_what_is_unread_and_what_still_comes() -> None:
    connection = _filled()

    connection.reset(1)
    first = sent(connection)
    events = fed(connection, [peer.body(1, bytes(16_384)), peer.body(1, bytes(16_283), padding=100, end=True)])
    connection.reset(1)
    connection.acknowledge(1, 5)

    assert first == ["1 reset 8", "0 window 32768"]
    assert events == []
    assert sent(connection) == ["0 window 32768"]


def test_a_cancelled_streams_heads_keep_the_compression_in_step() -> None:
    """The library would end the connection at the informational one."""
    connection, server = opened(None, GET, GET)
    connection.reset(1)
    fields = [*OK, (b"name", b"pod-1")]

    late = fed(
        connection, [server.head(1, [(b":status", b"103"), (b"name", b"pod-1")], cut=3, padding=9), server.head(1, fields)]
    )
    late += fed(connection, [peer.window(1, 5), peer.reset(1, 8)])

    assert late == []
    assert connection.receive(server.head(3, fields, end=True)) == [Head(3, 200, ((b"name", b"pod-1"),)), End(3)]


def test_a_stalled_reader_does_not_stop_the_others() -> None:
    connection, server = opened(None, GET, GET, window=1000, connection_window=65_535)

    events = fed(connection, [server.head(1), server.head(3), peer.body(1, bytes(1000))])
    for _ in range(200):
        events = fed(connection, [peer.body(3, bytes(500))])
        connection.acknowledge(3, 500)

    assert events == [Data(3, bytes(500))]


# Ends


def test_going_away_finishes_what_was_accepted() -> None:
    """GOAWAY comes before any head: the library alone would fail all three."""
    connection, server = opened(None, GET, POST, GET)

    events = connection.receive(peer.goaway(3, 0, b"drain\xff"))

    detail = "the server goes away: NO_ERROR, 'drain\\xff'"
    assert events == [GoingAway(3, 0, detail), Broken(5, Failure.CLOSED, detail, True)]
    assert (connection.closing, connection.room, connection.streams) == (True, 0, 2)
    assert connection.send_data(3, b"x", end=True) == 1
    assert sent(connection) == ["3 data 1 end"]
    assert fed(connection, [server.head(3), server.head(1, end=True), peer.body(5, b"x"), peer.body(3, b"y", end=True)]) == [
        *(Head(3, 200, ()), Head(1, 200, ()), End(1)),
        *(Data(3, b"y"), End(3)),
    ]
    with pytest.raises(ExchangeError, match="goes away"):
        connection.request(GET, end=True)
    assert connection.receive(b"") == [Lost(Failure.CLOSED, detail)]


def test_going_away_in_two_steps() -> None:
    """A graceful server names the highest number first, and later what it took; it cannot take more back on."""
    connection, _ = opened(None, GET, GET)

    events = fed(connection, [peer.goaway((1 << 31) - 1), peer.ping(), peer.goaway(1), peer.goaway(3, 99)])

    first, second, third = (GoingAway(last, code, f"the server goes away: {word}") for last, code, word in _STEPS)
    assert events == [first, second, Broken(3, Failure.CLOSED, second.detail, True), third]
    assert sent(connection) == ["ping ack"]
    assert broken(connection.receive(b"")) == [(1, Failure.CLOSED, False)]


_STEPS = (((1 << 31) - 1, 0, "NO_ERROR"), (1, 0, "NO_ERROR"), (1, 99, "error 99"))


@pytest.mark.parametrize(
    ("code", "expected", "detail"),
    [
        (0, (1, Failure.RESET, False), "reset by the server: NO_ERROR"),
        (2, (1, Failure.RESET, False), "reset by the server: INTERNAL_ERROR"),
        (7, (1, Failure.RESET, True), "reset by the server: REFUSED_STREAM"),
        (4242, (1, Failure.RESET, False), "reset by the server: error 4242"),
    ],
)
def test_a_reset_by_the_server(code: int, expected: tuple[int, Failure, bool], detail: str) -> None:
    connection, server = opened(None, GET, GET)

    assert connection.receive(server.head(1)) == [Head(1, 200, ())]
    assert connection.receive(peer.reset(1, code)) == [Broken(1, expected[1], detail, expected[2])]
    assert connection.receive(server.head(3, end=True)) == [Head(3, 200, ()), End(3)]


def test_the_servers_close_breaks_what_is_open() -> None:
    connection, server = opened(None, GET, GET, GET)

    events = fed(
        connection, [server.head(1, end=True), server.head(3) + peer.body(3, b"x"), peer.body(3, b"y")[:-1], b"", b"more"]
    )

    assert broken(events) == [(3, Failure.CLOSED, False), (5, Failure.CLOSED, False)]
    assert lost(events) == (Failure.CLOSED, "closed by the server")
    assert (connection.room, connection.closing, connection.streams) == (0, True, 0)
    assert repr(connection) == "<Http2Connection lost, 0 streams, room for 0>"
    connection.acknowledge(3, 1)
    connection.reset(5)
    connection.close()
    assert sent(connection) == []


def test_goodbye_lets_the_rest_finish() -> None:
    connection, server = opened(None, GET)

    connection.close()
    connection.close()

    assert sent(connection) == ["goaway 0"]
    assert (connection.room, connection.closing) == (0, True)
    assert connection.receive(server.head(1, end=True)) == [Head(1, 200, ()), End(1)]


def test_a_ping_is_answered() -> None:
    connection, _ = opened()

    connection.receive(peer.ping(b"abcdefgh"))

    assert connection.data_to_send() == peer.raw(6, 1, 0, b"abcdefgh")


# What is not sound


_UNSOUND = {
    "an upper-case name": [(b":status", b"200"), (b"Name", b"x")],
    "a name with a blank": [(b":status", b"200"), (b"na me", b"x")],
    "an empty name": [(b":status", b"200"), (b"", b"x")],
    "a line break": [(b":status", b"200"), (b"name", b"x\r\ny: z")],
    "a connection's field": [(b":status", b"200"), (b"connection", b"close")],
    "no status": [(b"name", b"x")],
    "nothing": [],
    "no number": [(b":status", b"ok")],
    "switching protocols": [(b":status", b"101")],
    "a status of four digits": [(b":status", b"2000")],
    "two of them": [(b":status", b"200"), (b":status", b"200")],
    "a request's field": [(b":status", b"200"), (b":path", b"/")],
    "a body that cannot come": [(b":status", b"200"), (b"content-length", b"5")],
}


@pytest.mark.parametrize("fields", _UNSOUND.values(), ids=_UNSOUND)
def test_an_unsound_head_breaks_its_stream_only(fields: list[tuple[bytes, bytes]]) -> None:
    connection, server = opened(None, GET, GET)

    first = connection.receive(server.head(1, fields, end=(b":status", b"101") not in fields))

    assert broken(first) == [(1, Failure.MALFORMED, False)]
    assert connection.receive(server.head(3, end=True)) == [Head(3, 200, ()), End(3)]


_MISFITS = {
    "longer than announced": (GET, b"200", b"3", peer.body(1, b"1234")),
    "shorter than announced": (GET, b"200", b"5", peer.body(1, b"1234", padding=1, end=True)),
    "after HEAD": (HEAD, b"200", b"4", peer.body(1, b"1234")),
    "after 204": (GET, b"204", None, peer.body(1, b"1234")),
    "after 304": (GET, b"304", b"4", peer.body(1, b"1234", end=True)),
}


@pytest.mark.parametrize(("fields", "status", "length", "data"), _MISFITS.values(), ids=_MISFITS)
def test_a_body_of_another_length_breaks_its_stream_only(
    fields: Fields, status: bytes, length: bytes | None, data: bytes
) -> None:
    connection, server = opened(None, fields, GET)
    connection.receive(server.head(1, [(b":status", status), *([(b"content-length", length)] if length else [])]))

    events = connection.receive(data)

    assert broken(events) == [(1, Failure.MALFORMED, False)]
    assert sent(connection) == ["1 reset 1"]
    assert connection.receive(server.head(3, end=True)) == [Head(3, 200, ()), End(3)]


def test_trailers_that_end_a_body_early_or_are_unsound() -> None:
    connection, server = opened(None, GET, GET, GET)

    events = fed(
        connection,
        [
            server.head(1, [*OK, (b"content-length", b"5")]) + peer.body(1, b"12") + server.trailers(1, [(b"a", b"b")]),
            server.head(3) + server.trailers(3, [(b":status", b"200")]),
            server.head(5) + server.trailers(5, [(b"a", b"b")]),
        ],
    )

    assert broken(events) == [(1, Failure.MALFORMED, False), (3, Failure.MALFORMED, False)]
    assert events[-1] == End(5, ((b"a", b"b"),))


def test_a_body_before_its_head_breaks_its_stream_only() -> None:
    connection, server = opened(None, GET, GET)

    assert broken(connection.receive(peer.body(1, b"x"))) == [(1, Failure.MALFORMED, False)]
    assert connection.receive(server.head(3, end=True)) == [Head(3, 200, ()), End(3)]


def test_a_window_beyond_all_bounds_breaks_its_stream_only() -> None:
    connection, server = opened(None, GET, GET)

    events = connection.receive(peer.window(1, (1 << 31) - 1))

    assert broken(events) == [(1, Failure.MALFORMED, False)]
    assert connection.receive(server.head(3, end=True)) == [Head(3, 200, ()), End(3)]


def test_blanks_around_a_value_are_dropped() -> None:
    connection, server = opened(None, GET)

    assert connection.receive(server.head(1, [*OK, (b"name", b" x\t")], end=True)) == [Head(1, 200, ((b"name", b"x"),)), End(1)]


def test_what_came_before_a_mistake_is_not_lost() -> None:
    connection, server = opened(None, GET, GET)

    events = connection.receive(server.head(1, end=True) + peer.raw(1, 4, 3, b"\xff\xff\xff\xff"))

    assert events[:2] == [Head(1, 200, ()), End(1)]
    assert broken(events) == [(3, Failure.MALFORMED, False)]
    assert lost(events)[0] is Failure.MALFORMED
    assert sent(connection)[-1].startswith("goaway")
    assert connection.receive(server.head(3)) == []


def _continuations(count: int, size: int) -> bytes:
    return peer.raw(1, 0, 1, b"") + peer.raw(9, 0, 1, bytes(size)) * count


_WRONG = {
    "a pushed stream": peer.push(1, Peer().encode(GET)),
    "a head on an unopened stream": Peer().head(9),
    "a head on the server's stream": Peer().head(2, GET),
    "a body on stream 0": peer.raw(0, 0, 0, b"x"),
    "a body on the server's stream": peer.body(4, b"x"),
    "a reset of an unopened stream": peer.reset(9, 0),
    "a window for an unopened stream": peer.window(9, 5),
    "a window of nothing": peer.raw(8, 0, 0, bytes(4)),
    "a connection's window beyond all bounds": peer.window(0, (1 << 31) - 1),
    "an initial window beyond all bounds": peer.settings({peer.WINDOW: 1 << 31}),
    "a frame size that cannot be": peer.settings({peer.MAX_FRAME: 5}),
    "settings of five bytes": peer.raw(4, 0, 0, bytes(5)),
    "settings of a stream": peer.raw(4, 0, 1, bytes(6)),
    "settings that acknowledge with something": peer.raw(4, 1, 0, bytes(6)),
    "a ping of seven bytes": peer.raw(6, 0, 0, bytes(7)),
    "a ping of a stream": peer.raw(6, 0, 1, bytes(8)),
    "a short goaway": peer.raw(7, 0, 0, bytes(7)),
    "a goaway of a stream": peer.raw(7, 0, 1, bytes(8)),
    "more padding than frame": Peer().head(1) + peer.raw(0, 8, 1, b"\x09x"),
    "padding of an empty frame": Peer().head(1) + peer.raw(0, 8, 1, b""),
    "more padding than head": peer.raw(1, 12, 1, b"\x09x"),
    "a head cut short for its priority": peer.raw(1, 0x24, 1, b"ab"),
    "a reset of three bytes": peer.raw(3, 0, 1, bytes(3)),
    "a frame too large to come": peer.raw(0, 0, 1, b"")[3:].rjust(9, b"\x01"),
    "a naked continuation": peer.raw(9, 4, 1, b""),
    "a continuation of another stream": peer.raw(1, 0, 1, b"") + peer.raw(9, 4, 3, b""),
    "a ping within a head": peer.raw(1, 0, 1, b"") + peer.ping(),
    "a goaway within a head": peer.raw(1, 0, 1, b"") + peer.goaway(1),
    "an unknown frame within a head": peer.raw(1, 0, 1, b"") + peer.raw(77, 0, 0, b""),
    "an index that means nothing": peer.raw(1, 4, 1, b"\xfe"),
    "more than the connection's window": Peer().head(1) + peer.body(1, bytes(16_000)) * 5,
    "a server that wants to push": peer.settings({2: 1}),
}

_WRONG_ON_A_STREAM = {
    "an informational head that ends": (Peer().head(1, [(b":status", b"103")], end=True), 1),
    "trailers that do not end": (Peer().head(1) + Peer().head(1, [(b"a", b"b")]), 1),
    "more than the stream's window": (Peer().head(1) + peer.body(1, bytes(16_000)) * 2, 3),
    "a stream's window of nothing": (peer.window(1, 0), 1),
}


@pytest.mark.parametrize("data", _WRONG.values(), ids=_WRONG)
def test_mistakes_end_the_connection(data: bytes) -> None:
    connection, _ = opened(None, GET, window=80_000, connection_window=65_535)

    events = connection.receive(data)

    assert broken(events) == [(1, Failure.MALFORMED, False)]
    assert lost(events)[0] is Failure.MALFORMED
    assert sent(connection)[-1].startswith("goaway")


@pytest.mark.parametrize(("data", "code"), _WRONG_ON_A_STREAM.values(), ids=_WRONG_ON_A_STREAM)
def test_mistakes_of_a_response_end_its_stream_only(data: bytes, code: int) -> None:
    """RFC 9113, 8.1.1 and 5.2.2."""
    connection, _ = opened(None, GET, GET, window=20_000, connection_window=65_535)

    events = connection.receive(data)

    assert broken(events) == [(1, Failure.MALFORMED, False)]
    assert sent(connection) == [f"1 reset {code}"]
    assert connection.receive(peer.raw(1, 5, 3, b"\x88")) == [Head(3, 200, ()), End(3)]


def test_undecodable_fields_of_a_cancelled_stream_end_the_connection() -> None:
    connection, _ = opened(None, GET)
    connection.reset(1)

    assert lost(connection.receive(peer.raw(1, 4, 1, b"\xfe")))[0] is Failure.MALFORMED


def test_what_is_of_no_use_is_passed_over() -> None:
    connection, server = opened(None, GET)
    odd = [peer.raw(2, 0, 1, bytes(5)), peer.raw(0xA, 0, 0, b"\0\0x"), peer.raw(0xC, 0, 0, b"origin"), peer.raw(77, 255, 9, b"?")]

    assert fed(connection, odd) == []
    assert connection.receive(server.head(1, end=True)) == [Head(1, 200, ()), End(1)]


def test_another_protocol_is_told_at_once() -> None:
    connection = Http2Connection()
    connection.request(GET, end=True)

    events = connection.receive(b"HTTP/1.1 400 Bad Request\r\n")

    detail = "not HTTP/2: 'HTTP/1.1 400 Bad Request'"
    assert events == [Broken(1, Failure.MALFORMED, detail, False), Lost(Failure.MALFORMED, detail)]


# Floods


@pytest.mark.parametrize("cancelled", [False, True])
def test_headers_beyond_the_limit(cancelled: bool) -> None:
    """A few bytes that stand for many, as the compression allows."""
    connection, server = opened(None, GET, max_head=10_000)
    if cancelled:
        connection.reset(1)

    events = connection.receive(server.head(1, [*OK, *[(b"name", b"x" * 1000)] * 10]))

    assert broken(events) == [] if cancelled else [(1, Failure.TOO_LARGE, False)]
    assert lost(events) == (Failure.TOO_LARGE, "more than 10000 bytes of headers")


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_flood_of_continuations(size: int) -> None:
    connection, _ = opened(None, GET)

    events = connection.receive(_continuations(20_000 if size == 0 else 20, size))

    assert lost(events) == (Failure.TOO_LARGE, "more than 65536 bytes of headers")


def test_a_flood_of_informational_heads() -> None:
    connection, server = opened(None, GET, GET)

    events = fed(connection, [server.head(1, [(b":status", b"103")]) for _ in range(MOST_INTERIM_HEADS + 10)])

    assert broken(events) == [(1, Failure.TOO_LARGE, False)]
    assert len(events) == MOST_INTERIM_HEADS + 1
    assert connection.receive(server.head(3, end=True)) == [Head(3, 200, ()), End(3)]


def test_a_flood_of_pings_that_nobody_can_answer() -> None:
    connection, _ = opened()

    events = connection.receive(peer.ping() * (MOST_ANSWERS + 1))

    assert lost(events) == (Failure.MALFORMED, "a flood of PING frames")


def test_pings_whose_answers_are_taken_are_no_flood() -> None:
    connection, _ = opened()

    for _ in range(5):
        assert connection.receive(peer.ping() * (MOST_ANSWERS // 2)) == []
        assert len(connection.data_to_send()) == 17 * (MOST_ANSWERS // 2)


def test_a_flood_of_settings() -> None:
    connection, _ = opened()

    events: list[Event] = []
    for value in range(MOST_SETTINGS):
        events += connection.receive(peer.settings({1: value % 2}))
        connection.data_to_send()

    assert lost(events) == (Failure.MALFORMED, "a flood of SETTINGS frames")


def test_unknown_settings_mean_nothing() -> None:
    connection, server = opened(None, GET)
    codes = b"".join(code.to_bytes(2, "big") + bytes(4) for code in range(100, 2000))

    assert connection.receive(peer.raw(4, 0, 0, codes)) == [Settled(None)]
    assert connection.receive(server.head(1, end=True)) == [Head(1, 200, ()), End(1)]


def test_the_servers_table_size_does_not_size_ours() -> None:
    connection, _ = opened({1: 1 << 30})
    assert connection._compression._started().header_table_size == 4096
    connection.receive(peer.settings({1: 100}))
    assert connection._compression._started().header_table_size == 100


def test_a_smaller_table_is_told_once_and_kept_to() -> None:
    """The blocks that were remembered refer to entries which a server with a small table has dropped."""
    fields = fields_of(b"GET", b"http", b"web.test", b"/", [(b"x-first", b"a" * 40), (b"x-second", b"b" * 40)])
    connection, _ = opened()
    decoder = Decoder()
    seen = []
    for size in (None, None, None, 0, None, 60, None, 4096, None, None):
        if size is not None:
            connection.receive(peer.settings({1: size}))
            decoder.max_allowed_table_size = size
        connection.request(fields, end=True)
        (head,) = (f for f in peer.frames(connection.data_to_send()) if isinstance(f, HeadersFrame))
        seen.append(tuple(decoder.decode(head.data, raw=True)))

    assert seen == [fields] * 10


@given(
    heads=st.lists(
        st.lists(st.tuples(st.sampled_from([b"a", b"b", b"date"]), st.sampled_from([b"1", b"2", b"3"])), max_size=3),
        min_size=1,
        max_size=30,
    ),
    sizes=st.lists(st.sampled_from([0, 50, 4096]), min_size=30, max_size=30),
)
@settings(max_examples=200)
def test_blocks_that_are_remembered_mean_what_they_meant(heads: list[list[tuple[bytes, bytes]]], sizes: list[int]) -> None:
    """Whatever the server adds to its table, drops from it, and refers to."""
    connection, server = opened()
    for fields, size in zip(heads, sizes, strict=False):
        server.resize(size)
        stream = connection.request(GET, end=True)

        events = connection.receive(server.head(stream, [(b":status", b"200"), *fields], end=True))

        assert events == [Head(stream, 200, tuple(fields)), End(stream)]


def test_a_flood_of_empty_frames() -> None:
    connection, server = opened(None, GET)

    events = fed(connection, [server.head(1), *[peer.body(1)] * (MOST_EMPTY + 1)])

    assert lost(events) == (Failure.MALFORMED, "a flood of empty frames")


def test_an_eager_reader_opens_all_windows_at_once() -> None:
    connection, server = opened(None, GET, window=65_535, connection_window=65_535, eager=True)
    connection.receive(server.head(1))

    for _ in range(20):
        connection.receive(peer.body(1, bytes(16_000)))
    connection.receive(peer.body(1, b"x", end=True, padding=9))

    assert not connection.streams
    granted = [word.split() for word in sent(connection)]
    assert {stream for stream, *_ in granted} == {"0", "1"}
    assert 65_535 + sum(int(size) for stream, _, size in granted if stream == "0") >= 20 * 16_000


def test_memory_does_not_grow_with_requests() -> None:
    connection, server = opened()

    for number in range(2000):
        stream = connection.request(GET, end=True)
        connection.receive(server.head(stream) + peer.body(stream, b"x", end=number % 3 > 0))
        connection.acknowledge(stream, 1)
        connection.reset(stream)
        connection.data_to_send()

    assert len(connection._streams) == len(connection._unread) == 0


_STREAMS = [0, 1, 2, 3, 5, 7, 9, 1 << 31 | 1]
_PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([*_WRONG.values(), *(data for data, _ in _WRONG_ON_A_STREAM.values())]),
    st.builds(
        peer.raw,
        st.integers(0, 12),
        st.integers(0, 255),
        st.sampled_from([0, 1, 2, 3, 5, 7, 9, 1 << 31 | 1]),
        st.binary(max_size=30),
    ),
    st.builds(lambda stream, end: Peer().head(stream, end=end), st.sampled_from([1, 3, 5]), st.booleans()),
    st.builds(lambda stream, end: peer.body(stream, b"abc", end=end), st.sampled_from([1, 3, 5]), st.booleans()),
)
_CALLS = st.sampled_from(["", "reset 1", "reset 3", "send 3", "ask", "close", "acknowledge 3"])


@given(steps=st.lists(st.tuples(_PIECES, _CALLS), max_size=12))
@settings(max_examples=300)
def test_whatever_comes_nothing_is_raised_and_every_stream_ends_once(steps: list[tuple[bytes, str]]) -> None:
    connection, _ = opened(None, GET, POST, GET)
    open_streams, ended = {1, 3, 5}, []
    for piece, call in [*steps, (b"", "")]:
        match call.split():
            case ["reset", number]:
                connection.reset(int(number))
                open_streams.discard(int(number))
            case ["send", _]:
                try:
                    connection.send_data(3, b"x" * 10, end=True)
                except ValueError:
                    assert any("send" in step for _, step in steps)
            case ["ask"] if connection.room:
                open_streams.add(connection.request(GET, end=True))
            case ["close"]:
                connection.close()
            case ["acknowledge", _]:
                connection.acknowledge(3, 2)
        events = connection.receive(piece)
        ended += [event.stream for event in events if isinstance(event, End | Broken)]
        peer.frames(connection.data_to_send())

    assert len(ended) == len(set(ended))
    assert set(ended) >= open_streams


# Beside the library as a server


def test_a_server_of_the_library_understands_us() -> None:
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    client = Http2Connection()
    stream = client.request(POST, end=False)
    assert client.send_data(stream, bytes(100_000), end=True) == 65_535
    events: list[Event] = []
    got = 0

    def exchange() -> None:
        nonlocal got
        for event in server.receive_data(client.data_to_send()):
            if isinstance(event, RequestReceived):
                assert dict(event.headers or [])[b":authority"] == b"web.test"
            if (size := getattr(event, "flow_controlled_length", 0)) and (data := getattr(event, "data", b"")) is not None:
                got += len(data)
                server.acknowledge_received_data(size, stream)
        events.extend(client.receive(server.data_to_send()))

    exchange()
    assert client.send_data(stream, bytes(100_000 - 65_535), end=True) == 100_000 - 65_535
    exchange()
    server.send_headers(stream, [(":status", "200")])
    server.send_data(stream, b"done", end_stream=True)
    exchange()

    assert got == 100_000
    assert [event for event in events if not isinstance(event, WindowOpened | Settled)] == [
        Head(stream, 200, ()),
        Data(stream, b"done"),
        End(stream),
    ]


def test_misuse_is_told() -> None:
    for window, connection_window in ((0, 1 << 20), (1 << 20, 65_534), (1 << 31, 1 << 20)):
        with pytest.raises(ValueError, match="no windows of"):
            Http2Connection(window=window, connection_window=connection_window)
