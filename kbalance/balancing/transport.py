"""The client that measures, as a transport for httpx: the same connections, driven by asyncio.

    async with httpx.AsyncClient(transport=ConnectionTransport()) as client: ...

No task, no lock and no timer per request: a request is one future, and one timer looks at every deadline there is.
"""

import asyncio
import math
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import httpx

from kbalance.balancing.incoming import opening_to_httpx, streamed_response, to_httpx, whole_response
from kbalance.balancing.link import Link, Origin
from kbalance.balancing.outgoing import LAST_CHUNK, Outgoing, chunk, encode
from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.connection import Tls
from kbalance.wire.http1 import IDEMPOTENT
from kbalance.wire.tls import make_tls

if TYPE_CHECKING:
    import ssl

LIMITS = httpx.Limits(max_connections=100, keepalive_expiry=5.0)
"""httpx's own, except that every connection may stay open while idle."""
_PORTS = {"http": 80, "https": 443}
Timeouts = Mapping[str, float | None]
"""Seconds, by httpx's names."""
_NO_TIMEOUTS: Timeouts = {}


class ConnectionTransport(httpx.AsyncBaseTransport):
    """Sends the requests of an `httpx.AsyncClient` over `kbalance.wire.connection.Connection`, HTTP/1.1 only.

    Idle connections are kept per scheme, host and port; the one used last is used next. A request on a connection that the
    server has just closed is sent once more when it is idempotent and its body is at hand (RFC 9112, 9.3.1). Timeouts are
    httpx's: ``connect`` covers name, TCP and TLS, ``read`` and ``write`` each wait for the network, ``pool`` the wait for a
    connection to come free. Proxies are not spoken to. One loop at a time.
    """

    def __init__(self, *, verify: "ssl.SSLContext | None" = None, limits: httpx.Limits = LIMITS) -> None:
        """
        Args:
            verify: for https; ``None`` verifies with the system's authorities. Its ALPN is set to HTTP/1.1.
        """
        self._context = verify
        if verify is not None:
            verify.set_alpn_protocols(["http/1.1"])
        most = limits.max_connections
        self._most = math.inf if most is None else most
        self._most_idle = self._most if limits.max_keepalive_connections is None else limits.max_keepalive_connections
        self._expiry = math.inf if limits.keepalive_expiry is None else limits.keepalive_expiry
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forget()

    def _forget(self) -> None:
        self._dialling: set[Link] = set()
        self._links: set[Link] = set()
        """Those that are open."""
        self._taken = 0
        """Open connections, and places taken for those that will be; never above the limit."""
        self._idle: dict[Origin, list[Link]] = {}
        self._idle_count = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        """Requests that wait for a connection to come free."""
        self._timer: asyncio.TimerHandle | None = None
        self._next_sweep = math.inf

    def __repr__(self) -> str:
        busy = self._taken - self._idle_count
        return f"<ConnectionTransport {busy} busy, {self._idle_count} idle, {len(self._queue)} waiting>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response; its body is at hand when it came at once, and is read as it is consumed otherwise."""
        outgoing = encode(request)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        url = request.url
        origin = (url.scheme, url.raw_host, url.port)
        timeouts = request.extensions.get("timeout") or _NO_TIMEOUTS
        link = self._take(origin) or await self._connected(loop, origin, request, timeouts)
        try:
            return await self._exchange(link, request, outgoing, timeouts)
        except ExchangeError as error:
            if not _may_retry(link, request, outgoing, error):
                raise to_httpx(error) from error
        # The idle ones left have been idle for longer than the one that had been closed.
        for stale in list(self._idle.get(origin, ())):
            self._discard(stale)
        link = await self._connected(loop, origin, request, timeouts)
        try:
            return await self._exchange(link, request, outgoing, timeouts)
        except ExchangeError as error:
            raise to_httpx(error) from error

    async def aclose(self) -> None:
        """Closes every connection; requests under way fail with `httpx.ReadError`."""
        for link in (*self._dialling, *self._links):
            if not link.idle:
                link.fail(httpx.ReadError("the transport was closed"))
            self._discard(link)
        self._stop_timer()

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts anew; connections of another loop cannot be watched by this one."""
        for link in (*self._dialling, *self._links):
            link.close()
        self._forget()
        self._loop = loop

    # One exchange

    async def _exchange(self, link: Link, request: httpx.Request, outgoing: Outgoing, timeouts: Timeouts) -> httpx.Response:
        try:
            link.last = outgoing.closes
            link.begin(outgoing.data, request.method)
            if outgoing.stream is not None:
                await self._upload(link, outgoing, outgoing.stream, timeouts.get("write"))
            if link.wants_write:
                await self._drain(link, timeouts.get("write"))
            while (head := link.head) is None:
                await self.wait(link, timeouts.get("read"), httpx.ReadTimeout)
        except BaseException:
            self._discard(link)
            raise
        if link.awaiting:
            return streamed_response(head, _Body(self, link, timeouts.get("read")))
        body = link.take_body()
        self.release(link)
        return whole_response(head, body)

    async def _upload(self, link: Link, outgoing: Outgoing, stream: httpx.AsyncByteStream, seconds: float | None) -> None:
        """Sends a body as it is made; stops when the server answers before it has all of it."""
        link.last = True
        left = outgoing.length
        async for part in stream:
            if not outgoing.chunked:
                left -= len(part)
                _check_length(outgoing, left, left >= 0)
            link.more(chunk(part) if outgoing.chunked else part)
            await self._drain(link, seconds)
            # A body made without waiting would otherwise keep the loop from seeing an early answer.
            await asyncio.sleep(0)
            if link.head is not None:
                return
        _check_length(outgoing, left, left == 0 or outgoing.chunked)
        link.more(LAST_CHUNK if outgoing.chunked else b"")
        link.last = outgoing.closes

    async def _drain(self, link: Link, seconds: float | None) -> None:
        while link.wants_write and link.head is None:
            await self.wait(link, seconds, httpx.WriteTimeout)

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
        await link.wait()

    # Connections

    def _take(self, origin: Origin) -> Link | None:
        """The idle connection that was used last."""
        stack = self._idle.get(origin)
        if not stack:
            return None
        link = stack.pop()
        link.idle = False
        self._idle_count -= 1
        return link

    def release(self, link: Link) -> None:
        """Keeps a connection whose response is complete, if it can be used again."""
        if not link.reusable or link.last or self._idle_count >= self._most_idle or link not in self._links:
            return self._discard(link)
        assert self._loop is not None
        link.idle = True
        link.deadline = self._loop.time() + self._expiry
        if link.deadline < self._next_sweep:
            self._sweep_at(link.deadline)
        self._idle.setdefault(link.origin, []).append(link)
        self._idle_count += 1
        if self._queue:
            self._call_next()

    def abandon(self, link: Link) -> None:
        """Closes a connection in the middle of a response."""
        link.fail(httpx.ReadError("the response was closed while it was read"))
        self._discard(link)

    def _discard(self, link: Link) -> None:
        link.shut()
        if link not in self._links:
            return
        self._links.remove(link)
        self._taken -= 1
        if link.idle:
            link.idle = False
            self._idle_count -= 1
            self._idle[link.origin].remove(link)
        if not self._idle.get(link.origin):
            self._idle.pop(link.origin, None)
        self._call_next()

    def _call_next(self) -> None:
        """A connection came free, or room for one: whoever waits longest looks again."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                return waiter.set_result(None)

    async def _connected(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, request: httpx.Request, timeouts: Timeouts
    ) -> Link:
        """A connection, new unless one comes free first while there is no room for a new one."""
        if origin[0] not in _PORTS:
            raise httpx.UnsupportedProtocol(f"{origin[0]}:// is not spoken here, only http:// and https://")
        try:
            async with asyncio.timeout(timeouts.get("pool")):
                link = await self._turn(loop, origin)
        except TimeoutError as error:
            raise httpx.PoolTimeout("no connection came free in time") from error
        return link or await self._opened(loop, origin, request, timeouts.get("connect"))

    async def _turn(self, loop: asyncio.AbstractEventLoop, origin: Origin) -> Link | None:
        """An idle connection, or ``None`` for room to open a new one, which is taken from now on."""
        while (link := self._take(origin)) is None:
            if self._taken < self._most or self._make_room():
                self._taken += 1
                return None
            waiter = loop.create_future()
            self._queue.append(waiter)
            try:
                await waiter
            except BaseException:
                if not waiter.cancelled():
                    self._call_next()
                raise
        return link

    def _make_room(self) -> bool:
        """Closes the connection that has been idle longest at some other server; whether there was one."""
        for stack in self._idle.values():
            if stack:
                self._discard(stack[0])
                return True
        return False

    async def _opened(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, request: httpx.Request, seconds: float | None
    ) -> Link:
        """A new connection in the place that was taken for it, which is given back if that fails."""
        links = self._links
        try:
            async with asyncio.timeout(seconds):
                link = await self._open(loop, origin, request)
        except BaseException as error:
            if links is self._links:
                self._taken -= 1
                self._call_next()
            if isinstance(error, TimeoutError):
                raise httpx.ConnectTimeout(f"not open after {seconds:g} s") from error
            if isinstance(error, ExchangeError):
                raise opening_to_httpx(error) from error
            raise
        self._links.add(link)
        return link

    async def _open(self, loop: asyncio.AbstractEventLoop, origin: Origin, request: httpx.Request) -> Link:
        """Tries the addresses of a name in the resolver's order."""
        scheme, raw_host, port = origin
        host = raw_host.decode("ascii")
        tls = self._tls(request.extensions.get("sni_hostname") or host) if scheme == "https" else None
        failure = ExchangeError(Failure.UNREACHABLE, f"{host} has no address")
        for address in await _addresses(loop, host, port or _PORTS[scheme]):
            try:
                return await self._dial(loop, origin, address, tls)
            except ExchangeError as error:
                failure = error
        raise failure

    async def _dial(self, loop: asyncio.AbstractEventLoop, origin: Origin, address: Address, tls: Tls | None) -> Link:
        link = Link(loop, origin, address, tls, self._discard)
        self._dialling.add(link)
        try:
            await link.opened()
        except BaseException:
            link.shut()
            raise
        finally:
            self._dialling.discard(link)
        return link

    def _tls(self, name: str) -> Tls:
        if self._context is None:
            self._context = make_tls(name).context
        return Tls(self._context, name)

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
        following = math.inf
        for link in list(self._links):
            if link.idle and link.deadline <= now:
                self._discard(link)
            elif link.waiting and link.deadline <= now:
                link.fail(link.late("the server was silent for too long"))
            elif link.idle or link.waiting:
                following = min(following, link.deadline)
        if following < self._next_sweep:
            self._sweep_at(following)


