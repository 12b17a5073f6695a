"""The transports that users of httpx put into their clients."""

import ssl

import httpx

from kbalance.balancing.arrangements import Balanced, ByName
from kbalance.balancing.asynchronous import AsyncEngine
from kbalance.balancing.blocking import Engine
from kbalance.balancing.endpoints import Source
from kbalance.balancing.hooks import Hooks
from kbalance.balancing.settings import Behaviour, Ejection, Lifetime, Retries, Zone
from kbalance.balancing.setup import Setup
from kbalance.model.words import EndpointPolicy

LIMITS = httpx.Limits(max_connections=100, keepalive_expiry=5.0)
"""httpx's own, except that every connection may stay open while idle."""
NO_LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=30.0)
"""Connections are as many as there are endpoints and requests under way; a limit below that would open them anew in each turn."""
AGE_S = 60.0
"""For the connections of a recycling transport: new Pods then have their share within a minute or two."""


def _setup(
    verify: ssl.SSLContext | bool,
    limits: httpx.Limits,
    lifetime: Lifetime | None,
    hooks: Hooks | None,
    keep_open: int = 0,
    ordinary: httpx.AsyncBaseTransport | httpx.BaseTransport | None = None,
    http1: bool = True,
    http2: bool = False,
) -> Setup:
    return Setup(
        verify=verify,
        limits=limits,
        lifetime=lifetime or Lifetime(),
        keep_open=keep_open,
        hooks=hooks or Hooks(),
        ordinary=ordinary,
        http1=http1,
        http2=http2,
    )


class AsyncPoolTransport(AsyncEngine):
    """The client that measures: an ordinary pool, whose idle connection that was used last is used next."""

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool = True,
        limits: httpx.Limits = LIMITS,
        hooks: Hooks | None = None,
        http1: bool = True,
        http2: bool = False,
    ) -> None:
        """
        Args:
            verify: for https; ``True`` verifies with the system's authorities. A context's ALPN is set.
            http1, http2: what may be spoken; with both ALPN decides, and http:// is HTTP/1.1.
        """
        super().__init__(ByName(), _setup(verify, limits, None, hooks, http1=http1, http2=http2))


class PoolTransport(Engine):
    """`AsyncPoolTransport` for `httpx.Client`."""

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool = True,
        limits: httpx.Limits = LIMITS,
        hooks: Hooks | None = None,
        http1: bool = True,
        http2: bool = False,
    ) -> None:
        super().__init__(ByName(), _setup(verify, limits, None, hooks, http1=http1, http2=http2))


class AsyncRecyclingTransport(AsyncEngine):
    """A pool whose connections end after a while, so that what balances connections gets to choose again."""

    def __init__(
        self,
        *,
        age_s: float | None = AGE_S,
        requests: int | None = None,
        jitter: float = 0.1,
        verify: ssl.SSLContext | bool = True,
        limits: httpx.Limits = LIMITS,
        hooks: Hooks | None = None,
        http1: bool = True,
        http2: bool = False,
    ) -> None:
        """
        Args:
            age_s, requests, jitter: as in `Lifetime`; a request under way is always finished first.
        """
        lifetime = Lifetime(age_s=age_s, requests=requests, jitter=jitter)
        super().__init__(ByName(), _setup(verify, limits, lifetime, hooks, http1=http1, http2=http2))


class RecyclingTransport(Engine):
    """`AsyncRecyclingTransport` for `httpx.Client`."""

    def __init__(
        self,
        *,
        age_s: float | None = AGE_S,
        requests: int | None = None,
        jitter: float = 0.1,
        verify: ssl.SSLContext | bool = True,
        limits: httpx.Limits = LIMITS,
        hooks: Hooks | None = None,
        http1: bool = True,
        http2: bool = False,
    ) -> None:
        lifetime = Lifetime(age_s=age_s, requests=requests, jitter=jitter)
        super().__init__(ByName(), _setup(verify, limits, lifetime, hooks, http1=http1, http2=http2))


class AsyncRoundRobinPoolTransport(AsyncEngine):
    """So many connections to each host, which take requests in turn."""

    def __init__(
        self,
        connections: int,
        *,
        lifetime: Lifetime | None = None,
        verify: ssl.SSLContext | bool = True,
        hooks: Hooks | None = None,
    ) -> None:
        """
        Args:
            connections: to each host; each has one request under way, and a request more waits.
        """
        super().__init__(ByName(connections=connections), _setup(verify, NO_LIMITS, lifetime, hooks, keep_open=1))


