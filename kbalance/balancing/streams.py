"""One exchange on a stream of an HTTP/2 connection, by asyncio."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from kbalance.balancing.attempts import Unanswered
from kbalance.balancing.exchanges import Owner
from kbalance.balancing.incoming import http2_response, to_httpx
from kbalance.balancing.link import Link
from kbalance.balancing.multiplex import Exchange, Multiplex, request_fields
from kbalance.balancing.outgoing import Outgoing, check_length
from kbalance.balancing.setup import Timeouts
from kbalance.errors import ExchangeError
from kbalance.model.words import Failure


class Stream:
    """A stream and whoever waits for it."""

    def __init__(self, owner: Owner, link: Link, request: httpx.Request, *, end: bool) -> None:
        """Sends the request's head.

        Args:
            end: there is no body.

        Raises:
            ExchangeError: nothing was sent.
        """
        assert link.mux is not None
        self._owner = owner
        self._link: Link | None = link
        self._mux: Multiplex = link.mux
        self._waiter: asyncio.Future[None] | None = None
        if link.error is not None:
            raise Unanswered(Failure.CLOSED, str(link.error), unsent=True)
        self.exchange: Exchange = self._mux.begin(request_fields(request), self._wake, end=end)
        link.push()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float | None, late: type[httpx.TimeoutException]) -> None:
        """Until something has changed.

        Raises:
            ExchangeError, httpx.TransportError: the stream's end, or `late` after so many seconds.
        """
        if self.exchange.error is not None:
            raise self.exchange.error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._waiter
        except TimeoutError as error:
            silent = late("the server was silent for too long")
            if self._link is not None:
                self._link.reusable = self._link.reusable and not self._mux.dead_to(self.exchange)
                self._owner.late(self._link, silent)
            raise silent from error
        finally:
            self._waiter = None

    async def send(self, data: bytes, seconds: float | None, *, end: bool) -> None:
        """Sends a part of the body, as the windows allow; stops when the answer is complete."""
        assert self._link is not None
        while not self.exchange.ended:
            taken = self._mux.protocol.send_data(self.exchange.number, data, end=end)
            self._link.push()
            data = data[taken:]
            if not data:
                return
            await self.wait(seconds, httpx.WriteTimeout)

    async def upload(self, outgoing: Outgoing, seconds: float | None) -> None:
        """Sends a body as it is made."""
        assert isinstance(outgoing.stream, httpx.AsyncByteStream)
        left = outgoing.length
        async for part in outgoing.stream:
            if not outgoing.chunked:
                left -= len(part)
                check_length(outgoing, left, left >= 0)
            await self.send(part, seconds, end=False)
            # A body made without waiting would otherwise keep the loop from seeing an early answer.
            await asyncio.sleep(0)
            if self.exchange.over:
                return
        check_length(outgoing, left, left == 0 or outgoing.chunked)
        await self.send(b"", seconds, end=True)

    async def part(self, seconds: float | None) -> bytes | None:
        """The next part of the response's body; ``None``: that was all."""
        while not self.exchange.parts:
            if self.exchange.ended:
                return None
            await self.wait(seconds, httpx.ReadTimeout)
        data = self._mux.take_part(self.exchange)
        self._push()
        return data

    def body(self) -> bytes:
        """All of a complete response's body."""
        return self._mux.take_body(self.exchange)

    def _push(self) -> None:
        if self._link is not None:
            self._link.push()

    def leave(self) -> None:
        """It is over, or nobody wants the rest."""
        link, self._link = self._link, None
        if link is None:
            return
        if not self.exchange.ended or self.exchange.parts:
            self._mux.abandon(self.exchange)
        link.push()
        self._owner.release(link)


async def exchange(owner: Owner, link: Link, request: httpx.Request, outgoing: Outgoing, timeouts: Timeouts) -> httpx.Response:
    """The response to a request; its body is at hand when it came at once.

    Raises:
        ExchangeError, httpx.TransportError: there is none.
    """
    began_s = link.loop.time()
    at_hand = outgoing.stream is None
    try:
        stream = Stream(owner, link, request, end=at_hand and not outgoing.body)
    except BaseException:
        owner.release(link)
        raise
    try:
        if not at_hand:
            await stream.upload(outgoing, timeouts.get("write"))
        elif outgoing.body:
            await stream.send(outgoing.body, timeouts.get("write"), end=True)
        stream.exchange.eager = False
        while (head := stream.exchange.head) is None:
            await stream.wait(timeouts.get("read"), httpx.ReadTimeout)
    except BaseException:
        stream.leave()
        raise
    owner.answered(link, head.status, began_s)
    if not stream.exchange.ended:
        return http2_response(head.status, head.fields, None, _Body(stream, timeouts.get("read")))
    body = stream.body()
    stream.leave()
    return http2_response(head.status, head.fields, body)


class _Body(httpx.AsyncByteStream):
    """The rest of a response, read as it is consumed; holds the stream until then."""

    def __init__(self, stream: Stream, seconds: float | None) -> None:
        self._stream = stream
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (part := await self._stream.part(self._seconds)) is not None:
                yield part
        except ExchangeError as error:
            raise to_httpx(error) from error
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        self._stream.leave()