class _Body(httpx.AsyncByteStream):
    """The rest of a response, read as it is consumed; holds the connection until then."""

    def __init__(self, transport: ConnectionTransport, link: Link, seconds: float | None) -> None:
        self._transport = transport
        self._link: Link | None = link
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (link := self._link) is not None:
                if link.parts:
                    yield link.take_part()
                elif link.awaiting:
                    await self._transport.wait(link, self._seconds, httpx.ReadTimeout)
                else:
                    return
        except ExchangeError as error:
            raise to_httpx(error) from error
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        if link.awaiting:
            self._transport.abandon(link)
        else:
            link.take_body()
            self._transport.release(link)


def _may_retry(link: Link, request: httpx.Request, outgoing: Outgoing, error: ExchangeError) -> bool:
    """Whether the server just closed an idle connection under a request that it cannot have answered."""
    stale = link.answered > 0 and link.untouched and error.failure in (Failure.CLOSED, Failure.RESET)
    return stale and request.method in IDEMPOTENT and outgoing.stream is None


def _check_length(outgoing: Outgoing, left: int, right: bool) -> None:
    if not right:
        raise httpx.LocalProtocolError(f"a body of {outgoing.length - left} bytes where {outgoing.length} were announced")


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Address]:
    """The addresses of a host; one that is an address already needs no resolver and no thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [Address(host, port)]
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ExchangeError(Failure.UNREACHABLE, f"{host}: {error}") from error
    return [Address(str(info[4][0]), port) for info in found]
