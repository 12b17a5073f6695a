"""The client's side of one HTTP/2 connection without a socket: calls become bytes, bytes become events (RFC 9113).

The `h2` library keeps the state of streams, windows and header compression; it sees one whole frame at a time, so that nothing
that came before a mistake is lost. Three kinds of frame it never sees:

- GOAWAY, after which it refuses all others, though the server goes on answering the streams it has accepted (6.8);
- those of streams that are over: it would answer each DATA with another RST_STREAM, and end the connection at an informational
  head that was under way when its stream was cancelled;
- those of no use here (PRIORITY, ALTSVC, unknown types), and settings that it would only store.
"""

import struct

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.events import Event as H2Event
from h2.exceptions import DenialOfServiceError, H2Error
from h2.settings import SettingCodes

from kbalance.errors import ExchangeError
from kbalance.model.words import Failure
from kbalance.wire import http2_frames as kinds
from kbalance.wire.http1 import MAX_HEAD
from kbalance.wire.http2_events import Broken, Data, End, Event, GoingAway, Lost, Settled, WindowOpened
from kbalance.wire.http2_fields import Fields, Malformed
from kbalance.wire.http2_frames import ACK, LAST_ID, Frame, FrameReader, Violation, goaway, useful, window_update
from kbalance.wire.http2_library import DEFAULT_WINDOW, Library, name_of
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


