"""One exchange on a connection, by the thread that wants it; HTTP/2 has its own, in `blocking_streams`."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import httpx

from kbalance.balancing.blocking_link import BlockingLink
from kbalance.balancing.incoming import streamed_response, to_httpx, whole_response
from kbalance.balancing.outgoing import LAST_CHUNK, Outgoing, check_length, chunk
from kbalance.balancing.setup import Timeouts
from kbalance.errors import ExchangeError


class Owner(Protocol):
    """Whose connection it is."""

    abandoned: deque[Callable[[], None]]
    """What is to be left as soon as nothing else is under way."""

    def release(self, link: BlockingLink) -> None: ...
    def discard(self, link: BlockingLink) -> None: ...
    def answered(self, link: BlockingLink, status: int, began_s: float) -> None: ...
    def finished(self, link: BlockingLink, status: int, began_s: float) -> None: ...
    def late(self, link: BlockingLink, error: httpx.TimeoutException) -> None: ...


def exchange(owner: Owner, link: BlockingLink, request: httpx.Request, outgoing: Outgoing, timeouts: Timeouts) -> httpx.Response:
    """The response to a request; its body is at hand when it came at once, and is read as it is consumed otherwise.

    Raises:
        ExchangeError, httpx.TransportError: there is none.
    """
    if link.mux is not None:
        from kbalance.balancing import blocking_streams

        return blocking_streams.exchange(owner, link, request, outgoing, timeouts)
    began_s = time.monotonic()
    try:
        link.last = outgoing.closes
        link.send(outgoing.data, request.method)
        if outgoing.stream is not None:
            _upload(owner, link, outgoing, timeouts.get("write"))
        _push(owner, link, timeouts.get("write"))
        while (head := link.head) is None:
            _pull(owner, link, timeouts.get("read"))
    except BaseException:
        owner.discard(link)
        raise
    if link.awaiting:
        owner.answered(link, head.status, began_s)
        return streamed_response(head, _Body(owner, link, timeouts.get("read")))
    body = link.take_body()
    owner.finished(link, head.status, began_s)
    return whole_response(head, body)


def _push(owner: Owner, link: BlockingLink, seconds: float | None) -> None:
    try:
        link.push(seconds)
    except httpx.TimeoutException as error:
        owner.late(link, error)
        raise


def _pull(owner: Owner, link: BlockingLink, seconds: float | None) -> None:
    """Reads once."""
    try:
        link.pull(seconds)
    except httpx.TimeoutException as error:
        owner.late(link, error)
        raise


def _upload(owner: Owner, link: BlockingLink, outgoing: Outgoing, seconds: float | None) -> None:
    """Sends a body as it is made; stops when the server answers before it has all of it."""
    assert isinstance(outgoing.stream, httpx.SyncByteStream)
    link.last = True
    left = outgoing.length
    for part in outgoing.stream:
        if not outgoing.chunked:
            left -= len(part)
            check_length(outgoing, left, left >= 0)
        link.send_more(chunk(part) if outgoing.chunked else part)
        _push(owner, link, seconds)
        if link.head is None and not link.lively(True):
            link.receive()
        if link.head is not None:
            link.last = outgoing.closes or outgoing.chunked or left > 0
            return
    check_length(outgoing, left, left == 0 or outgoing.chunked)
    link.send_more(LAST_CHUNK if outgoing.chunked else b"")
    link.last = outgoing.closes


class _Body(httpx.SyncByteStream):
    """The rest of a response, read as it is consumed; holds the connection until then."""

    def __init__(self, owner: Owner, link: BlockingLink, seconds: float | None) -> None:
        self._owner = owner
        self._link: BlockingLink | None = link
        self._seconds = seconds

    def __iter__(self) -> Iterator[bytes]:
        try:
            while (link := self._link) is not None:
                if link.parts:
                    yield link.parts.popleft()
                elif link.awaiting:
                    _pull(self._owner, link, self._seconds)
                else:
                    break
        except GeneratorExit:
            # Perhaps by the garbage collector, which comes in the middle of anything; `close` comes in its own time.
            self._owner.abandoned.append(self.close)
            raise
        except ExchangeError as error:
            self.close()
            raise to_httpx(error, str(link.member) if link is not None else "") from error
        except BaseException:
            self.close()
            raise
        self.close()

    def close(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        if link.awaiting or link.error is not None:
            self._owner.discard(link)
        else:
            link.take_body()
            self._owner.release(link)
