"""A server's side of HTTP/2 made by hand: one frame at a time, sound or not, and a reader of what the client sends."""

from collections.abc import Iterable, Mapping, Sequence

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from kbalance.wire.http2 import Http2Connection
from kbalance.wire.http2_events import Event
from kbalance.wire.http2_fields import Fields, fields_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = fields_of(b"GET", b"http", b"web.test", b"/", [])
POST = fields_of(b"POST", b"http", b"web.test", b"/", [])
HEAD = fields_of(b"HEAD", b"http", b"web.test", b"/", [])
OK = ((b":status", b"200"),)

MAX_STREAMS, WINDOW, MAX_FRAME = SettingsFrame.MAX_CONCURRENT_STREAMS, SettingsFrame.INITIAL_WINDOW_SIZE, 5


class Peer:
    """Writes frames; it remembers nothing but the compression of fields."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def encode(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        return self._encoder.encode(fields)

    def resize(self, size: int) -> None:
        """The table is as large from the next head on."""
        self._encoder.header_table_size = size

    def head(
        self, stream: int, fields: Iterable[tuple[bytes, bytes]] = OK, *, end: bool = False, cut: int = 0, padding: int = 0
    ) -> bytes:
        """HEADERS, and CONTINUATION for what is behind `cut` bytes."""
        block = self.encode(fields)
        flags = ["END_STREAM"] * end + ["END_HEADERS"] * (not cut) + ["PADDED"] * bool(padding)
        first = HeadersFrame(stream, data=block[:cut] if cut else block, flags=flags)
        first.pad_length = padding
        if not cut:
            return first.serialize()
        return first.serialize() + ContinuationFrame(stream, data=block[cut:], flags=["END_HEADERS"]).serialize()

    def trailers(self, stream: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        return self.head(stream, fields, end=True)


def settings(values: Mapping[int, int] | None = None) -> bytes:
    return SettingsFrame(0, settings=dict(values or {})).serialize()


def body(stream: int, data: bytes = b"", *, end: bool = False, padding: int | None = None) -> bytes:
    frame = DataFrame(stream, data=data, flags=["END_STREAM"] * end + ["PADDED"] * (padding is not None))
    frame.pad_length = padding or 0
    return frame.serialize()


def reset(stream: int, code: int) -> bytes:
    return RstStreamFrame(stream, error_code=code).serialize()


def goaway(last: int, code: int = 0, debug: bytes = b"") -> bytes:
    return GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=debug).serialize()


def window(stream: int, amount: int) -> bytes:
    return WindowUpdateFrame(stream, window_increment=amount).serialize()


def ping(data: bytes = b"12345678") -> bytes:
    return PingFrame(0, opaque_data=data).serialize()


def push(stream: int, block: bytes) -> bytes:
    return PushPromiseFrame(stream, promised_stream_id=2, data=block, flags=["END_HEADERS"]).serialize()


def raw(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Any frame at all."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def opened(
    values: Mapping[int, int] | None = None, *requests: Fields, eager: bool = False, **limits: int
) -> tuple[Http2Connection, Peer]:
    """A connection whose server has sent its settings, with these requests under way and nothing left to send."""
    connection = Http2Connection(eager=eager, **limits)
    connection.receive(settings(values))
    for fields in requests:
        connection.request(fields, end=fields is not POST)
    connection.data_to_send()
    return connection, Peer()


def fed(connection: Http2Connection, parts: Sequence[bytes]) -> list[Event]:
    """The events of all of these."""
    return [event for part in parts for event in connection.receive(part)]


def sent(connection: Http2Connection) -> list[str]:
    """What the client has to send, one word or two for each frame."""
    return [_word(frame) for frame in frames(connection.data_to_send())]


def frames(data: bytes) -> list[Frame]:
    data = data.removeprefix(PREFACE)
    found = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        found.append(frame)
        data = data[9 + length :]
    return found


def _word(frame: Frame) -> str:
    end = " end" if "END_STREAM" in frame.flags else ""
    match frame:
        case HeadersFrame():
            return f"{frame.stream_id} head{end}"
        case DataFrame():
            return f"{frame.stream_id} data {len(frame.data)}{end}"
        case RstStreamFrame():
            return f"{frame.stream_id} reset {frame.error_code}"
        case WindowUpdateFrame():
            return f"{frame.stream_id} window {frame.window_increment}"
        case GoAwayFrame():
            return f"goaway {frame.error_code}"
        case SettingsFrame() | PingFrame():
            return f"{type(frame).__name__.removesuffix('Frame').lower()}{' ack' if 'ACK' in frame.flags else ''}"
    return repr(frame)
