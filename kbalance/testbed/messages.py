"""HTTP/1.1 as far as a server needs it: requests out of bytes, bytes out of answers. No sockets.

Source: RFC 9112; obsolete line folding is refused, trailers are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_HEAD = 64 * 1024
MAX_BODY = 8 * 1024 * 1024

Headers = tuple[tuple[str, str], ...]


class BadMessage(ValueError):
    """The peer does not speak HTTP/1.1, or says too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One complete request."""

    method: str
    target: str
    version: str
    headers: Headers
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str, default: str = "") -> str:
        return find(self.headers, name, default)

    @property
    def keep_alive(self) -> bool:
        return persists(self.version, self.headers)


def find(headers: Headers, name: str, default: str = "") -> str:
    """The first header of that name (in lower case)."""
    return next((value for key, value in headers if key.lower() == name), default)


def persists(version: str, headers: Headers) -> bool:
    """Whether the connection outlives this message. Source: RFC 9112, 9.3."""
    options = [option.strip().lower() for option in find(headers, "connection").split(",")]
    return "keep-alive" in options if version == "HTTP/1.0" else "close" not in options


def split_head(head: bytes) -> tuple[str, Headers]:
    """The start line and the headers of a head without its final empty line.

    Raises:
        BadMessage: when a header line is not ``name: value``.
    """
    start, *lines = head.decode("latin-1").split("\r\n")
    return start, tuple(_header(line) for line in lines)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or name != name.strip():
        raise BadMessage(f"bad header line {line[:80]!r}")
    return name, value.strip(" \t")


def _request(head: bytes) -> Request:
    start, headers = split_head(head)
    words = start.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadMessage(f"bad request line {start[:80]!r}")
    return Request(method=words[0], target=words[1], version=words[2], headers=headers)


class RequestReader:
    """Turns bytes, cut anywhere, into requests."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.error: str | None = None
        """Why nothing after the last request could be read."""

    def feed(self, data: bytes) -> list[Request]:
        """The requests that these bytes complete."""
        self._buffer += data
        requests: list[Request] = []
        try:
            while self.error is None and (request := self._take()) is not None:
                requests.append(request)
        except BadMessage as error:
            self.error = str(error)
        return requests

    def _take(self) -> Request | None:
        while self._buffer.startswith(b"\r\n"):
            # Empty lines before a request line are to be ignored (RFC 9112, 2.2).
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, len(self._buffer) if end < 0 else 0) > MAX_HEAD:
            raise BadMessage("head too large")
        if end < 0:
            return None
        head = _request(bytes(self._buffer[:end]))
        framed = self._body(head, end + 4)
        if framed is None:
            return None
        body, used = framed
        del self._buffer[:used]
        return Request(method=head.method, target=head.target, version=head.version, headers=head.headers, body=body)

    def _body(self, head: Request, start: int) -> tuple[bytes, int] | None:
        """The body that starts there and where it ends; ``None``: not all of it is here."""
        length = head.header("content-length", "0")
        if coding := head.header("transfer-encoding"):
            if coding.lower() != "chunked":
                raise BadMessage(f"unknown transfer coding {coding!r}")
            return self._chunks(start)
        if not length.isdecimal() or int(length) > MAX_BODY:
            raise BadMessage(f"bad content length {length[:20]!r}")
        end = start + int(length)
        return (bytes(self._buffer[start:end]), end) if len(self._buffer) >= end else None

    def _chunks(self, at: int) -> tuple[bytes, int] | None:
        body = bytearray()
        while (line := self._buffer.find(b"\r\n", at)) >= 0:
            size = _chunk_size(bytes(self._buffer[at:line]))
            if len(body) + size > MAX_BODY:
                raise BadMessage("body too large")
            if size == 0:
                return self._trailers(bytes(body), at=line)
            at = line + 2 + size + 2
            body += self._buffer[line + 2 : at - 2]
        return None

    def _trailers(self, body: bytes, *, at: int) -> tuple[bytes, int] | None:
        end = self._buffer.find(b"\r\n\r\n", at)
        return (body, end + 4) if end >= 0 else None


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    try:
        return int(digits, 16)
    except ValueError:
        raise BadMessage(f"bad chunk size {digits[:20]!r}") from None


REASONS = {
    200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 409: "Conflict", 410: "Gone", 422: "Unprocessable Entity",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


def render(
    status: int, body: bytes, headers: Sequence[tuple[str, str]] = (), *, head_only: bool = False, length: int | None = None
) -> bytes:
    """An answer's bytes.

    Args:
        status: one of `REASONS`.
        body: all of it.
        headers: without Content-Length.
        head_only: leave the body out but tell its length, as HEAD wants it.
        length: what Content-Length says instead of the body's own length.
    """
    lines = [f"HTTP/1.1 {status} {REASONS[status]}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if status != 204:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if head_only else body)


def render_chunked_head(status: int, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """The head of an answer whose body follows in chunks."""
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Transfer-Encoding: chunked"]).encode("latin-1") + b"\r\n\r\n"


def render_chunk(data: bytes) -> bytes:
    """One chunk; an empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
