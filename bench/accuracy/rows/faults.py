"""Something is wrong with single pods, or with what the API says of them."""

from collections.abc import Iterator
from functools import partial

from bench.accuracy import checks
from bench.accuracy.api import Told
from bench.accuracy.site import Arrange, Check, Site, stand
from bench.accuracy.trial import Arrangement
from tests.kernel.cluster import Mode

SHORT = ("--timeout", "0.3s")
"""Where nothing comes back, twenty requests of five seconds each would say no more than shorter ones."""


def refusing(*names: str) -> Arrange:
    """The pods' node answers every connection with a reset."""

    def arrange(site: Site) -> None:
        site.cluster.break_pods(refusing=names)

    return arrange


def black_holed(*names: str) -> Arrange:
    """Nothing comes back from the pods' addresses."""

    def arrange(site: Site) -> None:
        site.cluster.break_pods(black_holed=names)

    return arrange


def flaky(*names: str) -> Arrange:
    """The pods' node answers three new connections of ten with a reset."""

    def arrange(site: Site) -> None:
        site.cluster.break_pods(flaky=names)

    return arrange


def told(order: str, *names: str) -> Arrange:
    """The pods misbehave; see `Cluster.tell`."""

    def arrange(site: Site) -> None:
        for name in names or site.names:
            site.cluster.tell(name, order)

    return arrange


def _without_last(known: Told) -> Told:
    return known.without(known.pods[-1].name)


FAULTS: tuple[tuple[str, Arrange, Check, tuple[str, ...], tuple[int, ...]], ...] = (
    ("a pod refuses", refusing("pod-2"), checks.failing("pod-2", how="ECONNREFUSED"), (), (2, 3, 5, 10)),
    ("a pod is black-holed", black_holed("pod-2"), checks.failing("pod-2", how="ETIMEDOUT"), SHORT, (2, 3, 10)),
    ("a pod answers 500", told("status 500", "pod-2"), checks.failing("pod-2", how="500"), (), (2, 3, 5, 10)),
    ("a pod hangs", told("hang", "pod-2"), checks.failing("pod-2", how="ETIMEDOUT"), SHORT, (2, 3, 10)),
    ("a pod resets", told("reset", "pod-2"), checks.failing("pod-2", how="ECONNRESET"), (), (2, 3, 10)),
)


def _rows() -> Iterator[Arrangement]:
    for mode in Mode:
        up = partial(stand, mode)
        for scenario, arrange, check, options, sizes in FAULTS:
            for n in sizes:
                yield Arrangement(
                    scenario=scenario,
                    dataplane=mode,
                    pods=n,
                    expected=("endpoint-failing",),
                    runs=3,
                    stand=partial(up, n, arrange=arrange, check=check, options=options),
                )
        for ms, sizes in ((20, (2, 3, 5, 10)), (100, (3, 10))):
            for n in sizes:
                late = checks.slow("pod-2", by_s=ms / 1000)
                yield Arrangement(
                    scenario=f"a pod takes {ms} ms longer",
                    dataplane=mode,
                    pods=n,
                    expected=("slow-endpoint",),
                    runs=3,
                    stand=partial(up, n, arrange=told(f"delay {ms}", "pod-2"), check=late),
                )
        for n in (3, 5, 10):
            yield Arrangement(
                scenario="removed from the API, not from the rules",
                dataplane=mode,
                pods=n,
                expected=("unknown-endpoint",),
                runs=3,
                stand=partial(up, n, check=checks.fairly(), tell=_without_last),
            )


ROWS = tuple(_rows())
