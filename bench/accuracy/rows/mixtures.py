"""Several things at once, and things that no rule was written for."""

from collections.abc import Callable, Iterator
from functools import partial

from bench.accuracy import checks
from bench.accuracy.api import Told
from bench.accuracy.rows import envoys, haproxies
from bench.accuracy.rows.choosers import balanced, named, without
from bench.accuracy.rows.clients import LIFO
from bench.accuracy.rows.faults import black_holed, flaky, refusing, told
from bench.accuracy.rows.kube_proxy import kept_apart, remembered, says_affinity, says_hints
from bench.accuracy.site import Arrange, Site, drawn, stand
from bench.accuracy.trial import Arrangement
from tests.kernel import rules
from tests.kernel.cluster import Cluster, Mode

OLD_PODS = 2
"""Of five: the others come once the proxy holds its connections."""
RIGHT_NOW = "2026-01-05T20:00:00Z"
"""Twelve hours after the other pods."""


def both(*arrangements: Arrange) -> Arrange:
    """One after the other."""

    def arrange(site: Site) -> None:
        for one in arrangements:
            one(site)

    return arrange


def _away_from_favourite(fault: Callable[[str], Arrange]) -> Arrange:
    """Something happens to a pod that affinity does not lead this client to."""

    def arrange(site: Site) -> None:
        remembered(site)
        seen = drawn(site.cluster, 3)
        other = next(name for name, got in seen.items() if not got)
        fault(other)(site)

    return arrange


def _grown(site: Site) -> None:
    """The proxy connects while there are two pods, and then there are five."""
    site.cluster.configure(without=site.names[OLD_PODS:])
    envoys.proxied(envoys.to_service())(site)
    checks.few_connections(haproxies.HELD_AT_ONCE)(site.cluster)
    site.cluster.configure()


def _old_alone(site: Cluster) -> None:
    checks.only([name for name, got in drawn(site, 20).items() if got], connections=60)(site)


def _some_are_new(known: Told) -> Told:
    return known.only([pod.name for pod in known.pods[OLD_PODS:]], created=RIGHT_NOW)


def _uneven_work(site: Site) -> None:
    haproxies.proxied(haproxies.to_pods(mode="http"))(site)
    for i, name in enumerate(site.names):
        site.cluster.tell(name, f"delay {2 + 3 * i}")


def _row(scenario: str, dataplane: str, pods: int, *expected: str, **more: object) -> Arrangement:
    return Arrangement(scenario=scenario, dataplane=dataplane, pods=pods, expected=expected, **more)  # type: ignore[arg-type]


