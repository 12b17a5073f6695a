"""The asyncio transport: kbalance's own connections under an `httpx.AsyncClient`; hosts, their news and a request's attempts."""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import httpx

from kbalance.balancing.arrangements import Arrangement
from kbalance.balancing.attempts import Attempts
from kbalance.balancing.connections import Connections, wake
from kbalance.balancing.endpoints import News, Trouble
from kbalance.balancing.exchanges import exchange
from kbalance.balancing.group import Group, State
from kbalance.balancing.incoming import to_httpx
from kbalance.balancing.outgoing import encode
from kbalance.balancing.setup import (
    CLOSED,
    FIRST_NEWS_S,
    HOSTS_KEPT,
    NO_TIMEOUTS,
    Key,
    NotBalanced,
    Setup,
    Timeouts,
    describe,
    end_all,
    origin_of,
)
from kbalance.balancing.snapshot import Snapshot, snapshot
from kbalance.errors import ExchangeError

INBOX_MOST = 1000
"""News that may wait for a loop."""


class AsyncEngine(httpx.AsyncBaseTransport):
    """Sends the requests of an `httpx.AsyncClient` over `kbalance.wire.connection.Connection`, by HTTP/1.1 or HTTP/2.

    Timeouts are httpx's: ``connect`` covers name, TCP and TLS, of all attempts together; ``read`` and ``write`` each wait for the
    network, ``pool`` the wait for a connection to come free. Proxies are not spoken to. One asyncio loop at a time; membership
    may be told from any thread.
    """

    def __init__(self, arrangement: Arrangement, setup: Setup) -> None:
        self._arrangement = arrangement
        self._setup = setup
        self._groups: dict[Key, Group] = {}
        self._inbox: deque[tuple[Group, News]] = deque()
        self._posting = Lock()
        self._expecting: dict[Group, list[asyncio.Future[None]]] = {}
        """Requests that wait for the first news."""
        self._connections = Connections(setup)
        if setup.ordinary is not None and not isinstance(setup.ordinary, httpx.AsyncBaseTransport):
            raise TypeError(f"ordinary={setup.ordinary!r}: give an httpx.AsyncBaseTransport")
        self._ordinary: httpx.AsyncBaseTransport | None = setup.ordinary

    def __repr__(self) -> str:
        return describe(self, self._groups.values(), self._connections.pool)

    def snapshot(self) -> Snapshot:
        """What is known and under way at this moment."""
        return snapshot(self._groups.values(), self._connections.pool, time.monotonic())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response; its body is at hand when it came at once, and is read as it is consumed otherwise."""
        loop, connections = _running_loop(), self._connections
        if loop is not connections.loop:
            self._move_to(loop)
        if self._inbox:
            self._hear()
        url = request.url
        key = (url.scheme, url.raw_host, url.port)
        group = self._groups.get(key) or self._arranged(key)
        timeouts: Timeouts = request.extensions.get("timeout") or NO_TIMEOUTS
        if group.state is State.WAITING:
            timeouts = await self._first_news(group, timeouts)
        if group.state is State.ELSEWHERE:
            return await self._ordinarily(request)
        outgoing = encode(request)
        if outgoing.stream is not None and not isinstance(outgoing.stream, httpx.AsyncByteStream):
            raise RuntimeError("a request with a synchronous body cannot be sent by an asynchronous transport")
        attempts = Attempts(group, request.method, at_hand=outgoing.stream is None)
        try:
            while True:
                link = await connections.connected(loop, group, request, timeouts, attempts)
                try:
                    return await exchange(connections, link, request, outgoing, timeouts)
                except ExchangeError as error:
                    if not attempts.broke(link, error, loop.time()):
                        raise to_httpx(error, str(link.member)) from error
        except NotBalanced:
            return await self._ordinarily(request)
        finally:
            attempts.over()

    async def aclose(self) -> None:
        """Closes every connection and ends every source; requests under way fail with `httpx.ReadError`."""
        self._connections.close()
        for future in [one for waiting in self._expecting.values() for one in waiting]:
            wake(future)
        try:
            if any(group.following is not None for group in self._groups.values()):
                with ThreadPoolExecutor(1) as thread:
                    # It may wait for a call under way, without holding up the loop; no thread is left.
                    await asyncio.get_running_loop().run_in_executor(thread, end_all, list(self._groups.values()))
        finally:
            if self._ordinary is not None:
                await self._ordinary.aclose()

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts anew."""
        if self._connections.closed:
            raise RuntimeError(CLOSED)
        self._connections.move_to(loop)
        if self._setup.ordinary is None:
            # Its connections are the other loop's, too.
            self._ordinary = None
        for group in self._groups.values():
            group.reset()
        self._expecting = {}

    # Groups

    def _arranged(self, key: Key) -> Group:
        if self._connections.closed:
            raise RuntimeError(CLOSED)
        if len(self._groups) >= HOSTS_KEPT:
            self._groups = {known: one for known, one in self._groups.items() if one.needed}
        group = self._setup.group(self._arrangement, origin_of(key), time.monotonic())
        self._groups[key] = group
        self._arrangement.start(group, self._told)
        self._hear()
        return group

    def _told(self, group: Group, news: News) -> None:
        """From whatever thread."""
        with self._posting:
            if len(self._inbox) >= INBOX_MOST:
                # No loop has run for long: of each host the newest of either kind is all that counts.
                latest = {(one, isinstance(told, Trouble)): (one, told) for one, told in self._inbox}
                self._inbox = deque(latest.values())
            self._inbox.append((group, news))
        loop = self._connections.loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._hear)
            except RuntimeError:
                # The loop is closed; the next one starts with what is in the inbox.
                return

    def _hear(self) -> None:
        while self._inbox:
            with self._posting:
                group, news = self._inbox.popleft()
            for member in group.hear(news, time.monotonic()):
                self._connections.pool.close_idle(member)
            if group.state is not State.WAITING:
                for waiter in self._expecting.pop(group, ()):
                    wake(waiter)
        self._connections.serve()

    async def _first_news(self, group: Group, timeouts: Timeouts) -> Timeouts:
        """Waits for the source's first word; the time-outs that are left."""
        loop = asyncio.get_running_loop()
        seconds, began_s = timeouts.get("connect"), loop.time()
        patience_s = FIRST_NEWS_S if seconds is None else seconds
        waiter = loop.create_future()
        waiting = self._expecting.setdefault(group, [])
        waiting.append(waiter)
        try:
            async with asyncio.timeout(patience_s):
                await waiter
        except TimeoutError:
            if group.state is State.WAITING:
                group.fall_back(f"the source of endpoints said nothing for {patience_s:g} s")
                self._hear()
                return timeouts
        finally:
            if waiter in waiting:
                waiting.remove(waiter)
        if self._connections.closed:
            raise httpx.ReadError(CLOSED)
        return timeouts if seconds is None else {**timeouts, "connect": max(0.0, seconds - (loop.time() - began_s))}

    async def _ordinarily(self, request: httpx.Request) -> httpx.Response:
        if self._ordinary is None:
            self._ordinary = httpx.AsyncHTTPTransport(**self._setup.stock())
        return await self._ordinary.handle_async_request(request)


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "kbalance's asynchronous transports run under asyncio; under trio use the synchronous ones in a worker thread"
        ) from None
