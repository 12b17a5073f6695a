"""The threaded transport: kbalance's own connections under an `httpx.Client`; hosts, their news and a request's attempts."""

import time
from threading import Event

import httpx

from kbalance.balancing.arrangements import Arrangement
from kbalance.balancing.attempts import Attempts
from kbalance.balancing.blocking_connections import BlockingConnections
from kbalance.balancing.blocking_exchanges import exchange
from kbalance.balancing.endpoints import News
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


class Engine(httpx.BaseTransport):
    """Sends the requests of an `httpx.Client` over `kbalance.wire.connection.Connection`, by HTTP/1.1 or HTTP/2.

    Timeouts are httpx's: ``connect`` covers TCP and TLS of all attempts together (the resolver knows no time-out), ``read`` and
    ``write`` each wait for the network, ``pool`` the wait for a connection to come free. Proxies are not spoken to.
    """

    def __init__(self, arrangement: Arrangement, setup: Setup) -> None:
        self._arrangement = arrangement
        self._setup = setup
        self._connections = BlockingConnections(setup)
        self._lock = self._connections.lock
        """Theirs, since news and failures change what they decide by."""
        self._groups: dict[Key, Group] = {}
        self._expecting: dict[Group, list[Event]] = {}
        if setup.ordinary is not None and not isinstance(setup.ordinary, httpx.BaseTransport):
            raise TypeError(f"ordinary={setup.ordinary!r}: give an httpx.BaseTransport")
        self._ordinary: httpx.BaseTransport | None = setup.ordinary

    def __repr__(self) -> str:
        with self._lock:
            return describe(self, self._groups.values(), self._connections.pool)

    def snapshot(self) -> Snapshot:
        """What is known and under way at this moment."""
        with self._lock:
            return snapshot(self._groups.values(), self._connections.pool, time.monotonic())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The response; its body is at hand when it came at once, and is read as it is consumed otherwise."""
        url = request.url
        key = (url.scheme, url.raw_host, url.port)
        group = self._groups.get(key) or self._arranged(key)
        timeouts: Timeouts = request.extensions.get("timeout") or NO_TIMEOUTS
        if group.state is State.WAITING:
            timeouts = self._first_news(group, timeouts)
        if group.state is State.ELSEWHERE:
            return self._ordinarily(request)
        outgoing = encode(request)
        if outgoing.stream is not None and not isinstance(outgoing.stream, httpx.SyncByteStream):
            raise RuntimeError("a request with an asynchronous body cannot be sent by a synchronous transport")
        attempts = Attempts(group, request.method, at_hand=outgoing.stream is None)
        try:
            while True:
                link = self._connections.connected(group, request, timeouts, attempts)
                try:
                    return exchange(self._connections, link, request, outgoing, timeouts)
                except ExchangeError as error:
                    with self._lock:
                        again = attempts.broke(link, error, time.monotonic())
                    if not again:
                        raise to_httpx(error, str(link.member)) from error
        except NotBalanced:
            return self._ordinarily(request)
        finally:
            attempts.over()

    def close(self) -> None:
        """Closes every connection and ends every source; requests under way fail with `httpx.ReadError`."""
        self._connections.close()
        with self._lock:
            for event in [event for events in self._expecting.values() for event in events]:
                event.set()
        try:
            end_all(list(self._groups.values()))
        finally:
            if self._ordinary is not None:
                self._ordinary.close()

    # Groups

    def _arranged(self, key: Key) -> Group:
        with self._lock:
            if self._connections.closed:
                raise RuntimeError(CLOSED)
            known = self._groups.get(key)
            if len(self._groups) >= HOSTS_KEPT:
                self._groups = {one: group for one, group in self._groups.items() if group.needed}
            group = known or self._setup.group(self._arrangement, origin_of(key), time.monotonic())
            self._groups[key] = group
        if known is None:
            # Without the lock: a source may hold one of its own while it tells.
            try:
                self._arrangement.start(group, self._told)
            except BaseException:
                # Interrupted: whoever comes next begins anew.
                self._groups.pop(key, None)
                raise
            with self._lock:
                late = self._connections.closed
            if late:
                group.end()
                raise RuntimeError(CLOSED)
        return group

    def _told(self, group: Group, news: News) -> None:
        """From whatever thread."""
        with self._lock:
            now = time.monotonic()
            for member in group.hear(news, now):
                self._connections.pool.close_idle(member)
            self._settled(group)

    def _settled(self, group: Group) -> None:
        if group.state is not State.WAITING:
            for event in self._expecting.pop(group, ()):
                event.set()
        self._connections.pool.serve(time.monotonic())

    def _first_news(self, group: Group, timeouts: Timeouts) -> Timeouts:
        """Waits for the source's first word; the time-outs that are left."""
        seconds, began_s = timeouts.get("connect"), time.monotonic()
        patience_s = FIRST_NEWS_S if seconds is None else seconds
        event = Event()
        with self._lock:
            if group.state is not State.WAITING:
                return timeouts
            waiting = self._expecting.setdefault(group, [])
            waiting.append(event)
        try:
            in_time = event.wait(patience_s)
        finally:
            with self._lock:
                if event in waiting:
                    waiting.remove(event)
        if self._connections.closed:
            raise httpx.ReadError(CLOSED)
        if not in_time:
            with self._lock:
                if group.state is State.WAITING:
                    group.fall_back(f"the source of endpoints said nothing for {patience_s:g} s")
                    self._settled(group)
            return timeouts
        return timeouts if seconds is None else {**timeouts, "connect": max(0.0, seconds - (time.monotonic() - began_s))}

    def _ordinarily(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            if self._ordinary is None:
                self._ordinary = httpx.HTTPTransport(**self._setup.stock())
        return self._ordinary.handle_request(request)
