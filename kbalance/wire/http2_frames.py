"""HTTP/2 frames: what their bytes mean, and how a client writes them (RFC 9113, 4 and 6)."""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from kbalance.model.words import Failure

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
"""Settings (6.5.2)."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LAST_ID = (1 << 31) - 1
"""Of a stream; also the largest window."""
DEFAULT_WINDOW = 65_535
FRAME_SIZE = 16 * 1024
"""Of a payload, as long as nobody has allowed more."""

HEADER = struct.Struct(">HBBBL")
"""Length in two parts, kind, flags, stream."""


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def name_of(code: int) -> str:
    """An error code in words."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"


class Violation(Exception):
    """The connection cannot go on (5.4.1)."""

    def __init__(self, code: ErrorCode, detail: str, failure: Failure = Failure.MALFORMED) -> None:
        super().__init__(detail)
        self.code = code
        self.failure = failure


class Frame(NamedTuple):
    """One frame, without its nine bytes of header."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def sized(frame: Frame, size: int) -> None:
    """
    Raises:
        Violation: the payload has another size than all frames of this kind have.
    """
    if len(frame.payload) != size:
        raise Violation(ErrorCode.FRAME_SIZE_ERROR, f"a frame of kind {frame.kind} with {len(frame.payload)} bytes")


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without padding (6.1).

    Raises:
        Violation: there is more padding than frame.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Violation(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def block_of(flags: int, payload: bytes) -> bytes:
    """The part of HEADERS that is compressed fields (6.2).

    Raises:
        Violation: the frame is too short for what its flags say.
    """
    payload = unpadded(flags, payload)
    if not flags & WITH_PRIORITY:
        return payload
    if len(payload) < 5:
        raise Violation(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without room for its priority")
    return payload[5:]


def settings_in(payload: bytes) -> Iterator[tuple[int, int]]:
    """Codes with values.

    Raises:
        Violation: these are no settings.
    """
    if len(payload) % 6:
        raise Violation(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    return struct.iter_unpack(">HL", payload)


def written(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as bytes."""
    return HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def head(stream: int, block: bytes, most: int, *, end: bool) -> bytes:
    """A request's head: HEADERS, and CONTINUATION for what is beyond the server's largest frame."""
    ends, size = END_STREAM if end else 0, len(block)
    if size <= most:
        # As `written` does: a call less for each request.
        return HEADER.pack(size >> 8, size & 0xFF, HEADERS, END_HEADERS | ends, stream) + block
    parts = [block[at : at + most] for at in range(0, len(block), most)]
    between = b"".join(written(CONTINUATION, 0, stream, part) for part in parts[1:-1])
    return written(HEADERS, ends, stream, parts[0]) + between + written(CONTINUATION, END_HEADERS, stream, parts[-1])


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    return written(SETTINGS, 0, 0, b"".join(struct.pack(">HL", code, value) for code, value in values))


def reset(stream: int, code: ErrorCode) -> bytes:
    return written(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(code: ErrorCode) -> bytes:
    """The last stream of the server's that we took is none, as it must not push."""
    return written(GOAWAY, 0, 0, struct.pack(">LL", 0, code))


def window_update(stream: int, amount: int) -> bytes:
    """More for a stream, or for the whole connection where that is 0."""
    return written(WINDOW_UPDATE, 0, stream, amount.to_bytes(4, "big"))
