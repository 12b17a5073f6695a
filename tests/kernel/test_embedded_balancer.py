"""The embedded cluster's balancer picks like the kernel with kube-proxy's rules.

Each check calls luck a difference in at most one of a million runs (see `chance`). Our side is seeded; the kernel's cannot be.
1000 draws a side show one pod at double weight among three, or at triple weight among ten, to `chance.unfair` every time.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from kbalance.model.target import Address
from kbalance.testbed.choosers import Chooser, chooser
from kbalance.testbed.l4 import Balancer, Member
from kbalance.testbed.scenario import ChooserKind

from . import chance, client, rules
from .cluster import Cluster, Mode

pytestmark = pytest.mark.kernel

DRAWS = 1000


def _embedded(pods: dict[str, Address], choose: Chooser, connections: int, affinity_s: float | None = None) -> list[str]:
    """Who answered through the embedded balancer, over real sockets, in the calling thread's namespace."""

    async def draw() -> list[str]:
        balancer = Balancer(choose, affinity_s=affinity_s)
        balancer.set_members([Member(name, address) for name, address in pods.items()])
        try:
            # A new thread is born into the network namespace of the one that starts it.
            return await asyncio.to_thread(client.fresh, balancer.address, connections)
        finally:
            balancer.close()

    return asyncio.run(draw())


def _random() -> Chooser:
    return chooser(ChooserKind.RANDOM, Random(1))


def _two_by_two(answers: list[str]) -> list[str]:
    return [f"{one} {other}" for one, other in zip(answers[::2], answers[1::2], strict=True)]


@pytest.mark.parametrize("mode", list(Mode), ids=str)
@pytest.mark.parametrize("pods", [3, 10])
def test_random_picks_are_drawn_like_the_kernels(anew: Cluster) -> None:
    real = anew.fresh(DRAWS)
    embedded = anew.ns.call(_embedded, anew.pods, _random(), DRAWS)

    assert chance.different(zip(real, embedded, strict=True), list(anew.pods)) < chance.CERTAIN
    for drawn in (Counter(real), Counter(embedded)):
        assert chance.unfair([drawn[name] for name in anew.pods]) < chance.CERTAIN
    # Consecutive picks, two by two, tell turns from luck where the shares alone would not.
    pairs = [f"{one} {other}" for one in anew.pods for other in anew.pods]
    assert chance.different(zip(_two_by_two(real), _two_by_two(embedded), strict=True), pairs) < chance.CERTAIN


def test_turns_would_be_found(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.IPTABLES, 3)
    pods = list(cluster.pods)
    real = cluster.fresh(DRAWS)

    turns = (pods * DRAWS)[:DRAWS]

    pairs = [f"{one} {other}" for one in pods for other in pods]
    assert chance.different(zip(_two_by_two(real), _two_by_two(turns), strict=True), pairs) > chance.CERTAIN


def test_round_robin_takes_turns_in_both(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.NFTABLES, 3)
    cluster.balance(rules.in_turn)

    real = cluster.fresh(30)
    embedded = cluster.ns.call(_embedded, cluster.pods, chooser(ChooserKind.ROUND_ROBIN, Random(1)), 30)

    assert real == embedded == list(cluster.pods) * 10


@pytest.mark.parametrize("mode", list(Mode), ids=str)
@pytest.mark.parametrize("pods", [3])
def test_affinity_keeps_one_client_on_one_pod_in_both(anew: Cluster) -> None:
    anew.configure(affinity_s=10800)

    real = anew.fresh(20)
    embedded = anew.ns.call(_embedded, anew.pods, _random(), 20, 10800.0)

    assert (len(set(real)), len(set(embedded))) == (1, 1)


def test_without_endpoints_both_refuse(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.IPTABLES, 3)
    cluster.configure(without=list(cluster.pods))

    real = cluster.fresh(3)
    embedded = cluster.ns.call(_embedded, {}, _random(), 3)

    assert real == embedded == ["ECONNREFUSED"] * 3
