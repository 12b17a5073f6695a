"""One exchange on a connection, by asyncio; HTTP/2 has its own, in `streams`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import httpx

from kbalance.balancing.incoming import streamed_response, to_httpx, whole_response
from kbalance.balancing.link import Link
from kbalance.balancing.outgoing import LAST_CHUNK, Outgoing, check_length, chunk
from kbalance.balancing.setup import Timeouts
from kbalance.errors import ExchangeError


class Owner(Protocol):
    """Whose connection it is."""

    async def wait(self, link: Link, seconds: float | None, late: type[httpx.TimeoutException]) -> None: ...
    def release(self, link: Link) -> None: ...
    def discard(self, link: Link) -> None: ...
    def abandon(self, link: Link) -> None: ...
    def answered(self, link: Link, status: int, began_s: float) -> None: ...
    def late(self, link: Link, error: httpx.TimeoutException) -> None: ...


async def exchange(owner: Owner, link: Link, request: httpx.Request, outgoing: Outgoing, timeouts: Timeouts) -> httpx.Response:
    """The response to a request; its body is at hand when it came at once, and is read as it is consumed otherwise.

    Raises:
        ExchangeError, httpx.TransportError: there is none.
    """
    if link.mux is not None:
        from kbalance.balancing import streams

        return await streams.exchange(owner, link, request, outgoing, timeouts)
    began_s = link.loop.time()
    try:
        link.last = outgoing.closes
        link.begin(outgoing.data, request.method)
        if outgoing.stream is not None:
            assert isinstance(outgoing.stream, httpx.AsyncByteStream)
            await _upload(owner, link, outgoing, outgoing.stream, timeouts.get("write"))
        if link.wants_write:
            await _drain(owner, link, timeouts.get("write"))
        while (head := link.head) is None:
            await owner.wait(link, timeouts.get("read"), httpx.ReadTimeout)
    except BaseException:
        owner.discard(link)
        raise
    owner.answered(link, head.status, began_s)
    if link.awaiting:
        return streamed_response(head, _Body(owner, link, timeouts.get("read")))
    body = link.take_body()
    owner.release(link)
    return whole_response(head, body)


async def _upload(owner: Owner, link: Link, outgoing: Outgoing, stream: httpx.AsyncByteStream, seconds: float | None) -> None:
    """Sends a body as it is made; stops when the server answers before it has all of it."""
    link.last = True
    left = outgoing.length
    async for part in stream:
        if not outgoing.chunked:
            left -= len(part)
            check_length(outgoing, left, left >= 0)
        link.more(chunk(part) if outgoing.chunked else part)
        await _drain(owner, link, seconds)
        # A body made without waiting would otherwise keep the loop from seeing an early answer.
        await asyncio.sleep(0)
        if link.head is not None:
            link.last = outgoing.closes or outgoing.chunked or left > 0
            return
    check_length(outgoing, left, left == 0 or outgoing.chunked)
    link.more(LAST_CHUNK if outgoing.chunked else b"")
    link.last = outgoing.closes


async def _drain(owner: Owner, link: Link, seconds: float | None) -> None:
    while link.wants_write and link.head is None:
        await owner.wait(link, seconds, httpx.WriteTimeout)


class _Body(httpx.AsyncByteStream):
    """The rest of a response, read as it is consumed; holds the connection until then."""

    def __init__(self, owner: Owner, link: Link, seconds: float | None) -> None:
        self._owner = owner
        self._link: Link | None = link
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (link := self._link) is not None:
                if link.parts:
                    yield link.take_part()
                elif link.awaiting:
                    await self._owner.wait(link, self._seconds, httpx.ReadTimeout)
                else:
                    return
        except ExchangeError as error:
            raise to_httpx(error, str(link.member) if link is not None else "") from error
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        if link.awaiting:
            self._owner.abandon(link)
        else:
            link.take_body()
            self._owner.release(link)
