"""A response from one of our connections as an `httpx.Response`, and our failures as httpx's."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import httpx

from kbalance.errors import ExchangeError
from kbalance.model.words import Failure
from kbalance.wire.http1 import Head

_KNOWN_HEADS = 256

_EXCEPTIONS: dict[Failure, type[httpx.TransportError]] = {
    Failure.REFUSED: httpx.ConnectError,
    Failure.UNREACHABLE: httpx.ConnectError,
    Failure.TLS: httpx.ConnectError,
    Failure.CONNECT_TIMEOUT: httpx.ConnectTimeout,
    Failure.TIMEOUT: httpx.ReadTimeout,
    Failure.RESET: httpx.ReadError,
}
"""Everything else is the server's breach of the protocol, as stock httpx sees it too."""


def to_httpx(error: ExchangeError, where: str = "") -> httpx.TransportError:
    """The httpx exception for a failure on an open connection.

    Args:
        where: the endpoint.
    """
    return _EXCEPTIONS.get(error.failure, httpx.RemoteProtocolError)(f"{where}: {error}" if where else str(error))


def opening_to_httpx(error: ExchangeError, where: str) -> httpx.TransportError:
    """The httpx exception for a connection to an endpoint that did not open."""
    late = error.failure is Failure.CONNECT_TIMEOUT
    return (httpx.ConnectTimeout if late else httpx.ConnectError)(f"{where}: {error}")


class _Known(NamedTuple):
    """What httpx wants to hear of a head."""

    headers: httpx.Headers
    encoding: str
    extensions: dict[str, bytes]
    plain: bool
    """Whether the body is used as it came."""


_known: dict[bytes, _Known] = {}
"""By a head's bytes, since a server repeats itself."""


def _know(head: Head) -> _Known:
    headers = httpx.Headers(list(head.fields))
    extensions = {"http_version": b"HTTP/1.%d" % head.minor, "reason_phrase": head.reason}
    known = _Known(headers, headers.encoding, extensions, "content-encoding" not in headers)
    if len(_known) >= _KNOWN_HEADS:
        _known.clear()
    _known[head.raw] = known
    return known


class WholeResponse(httpx.Response):
    """A response whose body is in memory already: reading it costs a tenth of what it costs over httpx's chain of iterators."""

    _whole: bytes | None = None

    def read(self) -> bytes:
        if not self._takes_whole():
            return super().read()
        self.close()
        return self._content

    async def aread(self) -> bytes:
        if not self._takes_whole():
            return await super().aread()
        await self.aclose()
        return self._content

    def _takes_whole(self) -> bool:
        if self._whole is None or self.is_stream_consumed or self.is_closed:
            return False
        self._content = self._whole
        self._num_bytes_downloaded = len(self._whole)
        self.is_stream_consumed = True
        return True


def whole_response(head: Head, body: bytes) -> httpx.Response:
    """A response that is complete."""
    known = _known.get(head.raw) or _know(head)
    stream = httpx.ByteStream(body)
    response = WholeResponse(head.status, headers=known.headers, stream=stream, extensions=known.extensions)
    # httpx would guess it again for every response, from all of the headers.
    response.headers.encoding = known.encoding
    if known.plain:
        response._whole = body
    return response


def streamed_response(head: Head, stream: httpx.AsyncByteStream | httpx.SyncByteStream) -> httpx.Response:
    """A response whose body is still coming."""
    known = _known.get(head.raw) or _know(head)
    return httpx.Response(head.status, headers=known.headers, stream=stream, extensions=known.extensions)


def http2_response(status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes | None, stream: Any = None) -> httpx.Response:
    """A response that came by HTTP/2.

    Args:
        body: ``None``: it is still coming, by `stream`.
    """
    headers = httpx.Headers(list(fields))
    extensions = {"http_version": b"HTTP/2"}
    if body is None:
        return httpx.Response(status, headers=headers, stream=stream, extensions=extensions)
    response = WholeResponse(status, headers=headers, stream=httpx.ByteStream(body), extensions=extensions)
    if "content-encoding" not in headers:
        response._whole = body
    return response
