"""The connections of a threaded transport: which of them a request gets, how they open, and when they end."""

import contextlib
import math
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, RLock
from typing import cast

import httpx

from kbalance.balancing.attempts import CONNECT_ATTEMPT_S, Attempts
from kbalance.balancing.blocking_link import BlockingLink
from kbalance.balancing.group import Group, State
from kbalance.balancing.incoming import opening_to_httpx
from kbalance.balancing.members import Member
from kbalance.balancing.pool import Lease, Waiter
from kbalance.balancing.setup import CLOSED, NotBalanced, Setup, Timeouts
from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.dialled import Tls


class BlockingConnections:
    """Those of one transport, for as many threads as one likes."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.lock = RLock()
        """Held around every decision, the transport's own included, and around no wait."""
        self.pool = setup.pool()
        self._dialling: set[BlockingLink] = set()
        self._next_expiry_s = math.inf
        self.closed = False
        self.abandoned: deque[Callable[[], None]] = deque()
        """Responses whose reader went away, to be left as soon as nothing else is under way."""

    def close(self) -> None:
        """Ends all of them; requests under way fail with `httpx.ReadError`."""
        with self.lock:
            self.closed = True
            links = [cast(BlockingLink, one) for one in (*self.pool.links, *self._dialling)]
            for link in links:
                if link.idle:
                    self.pool.discard_idle(link)
            for waiter in self.pool.queue:
                waiter.wake()
        for link in links:
            # Without the lock: whoever holds the connection's turn may want it.
            if link.fileno() >= 0:
                link.end(httpx.ReadError(CLOSED))
            if not link.polled:
                # A response that nobody reads at the moment.
                link.shut()

    # For a request

    def connected(self, group: Group, request: httpx.Request, timeouts: Timeouts, attempts: Attempts) -> BlockingLink:
        """A connection for the request, which is under way at its member from now on.

        Raises:
            httpx.TransportError: there is none.
        """
        until_s: float | None = None
        while True:
            member, held = self._leased(group, attempts, timeouts.get("pool"))
            if held is not None:
                known = cast(BlockingLink, held)
                if known.error is None:
                    return known
                # It ended between being given and being used.
                self.discard(known)
                continue
            now = time.monotonic()
            if until_s is None:
                seconds = timeouts.get("connect")
                until_s = math.inf if seconds is None else now + seconds
            try:
                left_s = attempts.connect_s(member, until_s - now)
                opened = self._opened(member, request, left_s, fresh=attempts.stale is member)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                with self.lock:
                    again = attempts.not_opened(member, error, time.monotonic())
                if not again or time.monotonic() >= until_s:
                    raise
                continue
            if not member.leaving:
                return opened
            self.discard(opened)

    def _leased(self, group: Group, attempts: Attempts, seconds: float | None) -> Lease:
        """A member and its connection, or a place for one, as soon as something is free."""
        while self.abandoned:
            self.abandoned.popleft()()
        event, until_s = Event(), math.inf if seconds is None else time.monotonic() + seconds
        with self.lock:
            now = time.monotonic()
            if now >= self._next_expiry_s:
                self._next_expiry_s = self.pool.expire(now)
            lease = None if self.closed else self.pool.lease(group, now, attempts)
            if lease is not None:
                return lease
            waiter = Waiter(group, attempts, event.set)
            if waiter.hopeless or self.closed:
                raise self._hopeless(group, attempts)
            self.pool.queue.append(waiter)
        try:
            in_time = self._waited(event, until_s)
        except BaseException:
            self._give_up(waiter)
            raise
        with self.lock:
            if waiter.lease is not None:
                return waiter.lease
        self._give_up(waiter)
        raise self._hopeless(group, attempts) if in_time else httpx.PoolTimeout("no connection came free in time")

    def _waited(self, event: Event, until_s: float) -> bool:
        """Until something is free; whether that was in time. An endpoint that was ejected may be free before it is told."""
        while True:
            with self.lock:
                due_s = min(until_s, self.pool.returns_s(time.monotonic()))
            left_s = due_s - time.monotonic()
            if event.wait(None if left_s == math.inf else max(0.0, left_s)):
                return True
            if time.monotonic() >= until_s:
                return False
            with self.lock:
                self.pool.serve(time.monotonic())

    def _hopeless(self, group: Group, attempts: Attempts) -> Exception:
        """Why there is nothing to wait for."""
        if self.closed:
            return httpx.ReadError(CLOSED)
        return NotBalanced() if group.state is State.ELSEWHERE else attempts.hopeless()

    def _give_up(self, waiter: Waiter) -> None:
        with self.lock:
            if waiter.lease is not None:
                now = time.monotonic()
                self.pool.put_back(waiter.lease, now)
                self.pool.serve(now)
            elif waiter in self.pool.queue:
                self.pool.queue.remove(waiter)

    # Opening

    def _opened(self, member: Member, request: httpx.Request, seconds: float, *, fresh: bool) -> BlockingLink:
        """A new connection in the place that was taken for it, which is given back if that fails.

        Args:
            fresh: what was there before will not do.
        """
        until_s = time.monotonic() + seconds
        while self._setup.may_share(member.group):
            with self.lock:
                # Somebody else's may have opened since the place was taken.
                shared = None if fresh else self.pool.share(member, time.monotonic())
                if shared is not None:
                    self.pool.joined()
                    self.pool.serve(time.monotonic())
                    return cast(BlockingLink, shared)
                theirs: Future[httpx.TransportError | None] | None = member.opening
                if theirs is None:
                    opening = member.opening = Future()
                    break
            try:
                _told_by(theirs, until_s - time.monotonic())
            except BaseException:
                self._not_opened(member)
                raise
            fresh = False
        else:
            return self._opened_alone(member, request, until_s - time.monotonic())
        failure: httpx.TransportError | None = None
        try:
            return self._opened_alone(member, request, until_s - time.monotonic())
        except httpx.ConnectError as error:
            # Whoever waits for it has met the same; time-outs and giving up are each thread's own.
            failure = error
            raise
        finally:
            with self.lock:
                member.opening = None
            opening.set_result(failure)

    def _opened_alone(self, member: Member, request: httpx.Request, seconds: float) -> BlockingLink:
        began_s = time.monotonic()
        try:
            link = self._open(member, request, began_s + seconds)
        except BaseException as error:
            self._not_opened(member)
            if isinstance(error, ExchangeError):
                raise opening_to_httpx(error, str(member)) from error
            raise
        with self.lock:
            now = time.monotonic()
            if self._setup.speaks_http2(link):
                with link.turn:
                    link.multiplex()
            self.pool.opened(link, now)
            self._dialling.discard(link)
            self._next_expiry_s = min(self._next_expiry_s, link.ends_s)
            self._setup.hooks.opened(member.group.origin, str(member), now - began_s)
            if link.mux is not None:
                # Others may wait for a place that it offers.
                self.pool.serve(now)
        return link

    def _not_opened(self, member: Member) -> None:
        with self.lock:
            self.pool.not_opened(member)
            self.pool.serve(time.monotonic())

    def _open(self, member: Member, request: httpx.Request, until_s: float) -> BlockingLink:
        """Dials the member; one that is a name at its addresses, in the resolver's order."""
        origin = member.group.origin
        tls = self._setup.tls(request.extensions.get("sni_hostname") or origin.host) if origin.scheme == "https" else None
        if member.endpoint is not None:
            return self._dial(member, member.endpoint.address, tls, until_s)
        *first, last = _addresses(origin.host, origin.port)
        for address in first:
            # A silent one must not take the time of the others.
            with contextlib.suppress(ExchangeError, httpx.ConnectTimeout):
                return self._dial(member, address, tls, min(until_s, time.monotonic() + CONNECT_ATTEMPT_S))
        return self._dial(member, last, tls, until_s)

    def _dial(self, member: Member, address: Address, tls: Tls | None, until_s: float) -> BlockingLink:
        link = BlockingLink(member, address, tls)
        with self.lock:
            self._dialling.add(link)
        try:
            if self.closed:
                raise httpx.ReadError(CLOSED)
            link.open(until_s)
        except BaseException:
            with self.lock:
                self._dialling.discard(link)
            link.shut()
            raise
        return link

    # For exchanges

    def answered(self, link: BlockingLink, status: int, began_s: float) -> None:
        """The head of a response came."""
        with self.lock:
            self._answered(link, status, began_s, time.monotonic())

    def late(self, link: BlockingLink, error: httpx.TimeoutException) -> None:
        """The server was silent for too long; the user's time is over, so nothing is tried again."""
        group = link.member.group
        with self.lock:
            group.failed(link.member, time.monotonic(), str(error))
            self._setup.hooks.failed(group.origin, str(link.member), error)

    def _answered(self, link: BlockingLink, status: int, began_s: float, now: float) -> None:
        group = link.member.group
        group.succeeded(link.member, status, now)
        if self._setup.watched:
            self._setup.hooks.answered(group.origin, str(link.member), status, now - began_s)

    def finished(self, link: BlockingLink, status: int, began_s: float) -> None:
        """A response came with all of its body."""
        with self.lock:
            now = time.monotonic()
            self._answered(link, status, began_s, now)
            self._release(link, now)

    def release(self, link: BlockingLink) -> None:
        """An exchange is complete."""
        with self.lock:
            self._release(link, time.monotonic())

    def _release(self, link: BlockingLink, now: float) -> None:
        if self.closed:
            link.last = True
        if self.pool.release(link, now):
            self._next_expiry_s = min(self._next_expiry_s, link.deadline)
        if now >= self._next_expiry_s:
            self._next_expiry_s = self.pool.expire(now)
        self.pool.serve(now)

    def discard(self, link: BlockingLink) -> None:
        """Closes a connection in use; its request is over."""
        with self.lock:
            self.pool.discard(link)
            self.pool.serve(time.monotonic())


def _told_by(opening: "Future[httpx.TransportError | None]", seconds: float) -> None:
    """Waits for somebody else's connection, and raises why it did not open."""
    try:
        error = opening.result(None if seconds == math.inf else max(0.0, seconds))
    except TimeoutError as late:
        raise httpx.ConnectTimeout("not open in time") from late
    if error is not None:
        # One of its own, since httpx notes on it whose request it was.
        raise type(error)(str(error)) from error


def _addresses(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ExchangeError(Failure.UNREACHABLE, str(error)) from error
    return [Address(str(info[4][0]), port) for info in found]
