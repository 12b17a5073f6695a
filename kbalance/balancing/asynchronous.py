"""The asyncio transport: kbalance's own connections under an `httpx.AsyncClient`.

No task, no lock and no timer per request: a request is one future, and one timer looks at every deadline there is.
"""

import asyncio
import contextlib
import math
import socket
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import cast

import httpx

from kbalance.balancing.arrangements import Arrangement
from kbalance.balancing.attempts import CONNECT_ATTEMPT_S, Attempts
from kbalance.balancing.endpoints import News, Trouble
from kbalance.balancing.exchanges import exchange
from kbalance.balancing.group import Group, State
from kbalance.balancing.incoming import opening_to_httpx, to_httpx
from kbalance.balancing.link import Link
from kbalance.balancing.members import Member
from kbalance.balancing.outgoing import encode
from kbalance.balancing.pool import Lease, Pool, Waiter
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
from kbalance.model.target import Address, is_ip
from kbalance.model.words import Failure
from kbalance.wire.dialled import Tls

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
        self._loop: asyncio.AbstractEventLoop | None = None
        if setup.ordinary is not None and not isinstance(setup.ordinary, httpx.AsyncBaseTransport):
            raise TypeError(f"ordinary={setup.ordinary!r}: give an httpx.AsyncBaseTransport")
        self._ordinary: httpx.AsyncBaseTransport | None = setup.ordinary
        self._closed = False
        self._forget()

    def _forget(self) -> None:
        self._pool = self._setup.pool()
        self._dialling: set[Link] = set()
        self._expecting: dict[Group, list[asyncio.Future[None]]] = {}
        """Requests that wait for the first news."""
        self._timer: asyncio.TimerHandle | None = None
        self._next_sweep = math.inf

    @property
    def _links(self) -> list[Link]:
        """Those that are open."""
        return [cast(Link, link) for link in self._pool.links]

    def __repr__(self) -> str:
        return describe(self, self._groups.values(), self._pool)

    def snapshot(self) -> Snapshot:
        """What is known and under way at this moment."""
        return snapshot(self._groups.values(), self._pool, time.monotonic())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response; its body is at hand when it came at once, and is read as it is consumed otherwise."""
        loop = _running_loop()
        if loop is not self._loop:
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
                link = await self._connected(loop, group, request, timeouts, attempts)
                try:
                    return await exchange(self, link, request, outgoing, timeouts)
                except ExchangeError as error:
                    if not attempts.broke(link, error, loop.time()):
                        raise to_httpx(error, str(link.member)) from error
        except NotBalanced:
            return await self._ordinarily(request)
        finally:
            attempts.over()

    async def aclose(self) -> None:
        """Closes every connection and ends every source; requests under way fail with `httpx.ReadError`."""
        self._closed = True
        for link in (*self._dialling, *self._links):
            if not link.idle:
                link.fail(httpx.ReadError(CLOSED))
            link.shut()
        self._stop_timer()
        queue, self._pool = self._pool.queue, self._setup.pool()
        for future in [one for waiting in self._expecting.values() for one in waiting]:
            _wake(future)
        for waiter in queue:
            waiter.wake()
        try:
            if any(group.following is not None for group in self._groups.values()):
                with ThreadPoolExecutor(1) as thread:
                    # It may wait for a call under way, without holding up the loop; no thread is left.
                    await asyncio.get_running_loop().run_in_executor(thread, end_all, list(self._groups.values()))
        finally:
            if self._ordinary is not None:
                await self._ordinary.aclose()

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts anew; connections of another loop cannot be watched by this one."""
        if self._closed:
            raise RuntimeError(CLOSED)
        for link in (*self._dialling, *self._links):
            link.shut()
        self._stop_timer()
        if self._setup.ordinary is None:
            # Its connections are the other loop's, too.
            self._ordinary = None
        for group in self._groups.values():
            group.reset()
        self._forget()
        self._loop = loop

    # Groups

    def _arranged(self, key: Key) -> Group:
        if self._closed:
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
        loop = self._loop
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
            self._gone(group.hear(news, time.monotonic()))
            if group.state is not State.WAITING:
                for waiter in self._expecting.pop(group, ()):
                    _wake(waiter)
        self._serve()

    def _gone(self, members: list[Member]) -> None:
        for member in members:
            self._pool.close_idle(member)

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
        if self._closed:
            raise httpx.ReadError(CLOSED)
        return timeouts if seconds is None else {**timeouts, "connect": max(0.0, seconds - (loop.time() - began_s))}

    async def _ordinarily(self, request: httpx.Request) -> httpx.Response:
        if self._ordinary is None:
            self._ordinary = httpx.AsyncHTTPTransport(**self._setup.stock())
        return await self._ordinary.handle_async_request(request)

    # For exchanges

    async def wait(self, link: Link, seconds: float | None, late: type[httpx.TimeoutException]) -> None:
        """Until something has changed on a connection; for the transport and its response bodies.

        Raises:
            ExchangeError, httpx.TransportError: the connection's end, or `late` after so many seconds.
        """
        assert self._loop is not None
        link.late = late
        link.deadline = math.inf if seconds is None else self._loop.time() + seconds
        if link.deadline < self._next_sweep:
            self._sweep_at(link.deadline)
        try:
            await link.wait()
        except httpx.TimeoutException as error:
            self.late(link, error)
            raise

    def late(self, link: Link, error: httpx.TimeoutException) -> None:
        """The server was silent for too long; the user's time is over, so nothing is tried again."""
        group = link.member.group
        group.failed(link.member, link.loop.time(), str(error))
        self._setup.hooks.failed(group.origin, str(link.member), error)

    def answered(self, link: Link, status: int, began_s: float) -> None:
        """The head of a response came."""
        group, now = link.member.group, link.loop.time()
        group.succeeded(link.member, status, now)
        if self._setup.watched:
            self._setup.hooks.answered(group.origin, str(link.member), status, now - began_s)

    # Connections

    async def _connected(
        self, loop: asyncio.AbstractEventLoop, group: Group, request: httpx.Request, timeouts: Timeouts, attempts: Attempts
    ) -> Link:
        """A connection for the request, which is under way at its member from now on.

        Raises:
            httpx.TransportError: there is none.
        """
        until_s: float | None = None
        while True:
            now = loop.time()
            lease = None if self._closed else self._pool.lease(group, now, attempts)
            member, held = lease or await self._turn(loop, group, attempts, timeouts.get("pool"))
            if held is not None:
                known = cast(Link, held)
                if known.error is None:
                    return known
                # It ended between being given and being used.
                self.discard(known)
                continue
            if until_s is None:
                seconds = timeouts.get("connect")
                until_s = math.inf if seconds is None else now + seconds
            try:
                link = await self._opened(loop, member, request, attempts.connect_s(member, until_s - loop.time()))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if not attempts.not_opened(member, error, loop.time()) or loop.time() >= until_s:
                    raise
                continue
            if not member.leaving:
                return link
            self.discard(link)

    async def _turn(self, loop: asyncio.AbstractEventLoop, group: Group, attempts: Attempts, seconds: float | None) -> Lease:
        """Waits until something is free."""
        pool = self._pool
        future = loop.create_future()
        waiter = Waiter(group, attempts, lambda: _wake(future))
        if waiter.hopeless or self._closed:
            raise self._hopeless(group, attempts)
        self._pool.queue.append(waiter)
        if loop.time() < group.returns_s < self._next_sweep:
            self._sweep_at(group.returns_s)
        try:
            async with asyncio.timeout(seconds):
                await future
        except BaseException as error:
            if waiter in pool.queue:
                pool.queue.remove(waiter)
            elif waiter.lease is not None and pool is self._pool:
                pool.put_back(waiter.lease, loop.time())
                self._serve()
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout("no connection came free in time") from error
            raise
        if waiter.lease is None or pool is not self._pool:
            raise self._hopeless(group, attempts)
        return waiter.lease

    def _hopeless(self, group: Group, attempts: Attempts) -> Exception:
        """Why there is nothing to wait for."""
        if self._closed:
            return httpx.ReadError(CLOSED)
        return NotBalanced() if group.state is State.ELSEWHERE else attempts.hopeless()

    async def _opened(self, loop: asyncio.AbstractEventLoop, member: Member, request: httpx.Request, seconds: float) -> Link:
        """A new connection in the place that was taken for it, which is given back if that fails."""
        pool, until_s = self._pool, loop.time() + seconds
        while member.opening is not None and self._setup.may_share(member.group):
            try:
                await _told_by(member.opening, until_s - loop.time())
            except BaseException:
                self._not_opened(pool, member)
                raise
            if (link := pool.share(member, loop.time())) is not None:
                pool.joined()
                self._serve()
                return cast(Link, link)
        if not self._setup.may_share(member.group):
            return await self._opened_alone(loop, member, request, until_s - loop.time())
        opening = member.opening = loop.create_future()
        try:
            opened = await self._opened_alone(loop, member, request, until_s - loop.time())
        except BaseException as error:
            # Whoever waits for it has met the same; time-outs and giving up are each request's own.
            opening.set_result(error if isinstance(error, httpx.ConnectError) else None)
            raise
        else:
            opening.set_result(None)
            return opened
        finally:
            if member.opening is opening:
                member.opening = None

    async def _opened_alone(
        self, loop: asyncio.AbstractEventLoop, member: Member, request: httpx.Request, seconds: float
    ) -> Link:
        pool, began_s = self._pool, loop.time()
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                link = await self._open(loop, member, request)
        except BaseException as error:
            self._not_opened(pool, member)
            if isinstance(error, TimeoutError):
                raise httpx.ConnectTimeout("not open in time") from error
            if isinstance(error, ExchangeError):
                raise opening_to_httpx(error, str(member)) from error
            raise
        now = loop.time()
        if pool is not self._pool or self._closed:
            link.shut()
            raise httpx.ReadError(CLOSED)
        if self._setup.speaks_http2(link):
            link.multiplex()
        pool.opened(link, now)
        if link.ends_s < self._next_sweep:
            self._sweep_at(link.ends_s)
        self._setup.hooks.opened(member.group.origin, str(member), now - began_s)
        if link.mux is not None:
            # Others may wait for a place that it offers.
            self._serve()
        return link

    def _not_opened(self, pool: Pool, member: Member) -> None:
        """Gives the place back, unless the pool that it belonged to is gone."""
        if pool is self._pool:
            pool.not_opened(member)
            self._serve()

    async def _open(self, loop: asyncio.AbstractEventLoop, member: Member, request: httpx.Request) -> Link:
        """Dials the member; one that is a name at its addresses, in the resolver's order."""
        origin = member.group.origin
        tls = self._setup.tls(request.extensions.get("sni_hostname") or origin.host) if origin.scheme == "https" else None
        if member.endpoint is not None:
            return await self._dial(loop, member, member.endpoint.address, tls)
        *first, last = await _addresses(loop, origin.host, origin.port)
        for address in first:
            # A silent one must not take the time of the others.
            with contextlib.suppress(ExchangeError, TimeoutError):
                async with asyncio.timeout(CONNECT_ATTEMPT_S):
                    return await self._dial(loop, member, address, tls)
        return await self._dial(loop, member, last, tls)

    async def _dial(self, loop: asyncio.AbstractEventLoop, member: Member, address: Address, tls: Tls | None) -> Link:
        link = Link(loop, member, address, tls, self._lost, self._serve)
        self._dialling.add(link)
        try:
            await link.opened()
        except BaseException:
            link.shut()
            raise
        finally:
            self._dialling.discard(link)
        return link

    def release(self, link: Link) -> None:
        """An exchange is complete."""
        if self._pool.release(link, link.loop.time()) and link.deadline < self._next_sweep:
            self._sweep_at(link.deadline)
        self._serve()

    def abandon(self, link: Link) -> None:
        """Closes a connection in the middle of a response."""
        link.fail(httpx.ReadError("the response was closed while it was read"))
        self.discard(link)

    def discard(self, link: Link) -> None:
        """Closes a connection whose exchange came to nothing."""
        self._pool.discard_idle(link) if link.idle else self._pool.discard(link)
        self._serve()

    def _lost(self, link: Link) -> None:
        self._pool.discard_idle(link)
        self._serve()

    def _serve(self) -> None:
        if self._pool.queue and self._loop is not None and not self._closed:
            self._pool.serve(self._loop.time())

    # Deadlines

    def _sweep_at(self, deadline: float) -> None:
        assert self._loop is not None
        self._stop_timer()
        self._next_sweep = deadline
        self._timer = self._loop.call_at(deadline, self._sweep)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._next_sweep = math.inf

    def _sweep(self) -> None:
        """Ends what is due, and comes back for what is due next."""
        assert self._loop is not None
        self._stop_timer()
        # The loop calls a timer up to its clock's resolution early.
        now = self._loop.time() + 0.001
        following = self._pool.expire(now)
        for link in self._links:
            if link.waiting and link.deadline <= now:
                link.fail(link.late("the server was silent for too long"))
            elif link.waiting:
                following = min(following, link.deadline)
        self._serve()
        following = min(following, self._pool.returns_s(now))
        if following < self._next_sweep:
            self._sweep_at(following)


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Address]:
    """The addresses of a host; one that is an address already needs no resolver and no thread."""
    if is_ip(host):
        return [Address(host, port)]
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ExchangeError(Failure.UNREACHABLE, str(error)) from error
    return [Address(str(info[4][0]), port) for info in found]


async def _told_by(opening: "asyncio.Future[httpx.TransportError | None]", seconds: float) -> None:
    """Waits for somebody else's connection, and raises why it did not open."""
    try:
        async with asyncio.timeout(None if seconds == math.inf else seconds):
            error = await asyncio.shield(opening)
    except TimeoutError as late:
        raise httpx.ConnectTimeout("not open in time") from late
    if error is not None:
        # One of its own, since httpx notes on it whose request it was.
        raise type(error)(str(error)) from error


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "kbalance's asynchronous transports run under asyncio; under trio use the synchronous ones in a worker thread"
        ) from None
