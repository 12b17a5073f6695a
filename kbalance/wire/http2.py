"""The client's side of one HTTP/2 connection without a socket: calls become bytes, bytes become events (RFC 9113).

The `h2` library keeps the state of streams, windows and header compression; it sees one whole frame at a time, so that nothing
that came before a mistake is lost. Three kinds of frame it never sees:

- GOAWAY, after which it refuses all others, though the server goes on answering the streams it has accepted (6.8);
- those of streams that are over: it would answer each DATA with another RST_STREAM, and end the connection at an informational
  head that was under way when its stream was cancelled;
- those of no use here (PRIORITY, ALTSVC, unknown types), and settings that it would only store.
"""

import contextlib
import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
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
from h2.settings import SettingCodes, Settings
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hyperframe.exceptions import HyperframeError

from kbalance.errors import ExchangeError
from kbalance.model.words import Failure
from kbalance.wire import http2_frames
from kbalance.wire.http1 import MAX_HEAD
from kbalance.wire.http2_events import Broken, Data, End, Event, GoingAway, Head, Lost, Pairs, Settled, WindowOpened
from kbalance.wire.http2_fields import Fields, Malformed, length_of, sound, status_of
from kbalance.wire.http2_frames import (
    ACK,
    END_STREAM,
    LAST_ID,
    Frame,
    FrameReader,
    Violation,
    encoded_fields,
    goaway,
    useful,
    window_update,
)

WINDOW = 1 << 20
"""Bytes of a body that may wait for its reader; with the protocol's 65,535 a round trip of 1 ms would mean 65 MB/s at most."""
CONNECTION_WINDOW = 16 << 20
"""The same for all streams together: one whose reader sleeps does not stop the others."""
STREAMS_AT_FIRST = 100
"""Before the server has said how many it takes; what RFC 9113, 6.5.2 asks servers to allow at least."""
MOST_INTERIM_HEADS = 100
MOST_SETTINGS = 1000
"""SETTINGS frames in the life of a connection; a server sends one, or a few more as its windows grow."""
MOST_ANSWERS = 1000
"""PING and SETTINGS frames whose answers nobody has taken yet."""


class _Connection(H2Connection):
    MAX_CLOSED_STREAMS = 0  # It sees no frames of such streams; by default it remembers 65,536 of them.


