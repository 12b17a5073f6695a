"""The same work done by stock httpx and by our transport, each in a loop of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from kbalance.balancing import AsyncPoolTransport

_CONTEXT = ssl.create_default_context()
"""Made once, since reading the system's authorities takes longer than most tests."""

T = TypeVar("T")
Work = Callable[[httpx.AsyncClient], Awaitable[T]]


def stock(work: Work[T], transport: httpx.AsyncBaseTransport | None = None, *, timeout: float = 10.0) -> T:
    """By httpx as it is."""
    return _run(work, transport or httpx.AsyncHTTPTransport(verify=_CONTEXT, trust_env=False), timeout)


class Threaded(httpx.AsyncBaseTransport):
    """A blocking transport called from a loop, so that either kind faces the same tests."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        stream = request.stream
        if not isinstance(stream, httpx.ByteStream):
            assert isinstance(stream, httpx.AsyncByteStream)
            stream = _Pulled(stream, asyncio.get_running_loop())
        given = httpx.Request(request.method, request.url, headers=request.headers, stream=stream, extensions=request.extensions)
        answer = await asyncio.to_thread(self._transport.handle_request, given)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=_Pushed(answer), extensions=answer.extensions)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._transport.close)


class _Pulled(httpx.SyncByteStream):
    """A body that a loop makes, for a thread."""

    def __init__(self, stream: httpx.AsyncByteStream, loop: asyncio.AbstractEventLoop) -> None:
        self._parts = aiter(stream)
        self._loop = loop

    def __iter__(self) -> Iterator[bytes]:
        async def following() -> bytes | None:
            return await anext(self._parts, None)

        while (part := asyncio.run_coroutine_threadsafe(following(), self._loop).result()) is not None:
            yield part


class _Pushed(httpx.AsyncByteStream):
    """A body that a thread reads, for a loop."""

    def __init__(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.SyncByteStream)
        self._stream = response.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = iter(self._stream)
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part

    async def aclose(self) -> None:
        await asyncio.to_thread(self._stream.close)


made: Callable[..., httpx.AsyncBaseTransport] = AsyncPoolTransport
"""Which of our transports the tests are about."""


def ours(work: Work[T], transport: httpx.AsyncBaseTransport | None = None, *, timeout: float = 10.0, **options: Any) -> T:
    """By one of ours, made with these options where none is given."""
    return _run(work, transport or made(**options), timeout)


def both(work: Work[T], *, timeout: float = 10.0) -> T:
    """What either gives.

    Raises:
        AssertionError: when they differ.
    """
    expected, got = stock(work, timeout=timeout), ours(work, timeout=timeout)
    assert got == expected
    return got


def _run(work: Work[T], transport: httpx.AsyncBaseTransport, timeout: float) -> T:
    async def main() -> T:
        async with httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client:
            return await work(client)

    return asyncio.run(main())


@dataclass(frozen=True)
class Seen:
    """What a caller sees of a response."""

    version: str
    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes
    raw_bytes: int


async def seen(response: httpx.Response) -> Seen:
    """The response, read to the end."""
    content = await response.aread()
    assert response.elapsed.total_seconds() > 0
    assert response.is_closed
    assert response.is_stream_consumed
    return Seen(
        response.http_version,
        response.status_code,
        response.reason_phrase,
        tuple(response.headers.raw),
        content,
        response.num_bytes_downloaded,
    )


def failing(work: Work[object]) -> Work[type[Exception]]:
    """The class of the exception that the work ends with."""

    async def caught(client: httpx.AsyncClient) -> type[Exception]:
        try:
            await work(client)
        except Exception as error:
            return type(error)
        raise AssertionError("nothing was raised")

    return caught