class RoundRobinPoolTransport(Engine):
    """`AsyncRoundRobinPoolTransport` for `httpx.Client`."""

    def __init__(
        self,
        connections: int,
        *,
        lifetime: Lifetime | None = None,
        verify: ssl.SSLContext | bool = True,
        hooks: Hooks | None = None,
    ) -> None:
        super().__init__(ByName(connections=connections), _setup(verify, NO_LIMITS, lifetime, hooks, keep_open=1))


def _balanced(
    source: Source | None,
    policy: EndpointPolicy | str,
    per_endpoint: int | None,
    zone: Zone | str | None,
    slow_start_s: float,
    ejection: Ejection | None,
    retries: Retries | None,
) -> Balanced:
    if source is None:
        from kbalance.balancing.slices import EndpointSlices

        source = EndpointSlices()
    return Balanced(
        source=source,
        behaviour=Behaviour(
            policy=policy,  # type: ignore[arg-type]  # checked, and made one, there
            per_endpoint=per_endpoint,
            zone=Zone(name=zone) if isinstance(zone, str) else zone,
            slow_start_s=slow_start_s,
            ejection=ejection or Ejection(),
            retries=retries or Retries(),
        ),
    )


class AsyncBalancingTransport(AsyncEngine):
    """Spreads the requests of an `httpx.AsyncClient` over the endpoints behind each host.

    Host header, SNI and certificate checks keep the name in the URL. Hosts that the source does not know go through an ordinary
    transport. While the source cannot ask, the endpoints that were known last stand; where none was known yet, requests go
    wherever the host's name leads.
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        policy: EndpointPolicy | str = EndpointPolicy.ROUND_ROBIN,
        per_endpoint: int | None = None,
        zone: Zone | str | None = None,
        slow_start_s: float = 0.0,
        ejection: Ejection | None = None,
        retries: Retries | None = None,
        lifetime: Lifetime | None = None,
        keep_open: int = 1,
        verify: ssl.SSLContext | bool = True,
        limits: httpx.Limits = NO_LIMITS,
        ordinary: httpx.AsyncBaseTransport | None = None,
        hooks: Hooks | None = None,
        http1: bool = True,
        http2: bool = False,
    ) -> None:
        """
        Args:
            source: of endpoints; ``None``: the EndpointSlices of the cluster that this process runs in, or of the kubeconfig.
            policy: which endpoint is next.
            per_endpoint: requests under way at one endpoint, at most; more wait, within httpx's time-out ``pool``.
            zone: the client's, whose endpoints are preferred.
            slow_start_s: until an endpoint that joined gets all of its share.
            lifetime: of connections; ``None``: no limit.
            keep_open: idle connections of each endpoint that ``keepalive_expiry`` does not end.
            limits: over all endpoints together.
            ordinary: for hosts that the source does not know; ``None``: httpx's own. Closed with this one.
            hooks: told of what happens.
            http1, http2: what may be spoken; with both ALPN decides, and http:// is HTTP/1.1. HTTP/2 alone needs no ALPN.
        """
        arrangement = _balanced(source, policy, per_endpoint, zone, slow_start_s, ejection, retries)
        super().__init__(arrangement, _setup(verify, limits, lifetime, hooks, keep_open, ordinary, http1, http2))


class BalancingTransport(Engine):
    """`AsyncBalancingTransport` for `httpx.Client`, and for as many threads as share it."""

    def __init__(
        self,
        source: Source | None = None,
        *,
        policy: EndpointPolicy | str = EndpointPolicy.ROUND_ROBIN,
        per_endpoint: int | None = None,
        zone: Zone | str | None = None,
        slow_start_s: float = 0.0,
        ejection: Ejection | None = None,
        retries: Retries | None = None,
        lifetime: Lifetime | None = None,
        keep_open: int = 1,
        verify: ssl.SSLContext | bool = True,
        limits: httpx.Limits = NO_LIMITS,
        ordinary: httpx.BaseTransport | None = None,
        hooks: Hooks | None = None,
        http1: bool = True,
        http2: bool = False,
    ) -> None:
        arrangement = _balanced(source, policy, per_endpoint, zone, slow_start_s, ejection, retries)
        super().__init__(arrangement, _setup(verify, limits, lifetime, hooks, keep_open, ordinary, http1, http2))