def _rows() -> Iterator[Arrangement]:
    iptables, nftables = (partial(stand, mode) for mode in Mode)
    for n in (3, 10):
        kept = partial(iptables, n, tell=says_affinity, check=checks.on_one)
        yield _row(
            "affinity, and another pod refuses",
            "iptables",
            n,
            "endpoint-failing",
            also=("session-affinity",),
            stand=partial(kept, arrange=_away_from_favourite(refusing)),
        )
        yield _row(
            "affinity, and another pod is slow",
            "iptables",
            n,
            "slow-endpoint",
            also=("session-affinity",),
            stand=partial(kept, arrange=_away_from_favourite(partial(told, "delay 50"))),
            runs=3,
        )
    for n in (4, 10):
        slow = partial(
            iptables,
            n,
            arrange=both(kept_apart, told("delay 50", "pod-2")),
            check=checks.slow("pod-2", by_s=0.05),
            tell=says_hints,
        )
        yield _row(
            "hints, and a slow pod elsewhere", "iptables", n, "slow-endpoint", also=("topology-hints",), stand=slow, runs=3
        )
    by_request = partial(iptables, 3, check=checks.request_by_request, options=LIFO)
    yield _row(
        "a lifo pool behind a proxy",
        "haproxy",
        3,
        "per-request-balancing",
        stand=partial(by_request, arrange=haproxies.proxied(haproxies.to_pods(mode="http"))),
    )
    yield _row(
        "a lifo pool behind a proxy",
        "envoy",
        3,
        "per-request-balancing",
        stand=partial(by_request, arrange=envoys.proxied(envoys.to_pods())),
    )
    very_slow = partial(iptables, 10, arrange=told("delay 500", "pod-2"), check=checks.slow("pod-2", by_s=0.5))
    yield _row("a pod takes 500 ms longer", "iptables", 10, "slow-endpoint", stand=very_slow, runs=3)
    for n in (3, 10):
        sometimes = partial(iptables, n, arrange=flaky("pod-2"), check=checks.flaky("pod-2"))
        yield _row("a pod refuses three connections of ten", "iptables", n, "endpoint-failing", stand=sometimes)
    two = partial(iptables, 5, arrange=refusing("pod-2", "pod-4"), check=checks.failing("pod-2", "pod-4", how="ECONNREFUSED"))
    yield _row("two pods of five refuse", "iptables", 5, "endpoint-failing", stand=two)
    turns = both(balanced(rules.in_turn), refusing("pod-2"))
    for n in (3, 10):
        failing = partial(nftables, n, arrange=turns, check=checks.failing("pod-2", how="ECONNREFUSED"))
        yield _row("in turn, and a pod refuses", "nftables", n, "endpoint-failing", stand=failing)
    biased = both(balanced(rules.by_weight(4, 1, 1, 1, 1, draw="random")), refusing("pod-2"))
    yield _row(
        "one of fourfold weight, and another refuses",
        "nftables",
        5,
        "endpoint-failing",
        also=("balancer-biased",),
        stand=partial(nftables, 5, arrange=biased, check=checks.failing("pod-2", how="ECONNREFUSED")),
    )
    absent = both(without("pod-5"), refusing("pod-2"))
    yield _row(
        "rules without an endpoint, and another refuses",
        "nftables",
        5,
        "endpoint-failing",
        "missing-endpoint",
        also=("endpoint-failing", "missing-endpoint"),
        stand=partial(nftables, 5, arrange=absent, check=checks.failing("pod-2", how="ECONNREFUSED")),
    )
    mild = (11, 10, 10)
    yield _row(
        "a bias of a tenth",
        "nftables",
        3,
        "connection-pinning",
        stand=partial(
            nftables,
            3,
            arrange=balanced(rules.by_weight(*mild, draw="random")),
            check=checks.weighted(named(mild), connections=1500),
        ),
    )
    hidden = both(haproxies.proxied(haproxies.to_pods(mode="http")), black_holed("pod-2"))
    yield _row(
        "http, and a pod is black-holed",
        "haproxy",
        3,
        "endpoint-failing",
        stand=partial(iptables, 3, arrange=hidden, check=checks.failing("pod-2", how="ETIMEDOUT"), options=("--timeout", "0.3s")),
        runs=3,
    )
    refused = both(envoys.proxied(envoys.to_pods()), refusing("pod-2"))
    yield _row(
        "http, and a pod refuses",
        "envoy",
        3,
        "endpoint-failing",
        stand=partial(iptables, 3, arrange=refused, check=checks.failing("pod-2", how="ECONNREFUSED")),
    )
    for n in (3, 5):
        working = partial(iptables, n, arrange=_uneven_work, check=checks.request_by_request)
        yield _row(
            "http, work takes 2 to 14 ms" if n == 5 else "http, work takes 2 to 8 ms",
            "haproxy",
            n,
            "uneven-work",
            "per-request-balancing",
            stand=working,
            runs=3,
        )
    yield _row(
        "the proxy connected before three of five pods came",
        "envoy",
        5,
        "proxy-keepalive",
        "stale-membership",
        stand=partial(iptables, 5, arrange=_grown, check=_old_alone, tell=_some_are_new),
    )


ROWS = tuple(_rows())
