"""The balancing transports against faults that only a network can have, asked directly as a client in the cluster asks."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from kbalance.balancing import AsyncBalancingTransport, BalancingTransport, Ejection, Hooks, Lifetime, Origin, StaticEndpoints

from .cluster import Cluster, Mode

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.parametrize("mode", [Mode.IPTABLES], ids=str),
    pytest.mark.parametrize("pods", [3]),
    pytest.mark.parametrize("kind", ["asyncio", "threads"]),
]

URL = "http://web.shop/hostname"


class Retried(Hooks):
    """Where requests went first that went out again."""

    def __init__(self) -> None:
        self.endpoints_met: Counter[str] = Counter()

    def retried(self, origin: Origin, endpoint: str, error: Exception) -> None:
        self.endpoints_met[endpoint] += 1


def asked(
    cluster: Cluster,
    kind: str,
    count: int,
    *,
    method: str = "GET",
    timeout: float = 5.0,
    after: int | None = None,
    **options: Any,
) -> Counter[str]:
    """Who answered so many requests in turn, or what they ended with.

    Args:
        after: the pod ``pod-2`` vanishes from the network after so many requests.
    """
    source = StaticEndpoints({"web.shop": list(cluster.pods.values())})

    def meanwhile(number: int) -> None:
        if number == after:
            cluster.break_pods(black_holed=["pod-2"])

    if kind == "threads":
        return cluster.ns.call(_by_thread, BalancingTransport(source, **options), method, count, timeout, meanwhile)
    return cluster.ns.call(asyncio.run, _by_loop(AsyncBalancingTransport(source, **options), method, count, timeout, meanwhile))


def _by_thread(
    transport: BalancingTransport, method: str, count: int, timeout: float, meanwhile: Callable[[int], None]
) -> Counter[str]:
    met: Counter[str] = Counter()
    with httpx.Client(transport=transport, timeout=timeout, trust_env=False) as client:
        for number in range(count):
            meanwhile(number)
            try:
                met[client.request(method, URL).headers["X-Pod-Name"]] += 1
            except httpx.TransportError as error:
                met[type(error).__name__] += 1
    return met


async def _by_loop(
    transport: AsyncBalancingTransport, method: str, count: int, timeout: float, meanwhile: Callable[[int], None]
) -> Counter[str]:
    met: Counter[str] = Counter()
    async with httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client:
        for number in range(count):
            meanwhile(number)
            try:
                met[(await client.request(method, URL)).headers["X-Pod-Name"]] += 1
            except httpx.TransportError as error:
                met[type(error).__name__] += 1
    return met


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_pod_whose_port_is_closed_costs_no_request(anew: Cluster, kind: str, method: str) -> None:
    anew.break_pods(refusing=["pod-2"])

    assert sorted(asked(anew, kind, 60, method=method)) == ["pod-1", "pod-3"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_pod_that_is_not_there_costs_a_second_until_it_is_ejected(anew: Cluster, kind: str, method: str) -> None:
    """No SYN is answered; after a second another endpoint is tried, although five would be allowed: nobody times out."""
    anew.break_pods(black_holed=["pod-2"])
    hooks = Retried()

    met = asked(anew, kind, 60, method=method, ejection=Ejection(after=2, for_s=60.0), hooks=hooks)

    assert sorted(met) == ["pod-1", "pod-3"]
    assert hooks.endpoints_met[str(anew.pods["pod-2"])] == 2


def test_a_pod_that_vanishes_under_kept_connections_costs_time_outs_until_it_is_ejected(anew: Cluster, kind: str) -> None:
    met = asked(anew, kind, 60, timeout=2.0, after=6, ejection=Ejection(after=2, for_s=60.0))

    assert met["pod-2"] == 2
    # One on the kept connection; the next one does not open, and there is time for another endpoint. One may be a busy machine's.
    assert met["ReadTimeout"] + met["ConnectTimeout"] <= 2
    assert met["pod-1"] + met["pod-3"] >= 56


def test_a_pod_that_resets_what_it_has_read_costs_nothing_that_may_be_repeated(anew: Cluster, kind: str) -> None:
    anew.tell("pod-2", "reset")

    assert sorted(asked(anew, kind, 60, ejection=Ejection(after=0))) == ["pod-1", "pod-3"]


def test_a_pod_that_refuses_every_third_connection_costs_no_request(anew: Cluster, kind: str) -> None:
    anew.break_pods(flaky=["pod-2"])

    met = asked(anew, kind, 150, lifetime=Lifetime(requests=1), ejection=Ejection(after=0), method="POST")

    assert sorted(met) == ["pod-1", "pod-2", "pod-3"]
    # All 50 of its connections open, or all but one, which gives it a further turn, in one of two million runs.
    assert met["pod-2"] < 50
