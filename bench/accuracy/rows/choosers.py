"""Other choosers than kube-proxy's draw, in nftables: turns, weights, a hash of the source, and rules that are behind."""

from collections.abc import Iterator, Sequence
from functools import partial

from bench.accuracy import checks
from bench.accuracy.site import Arrange, Site, by_url, stand
from bench.accuracy.trial import Arrangement
from tests.kernel import rules
from tests.kernel.cluster import Mode

WEIGHTS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("one of double weight", (2, 1)),
    ("one of double weight", (2, 1, 1)),
    ("one of double weight", (2, 1, 1, 1, 1)),
    ("one of double weight", (2, *[1] * 9)),
    ("one of triple weight", (3, 1, 1)),
    ("one of triple weight", (3, *[1] * 9)),
    ("one at a tenth of the weight", (1, 10)),
    ("one at a tenth of the weight", (1, 10, 10)),
    ("one at a tenth of the weight", (1, *[10] * 4)),
    ("one at a tenth of the weight", (1, *[10] * 9)),
    ("the nearer node's pods at double weight", (2, 1) * 3),
)


def balanced(pick: rules.Pick) -> Arrange:
    """Has the rules choose in this way."""

    def arrange(site: Site) -> None:
        site.cluster.balance(pick)

    return arrange


def without(*names: str) -> Arrange:
    """Has the rules not know these endpoints."""

    def arrange(site: Site) -> None:
        site.cluster.configure(without=names)

    return arrange


def named(weights: Sequence[int]) -> dict[str, int]:
    """Weights by the pods' names."""
    return {f"pod-{i}": weight for i, weight in enumerate(weights, 1)}


def _row(scenario: str, pods: int, *expected: str, **more: object) -> Arrangement:
    return Arrangement(scenario=scenario, dataplane="nftables", pods=pods, expected=expected, **more)  # type: ignore[arg-type]


def _rows() -> Iterator[Arrangement]:
    up = partial(stand, Mode.NFTABLES)
    for n in (2, 3, 5, 10):
        turns = partial(up, n, arrange=balanced(rules.in_turn), check=checks.in_turn)
        yield _row("in turn", n, "connection-pinning", stand=turns)
    for scenario, weights in WEIGHTS:
        n, check = len(weights), checks.weighted(named(weights))
        drawn = balanced(rules.by_weight(*weights, draw="random"))
        yield _row(scenario, n, "balancer-biased", stand=partial(up, n, arrange=drawn, check=check))
    for weights in ((2, 1, 1), (3, 1, 1), (2, *[1] * 9)):
        n, check = len(weights), checks.weighted(named(weights))
        turns = partial(up, n, arrange=balanced(rules.by_weight(*weights)), check=check)
        yield _row(f"{weights[0]} turns for one", n, "balancer-biased", stand=turns)
    for n in (2, 3, 10):
        hashed = partial(up, n, arrange=balanced(rules.by_source), check=checks.by_address)
        likewise = ("missing-endpoint",) if n == 2 else ()
        yield _row("a hash of the source", n, "source-hash", *likewise, also=("source-hash",), stand=hashed)
    for n in (2, 3, 5, 10):
        left = [f"pod-{i}" for i in range(1, n)]
        stale = partial(up, n, arrange=without(f"pod-{n}"), check=checks.only(left))
        # The one of two that is left is always met, as by a hash of the address: from one place they cannot be told apart.
        likewise = ("source-hash",) if n == 2 else ()
        yield _row("rules without a ready endpoint", n, "missing-endpoint", *likewise, also=("missing-endpoint",), stand=stale)
    alone = partial(up, 5, arrange=without("pod-2", "pod-3", "pod-4", "pod-5"), check=checks.only(["pod-1"]))
    yield _row("rules with one endpoint of five", 5, "missing-endpoint", "source-hash", also=("missing-endpoint",), stand=alone)
    half = partial(
        up, 10, arrange=without(*(f"pod-{i}" for i in range(6, 11))), check=checks.only([f"pod-{i}" for i in range(1, 6)])
    )
    yield _row("rules with half of the endpoints", 10, "missing-endpoint", stand=half)
    for nodes in ((1, 2), (1, 4)):
        # Nodes are drawn first and then a pod on the node, so that a pod's share is 1 / (nodes x pods on its node).
        weights = tuple(max(nodes) // on_node for on_node in nodes for _ in range(on_node))
        drawn = balanced(rules.by_weight(*weights, draw="random"))
        outside = partial(up, sum(nodes), arrange=drawn, check=checks.weighted(named(weights)), target=by_url)
        yield _row(
            "externalTrafficPolicy: Local, from outside", sum(nodes), "external-traffic-policy", "balancer-biased", stand=outside
        )


ROWS = tuple(_rows())
