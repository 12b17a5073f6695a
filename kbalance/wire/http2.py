"""The client's side of one HTTP/2 connection without a socket: calls become bytes, bytes become events (RFC 9113).

Streams, windows and settings are kept here and not by the `h2` library, whose state machine takes some 50 us a request of the
70 that one then costs; compressed fields are left to `hpack` (see `http2_compression`). The `h2` library stands on the other side
in the tests.
"""

import struct
from functools import cache

from kbalance.errors import ExchangeError
from kbalance.model.words import Failure
from kbalance.wire import http2_frames as frames
from kbalance.wire.http1 import MAX_HEAD, NOT_HTTP2
from kbalance.wire.http2_compression import Compression, Decompression
from kbalance.wire.http2_events import Broken, Data, End, Event, GoingAway, Lost, Settled, WindowOpened
from kbalance.wire.http2_fields import Fields, Malformed
from kbalance.wire.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    HEADER,
    HEADERS,
    LAST_ID,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    Frame,
    Violation,
    name_of,
)
from kbalance.wire.http2_stream import Stream

WINDOW = 1 << 20
"""Bytes of a body that may wait for its reader; with the protocol's 65,535 a round trip of 1 ms would mean 65 MB/s at most."""
CONNECTION_WINDOW = 16 << 20
"""The same for all streams together: one whose reader sleeps does not stop the others."""
STREAMS_AT_FIRST = 100
"""Before the server has said how many it takes; what RFC 9113, 6.5.2 asks servers to allow at least."""
MOST_SETTINGS = 1000
"""SETTINGS frames in the life of a connection; a server sends one, or a few more as its windows grow."""
MOST_ANSWERS = 1000
"""PING and SETTINGS frames whose answers nobody has taken yet."""
MOST_EMPTY = 10_000
"""Frames of an open stream that bring nothing, on a connection: a server that sends such for ever keeps us busy for nothing."""

_PLAIN = END_STREAM
_WHOLE = END_STREAM | END_HEADERS


@cache
def _greeting(max_head: int, window: int, connection_window: int) -> bytes:
    """What a client begins with (3.4)."""
    own = ((frames.ENABLE_PUSH, 0), (frames.INITIAL_WINDOW_SIZE, window), (frames.MAX_HEADER_LIST_SIZE, max_head))
    more = connection_window - DEFAULT_WINDOW
    return PREFACE + frames.settings(own) + (frames.window_update(0, more) if more else b"")


