"""HTTP/1.1 without a socket: a request becomes bytes, bytes become the events of a response (RFC 9110, RFC 9112).

The reader is strict where a wrong guess would move the border between two responses (lengths, chunk sizes, framing) and
lenient where RFC 9112 section 2.2 allows it (a lone LF ends a header line, a folded header line is unfolded).
"""

import re
from typing import NamedTuple

from kbalance import __version__
from kbalance.errors import ExchangeError, TargetError
from kbalance.model.plan import RequestSpec
from kbalance.model.words import Failure

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers, informational responses before them and trailers included; nginx and Go default to less."""
MAX_BODY = 1 << 30
MAX_CHUNK_LINE = 4096
NONCE_HEADER = "X-Kbalance-Nonce"

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that a client may send again without asking (RFC 9110, 9.2.2)."""

A_FRAME = "a frame of HTTP/2"
NOT_HTTP2 = "not HTTP/2"
"""What is said of a server that answers with the one, or does not with the other."""

UNTIL_CLOSE = -1
CHUNKED = -2

_HEAD_END = re.compile(rb"\n\r?\n")
_BLANK_LINE = re.compile(rb"\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) (\d{3})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
_FIELD = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\r\n]*)")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00\r\n]*)?")
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_SETTINGS = re.compile(rb"\x00[\x00-\xff]{2}\x04\x00\x00\x00\x00\x00")
"""The head of HTTP/2's frame of that name (RFC 9113, 4.1 and 6.5)."""
_PATH = re.compile(r"[\x21-\x7e]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Head(NamedTuple):
    """A status line with its header fields, and what follows from them."""

    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    """Names as received; values stripped of surrounding blanks."""
    length: int
    """Of the body in bytes, or `UNTIL_CLOSE`, or `CHUNKED`."""
    reusable: bool
    """Whether the connection may carry another exchange after this one (RFC 9112, 9.3)."""
    raw: bytes
    """As received, without the blank line at the end."""
    minor: int = 1
    """1 for HTTP/1.1, 0 for HTTP/1.0; a higher one means 1 to us (RFC 9110, 2.5)."""

    @property
    def informational(self) -> bool:
        return self.status < 200


class End(NamedTuple):
    """The response is complete."""

    trailers: tuple[tuple[bytes, bytes], ...] = ()


Event = Head | bytes | End
"""Informational heads and then the final one, parts of the body, and the end."""


def encode(request: RequestSpec, *, close: bool = False) -> bytes:
    """The request as bytes; the same bytes serve every exchange of a run.

    Args:
        close: ask the server to close afterwards, so that TIME_WAIT stays on its side.

    Raises:
        TargetError: when a part cannot stand in a request (line breaks, an ill-formed header name or method), or when a
            header of the user's contradicts how the body is sent.
    """
    own = {name.lower() for name, _ in request.headers}
    fields = [
        ("Host", request.authority),
        ("User-Agent", f"kbalance/{__version__}"),
        ("Accept", "*/*"),
        *([(NONCE_HEADER, request.nonce)] if request.nonce else []),
    ]
    fields = [field for field in fields if field[0].lower() not in own] + list(request.headers)
    if (request.body or request.method in ("POST", "PUT", "PATCH")) and "content-length" not in own:
        fields.append(("Content-Length", str(len(request.body))))
    if close and "connection" not in own:
        fields.append(("Connection", "close"))
    _check(request, fields)
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body


def _check(request: RequestSpec, fields: list[tuple[str, str]]) -> None:
    if request.method == "CONNECT" or not _TOKEN.fullmatch(request.method):
        raise TargetError(f"{request.method!r} is not an HTTP method; give one like GET.")
    if not _PATH.fullmatch(request.path):
        raise TargetError(f"The path {request.path!r} is empty or has characters that must be percent-encoded.")
    for name, value in fields:
        if not _TOKEN.fullmatch(name):
            raise TargetError(f"{name!r} is not a header name; give headers as 'Name: value'.")
        if not _VALUE.fullmatch(value):
            raise TargetError(f"The value of header {name} has characters that cannot stand in a header.")
        _check_framing(name.lower(), value, request.body)


def _check_framing(name: str, value: str, body: bytes) -> None:
    """A length that is not the body's would move the border to the next request on the connection (RFC 9112, 6.3)."""
    if name == "transfer-encoding" or (name == "content-length" and value.strip() != str(len(body))):
        raise TargetError(f"The header {name} does not describe the {len(body)} bytes of the body; leave it out, it is counted.")


def parse_head(raw: bytes, method: str) -> Head:
    """A head from its bytes, without the blank line that ended it.

    Args:
        method: of the request; the answer to HEAD has no body whatever its headers say.

    Raises:
        ExchangeError: MALFORMED, when these are not the head of an HTTP/1.x response.
    """
    lines = _lines(raw)
    match = _STATUS_LINE.fullmatch(lines[0])
    if not match or match[1] != b"1":
        raise _malformed(f"not a status line: {_excerpt(lines[0])}")
    status = int(match[3])
    if status < 100 or status == 101:
        raise _malformed(f"status {status}, which was not asked for")
    fields = _fields(lines[1:])
    minor = int(match[2])
    length, sound = _framing(status, method, fields, minor)
    reusable = sound and length != UNTIL_CLOSE and _keeps_alive(fields, minor)
    return Head(status, match[4] or b"", fields, length, reusable, raw.removesuffix(b"\r"), minor)


def _lines(raw: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in raw.split(b"\n")]


def _fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    unfolded: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and unfolded:
            unfolded[-1] += b" " + line.lstrip(b" \t")
        else:
            unfolded.append(line)
    fields = []
    for line in unfolded:
        match = _FIELD.fullmatch(line)
        if not match:
            raise _malformed(f"not a header line: {_excerpt(line)}")
        fields.append((match[1], match[2].rstrip(b" \t")))
    return tuple(fields)


def _values(fields: tuple[tuple[bytes, bytes], ...], name: bytes) -> list[bytes]:
    """The members of a comma-separated header, over all its lines, lower-cased."""
    values = [v for n, v in fields if n.lower() == name]
    return [member.strip(b" \t").lower() for value in values for member in value.split(b",")]


def _framing(status: int, method: str, fields: tuple[tuple[bytes, bytes], ...], minor: int) -> tuple[int, bool]:
    """The body's length, and whether both sides are sure to agree on it (RFC 9112, 6.3)."""
    codings = _values(fields, b"transfer-encoding")
    lengths = set(_values(fields, b"content-length"))
    if len(lengths) > 1 or any(not re.fullmatch(rb"[0-9]{1,18}", v) for v in lengths):
        raise _malformed("Content-Length is not one number")
    if method == "HEAD" or status < 200 or status in (204, 304):
        return 0, True
    if codings:
        if [coding for coding in codings if coding] != [b"chunked"]:
            raise _malformed(f"Transfer-Encoding {_excerpt(b', '.join(codings))} was not asked for")
        return CHUNKED, minor > 0 and not lengths
    if lengths:
        return int(lengths.pop()), True
    return UNTIL_CLOSE, True


def _keeps_alive(fields: tuple[tuple[bytes, bytes], ...], minor: int) -> bool:
    options = _values(fields, b"connection")
    return b"close" not in options and (minor > 0 or b"keep-alive" in options)


def _malformed(detail: str) -> ExchangeError:
    return ExchangeError(Failure.MALFORMED, detail)


def _excerpt(data: bytes) -> str:
    return ascii(data[:60].decode("latin-1"))


class ResponseParser:
    """Turns received bytes into the events of one response after another.

    ``start`` names the request that was sent; ``receive`` takes what came and gives the events it completes; ``b""`` says that
    the server has closed. Bytes behind a complete response stay in ``surplus``: nobody asked for them, and a connection that
    holds any must not be used again. After an `ExchangeError` the parser is of no more use.
    """

    __slots__ = ("_body_bytes", "_buffer", "_head_bytes", "_left", "_max_body", "_max_head", "_method", "_read")

    def __init__(self, *, max_head: int = MAX_HEAD, max_body: int = MAX_BODY) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._buffer = bytearray()
        self._read = self._idle
        self._method = ""
        self._reset()

    def _reset(self) -> None:
        self._head_bytes = 0
        self._body_bytes = 0
        self._left = 0

    def start(self, method: str) -> None:
        """A request with this method was sent; its response comes next."""
        self._method = method
        self._reset()
        self._read = self._heads

    @property
    def surplus(self) -> bytes:
        """What came behind the last complete response."""
        return bytes(self._buffer)

    @property
    def untouched(self) -> bool:
        """Whether not a single byte of the awaited response has come."""
        return not self._buffer and not self._head_bytes

    def receive(self, data: bytes) -> list[Event]:
        """The events completed by these bytes.

        Raises:
            ExchangeError: MALFORMED, TOO_LARGE, or CLOSED when the server closed in the middle.
        """
        if not data:
            return self._closed()
        self._buffer += data
        events: list[Event] = []
        while self._read(events):
            pass
        return events

    def _idle(self, events: list[Event]) -> bool:
        raise _malformed("nothing was asked")

    def _heads(self, events: list[Event]) -> bool:
        self._look_at_start()
        end = self._section_end()
        if not end:
            return False
        head = parse_head(bytes(self._buffer[: end.start()]), self._method)
        del self._buffer[: end.end()]
        events.append(head)
        if head.informational:
            return True
        return self._begin_body(head, events)

    def _section_end(self) -> re.Match[bytes] | None:
        """Where a head or the trailers end; counts them once they are complete."""
        end = _HEAD_END.search(self._buffer)
        size = end.end() if end else len(self._buffer)
        if self._head_bytes + size > self._max_head:
            raise ExchangeError(Failure.TOO_LARGE, f"more than {self._max_head} bytes of headers")
        if end:
            self._head_bytes += size
        return end

    def _look_at_start(self) -> None:
        """Does not wait for a head that cannot come: garbage shows in its first bytes."""
        if not b"HTTP/1.".startswith(self._buffer[:7]):
            if _SETTINGS.match(self._buffer):
                # A server of HTTP/2 alone, gRPC's among them, opens with its settings whatever it is asked.
                raise _malformed(A_FRAME)
            raise _malformed(f"not a status line: {_excerpt(bytes(self._buffer[:60]))}")

    def _begin_body(self, head: Head, events: list[Event]) -> bool:
        if head.length > self._max_body:
            raise ExchangeError(Failure.TOO_LARGE, f"a body of {head.length} bytes")
        if head.length == 0:
            return self._finish(events)
        self._left = head.length if head.length > 0 else 0
        self._read = {CHUNKED: self._chunk_line, UNTIL_CLOSE: self._until_close}.get(head.length, self._sized)
        return True

    def _finish(self, events: list[Event], trailers: tuple[tuple[bytes, bytes], ...] = ()) -> bool:
        events.append(End(trailers))
        self._read = self._idle
        return False

    def _take(self, events: list[Event]) -> None:
        part = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(part)
        if part:
            events.append(part)

    def _sized(self, events: list[Event]) -> bool:
        self._take(events)
        return self._finish(events) if self._left == 0 else False

    def _until_close(self, events: list[Event]) -> bool:
        self._count(len(self._buffer))
        if self._buffer:
            events.append(bytes(self._buffer))
            self._buffer.clear()
        return False

    def _count(self, size: int) -> None:
        """Adds to the size of a body of which no length was announced."""
        self._body_bytes += size
        if self._body_bytes > self._max_body:
            raise ExchangeError(Failure.TOO_LARGE, f"a body of more than {self._max_body} bytes")

    def _chunk_line(self, events: list[Event]) -> bool:
        end = self._buffer.find(b"\r\n")
        if end > MAX_CHUNK_LINE or (end < 0 and len(self._buffer) > MAX_CHUNK_LINE + 1):
            raise ExchangeError(Failure.TOO_LARGE, f"a chunk size line of more than {MAX_CHUNK_LINE} bytes")
        if end < 0:
            return False
        line = bytes(self._buffer[:end])
        match = _CHUNK_LINE.fullmatch(line)
        if not match:
            raise _malformed(f"not a chunk size: {_excerpt(line)}")
        del self._buffer[: end + 2]
        self._left = int(match[1], 16)
        self._count(self._left)
        self._read = self._chunk if self._left else self._trailer_section
        return True

    def _chunk(self, events: list[Event]) -> bool:
        self._take(events)
        if self._left:
            return False
        self._read = self._chunk_end
        return True

    def _chunk_end(self, events: list[Event]) -> bool:
        if not b"\r\n".startswith(self._buffer[:2]):
            raise _malformed("a chunk is longer than it said")
        if len(self._buffer) < 2:
            return False
        del self._buffer[:2]
        self._read = self._chunk_line
        return True

    def _trailer_section(self, events: list[Event]) -> bool:
        blank = _BLANK_LINE.match(self._buffer)
        if blank:
            del self._buffer[: blank.end()]
            return self._finish(events)
        # A CR alone may be the blank line, which counts for nothing.
        end = self._section_end() if len(self._buffer) > 1 else None
        if not end:
            return False
        lines = _lines(bytes(self._buffer[: end.start()]))
        del self._buffer[: end.end()]
        return self._finish(events, _fields(lines))

    def _closed(self) -> list[Event]:
        if self._read == self._until_close:
            events: list[Event] = []
            self._finish(events)
            return events
        if self._read == self._idle:
            return []
        raise ExchangeError(Failure.CLOSED, "closed before the answer" if self.untouched else "closed within the answer")
