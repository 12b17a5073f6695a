"""HAProxy in the way of the Service's clients."""

from collections.abc import Callable, Iterator
from functools import partial

from bench.accuracy import checks
from bench.accuracy.rows.faults import told
from bench.accuracy.site import Arrange, Check, Site, by_url_of, stand
from bench.accuracy.trial import Arrangement
from tests.kernel.cluster import Cluster, Mode
from tests.kernel.haproxy import HaProxy, haproxy
from tests.kernel.proxy import PROXY

Configure = Callable[[Cluster], HaProxy]

HELD_AT_ONCE = 5
"""Connections that a proxy needs for the prober's four requests at once, and one to spare."""


def proxied(configure: Configure) -> Arrange:
    """Every connection to the Service goes through HAProxy instead."""

    def arrange(site: Site) -> None:
        site.run(haproxy(site.cluster.ns, configure(site.cluster)))
        site.cluster.intercept(PROXY)

    return arrange


def to_pods(**options: object) -> Configure:
    """HAProxy chooses among the pods."""
    return lambda cluster: HaProxy(servers=cluster.pods, **options)  # type: ignore[arg-type]


def to_service(**options: object) -> Configure:
    """HAProxy knows the Service's address alone, where kube-proxy's rules choose for each of its connections."""
    return lambda cluster: HaProxy(servers={"service": cluster.address}, mode="http", reuse="always", **options)  # type: ignore[arg-type]


def _in_order(*arrangements: Arrange) -> Arrange:
    def arrange(site: Site) -> None:
        for one in arrangements:
            one(site)

    return arrange


TCP: tuple[tuple[str, Configure, Check, str], ...] = (
    ("tcp, roundrobin", to_pods(), checks.in_turn, "connection-pinning"),
    ("tcp, leastconn", to_pods(balance="leastconn"), checks.pinned, "connection-pinning"),
    ("tcp, random", to_pods(balance="random(1)"), checks.fairly(), "connection-pinning"),
    ("tcp, source", to_pods(balance="source"), checks.by_address, "source-hash"),
)


def _row(scenario: str, pods: int, *expected: str, **more: object) -> Arrangement:
    return Arrangement(scenario=scenario, dataplane="haproxy", pods=pods, expected=expected, **more)  # type: ignore[arg-type]


def _rows() -> Iterator[Arrangement]:
    up = partial(stand, Mode.IPTABLES)
    for scenario, configure, check, expected in TCP:
        for n in (2, 3, 10):
            # From one address, one of two that is always met may also be the only one that is known.
            likewise = ("missing-endpoint",) if expected == "source-hash" and n == 2 else ()
            stood = partial(up, n, arrange=proxied(configure), check=check)
            yield _row(scenario, n, expected, *likewise, also=(expected,), stand=stood)
    for n in (3, 5, 10):
        weights = {"pod-1": 2, **{f"pod-{i}": 1 for i in range(2, n + 1)}}
        heavier = proxied(to_pods(weights={"pod-1": 200}))
        stood = partial(up, n, arrange=heavier, check=checks.weighted(weights))
        yield _row("tcp, one of double weight", n, "balancer-biased", stand=stood)
    for n in (3, 5):
        slow = _in_order(proxied(to_pods(balance="leastconn")), told("delay 50", "pod-2"))
        stood = partial(up, n, arrange=slow, check=checks.slow("pod-2", by_s=0.05))
        yield _row("tcp, leastconn, a slow pod", n, "slow-endpoint", stand=stood, runs=3)
    for n in (2, 3, 10):
        by_request = partial(up, n, arrange=proxied(to_pods(mode="http")), check=checks.request_by_request)
        yield _row("http, roundrobin", n, "per-request-balancing", stand=by_request)
    front = partial(up, 3, arrange=proxied(to_pods(mode="http")), check=checks.request_by_request, target=by_url_of(PROXY))
    yield _row("http, roundrobin, by its own URL", 3, "per-request-balancing", stand=front)
    for n in (3, 10):
        heavier = proxied(to_pods(mode="http", weights={"pod-1": 256, **{f"pod-{i}": 64 for i in range(2, n + 1)}}))
        weights = {"pod-1": 4, **{f"pod-{i}": 1 for i in range(2, n + 1)}}
        stood = partial(up, n, arrange=heavier, check=checks.every(checks.request_by_request, checks.weighted(weights)))
        yield _row("http, one of fourfold weight", n, "proxy-policy", "per-request-balancing", stand=stood)
    for n in (2, 3, 10):
        one = partial(up, n, arrange=proxied(to_service(connections=1)), check=checks.few_connections(1))
        # One endpoint for all: a hash of the client's address does the same, and both are named.
        yield _row("http, one connection to the Service", n, "proxy-keepalive", also=("proxy-policy",), stand=one)
    for n in (3, 10):
        few = partial(up, n, arrange=proxied(to_service()), check=checks.few_connections(HELD_AT_ONCE))
        # It takes its four or five connections in turn. Over three pods that is what weights of 1:1:2 do, and nobody outside can
        # tell.
        likewise = ("proxy-policy",) if n == 3 else ()
        yield _row("http, kept connections to the Service", n, "proxy-keepalive", *likewise, stand=few)


ROWS = tuple(_rows())
