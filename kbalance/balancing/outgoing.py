"""An `httpx.Request` as bytes for one of our connections; what h11 would refuse to send is refused here too."""

import re
from typing import NamedTuple

import httpx

_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_VALUE = re.compile(rb"[^\x00\r\n]*")
_KNOWN_HEADS = 256


class _Shape(NamedTuple):
    """What a head says of its request."""

    fields: int
    length: int
    chunked: bool
    closes: bool
    sent: bytes
    """The head without what must not be sent."""


class Outgoing(NamedTuple):
    """A request ready to be sent."""

    data: bytes
    """The head, with the body unless that is streamed."""
    stream: httpx.AsyncByteStream | httpx.SyncByteStream | None
    """The body that follows, if it is not at hand; such a request can be sent once only."""
    length: int
    """Of a streamed body, in bytes, unless it is chunked."""
    chunked: bool
    body: bytes
    """The one at hand, without what HTTP/1.1 puts around it."""
    closes: bool
    """Whether the request asks the server to close the connection."""


_known: dict[bytes, _Shape] = {}
"""Heads that were examined: a client repeats itself."""


def encode(request: httpx.Request) -> Outgoing:
    """The request as bytes.

    Raises:
        httpx.LocalProtocolError: when a part cannot stand in a request, or the body is not as long as the headers say.
    """
    fields = request.headers.raw
    target = request.extensions.get("target") or request.url.raw_path
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method.encode("ascii", "replace"), target, lines)
    shape = _known.get(head)
    # The same bytes from fewer fields would be a header smuggled inside another one's value.
    if shape is None or shape.fields != len(fields):
        shape = _examine(request.method, target, fields, head)
        if len(_known) >= _KNOWN_HEADS:
            _known.clear()
        _known[head] = shape
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        body = b"".join(stream)
        return Outgoing(shape.sent + _whole(body, shape), None, shape.length, shape.chunked, body, shape.closes)
    return Outgoing(shape.sent, stream, shape.length, shape.chunked, b"", shape.closes)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112, 7.1); of nothing, nothing, since an empty chunk is the end."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK = b"0\r\n\r\n"


def check_length(outgoing: Outgoing, left: int, right: bool) -> None:
    """Raises `httpx.LocalProtocolError` unless a streamed body is as long as its headers say."""
    if not right:
        raise httpx.LocalProtocolError(f"a body of {outgoing.length - left} bytes where {outgoing.length} were announced")


def _whole(body: bytes, shape: _Shape) -> bytes:
    if shape.chunked:
        return chunk(body) + LAST_CHUNK
    if len(body) != shape.length:
        raise httpx.LocalProtocolError(f"a body of {len(body)} bytes where the headers announce {shape.length}")
    return body


def _examine(method: str, target: bytes, fields: list[tuple[bytes, bytes]], head: bytes) -> _Shape:
    if method == "CONNECT" or not _TOKEN.fullmatch(method.encode("utf-8")) or not _TARGET.fullmatch(target):
        raise httpx.LocalProtocolError(f"cannot ask for {method!r} {target!r}")
    for name, value in fields:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise httpx.LocalProtocolError(f"cannot send the header {name!r} with value {value!r}")
    if len(_values(fields, b"host")) != 1:
        raise httpx.LocalProtocolError("a request carries one Host header (RFC 9112, 3.2)")
    closes = any(b"close" in [word.strip() for word in value.split(b",")] for value in _values(fields, b"connection"))
    length, chunked = _framing(fields)
    if chunked:
        # httpx counts a body even where its user asked for chunks; both together are an attack in servers' eyes (RFC 9112, 6.2).
        head = re.sub(rb"(?i)\r\ncontent-length:[^\r\n]*", b"", head)
    return _Shape(len(fields), length, chunked, closes, head)


def _framing(fields: list[tuple[bytes, bytes]]) -> tuple[int, bool]:
    lengths, codings = _values(fields, b"content-length"), _values(fields, b"transfer-encoding")
    if codings and codings != [b"chunked"]:
        raise httpx.LocalProtocolError("no Transfer-Encoding but chunked can be sent")
    if len(lengths) > 1 or not all(re.fullmatch(rb"[0-9]{1,18}", length) for length in lengths):
        raise httpx.LocalProtocolError("Content-Length is not one number")
    return int(lengths[0]) if lengths else 0, bool(codings)


def _values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value.lower() for field, value in fields if field.lower() == name]
