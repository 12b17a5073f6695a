"""HTTP/2 frames: cut out of what was received, looked into as far as `http2` must, and the few that it writes itself."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from h2.errors import ErrorCodes
from hyperframe.frame import HeadersFrame

from kbalance.model.words import Failure

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
LAST_ID = (1 << 31) - 1

_HEADER = struct.Struct(">HBBBL")
_MAX_SIZE = 16 * 1024
"""Of a payload, as long as we have not allowed more."""
_KNOWN_SETTINGS = {code.to_bytes(2, "big") for code in range(1, 7)}
_TABLE_SIZE = (4096).to_bytes(4, "big")
"""The protocol's default; a server that allows more must not decide how much memory our compression takes."""


class Violation(Exception):
    """The connection cannot go on (RFC 9113, 5.4.1)."""

    def __init__(self, code: ErrorCodes, detail: str, failure: Failure = Failure.MALFORMED) -> None:
        super().__init__(detail)
        self.code = code
        self.failure = failure


class Frame(NamedTuple):
    """One frame, or all those of a head."""

    kind: int
    flags: int
    """Of the first frame."""
    stream: int
    raw: bytes

    @property
    def payload(self) -> bytes:
        return self.raw[9:]

    @property
    def body_size(self) -> int:
        """Of DATA without its padding, in bytes."""
        size = len(self.raw) - 9
        return max(0, size - 1 - self.raw[9]) if self.flags & PADDED and size else size


class FrameReader:
    """Gives the frames that what was received completes, the first of which must be SETTINGS (RFC 9113, 3.4)."""

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._buffer = bytearray()
        self._head: Frame | None = None
        self._begun = False

    def receive(self, data: bytes) -> Iterator[Frame]:
        """To be read to its end before more is given.

        Raises:
            Violation: too large a frame, or one out of place.
        """
        buffer, at = self._buffer, 0
        buffer += data
        try:
            while len(buffer) - at >= 9:
                high, low, kind, flags, stream = _HEADER.unpack_from(buffer, at)
                end = at + 9 + (high << 8 | low)
                self._look(kind, end - at - 9)
                if len(buffer) < end:
                    break
                frame = Frame(kind, flags, stream & LAST_ID, bytes(buffer[at:end]))
                at = end
                if kind in (HEADERS, CONTINUATION) or self._head is not None:
                    whole = self._collect(frame)
                    if whole is not None:
                        yield whole
                else:
                    yield frame
        finally:
            del buffer[:at]

    def _look(self, kind: int, size: int) -> None:
        """Does not wait for what cannot be, an answer in HTTP/1.1 for one."""
        if not self._begun and kind != SETTINGS:
            raise Violation(ErrorCodes.PROTOCOL_ERROR, f"not HTTP/2: {bytes(self._buffer[:60]).decode('latin-1')!a}")
        if size > _MAX_SIZE:
            raise Violation(ErrorCodes.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
        self._begun = True

    def _collect(self, frame: Frame) -> Frame | None:
        """A head may come in several frames, and nothing else may come between them (RFC 9113, 4.3)."""
        head = self._head
        if (frame.kind != HEADERS) if head is None else (frame.kind, frame.stream) != (CONTINUATION, head.stream):
            raise Violation(ErrorCodes.PROTOCOL_ERROR, "a frame out of place among those of a head")
        whole = frame if head is None else head._replace(raw=head.raw + frame.raw)
        if len(whole.raw) > self._max_head:
            raise Violation(ErrorCodes.ENHANCE_YOUR_CALM, f"more than {self._max_head} bytes of headers", Failure.TOO_LARGE)
        ends = frame.flags & END_HEADERS
        self._head = None if ends else whole
        return whole if ends else None


def encoded_fields(head: Frame) -> bytes:
    """What the frames of a head hold, without padding and priority.

    Raises:
        HyperframeError: when there is more padding than frame.
    """
    parts, at = [], 0
    while at < len(head.raw):
        high, low, kind, flags, _ = _HEADER.unpack_from(head.raw, at)
        part = head.raw[at + 9 : at + 9 + (high << 8 | low)]
        at += 9 + len(part)
        if kind == HEADERS:
            first = HeadersFrame(1, flags=[name for name, bit in (("PADDED", PADDED), ("PRIORITY", PRIORITY)) if flags & bit])
            first.parse_body(memoryview(part))
            part = bytes(first.data)
        parts.append(part)
    return b"".join(parts)


def useful(frame: Frame) -> bytes:
    """SETTINGS without unknown ones, each of which `h2` would store; what is no such frame stays as it is."""
    payload = frame.payload
    if len(payload) % 6 or frame.flags & ACK or frame.stream:
        return frame.raw
    pairs = [(payload[at : at + 2], payload[at + 2 : at + 6]) for at in range(0, len(payload), 6)]
    kept = [code + (min(value, _TABLE_SIZE) if code == b"\0\1" else value) for code, value in pairs if code in _KNOWN_SETTINGS]
    return _written(SETTINGS, b"".join(kept))


def goaway(code: ErrorCodes) -> bytes:
    """The last stream of the server's that we took is none, as it must not push."""
    return _written(GOAWAY, struct.pack(">LL", 0, code))


def window_update(amount: int) -> bytes:
    """More for the whole connection."""
    return _written(WINDOW_UPDATE, struct.pack(">L", amount))


def _written(kind: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, 0, 0) + payload
