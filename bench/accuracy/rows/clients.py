"""What the client's pool and the server's habits make of a fair draw."""

from collections.abc import Iterator
from functools import partial

from bench.accuracy import checks
from bench.accuracy.rows.faults import told
from bench.accuracy.site import stand
from bench.accuracy.trial import Arrangement
from tests.kernel.cluster import Mode

LIFO = ("--pool-policy", "lifo")


def _rows() -> Iterator[Arrangement]:
    up = partial(stand, Mode.IPTABLES)

    def row(scenario: str, pods: int, *expected: str, **more: object) -> Arrangement:
        return Arrangement(scenario=scenario, dataplane="iptables", pods=pods, expected=expected, fair=True, **more)  # type: ignore[arg-type]

    for n in (2, 3, 10):
        fair = partial(up, n, check=checks.fairly())
        yield row("a lifo pool", n, "pool-order", stand=partial(fair, options=LIFO))
        yield row("a random pool", n, "connection-pinning", stand=partial(fair, options=("--pool-policy", "random")))
        closing = partial(up, n, arrange=told("close 20"), check=checks.lives(20))
        yield row(
            "pods close after 20 requests",
            n,
            "connection-pinning",
            "small-sample",
            "healthy",
            also=("server-lifetime",),
            stand=closing,
        )
    for n in (2, 3):
        once = partial(up, n, arrange=told("close 1"), check=checks.lives(1))
        yield row("pods close after each request", n, "healthy", also=("server-lifetime",), stand=once)


ROWS = tuple(_rows())