class Http2Connection:
    """One connection to a server that is known to speak HTTP/2, by ALPN or beforehand.

    Whoever has the socket takes `data_to_send` after every call and gives `receive` what came. What a peer sends never raises: a
    response that is not sound breaks its stream, and a mistake in framing or compression the connection. A peer that
    does not read cannot make the unsent grow if `data_to_send` is asked only when the bytes before are on their way.
    """

    def __init__(
        self,
        *,
        max_head: int = MAX_HEAD,
        window: int = WINDOW,
        connection_window: int = CONNECTION_WINDOW,
        eager: bool = False,
    ) -> None:
        """Ready to ask; the first bytes to send are the preface and our settings, with push disabled.

        Args:
            max_head: bytes of the fields of one head or of trailers, and 32 for each field (RFC 9113, 10.5.1).
            window: bytes of one body that may come before its reader has acknowledged any.
            connection_window: the same over all streams; 65,535 at least, which the protocol gives.
            eager: every `Data` is used up at once, so that nobody need `acknowledge` any.
        """
        if not DEFAULT_WINDOW <= connection_window <= LAST_ID or not 0 < window <= LAST_ID:
            raise ValueError(f"no windows of {window} and {connection_window} bytes")
        self._eager = eager
        self._max_head = max_head
        self._fields = Decompression(max_head)
        self._compression = Compression()
        self._streams: dict[int, Stream] = {}
        self._rest = b""
        self._head: list[Frame] = []
        """Frames of a head that goes on; nothing else may come between them (4.3)."""
        self._head_size = 0
        self._begun = False
        self._next = 1
        # Sending.
        self._room = DEFAULT_WINDOW
        self._stream_room = DEFAULT_WINDOW
        self._largest = FRAME_SIZE
        # Receiving.
        self._full_window, self._full_connection = window, connection_window
        self._window = connection_window
        self._used = 0
        """Bytes that nobody needs any more, not given back yet."""
        self._unread: dict[int, int] = {}
        self._settings = self._answers = self._empty = 0
        self._most_streams: int | None = STREAMS_AT_FIRST
        self._going: str | None = None
        self._last = LAST_ID
        self._left = False
        """Whether we have said goodbye."""
        self._lost: str | None = None
        self._out = bytearray(_greeting(max_head, window, connection_window))

    def __repr__(self) -> str:
        state = "lost" if self._lost is not None else "closing" if self.closing else "open"
        return f"<Http2Connection {state}, {len(self._streams)} streams, room for {self.room}>"

    @property
    def streams(self) -> int:
        """How many wait for the end of their response."""
        return len(self._streams)

    @property
    def most(self) -> int:
        """How many may be open at once, as the server has it; some more may be when it lowers that."""
        return LAST_ID if self._most_streams is None else self._most_streams

    @property
    def room(self) -> int:
        """How many more streams may be opened now; a server may lower it below what is open."""
        if self.closing:
            return 0
        left = (LAST_ID - self._next) // 2 + 1
        return left if self._most_streams is None else max(0, min(left, self._most_streams - len(self._streams)))

    @property
    def closing(self) -> bool:
        """Whether no stream can be opened any more, though open ones may finish."""
        return self._lost is not None or self._going is not None or self._left or self._next > LAST_ID

    def data_to_send(self) -> bytes:
        """What is to be sent now, in this order behind what was taken before."""
        data = bytes(self._out)
        self._out.clear()
        self._answers = 0
        return data

    def request(self, fields: Fields, *, end: bool) -> int:
        """Opens a stream.

        Args:
            end: the request has no body.

        Raises:
            ExchangeError: CLOSED, when there is no `room`.
        """
        most, number = self._most_streams, self._next
        if self.closing or (most is not None and len(self._streams) >= most):
            raise ExchangeError(Failure.CLOSED, self._lost or self._going or "no room for another stream")
        self._next += 2
        block = self._compression.encode(fields)
        self._out += frames.head(number, block, self._largest, end=end)
        self._streams[number] = Stream(number, fields[0][1], not end, self._stream_room, self._full_window)
        return number

    def send_data(self, stream: int, data: bytes, *, end: bool) -> int:
        """Sends a part of a request's body, as much of it as the windows take now.

        Args:
            end: the body ends with these bytes; nothing is left to do once all of them are taken. The end needs no window.

        Returns:
            How many bytes were taken; fewer than given: wait for `WindowOpened`. On a stream that is over all are, for nothing.

        Raises:
            ValueError: when the stream was never opened, or its body has ended.
        """
        state = self._streams.get(stream)
        if state is None and stream % 2 and 0 < stream < self._next:
            return len(data)
        if state is None or not state.sending:
            raise ValueError(f"stream {stream} has no body to send")
        taken = 0
        while taken < len(data):
            size = min(len(data) - taken, self._largest, self._room, state.room)
            if size <= 0:
                return taken
            ends = end and taken + size == len(data)
            self._out += frames.written(DATA, END_STREAM if ends else 0, stream, data[taken : taken + size])
            self._room -= size
            state.room -= size
            taken += size
        if end and not data:
            self._out += frames.written(DATA, END_STREAM, stream)
        state.sending = not end
        return taken

    def acknowledge(self, stream: int, amount: int) -> None:
        """The reader has used so many bytes of `Data` of this stream: the server may send as many more.

        It goes on to matter when the stream is over, as the connection's window is shared; more than is unread counts as all.
        """
        unread = self._unread.get(stream, 0)
        if unread <= amount:
            self._unread.pop(stream, None)
            amount = unread
        elif amount > 0:
            self._unread[stream] = unread - amount
        if amount > 0:
            self._give_back(amount)
            state = self._streams.get(stream)
            if state is not None:
                self._widen(state, unread - amount)

    def reset(self, stream: int) -> None:
        """Gives up on a stream and on what is unread of it; no event of it follows. Of one that is over, only the latter."""
        if self._streams.pop(stream, None) is not None:
            self._out += frames.reset(stream, ErrorCode.CANCEL)
        self.acknowledge(stream, self._unread.get(stream, 0))

    def close(self) -> None:
        """Says goodbye (GOAWAY): nothing more is asked, and what is under way may still finish if the socket stays open."""
        if self._lost is None and not self._left:
            self._left = True
            self._out += frames.goaway(ErrorCode.NO_ERROR)

    def receive(self, data: bytes) -> list[Event]:
        """The events that these bytes complete; ``b""`` is the peer's close."""
        events: list[Event] = []
        if self._lost is not None:
            return events
        if not data:
            self._lose(events, Failure.CLOSED, self._going or "closed by the server")
            return events
        try:
            self._read(self._rest + data if self._rest else data, events)
        except Violation as error:
            self._out += frames.goaway(error.code)
            self._lose(events, error.failure, str(error))
        return events

    def _lose(self, events: list[Event], failure: Failure, detail: str) -> None:
        self._lost = detail
        events += [Broken(stream, failure, detail, False) for stream in self._streams]
        events.append(Lost(failure, detail))
        self._streams.clear()
        self._unread.clear()
        self._rest = b""
        self._head.clear()

    def _read(self, data: bytes, events: list[Event]) -> None:
        """Takes every whole frame: a plain head or part of a body at once, since a response is one of each, the rest in turn."""
        at, size, unpack, streams = 0, len(data), HEADER.unpack_from, self._streams
        while size - at >= 9:
            high, low, kind, flags, number = unpack(data, at)
            start = at + 9
            end = start + (high << 8 | low)
            if end > size or end - start > FRAME_SIZE:
                self._look_ahead(kind, end - start, data[at : at + 60])
                break
            at = end
            stream = streams.get(number) if self._begun and not self._head else None
            if stream is None or kind > HEADERS or flags & ~(_WHOLE if kind == HEADERS else _PLAIN):
                self._take(Frame(kind, flags, number & LAST_ID, data[start:end]), events)
            elif kind == HEADERS:
                if flags & END_HEADERS:
                    self._take_head(stream, data[start:end], bool(flags & END_STREAM), events)
                else:
                    self._take(Frame(kind, flags, number, data[start:end]), events)
            else:
                self._take_data(stream, data[start:end], end - start, bool(flags & END_STREAM), events)
        self._rest = data[at:]

    def _look_ahead(self, kind: int, size: int, start: bytes) -> None:
        """Does not wait for what cannot be, an answer in HTTP/1.1 for one."""
        self._check_begin(kind, start)
        if size > FRAME_SIZE:
            raise Violation(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")

    def _check_begin(self, kind: int, start: bytes) -> None:
        """SETTINGS come first (3.4)."""
        if not self._begun and kind != SETTINGS:
            line = start.partition(b"\r\n")[0].decode("latin-1")
            raise Violation(ErrorCode.PROTOCOL_ERROR, f"{NOT_HTTP2}: {line!a}")

    # Frames

    def _take(self, frame: Frame, events: list[Event]) -> None:
        kind = frame.kind
        if not self._begun:
            self._check_begin(kind if not frame.flags & ACK else frames.PING, frames.written(*frame)[:60])
            self._begun = True
        if self._head or kind == CONTINUATION or (kind == HEADERS and not frame.flags & END_HEADERS):
            self._collect(frame, events)
        elif kind == HEADERS:
            self._take_block(frame, frames.block_of(frame.flags, frame.payload), events)
        elif kind == DATA:
            self._take_padded(frame, events)
        elif kind == RST_STREAM:
            self._take_reset(frame, events)
        elif kind == WINDOW_UPDATE:
            self._take_window(frame, events)
        elif kind in (SETTINGS, frames.PING):
            self._answer(frame, events)
        elif kind == frames.GOAWAY:
            self._go_away(frame, events)
        elif kind == frames.PUSH_PROMISE:
            raise Violation(ErrorCode.PROTOCOL_ERROR, "a pushed stream, which was forbidden")

    def _collect(self, frame: Frame, events: list[Event]) -> None:
        """A head may come in several frames."""
        started = self._head
        place = (frame.kind, frame.stream) == (CONTINUATION, started[0].stream) if started else frame.kind == HEADERS
        if not place:
            raise Violation(ErrorCode.PROTOCOL_ERROR, "a frame out of place among those of a head")
        # Frames count with their headers, so that empty ones are bounded too.
        self._head_size = (self._head_size if started else 0) + 9 + len(frame.payload)
        started.append(frame)
        if self._head_size > self._max_head:
            raise Violation(ErrorCode.ENHANCE_YOUR_CALM, f"more than {self._max_head} bytes of headers", Failure.TOO_LARGE)
        if frame.flags & END_HEADERS and (frame.kind == CONTINUATION or len(started) == 1):
            first, *more = started
            self._head = []
            block = frames.block_of(first.flags, first.payload) + b"".join(part.payload for part in more)
            self._take_block(first, block, events)

    def _take_block(self, frame: Frame, block: bytes, events: list[Event]) -> None:
        stream = self._streams.get(frame.stream)
        if stream is not None:
            self._take_head(stream, block, bool(frame.flags & END_STREAM), events)
        else:
            self._check_opened(frame.stream)
            # Of a stream that is over; later blocks refer to what this one says.
            self._fields.decode(block)

    def _check_opened(self, number: int) -> None:
        """A stream that is over may have had frames under way; one that was never opened has none."""
        if number % 2 == 0 or number >= self._next:
            raise Violation(ErrorCode.PROTOCOL_ERROR, f"a frame on stream {number}, which was not opened")

    def _take_head(self, stream: Stream, data: bytes, end: bool, events: list[Event]) -> None:
        block = self._fields.known.get(data) or self._fields.decode(data)
        try:
            head = stream.head(block, end=end)
            if head is not None:
                events.append(head)
            if end:
                self._end(stream, events)
        except Malformed as error:
            self._break(stream, error, events)

    def _take_data(self, stream: Stream, data: bytes, size: int, end: bool, events: list[Event]) -> None:
        """A part of a body; `size` is what it takes of the windows, padding included."""
        self._window -= size
        stream.window -= size
        length = len(data)
        if self._window < 0 or stream.window < 0:
            self._check_window()
            self._give_back(size)
            return self._break(stream, Malformed("beyond the window: FLOW_CONTROL_ERROR"), events, ErrorCode.FLOW_CONTROL_ERROR)
        try:
            stream.part(length, end=end)
        except Malformed as error:
            self._give_back(size)
            return self._break(stream, error, events)
        if length:
            events.append(Data(stream.number, data))
        elif not end:
            self._count_empty()
        if self._eager:
            self._used += size
            if 2 * self._used >= self._full_connection:
                self._open_window()
        else:
            if length:
                self._unread[stream.number] = self._unread.get(stream.number, 0) + length
            if size > length:
                self._give_back(size - length)
        if end:
            self._end(stream, events)
        elif self._eager or size > length:
            self._widen(stream, self._unread.get(stream.number, 0))

    def _take_padded(self, frame: Frame, events: list[Event]) -> None:
        stream, size = self._streams.get(frame.stream), len(frame.payload)
        data = frames.unpadded(frame.flags, frame.payload)
        if stream is not None:
            return self._take_data(stream, data, size, bool(frame.flags & END_STREAM), events)
        self._check_opened(frame.stream)
        self._window -= size
        self._check_window()
        self._give_back(size)

    def _end(self, stream: Stream, events: list[Event]) -> None:
        del self._streams[stream.number]
        events.append(End(stream.number, stream.trailers))
        if stream.sending:
            self._out += frames.reset(stream.number, ErrorCode.CANCEL)

    def _break(self, stream: Stream, error: Malformed, events: list[Event], code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        del self._streams[stream.number]
        self._out += frames.reset(stream.number, code)
        events.append(Broken(stream.number, error.failure, str(error), False))

    def _take_reset(self, frame: Frame, events: list[Event]) -> None:
        frames.sized(frame, 4)
        stream = self._streams.pop(frame.stream, None)
        if stream is None:
            return self._check_opened(frame.stream)
        code = int.from_bytes(frame.payload, "big")
        detail = f"reset by the server: {name_of(code)}"
        events.append(Broken(stream.number, Failure.RESET, detail, code == ErrorCode.REFUSED_STREAM))

    # Windows

    def _check_window(self) -> None:
        if self._window < 0:
            raise Violation(ErrorCode.FLOW_CONTROL_ERROR, "more than the connection's window")

    def _give_back(self, amount: int) -> None:
        """These bytes need no room any more; the connection's window opens once it is worth a frame."""
        self._used += amount
        if 2 * self._used >= self._full_connection:
            self._open_window()

    def _open_window(self) -> None:
        self._out += frames.window_update(0, self._used)
        self._window += self._used
        self._used = 0

    def _widen(self, stream: Stream, unread: int) -> None:
        """The same for a stream."""
        missing = self._full_window - stream.window - unread
        if 2 * missing >= self._full_window:
            self._out += frames.window_update(stream.number, missing)
            stream.window += missing

    def _take_window(self, frame: Frame, events: list[Event]) -> None:
        frames.sized(frame, 4)
        amount = int.from_bytes(frame.payload, "big") & LAST_ID
        if not frame.stream:
            if not amount:
                raise Violation(ErrorCode.PROTOCOL_ERROR, "a window that opens by nothing")
            self._room += amount
            if self._room > LAST_ID:
                raise Violation(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond all bounds")
            events.append(WindowOpened(None))
            return
        stream = self._streams.get(frame.stream)
        if stream is None:
            return self._check_opened(frame.stream)
        stream.room += amount
        if not amount:
            self._break(stream, Malformed("a window that opens by nothing"), events)
        elif stream.room > LAST_ID:
            self._break(stream, Malformed("a window beyond all bounds"), events, ErrorCode.FLOW_CONTROL_ERROR)
        elif stream.sending:
            events.append(WindowOpened(stream.number))

    # The connection

    def _count_empty(self) -> None:
        self._empty += 1
        if self._empty > MOST_EMPTY:
            raise Violation(ErrorCode.ENHANCE_YOUR_CALM, "a flood of empty frames")

    def _answer(self, frame: Frame, events: list[Event]) -> None:
        """What we must answer is bounded: a peer that asks without reading would fill our memory."""
        asks, settles = not frame.flags & ACK, frame.kind == SETTINGS
        self._answers += asks
        self._settings += asks and settles
        if self._answers > MOST_ANSWERS or self._settings > MOST_SETTINGS:
            raise Violation(ErrorCode.ENHANCE_YOUR_CALM, f"a flood of {'SETTINGS' if settles else 'PING'} frames")
        if frame.stream:
            raise Violation(ErrorCode.PROTOCOL_ERROR, f"a frame of kind {frame.kind} on stream {frame.stream}")
        if not settles:
            frames.sized(frame, 8)
            if asks:
                self._out += frames.written(frames.PING, ACK, 0, frame.payload)
        elif asks:
            self._settle(frame.payload, events)
            self._out += frames.written(SETTINGS, ACK, 0)
        else:
            frames.sized(frame, 0)

    def _settle(self, payload: bytes, events: list[Event]) -> None:
        opened = False
        if self._settings == 1:
            self._most_streams = None
        for code, value in frames.settings_in(payload):
            if code == frames.MAX_CONCURRENT_STREAMS:
                self._most_streams = value if value <= LAST_ID else None
            elif code == frames.INITIAL_WINDOW_SIZE:
                self._resize_windows(value)
                opened = True
            elif code == frames.MAX_FRAME_SIZE:
                if not FRAME_SIZE <= value < 1 << 24:
                    raise Violation(ErrorCode.PROTOCOL_ERROR, f"frames of {value} bytes")
                self._largest = value
            elif code == frames.HEADER_TABLE_SIZE:
                self._compression.resize(value)
            elif code == frames.ENABLE_PUSH and value:
                raise Violation(ErrorCode.PROTOCOL_ERROR, "a server that asks for pushed streams")
        events.append(Settled(self._most_streams))
        if opened:
            events.append(WindowOpened(None))

    def _resize_windows(self, size: int) -> None:
        """Those of open streams change by as much (6.9.2)."""
        change = size - self._stream_room
        if size > LAST_ID or any(stream.room + change > LAST_ID for stream in self._streams.values()):
            raise Violation(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond all bounds")
        self._stream_room = size
        for stream in self._streams.values():
            stream.room += change

    def _go_away(self, frame: Frame, events: list[Event]) -> None:
        if len(frame.payload) < 8 or frame.stream:
            raise Violation(ErrorCode.PROTOCOL_ERROR, "a GOAWAY that is none")
        last, code = struct.unpack_from(">LL", frame.payload)
        # A graceful server names the highest number first and the true one later; it may never raise it.
        self._last = min(self._last, last & LAST_ID)
        debug = frame.payload[8:108].decode("latin-1")
        self._going = f"the server goes away: {name_of(code)}" + (f", {debug!a}" if debug else "")
        events.append(GoingAway(self._last, code, self._going))
        for number in [number for number in self._streams if number > self._last]:
            del self._streams[number]
            events.append(Broken(number, Failure.CLOSED, self._going, True))
