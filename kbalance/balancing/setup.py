"""What every transport of this room is made from, whichever way it waits."""

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from threading import Lock
from typing import Any

import httpx

from kbalance.balancing.arrangements import Arrangement
from kbalance.balancing.endpoints import Origin
from kbalance.balancing.group import Group, State
from kbalance.balancing.hooks import Guarded, Hooks
from kbalance.balancing.pool import Pool, Pooled
from kbalance.balancing.settings import Lifetime
from kbalance.wire.dialled import Tls
from kbalance.wire.tls import make_tls

PORTS = {"http": 80, "https": 443}
Key = tuple[str, bytes, int | None]
"""Scheme, host and port, as a request's URL has them."""
Timeouts = Mapping[str, float | None]
"""Seconds, by httpx's names."""
NO_TIMEOUTS: Timeouts = {}
CLOSED = "the transport was closed"
HOSTS_KEPT = 1000
"""When a transport knows so many hosts, it forgets those that it has no connection to and whose endpoints nobody watches."""
FIRST_NEWS_S = 5.0
"""For the source's first word, where the user limits no connection."""


class NotBalanced(Exception):
    """The host turned out to be nothing that the source knows; its request goes the ordinary way."""


@dataclass(slots=True, kw_only=True)
class Setup:
    """The choices that do not depend on where connections go."""

    verify: ssl.SSLContext | bool
    limits: httpx.Limits
    lifetime: Lifetime
    keep_open: int
    hooks: Hooks
    http1: bool = True
    http2: bool = False
    ordinary: httpx.AsyncBaseTransport | httpx.BaseTransport | None = None
    """For what is not balanced; ``None``: httpx's own."""
    watched: bool = field(init=False)
    """Whether anybody wants to be told of each answer."""
    random: Random = field(init=False, default_factory=Random)
    _context: ssl.SSLContext | None = field(init=False, default=None)
    _making: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        if not isinstance(self.verify, bool | ssl.SSLContext):
            raise TypeError(f"verify={self.verify!r}: give an ssl.SSLContext, or True or False")
        if not isinstance(self.hooks, Hooks):
            raise TypeError(f"hooks={self.hooks!r}: give an instance of a subclass of Hooks")
        if self.keep_open < 0:
            raise ValueError("keep_open is 0 or more")
        if not self.http1 and not self.http2:
            raise ValueError("neither HTTP/1.1 nor HTTP/2 may be spoken")
        self.watched = type(self.hooks) is not Hooks
        if self.watched:
            self.hooks = Guarded(self.hooks)

    def pool(self) -> Pool:
        return Pool(self.limits, self.lifetime, self.keep_open, self.random, self.hooks)

    def group(self, arrangement: Arrangement, origin: Origin, now: float) -> Group:
        return arrangement.group(origin, self.random, self.hooks, now)

    def tls(self, name: str) -> Tls:
        """How a connection is encrypted; the certificate has to be for this name, wherever the connection leads."""
        with self._making:
            if self._context is None:
                self._context = self._made()
        # Each time, as a context may serve several transports.
        self._context.set_alpn_protocols([*["h2"] * self.http2, *["http/1.1"] * self.http1])
        return Tls(self._context, name)

    def _made(self) -> ssl.SSLContext:
        if isinstance(self.verify, ssl.SSLContext):
            return self.verify
        return make_tls("", insecure=not self.verify).context

    def may_share(self, group: Group) -> bool:
        """Whether a connection may turn out to carry many requests at once."""
        return self.http2 and not group.alone and (group.origin.scheme == "https" or not self.http1)

    def speaks_http2(self, link: Pooled) -> bool:
        """Whether an open connection does, by what its handshake agreed on or because nothing else is spoken."""
        if not self.http2:
            return False
        return not self.http1 or (isinstance(link.sock, ssl.SSLSocket) and link.sock.selected_alpn_protocol() == "h2")

    def stock(self) -> dict[str, Any]:
        """Arguments of httpx's own transport."""
        return {"verify": self.verify, "limits": self.limits, "trust_env": False, "http1": self.http1, "http2": self.http2}


def end_all(groups: Iterable[Group]) -> None:
    """Ends every source, all of them first and whatever one of them raises, which is raised at the end."""
    failure: BaseException | None = None
    for group in groups:
        try:
            group.end()
        except BaseException as error:
            failure = failure or error
    if failure is not None:
        raise failure


def origin_of(key: Key) -> Origin:
    """Where this is.

    Raises:
        httpx.UnsupportedProtocol: neither http nor https.
    """
    scheme, host, port = key
    if scheme not in PORTS:
        raise httpx.UnsupportedProtocol(f"{scheme}:// is not spoken here, only http:// and https://")
    return Origin(scheme, host.decode("ascii").lower(), port or PORTS[scheme])


def describe(transport: object, groups: Iterable[Group], pool: Pool) -> str:
    """One honest line."""
    told = [f"; {_described(g)}" for g in groups if g.following is not None and g.state is not State.ELSEWHERE]
    return f"<{type(transport).__name__} {pool.busy} busy, {pool.idle} idle, {len(pool.queue)} waiting{''.join(told)}>"


def _described(group: Group) -> str:
    ejected = sum(bool(m.ejected_until_s) for m in group.members)
    notes = [f"{ejected} ejected"] * bool(ejected) + [str(group.state)] * (group.state is not State.KNOWN)
    count = len([m for m in group.members if m.endpoint is not None])
    return f"{group.origin} at {count} endpoint{'s' * (count != 1)}" + (f" ({', '.join(notes)})" if notes else "")