class _Stream:
    """A stream whose response is not complete."""

    __slots__ = ("answered", "interim", "left", "method", "sending", "trailers")

    def __init__(self, method: bytes, sending: bool) -> None:
        self.method = method
        self.sending = sending
        self.answered = False
        self.interim = 0
        self.left: int | None = None
        """Bytes of the body that must still come, if that is known."""
        self.trailers: Pairs = ()


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
        if not 65_535 <= connection_window <= LAST_ID or not 0 < window <= LAST_ID:
            raise ValueError(f"no windows of {window} and {connection_window} bytes")
        self._h2 = _h2(max_head, window)
        if connection_window > 65_535:
            self._h2.increment_flow_control_window(connection_window - 65_535)
        self._max_head = max_head
        self._credit_step = connection_window // 2
        self._frames = FrameReader(max_head)
        self._own = bytearray()
        self._streams: dict[int, _Stream] = {}
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
        self._streams[stream] = _Stream(fields[0][1], not end)
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
        if state is None or not state.sending:
            if stream % 2 == 0 or not 0 < stream < self._next or state is not None:
                raise ValueError(f"stream {stream} has no body to send")
            return len(data)
        taken = 0
        while taken < len(data) or (end and not data):
            size = min(len(data) - taken, self._h2.max_outbound_frame_size, self._h2.local_flow_control_window(stream))
            if size <= 0 and data:
                return taken
            state.sending = not (end and taken + size == len(data))
            self._h2.send_data(stream, data[taken : taken + size], end_stream=not state.sending)
            taken += size
            if not data:
                break
        return taken

    def acknowledge(self, stream: int, amount: int) -> None:
        """The reader has used so many bytes of `Data` of this stream: the server may send as many more.

        It goes on to matter when the stream is over, as the connection's window is shared; more than is unread counts as all.
        """
        unread = self._unread.get(stream, 0)
        if unread <= amount:
            self._unread.pop(stream, None)
            amount = unread
        else:
            self._unread[stream] = unread - amount
        if amount > 0:
            self._release(stream, amount)

    def reset(self, stream: int) -> None:
        """Gives up on a stream and on what is unread of it; no event of it follows. One that is over or unknown stays so."""
        if self._streams.pop(stream, None) is not None:
            self._reset(stream, ErrorCodes.CANCEL)
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
        state = self._streams.get(frame.stream)
        match frame.kind:
            case http2_frames.HEADERS | http2_frames.DATA | http2_frames.RST_STREAM if state is None:
                self._take_late(frame)
            case http2_frames.WINDOW_UPDATE if state is None and frame.stream:
                self._take_late(frame)
            case http2_frames.DATA if state is not None and (wrong := _misfit(state, frame)):
                self._spoil(frame.stream, events, wrong)
                self._give_back(len(frame.payload))
            case http2_frames.HEADERS | http2_frames.DATA | http2_frames.RST_STREAM | http2_frames.WINDOW_UPDATE:
                self._pass_on(frame.raw, events)
            case http2_frames.SETTINGS | http2_frames.PING:
                self._answer(frame, events)
            case http2_frames.GOAWAY:
                self._go_away(frame, events)
            case http2_frames.PUSH_PROMISE:
                raise Violation(ErrorCodes.PROTOCOL_ERROR, "a pushed stream, which was forbidden")

    def _take_late(self, frame: Frame) -> None:
        """A frame of a stream that is over, under way when it ended: it counts in what the whole connection shares."""
        if frame.stream % 2 == 0 or frame.stream >= self._next:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, f"a frame on stream {frame.stream}, which was not opened")
        if frame.kind == http2_frames.DATA:
            self._give_back(len(frame.payload))
        if frame.kind == http2_frames.HEADERS:
            try:
                self._h2.decoder.decode(encoded_fields(frame), raw=True)
            except OversizedHeaderListError as error:
                raise DenialOfServiceError from error
            except (HPACKError, HyperframeError) as error:
                raise Violation(ErrorCodes.COMPRESSION_ERROR, f"header fields that cannot be decoded: {error}") from error

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
        self._going = f"the server goes away: {_name(code)}" + (f", {debug!a}" if debug else "")
        events.append(GoingAway(self._last, code, self._going))
        for stream in [number for number in self._streams if number > self._last]:
            del self._streams[stream]
            events.append(Broken(stream, Failure.CLOSED, self._going, True))

    def _answer(self, frame: Frame, events: list[Event]) -> None:
        """What we must answer is bounded: a peer that asks without reading would fill our memory."""
        asks = not frame.flags & ACK
        settles = frame.kind == http2_frames.SETTINGS
        self._answers += asks
        self._settled += asks and settles
        if self._answers > MOST_ANSWERS or self._settled > MOST_SETTINGS:
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, f"a flood of {'SETTINGS' if settles else 'PING'} frames")
        self._pass_on(useful(frame) if settles else frame.raw, events)

    def _pass_on(self, frame: bytes, events: list[Event]) -> None:
        for event in self._h2.receive_data(frame):
            self._translate(event, events)

    def _translate(self, event: H2Event, events: list[Event]) -> None:
        match event:
            case RemoteSettingsChanged():
                self._settle(event, events)
            case WindowUpdated(stream_id=number):
                if not number or self._streams[number].sending:
                    events.append(WindowOpened(number or None))
            case (
                ResponseReceived(stream_id=int(stream))
                | InformationalResponseReceived(stream_id=int(stream))
                | DataReceived(stream_id=int(stream))
                | TrailersReceived(stream_id=int(stream))
                | StreamEnded(stream_id=int(stream))
                | StreamReset(stream_id=int(stream))
            ) if stream in self._streams:
                try:
                    self._advance(self._streams[stream], stream, event, events)
                except Malformed as error:
                    self._spoil(stream, events, str(error))

    def _settle(self, event: RemoteSettingsChanged, events: list[Event]) -> None:
        limit = self._h2.remote_settings.max_concurrent_streams
        self._most_streams = limit if limit <= LAST_ID else None
        events.append(Settled(self._most_streams))
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            events.append(WindowOpened(None))

    def _advance(self, state: _Stream, stream: int, event: H2Event, events: list[Event]) -> None:
        match event:
            case InformationalResponseReceived(headers=headers) | ResponseReceived(headers=headers):
                head = Head(stream, status_of(headers), tuple(headers[1:]))
                self._begin(state, head, events)
            case DataReceived(data=data, flow_controlled_length=length):
                if data:
                    self._unread[stream] = self._unread.get(stream, 0) + len(data)
                    events.append(Data(stream, data))
                if length > len(data):  # padding
                    self._release(stream, length - len(data))
            case TrailersReceived(headers=headers):
                state.trailers = sound(headers)
            case StreamEnded():
                if state.left:
                    raise Malformed("a body that is not as long as announced")
                del self._streams[stream]
                events.append(End(stream, state.trailers))
                if state.sending:
                    self._reset(stream, ErrorCodes.CANCEL)
            case StreamReset(error_code=code, remote_reset=remote):
                del self._streams[stream]
                failure = Failure.RESET if remote else Failure.MALFORMED
                detail = f"{'reset by the server' if remote else 'not sound'}: {_name(code or 0)}"
                events.append(Broken(stream, failure, detail, code == ErrorCodes.REFUSED_STREAM))

    def _begin(self, state: _Stream, head: Head, events: list[Event]) -> None:
        if head.informational:
            state.interim += 1
            if state.interim > MOST_INTERIM_HEADS:
                return self._spoil(head.stream, events, "a flood of informational heads", Failure.TOO_LARGE)
        else:
            state.answered = True
            state.left = length_of(head.status, state.method, head.fields)
        events.append(head)

    def _spoil(self, stream: int, events: list[Event], detail: str, failure: Failure = Failure.MALFORMED) -> None:
        del self._streams[stream]
        self._reset(stream, ErrorCodes.PROTOCOL_ERROR)
        events.append(Broken(stream, failure, detail, False))

    def _reset(self, stream: int, code: ErrorCodes) -> None:
        if not self._h2.streams[stream].closed:
            self._h2.reset_stream(stream, code)

    def _release(self, stream: int, amount: int) -> None:
        # `h2` says so itself of a connection that a mistake has ended.
        with contextlib.suppress(H2Error):
            self._h2.acknowledge_received_data(amount, stream)


def _h2(max_head: int, window: int) -> _Connection:
    """Fields are checked in `http2_fields`: faster, and a mistake in them breaks one stream rather than the connection."""
    connection = _Connection(
        H2Configuration(
            client_side=True,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
        )
    )
    connection.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: window,
            SettingCodes.MAX_HEADER_LIST_SIZE: max_head,
        },
    )
    del connection.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]  # it is the server's to send (RFC 8441, 3)
    connection.decoder.max_header_list_size = max_head
    connection.initiate_connection()
    return connection


def _misfit(state: _Stream, frame: Frame) -> str:
    """What is wrong with this part of a body, whose size it counts; `h2` would end the connection for it."""
    if not state.answered:
        return "a body before its head"
    if state.left is not None:
        state.left -= frame.body_size
        if state.left < 0 or (state.left and frame.flags & END_STREAM):
            return "a body that is not as long as announced"
    return ""


def _name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code}"