class Http2Connection:
    """One connection to a server that is known to speak HTTP/2, by ALPN or beforehand.

    Whoever has the socket takes `data_to_send` after every call and gives `receive` what came. What a peer sends never raises: a
    response that is not sound breaks its stream, and a mistake in framing or compression the connection. A peer that
    does not read cannot make the unsent grow if `data_to_send` is asked only when the bytes before are on their way.
    """

    def __init__(self, *, max_head: int = MAX_HEAD, window: int = WINDOW, connection_window: int = CONNECTION_WINDOW) -> None:
        """Ready to ask; the first bytes to send are the preface and our settings, with push disabled.

        Args:
            max_head: bytes of the fields of one head or of trailers, and 32 for each field (RFC 9113, 10.5.1).
            window: bytes of one body that may come before its reader has acknowledged any.
            connection_window: the same over all streams; 65,535 at least, which the protocol gives.
        """
        if not DEFAULT_WINDOW <= connection_window <= LAST_ID or not 0 < window <= LAST_ID:
            raise ValueError(f"no windows of {window} and {connection_window} bytes")
        self._h2 = Library(max_head, window, connection_window)
        self._max_head = max_head
        self._credit_step = connection_window // 2
        self._frames = FrameReader(max_head)
        self._own = bytearray()
        self._streams: dict[int, Stream] = {}
        self._unread: dict[int, int] = {}
        self._credit = 0
        self._next = 1
        self._settled = 0
        self._most_streams: int | None = STREAMS_AT_FIRST
        self._answers = 0
        self._going: str | None = None
        self._last: int = LAST_ID
        self._left = False
        """Whether we have said goodbye."""
        self._lost: str | None = None

    def __repr__(self) -> str:
        state = "lost" if self._lost is not None else "closing" if self.closing else "open"
        return f"<Http2Connection {state}, {len(self._streams)} streams, room for {self.room}>"

    @property
    def streams(self) -> int:
        """How many wait for the end of their response."""
        return len(self._streams)

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
        self._answers = 0
        data = self._h2.data_to_send() + bytes(self._own)
        self._own.clear()
        return data

    def request(self, fields: Fields, *, end: bool) -> int:
        """Opens a stream.

        Args:
            end: the request has no body.

        Raises:
            ExchangeError: CLOSED, when there is no `room`.
        """
        if not self.room:
            raise ExchangeError(Failure.CLOSED, self._lost or self._going or "no room for another stream")
        stream = self._next
        self._h2.send_headers(stream, fields, end_stream=end)
        self._next += 2
        self._streams[stream] = Stream(stream, fields[0][1], sending=not end)
        return stream

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
            size = min(len(data) - taken, self._h2.max_outbound_frame_size, self._h2.local_flow_control_window(stream))
            if size <= 0:
                return taken
            self._send_frame(state, data[taken : taken + size], end=end and taken + size == len(data))
            taken += size
        if end and not data:
            self._send_frame(state, b"", end=True)
        return taken

    def _send_frame(self, state: Stream, data: bytes, *, end: bool) -> None:
        self._h2.send_data(state.number, data, end_stream=end)
        state.sending = not end

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
            self._h2.release(stream, amount)

    def reset(self, stream: int) -> None:
        """Gives up on a stream and on what is unread of it; no event of it follows. Of one that is over, only the latter."""
        if self._streams.pop(stream, None) is not None:
            self._h2.give_up(stream, ErrorCodes.CANCEL)
        self.acknowledge(stream, self._unread.get(stream, 0))

    def close(self) -> None:
        """Says goodbye (GOAWAY): nothing more is asked, and what is under way may still finish if the socket stays open."""
        if self._lost is None and not self._left:
            self._left = True
            self._own += goaway(ErrorCodes.NO_ERROR)

    def receive(self, data: bytes) -> list[Event]:
        """The events that these bytes complete; ``b""`` is the peer's close."""
        events: list[Event] = []
        if self._lost is not None:
            return events
        if not data:
            self._lose(events, Failure.CLOSED, self._going or "closed by the server")
            return events
        try:
            for frame in self._frames.receive(data):
                self._take(frame, events)
        except Violation as error:
            self._own += goaway(error.code)
            self._lose(events, error.failure, str(error))
        except DenialOfServiceError:
            self._lose(events, Failure.TOO_LARGE, f"more than {self._max_head} bytes of headers")
        except H2Error as error:
            self._lose(events, Failure.MALFORMED, str(error)[:200] or type(error).__name__)
        return events

    def _lose(self, events: list[Event], failure: Failure, detail: str) -> None:
        self._lost = detail
        events += [Broken(stream, failure, detail, False) for stream in self._streams]
        events.append(Lost(failure, detail))
        self._streams.clear()
        self._unread.clear()
        self._frames = FrameReader(0)

    def _take(self, frame: Frame, events: list[Event]) -> None:
        kind = frame.kind
        state = self._streams.get(frame.stream)
        if state is not None and kind in (kinds.HEADERS, kinds.DATA, kinds.RST_STREAM, kinds.WINDOW_UPDATE):
            self._take_open(state, frame, events)
        elif kind in (kinds.HEADERS, kinds.DATA, kinds.RST_STREAM) or (kind == kinds.WINDOW_UPDATE and frame.stream):
            self._take_late(frame)
        elif kind == kinds.WINDOW_UPDATE:
            self._h2.receive_data(frame.raw)
            events.append(WindowOpened(None))
        elif kind in (kinds.SETTINGS, kinds.PING):
            self._answer(frame, events)
        elif kind == kinds.GOAWAY:
            self._go_away(frame, events)
        elif kind == kinds.PUSH_PROMISE:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a pushed stream, which was forbidden")

    def _take_open(self, state: Stream, frame: Frame, events: list[Event]) -> None:
        seen = False
        try:
            if frame.kind == kinds.DATA:
                state.part(frame)
            seen = True
            for event in self._h2.receive_data(frame.raw):
                self._advance(state, event, events)
        except Malformed as error:
            del self._streams[state.number]
            self._h2.give_up(state.number, ErrorCodes.PROTOCOL_ERROR)
            self._give_back(0 if seen else len(frame.payload))
            events.append(Broken(state.number, error.failure, str(error), False))

    def _take_late(self, frame: Frame) -> None:
        """A frame of a stream that is over, under way when it ended: it counts in what the whole connection shares."""
        if frame.stream % 2 == 0 or frame.stream >= self._next:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, f"a frame on stream {frame.stream}, which was not opened")
        if frame.kind == kinds.DATA:
            self._give_back(len(frame.payload))
        elif frame.kind == kinds.HEADERS:
            self._h2.keep_in_step(frame)

    def _give_back(self, amount: int) -> None:
        """Opens the connection's window for bytes that nobody will read and `h2` did not see."""
        self._credit += amount
        if self._credit >= self._credit_step:
            self._own += window_update(self._credit)
            self._credit = 0

    def _go_away(self, frame: Frame, events: list[Event]) -> None:
        if len(frame.payload) < 8 or frame.stream:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a GOAWAY that is none")
        last, code = struct.unpack_from(">LL", frame.payload)
        # A graceful server names the highest number first and the true one later; it may never raise it.
        self._last = min(self._last, last & LAST_ID)
        debug = frame.payload[8:108].decode("latin-1")
        self._going = f"the server goes away: {name_of(code)}" + (f", {debug!a}" if debug else "")
        events.append(GoingAway(self._last, code, self._going))
        for stream in [number for number in self._streams if number > self._last]:
            del self._streams[stream]
            events.append(Broken(stream, Failure.CLOSED, self._going, True))

    def _answer(self, frame: Frame, events: list[Event]) -> None:
        """What we must answer is bounded: a peer that asks without reading would fill our memory."""
        asks = not frame.flags & ACK
        settles = frame.kind == kinds.SETTINGS
        self._answers += asks
        self._settled += asks and settles
        if self._answers > MOST_ANSWERS or self._settled > MOST_SETTINGS:
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, f"a flood of {'SETTINGS' if settles else 'PING'} frames")
        for event in self._h2.receive_data(useful(frame) if settles else frame.raw):
            if isinstance(event, RemoteSettingsChanged):
                self._settle(event, events)

    def _settle(self, event: RemoteSettingsChanged, events: list[Event]) -> None:
        limit = self._h2.remote_settings.max_concurrent_streams
        self._most_streams = limit if limit <= LAST_ID else None
        events.append(Settled(self._most_streams))
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            events.append(WindowOpened(None))

    def _advance(self, state: Stream, event: H2Event, events: list[Event]) -> None:
        """What the library makes of a frame on an open stream; after `Malformed` nothing else of it counts."""
        stream = state.number
        match event:
            case ResponseReceived(headers=headers) | InformationalResponseReceived(headers=headers):
                events.append(state.head(headers or []))
            case DataReceived(data=bytes(data), flow_controlled_length=int(length)):
                if data:
                    self._unread[stream] = self._unread.get(stream, 0) + len(data)
                    events.append(Data(stream, data))
                if length > len(data):  # padding
                    self._h2.release(stream, length - len(data))
            case TrailersReceived(headers=headers):
                state.trail(headers or [])
            case StreamEnded():
                state.end()
                del self._streams[stream]
                events.append(End(stream, state.trailers))
                if state.sending:
                    self._h2.give_up(stream, ErrorCodes.CANCEL)
            case WindowUpdated() if state.sending:
                events.append(WindowOpened(stream))
            case StreamReset(error_code=code, remote_reset=remote):
                del self._streams[stream]
                failure = Failure.RESET if remote else Failure.MALFORMED
                detail = f"{'reset by the server' if remote else 'beyond the window'}: {name_of(code or 0)}"
                events.append(Broken(stream, failure, detail, code == ErrorCodes.REFUSED_STREAM))
