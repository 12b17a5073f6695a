"""How a balancer picks the pod for a connection: one small function each, and a table of them."""

import random
import zlib
from collections.abc import Callable, Mapping, Sequence

from kbalance.testbed.scenario import ChooserKind

Chooser = Callable[[Sequence[str], str, Mapping[str, int]], int]
"""Pods' names (at least one), the client's address and the open connections of each pod, to a position in the names."""


def kube_proxy(rng: random.Random) -> Chooser:
    """Rule i of n matches with probability 1/(n - i), the last one always.

    Source: kubernetes `pkg/proxy/iptables/proxier.go`, writeServiceToEndpointRules.
    """

    def choose(names: Sequence[str], source: str, held: Mapping[str, int]) -> int:
        n = len(names)
        return next(i for i in range(n) if i == n - 1 or rng.random() < 1 / (n - i))

    return choose


def round_robin() -> Chooser:
    """Each in turn."""
    turn = -1

    def choose(names: Sequence[str], source: str, held: Mapping[str, int]) -> int:
        nonlocal turn
        turn += 1
        return turn % len(names)

    return choose


def weighted(rng: random.Random, weights: Sequence[int]) -> Chooser:
    """At random in proportion to the weights; pods beyond the last weight count 1."""

    def choose(names: Sequence[str], source: str, held: Mapping[str, int]) -> int:
        padded = [*weights, *[1] * len(names)][: len(names)]
        return rng.choices(range(len(names)), padded if any(padded) else None)[0]

    return choose


def source_hash() -> Chooser:
    """The same pod for the same source address."""
    return lambda names, source, held: zlib.crc32(source.encode()) % len(names)


def least_connections(rng: random.Random) -> Chooser:
    """The pod with the fewest open connections, at random among equals."""

    def choose(names: Sequence[str], source: str, held: Mapping[str, int]) -> int:
        fewest = min(held.get(name, 0) for name in names)
        return rng.choice([i for i, name in enumerate(names) if held.get(name, 0) == fewest])

    return choose


def chooser(kind: ChooserKind, rng: random.Random, weights: Sequence[int] = ()) -> Chooser:
    """The chooser of that kind."""
    made: Mapping[ChooserKind, Callable[[], Chooser]] = {
        ChooserKind.RANDOM: lambda: kube_proxy(rng),
        ChooserKind.ROUND_ROBIN: round_robin,
        ChooserKind.WEIGHTED: lambda: weighted(rng, weights),
        ChooserKind.SOURCE_HASH: source_hash,
        ChooserKind.LEAST_CONNECTIONS: lambda: least_connections(rng),
    }
    return made[kind]()
