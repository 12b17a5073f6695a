"""kube-proxy's rules as they come, and what the Service's own settings make of them."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from bench.accuracy import checks
from bench.accuracy.api import NODES, Told
from bench.accuracy.site import Site, by_url, need, stand
from bench.accuracy.trial import Arrangement
from kbalance.testbed.scenario import NAMESPACE, SERVICE
from tests.kernel.cluster import Cluster, Mode

AFFINITY_S = 10800
"""The API's default."""
PLAIN_RUNS = 25
"""Of each of two modes and four sizes: 200 in all, for the rate of false alarms."""
MANY = ("--max-connections", "20000")


def on_first_node(names: Sequence[str]) -> list[str]:
    """Every other pod, as the API places them."""
    return list(names[:: len(NODES)])


def kept_apart(site: Site) -> None:
    """Rules with the endpoints of the prober's node and zone alone."""
    near = on_first_node(site.names)
    site.cluster.configure(without=[name for name in site.names if name not in near])


def near_alone(site: Cluster) -> None:
    checks.only(on_first_node(list(site.pods)))(site)


def remembered(site: Site) -> None:
    site.cluster.configure(affinity_s=AFFINITY_S)


def says_affinity(known: Told) -> Told:
    return replace(known, affinity_s=AFFINITY_S)


def says_local(known: Told) -> Told:
    return replace(known, spec={"internalTrafficPolicy": "Local"})


def says_hints(known: Told) -> Told:
    """Each endpoint is meant for its own zone."""
    pods = tuple(replace(pod, hints=(pod.zone,)) for pod in known.pods)
    return replace(known, pods=pods, spec={"trafficDistribution": "PreferClose"})


def _says_headless(known: Told) -> Told:
    return replace(known, spec={"clusterIP": "None", "clusterIPs": ["None"]})


def _named(site: Site) -> None:
    """The Service's name leads to the pods themselves, which the namespace's own /etc/hosts says."""
    site.stack.enter_context(_hosts(site, f"{SERVICE}.{NAMESPACE}.svc", (address.ip for address in site.cluster.pods.values())))


@contextmanager
def _hosts(site: Site, name: str, ips: Iterable[str]) -> Iterator[None]:
    with tempfile.NamedTemporaryFile("w", prefix="hosts-") as file:
        file.write("".join(f"{ip} {name}\n" for ip in ips))
        file.flush()
        site.cluster.ns.check(["mount", "--bind", file.name, "/etc/hosts"])
        yield


def _all_named(site: Cluster) -> None:
    lines = site.ns.check(["getent", "ahosts", f"{SERVICE}.{NAMESPACE}.svc"]).splitlines()
    ips = {line.split()[0] for line in lines}
    need(ips == {address.ip for address in site.pods.values()}, "the name leads to every pod", ips)


def _last_is_not_ready(known: Told) -> Told:
    return known.only([known.pods[-1].name], ready=False)


def _without_last(site: Site) -> None:
    site.cluster.configure(without=site.names[-1:])


def _all_but_last(site: Cluster) -> None:
    checks.only(list(site.pods)[:-1])(site)


def _two_versions(known: Told) -> Told:
    """A third of the pods are of a new ReplicaSet and version, as in a canary release."""
    names = [pod.name for pod in known.pods]
    some = names[: max(1, len(names) // 3)]
    return known.each(version="1.0").only(some, owner=f"{SERVICE}-7f9c5d8b64", version="1.1")


def _speaks_h2c(known: Told) -> Told:
    return replace(known, app_protocol="kubernetes.io/h2c")


def _rows(mode: Mode) -> Iterator[Arrangement]:
    def row(scenario: str, pods: int, *expected: str, **more: object) -> Arrangement:
        return Arrangement(scenario=scenario, dataplane=mode, pods=pods, expected=expected, **more)  # type: ignore[arg-type]

    up = partial(stand, mode)
    for n in (2, 3, 5, 10):
        fair = partial(up, n, check=checks.fairly())
        yield row("plain", n, "connection-pinning", stand=fair, runs=PLAIN_RUNS, fair=True)
    for n in (3, 10):
        fair = partial(up, n, check=checks.fairly(), target=by_url)
        yield row("plain, a URL without an API", n, "connection-pinning", stand=fair, fair=True)
    for n in (2, 3, 10):
        kept = partial(up, n, arrange=remembered, check=checks.on_one)
        yield row("affinity", n, "session-affinity", stand=partial(kept, tell=says_affinity))
        yield row(
            "affinity, a URL without an API", n, "source-hash", "session-affinity", stand=partial(kept, target=by_url), runs=3
        )
        near = partial(up, n, arrange=kept_apart, check=near_alone)
        yield row("internalTrafficPolicy: Local", n, "traffic-policy-local", stand=partial(near, tell=says_local))
        yield row("topology hints", n, "topology-hints", stand=partial(near, tell=says_hints))
    for n in (3, 10):
        yield row(
            "an endpoint is not ready",
            n,
            "not-ready",
            "connection-pinning",
            also=("not-ready",),
            stand=partial(up, n, arrange=_without_last, check=_all_but_last, tell=_last_is_not_ready),
        )
        fair = partial(up, n, check=checks.fairly())
        yield row(
            "two versions", n, "connection-pinning", also=("mixed-versions",), fair=True, stand=partial(fair, tell=_two_versions)
        )
        yield row(
            "appProtocol h2c",
            n,
            "http2-multiplexing",
            "connection-pinning",
            also=("http2-multiplexing",),
            fair=True,
            stand=partial(fair, tell=_speaks_h2c),
        )
    yield row("a single endpoint", 1, "healthy", stand=partial(up, 1, check=checks.only(["pod-1"])), fair=True)
    hundred = partial(up, 100, check=checks.fairly())
    yield row("100 endpoints", 100, "connection-pinning", stand=hundred, runs=3, fair=True)
    yield row(
        "100 endpoints, as many connections as it takes",
        100,
        "connection-pinning",
        stand=partial(hundred, options=MANY),
        runs=3,
        fair=True,
    )


def _headless() -> Iterator[Arrangement]:
    for n in (3, 10):
        yield Arrangement(
            scenario="headless, the first address",
            dataplane="resolver",
            pods=n,
            expected=("headless-first-address",),
            stand=partial(stand, Mode.IPTABLES, n, arrange=_named, check=_all_named, tell=_says_headless),
        )


ROWS = (*(row for mode in Mode for row in _rows(mode)), *_headless())
