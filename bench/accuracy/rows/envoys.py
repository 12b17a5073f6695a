"""Envoy in the way of the Service's clients, as a mesh's sidecar or a gateway is."""

from collections.abc import Callable, Iterator
from functools import partial

from bench.accuracy import checks
from bench.accuracy.rows.faults import told
from bench.accuracy.rows.haproxies import HELD_AT_ONCE
from bench.accuracy.site import Arrange, Check, Site, by_url_of, stand
from bench.accuracy.trial import Arrangement
from tests.kernel.cluster import Cluster, Mode
from tests.kernel.envoy import Envoy, envoy
from tests.kernel.proxy import PROXY

Configure = Callable[[Cluster], Envoy]

SOME_S = 0.02
"""An age at which connections end several times while a hundred requests are made at 500 a second."""


def proxied(configure: Configure) -> Arrange:
    """Every connection to the Service goes through Envoy instead."""

    def arrange(site: Site) -> None:
        site.run(envoy(site.cluster.ns, configure(site.cluster)))
        site.cluster.intercept(PROXY)

    return arrange


def to_pods(**options: object) -> Configure:
    """Envoy chooses among the pods."""
    return lambda cluster: Envoy(servers=cluster.pods, **options)  # type: ignore[arg-type]


def to_service(**options: object) -> Configure:
    """Envoy knows the Service's address alone, where kube-proxy's rules choose for each of its connections."""
    return lambda cluster: Envoy(servers={"service": cluster.address}, **options)  # type: ignore[arg-type]


def _then_slow(site: Site) -> None:
    proxied(to_pods(policy="LEAST_REQUEST"))(site)
    told("delay 50", "pod-2")(site)


HASHES: tuple[tuple[str, Configure, Check], ...] = (
    ("http, ring hash of the source", to_pods(policy="RING_HASH"), checks.by_address),
    ("http, Maglev hash of the source", to_pods(policy="MAGLEV"), checks.by_address),
)


def _row(scenario: str, pods: int, *expected: str, **more: object) -> Arrangement:
    return Arrangement(scenario=scenario, dataplane="envoy", pods=pods, expected=expected, **more)  # type: ignore[arg-type]


def _rows() -> Iterator[Arrangement]:
    up = partial(stand, Mode.IPTABLES)
    for n in (2, 3, 10):
        by_request = partial(up, n, arrange=proxied(to_pods()), check=checks.request_by_request)
        yield _row("http, ROUND_ROBIN", n, "per-request-balancing", stand=by_request)
    front = partial(up, 3, arrange=proxied(to_pods()), check=checks.request_by_request, target=by_url_of(PROXY))
    yield _row("http, ROUND_ROBIN, by its own URL", 3, "per-request-balancing", stand=front)
    for n in (3, 5):
        late = checks.slow("pod-2", by_s=0.05)
        stood = partial(up, n, arrange=_then_slow, check=late)
        yield _row(
            "http, LEAST_REQUEST, a slow pod", n, "slow-endpoint", "proxy-policy", also=("proxy-policy",), stand=stood, runs=3
        )
    for scenario, configure, check in HASHES:
        for n in (3, 10):
            stood = partial(up, n, arrange=proxied(configure), check=check)
            # One endpoint for all: a proxy with one connection to the Service does the same, and both are named.
            yield _row(scenario, n, "proxy-policy", "proxy-keepalive", also=("proxy-policy",), stand=stood)
    for n in (3, 10):
        heavier = proxied(to_pods(weights={"pod-1": 4}))
        weights = {"pod-1": 4, **{f"pod-{i}": 1 for i in range(2, n + 1)}}
        stood = partial(up, n, arrange=heavier, check=checks.every(checks.request_by_request, checks.weighted(weights)))
        yield _row("http, one of fourfold weight", n, "proxy-policy", "per-request-balancing", stand=stood)
    for n in (2, 3, 10):
        through = partial(up, n, arrange=proxied(to_pods(tcp=True)), check=checks.every(checks.in_turn, checks.pinned))
        yield _row("tcp, ROUND_ROBIN", n, "connection-pinning", stand=through)
    for n in (2, 3, 10):
        one = partial(up, n, arrange=proxied(to_service(connections=1)), check=checks.few_connections(1))
        yield _row("http, one connection to the Service", n, "proxy-keepalive", also=("proxy-policy",), stand=one)
    for n in (3, 10):
        few = partial(up, n, arrange=proxied(to_service()), check=checks.few_connections(HELD_AT_ONCE))
        yield _row("http, kept connections to the Service", n, "proxy-keepalive", stand=few)
    for n in (3, 10):
        short = proxied(to_pods(max_connection_duration_s=SOME_S))
        aged = partial(up, n, arrange=short, check=checks.ages, options=("--rate", "500"))
        yield _row("http, max_connection_duration", n, "per-request-balancing", also=("server-lifetime",), stand=aged)
        counted = partial(up, n, arrange=proxied(to_pods(max_requests_per_connection=20)), check=checks.lives(20))
        yield _row("http, max_requests_per_connection", n, "per-request-balancing", also=("server-lifetime",), stand=counted)


ROWS = tuple(_rows())
