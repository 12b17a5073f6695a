"""Where an arrangement is stood up: pods in a namespace, an API that tells of them, and checks by the pods' own counts."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.accuracy.api import NODES, SERVICE, Told, api, told
from bench.accuracy.trial import NotArranged, Probe
from kbalance.model.target import Address
from tests.kernel.cluster import Cluster, Mode, cluster
from tests.kernel.probe import command, environment

LONGEST_S = 180.0
"""For one probe: longer than its own deadline."""

_ON_FIRST_NODE = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', NODES[0][0]]
"""A host is a node of the cluster if it bears a node's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A cluster that is being arranged."""

    cluster: Cluster
    stack: ExitStack
    """Holds what runs as long as the arrangement stands."""

    def run(self, proxy: AbstractContextManager[None]) -> None:
        """Has a proxy run as long as the arrangement stands."""
        self.stack.enter_context(proxy)

    @property
    def names(self) -> list[str]:
        return list(self.cluster.pods)


Arrange = Callable[[Site], None]
"""Makes the dataplane do what the arrangement is about."""
Check = Callable[[Cluster], None]
"""Raises `NotArranged` where the pods' own counts say that it does not."""
Tell = Callable[[Told], Told]
"""From what an API tells of a plain Service to what it tells here."""


def nothing(site: Site) -> None:
    """Leaves kube-proxy's rules as they are."""


def as_it_is(known: Told) -> Told:
    """An API that tells the truth about a plain Service."""
    return known


@contextmanager
def stand(
    mode: Mode,
    pods: int,
    *,
    arrange: Arrange = nothing,
    check: Check,
    tell: Tell = as_it_is,
    options: Sequence[str] = (),
    target: Callable[[Cluster], Sequence[str]] | None = None,
) -> Iterator[Probe]:
    """The arrangement, checked, and a probe of it.

    Args:
        target: the words that name the target; ``None``: the Service, with the facts that `tell` gives.

    Raises:
        NotArranged: the dataplane does something else.
    """
    with ExitStack() as stack:
        site = Site(cluster=stack.enter_context(cluster(mode, pods)), stack=stack)
        arrange(site)
        check(site.cluster)
        if target is not None:
            words = list(target(site.cluster))
        else:
            known = tell(told(site.cluster.address, site.cluster.pods))
            words = [f"svc/{SERVICE}/hostname", *stack.enter_context(api(site.cluster.ns, known)).arguments]
        yield lambda seed: report(site.cluster, [*words, "--rate", "0", *options, "--seed", str(seed)])


def report(site: Cluster, arguments: Sequence[str]) -> Any:
    """The JSON report of one run, ``{}`` where it wrote none; then its last words go to stderr."""
    done = site.ns.run([*_ON_FIRST_NODE, *command(*arguments)], env=environment(), timeout_s=LONGEST_S)
    if not done.stdout:
        print(f"  exit code {done.returncode}: {done.stderr.strip()[-1000:]}", file=sys.stderr)
    return json.loads(done.stdout) if done.stdout else {}


def by_url(site: Cluster) -> list[str]:
    """The Service's URL and every pod, without an API."""
    return [f"http://{site.address}/hostname", *site.endpoint_options]


def by_url_of(address: Address) -> Callable[[Cluster], list[str]]:
    """The URL of something else in front of the pods."""
    return lambda site: [f"http://{address}/hostname", *site.endpoint_options]


def drawn(site: Cluster, connections: int, *, source: str = "127.0.0.1", timeout_s: float = 5.0) -> dict[str, int]:
    """Requests that each pod read while a plain client made so many fresh connections, one request on each."""
    return _during(site, lambda: site.fresh(connections, source, timeout_s))


def held(site: Cluster, requests: int) -> dict[str, int]:
    """Requests that each pod read while a plain client made so many on one connection."""
    return _during(site, lambda: site.held(requests, "127.0.0.1"))


def _during(site: Cluster, act: Callable[[], object]) -> dict[str, int]:
    before = site.requests()
    act()
    return {name: now - before[name] for name, now in site.requests().items()}


def need(holds: bool, what: str, seen: Mapping[str, int] | object) -> None:
    """Raises `NotArranged` where it does not hold."""
    if not holds:
        raise NotArranged(f"{what}, yet the pods counted {seen}")
