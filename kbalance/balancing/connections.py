"""The connections of an asyncio transport: which of them a request gets, how they open, and when they end.

No task, no lock and no timer per request: a request that waits is one future, and one timer looks at every deadline there is.
"""

import asyncio
import contextlib
import math
import socket
from typing import cast

import httpx

from kbalance.balancing.attempts import CONNECT_ATTEMPT_S, Attempts
from kbalance.balancing.group import Group, State
from kbalance.balancing.incoming import opening_to_httpx
from kbalance.balancing.link import Link
from kbalance.balancing.members import Member
from kbalance.balancing.pool import Lease, Pool, Waiter
from kbalance.balancing.setup import CLOSED, NotBalanced, Setup, Timeouts
from kbalance.errors import ExchangeError
from kbalance.model.target import Address, is_ip
from kbalance.model.words import Failure
from kbalance.wire.dialled import Tls


class Connections:
    """Those of one transport, watched by one asyncio loop at a time."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed = False
        self._forget()

    def _forget(self) -> None:
        self.pool = self._setup.pool()
        self.dialling: set[Link] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next_sweep = math.inf

    @property
    def links(self) -> list[Link]:
        """Those that are open."""
        return [cast(Link, link) for link in self.pool.links]

    def move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts anew; connections of another loop cannot be watched by this one."""
        for link in (*self.dialling, *self.links):
            link.shut()
        self._stop_timer()
        self._forget()
        self.loop = loop

    def close(self) -> None:
        """Ends all of them; requests under way fail with `httpx.ReadError`."""
        self.closed = True
        for link in (*self.dialling, *self.links):
            if not link.idle:
                link.fail(httpx.ReadError(CLOSED))
            link.shut()
        self._stop_timer()
        queue, self.pool = self.pool.queue, self._setup.pool()
        for waiter in queue:
            waiter.wake()

    def serve(self) -> None:
        """Gives what has come free to those that wait."""
        if self.pool.queue and self.loop is not None and not self.closed:
            self.pool.serve(self.loop.time())

    # For a request

    async def connected(
        self, loop: asyncio.AbstractEventLoop, group: Group, request: httpx.Request, timeouts: Timeouts, attempts: Attempts
    ) -> Link:
        """A connection for the request, which is under way at its member from now on.

        Raises:
            httpx.TransportError: there is none.
        """
        until_s: float | None = None
        while True:
            now = loop.time()
            lease = None if self.closed else self.pool.lease(group, now, attempts)
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
        pool = self.pool
        future = loop.create_future()
        waiter = Waiter(group, attempts, lambda: wake(future))
        if waiter.hopeless or self.closed:
            raise self._hopeless(group, attempts)
        self.pool.queue.append(waiter)
        if loop.time() < group.returns_s < self._next_sweep:
            self._sweep_at(group.returns_s)
        try:
            async with asyncio.timeout(seconds):
                await future
        except BaseException as error:
            if waiter in pool.queue:
                pool.queue.remove(waiter)
            elif waiter.lease is not None and pool is self.pool:
                pool.put_back(waiter.lease, loop.time())
                self.serve()
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout("no connection came free in time") from error
            raise
        if waiter.lease is None or pool is not self.pool:
            raise self._hopeless(group, attempts)
        return waiter.lease

    def _hopeless(self, group: Group, attempts: Attempts) -> Exception:
        """Why there is nothing to wait for."""
        if self.closed:
            return httpx.ReadError(CLOSED)
        return NotBalanced() if group.state is State.ELSEWHERE else attempts.hopeless()

    # Opening

    async def _opened(self, loop: asyncio.AbstractEventLoop, member: Member, request: httpx.Request, seconds: float) -> Link:
        """A new connection in the place that was taken for it, which is given back if that fails."""
        pool, until_s = self.pool, loop.time() + seconds
        while member.opening is not None and self._setup.may_share(member.group):
            try:
                await _told_by(member.opening, until_s - loop.time())
            except BaseException:
                self._not_opened(pool, member)
                raise
            if (link := pool.share(member, loop.time())) is not None:
                pool.joined()
                self.serve()
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
        pool, began_s = self.pool, loop.time()
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
        if pool is not self.pool or self.closed:
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
            self.serve()
        return link

    def _not_opened(self, pool: Pool, member: Member) -> None:
        """Gives the place back, unless the pool that it belonged to is gone."""
        if pool is self.pool:
            pool.not_opened(member)
            self.serve()

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
        link = Link(loop, member, address, tls, self._lost, self.serve)
        self.dialling.add(link)
        try:
            await link.opened()
        except BaseException:
            link.shut()
            raise
        finally:
            self.dialling.discard(link)
        return link

    # For exchanges

    async def wait(self, link: Link, seconds: float | None, late: type[httpx.TimeoutException]) -> None:
        """Until something has changed on a connection; for the transport and its response bodies.

        Raises:
            ExchangeError, httpx.TransportError: the connection's end, or `late` after so many seconds.
        """
        assert self.loop is not None
        link.late = late
        link.deadline = math.inf if seconds is None else self.loop.time() + seconds
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

    def release(self, link: Link) -> None:
        """An exchange is complete."""
        if self.pool.release(link, link.loop.time()) and link.deadline < self._next_sweep:
            self._sweep_at(link.deadline)
        self.serve()

    def abandon(self, link: Link) -> None:
        """Closes a connection in the middle of a response."""
        link.fail(httpx.ReadError("the response was closed while it was read"))
        self.discard(link)

    def discard(self, link: Link) -> None:
        """Closes a connection whose exchange came to nothing."""
        self.pool.discard_idle(link) if link.idle else self.pool.discard(link)
        self.serve()

    def _lost(self, link: Link) -> None:
        self.pool.discard_idle(link)
        self.serve()

    # Deadlines

    def _sweep_at(self, deadline: float) -> None:
        assert self.loop is not None
        self._stop_timer()
        self._next_sweep = deadline
        self._timer = self.loop.call_at(deadline, self._sweep)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._next_sweep = math.inf

    def _sweep(self) -> None:
        """Ends what is due, and comes back for what is due next."""
        assert self.loop is not None
        self._stop_timer()
        # The loop calls a timer up to its clock's resolution early.
        now = self.loop.time() + 0.001
        following = self.pool.expire(now)
        for link in self.links:
            if link.waiting and link.deadline <= now:
                link.fail(link.late("the server was silent for too long"))
            elif link.waiting:
                following = min(following, link.deadline)
        self.serve()
        following = min(following, self.pool.returns_s(now))
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


def wake(future: "asyncio.Future[None]") -> None:
    """Ends a wait, unless it is over."""
    if not future.done():
        future.set_result(None)
