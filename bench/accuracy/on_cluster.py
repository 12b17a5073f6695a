"""The arrangements on a real Kubernetes: two nodes in two zones, kube-proxy's rules, and Pods that really start and end."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from bench.accuracy.cluster_runs import Run, from_job, from_node, while_changing
from bench.accuracy.trial import Arrangement, Probe
from bench.errors import NotMeasured
from tests.cluster.kube import Cluster
from tests.cluster.stage import HERE, THERE, Stage, staged
from tests.cluster.workloads import Object, deaf, deployment, on, service, slow, unready, versioned, written_by_hand

AGE_S = 70
"""Between Pods of clearly different ages."""
UNHURRIED = ("--rate", "60")
"""So that requests do not queue before Pods that take a tenth of a second for some."""

Prepare = Callable[[Stage], object]


def arrangements(cluster: Cluster) -> list[Arrangement]:
    """All of them, quick ones first."""
    return [
        *_plain(cluster),
        *_affinity(cluster),
        *_local_policy(cluster),
        *_hints(cluster),
        *_memberships(cluster),
        *_protocols(cluster),
        *_external_policy(cluster),
        *_failing(cluster),
        *_slow(cluster),
        *_changing(cluster),
    ]


def _plain(cluster: Cluster) -> Iterator[Arrangement]:
    arranged = partial(_arranged, cluster)
    for pods in (2, 3, 5, 10):
        yield arranged("ClusterIP", pods, ("connection-pinning",), [deployment(replicas=pods), service()])
    web = [deployment(replicas=3), service()]
    yield arranged("ClusterIP, from a Job", 3, ("connection-pinning",), web, run=from_job())
    yield arranged("ClusterIP, from both nodes", 3, ("connection-pinning",), web, run=from_job("--workers", "2"))
    yield arranged("one endpoint", 1, ("healthy",), [deployment(replicas=1), service()])
    yield arranged("no Pod", 0, ("no-endpoints",), [deployment(replicas=0), service()])
    yield arranged("no ready Pod", 2, ("no-endpoints",), [service()], prepare=_beside(unready(deployment(replicas=2))))
    headless = [deployment(replicas=3), service(clusterIP="None")]
    yield arranged("headless", 3, ("headless-first-address",), headless, run=from_job())


def _affinity(cluster: Cluster) -> Iterator[Arrangement]:
    sticky = service(sessionAffinity="ClientIP")
    arranged = partial(_arranged, cluster)
    for pods in (2, 3, 5, 10):
        yield arranged("ClientIP affinity", pods, ("session-affinity",), [deployment(replicas=pods), sticky])
    yield arranged("ClientIP affinity, one endpoint", 1, ("healthy",), [deployment(replicas=1), sticky])
    # A Job's Pod is a client of its own, so that each run draws anew: one in three is kept on the Pod that fails.
    failing = [deployment(replicas=2), deaf(), sticky]
    yield arranged(
        "ClientIP affinity, one Pod fails", 3, ("endpoint-failing",), failing, also=("session-affinity",), run=from_job(), runs=6
    )


def _local_policy(cluster: Cluster) -> Iterator[Arrangement]:
    local = service(internalTrafficPolicy="Local")
    expected = ("traffic-policy-local",)
    for here, there in ((1, 2), (2, 1), (2, 3)):
        apart = [deployment("web", replicas=here, **on(HERE)), deployment("there", replicas=there, **on(THERE)), local]
        yield _arranged(cluster, f"local policy, {here} Pods here", here + there, expected, apart)
    spread = [deployment(replicas=4), local]
    yield _arranged(cluster, "local policy, from both nodes", 4, expected, spread, run=from_job("--workers", "2"))
    # The Pod of this node fails, so that all connections do, while direct ones show which one it is.
    failing = [deaf(**on(HERE)), deployment("there", replicas=2, **on(THERE)), local]
    yield _arranged(
        cluster,
        "local policy, the Pod here fails",
        3,
        ("endpoint-failing",),
        failing,
        also=expected,
        run=from_job("--node", HERE),
    )
    away = [deployment("there", replicas=2, **on(THERE)), local]
    nobody = from_job("--node", HERE, "--timeout", "1s")
    yield _arranged(cluster, "local policy, no Pod here", 2, expected, away, run=nobody)


def _hints(cluster: Cluster) -> Iterator[Arrangement]:
    expected = ("topology-hints",)
    for word in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        for pods in (2, 4):
            near = [deployment(replicas=pods), service(trafficDistribution=word)]
            yield _arranged(cluster, word, pods, expected, near)
        near = [deployment(replicas=4), service(trafficDistribution=word)]
        yield _arranged(cluster, f"{word}, from both nodes", 4, expected, near, run=from_job("--workers", "2"))
    one_zone = [deployment(replicas=4), service(selector=None, trafficDistribution="PreferSameNode")]
    yield _arranged(cluster, "PreferSameNode, both nodes in one zone", 4, expected, one_zone, prepare=_in_one_zone)
    away = [deployment(replicas=3, **on(THERE)), service(trafficDistribution="PreferSameZone")]
    yield _arranged(cluster, "PreferSameZone, no Pod in this zone", 3, ("connection-pinning",), away)


def _memberships(cluster: Cluster) -> Iterator[Arrangement]:
    """Who stands behind the Service is part of the answer; how connections are placed is not touched by it."""
    pinned = ("connection-pinning",)
    arranged = partial(_arranged, cluster)
    for old, new in ((2, 1), (2, 3)):
        versions = [versioned(deployment("v1", replicas=old), "1.0"), versioned(deployment("v2", replicas=new), "2.0")]
        yield arranged("two versions", old + new, pinned, [*versions, service()], also=("mixed-versions",))
    foreign = [deployment(replicas=2), deployment("other", "podinfo", 1), service()]
    yield arranged("another application's Pod under the selector", 3, pinned, foreign, also=("mixed-versions",))
    web = [deployment(replicas=2), service()]
    yield arranged("scaled out long ago", 5, pinned, web, also=("stale-membership",), prepare=_scaled_out_later)
    yield arranged("one Pod not ready", 3, ("not-ready", *pinned), web, also=("not-ready",), prepare=_beside(_unready()))
    published = [deployment(replicas=2), service(publishNotReadyAddresses=True)]
    yield arranged("a Pod that is not ready, published", 3, ("not-ready", *pinned), published, prepare=_beside(_unready()))
    dead = _beside(unready(deaf()))
    yield arranged("a dead Pod, published", 3, ("endpoint-failing",), published, also=("not-ready",), prepare=dead)


def _protocols(cluster: Cluster) -> Iterator[Arrangement]:
    expected = ("http2-multiplexing", "connection-pinning")
    ports: tuple[Object, ...] = ({"name": "grpc"}, {"name": "http", "appProtocol": "kubernetes.io/h2c"})
    for pods in (3, 5):
        for port in ports:
            served = service(ports=[{"port": 80, "targetPort": "http", **port}])
            name = port.get("appProtocol") or f"port name {port['name']}"
            yield _arranged(cluster, str(name), pods, expected, [deployment(replicas=pods), served])


def _external_policy(cluster: Cluster) -> Iterator[Arrangement]:
    outside = service(type="NodePort", externalTrafficPolicy="Local")
    uneven = [deployment("here", replicas=1, **on(HERE)), deployment("web", replicas=3, **on(THERE)), outside]
    expected = ("connection-pinning", "mixed-versions")
    yield _arranged(cluster, "external policy Local, 1 and 3 Pods", 4, expected, uneven, also=("external-traffic-policy",))


def _failing(cluster: Cluster) -> Iterator[Arrangement]:
    for pods in (3, 5):
        wrong = [deployment(replicas=pods - 1), deaf(), service()]
        yield _arranged(cluster, "a Deployment with a wrong target port", pods, ("endpoint-failing",), wrong)


def _slow(cluster: Cluster) -> Iterator[Arrangement]:
    for pods in (3, 5):
        one = [slow(replicas=pods - 1), slow("slow", replicas=1, each_s=0.05), service()]
        yield _arranged(cluster, "a slow Pod", pods, ("slow-endpoint",), one, also=("connection-pinning",))
        fifth = [slow(replicas=pods, fifth_s=0.1), service()]
        unhurried = from_node(*UNHURRIED)
        pinned = ("connection-pinning",)
        yield _arranged(cluster, "every fifth answer is slow", pods, pinned, fifth, also=("uneven-work",), run=unhurried)
    quick = [slow(replicas=3, fifth_s=0.1), service()]
    yield _arranged(cluster, "every fifth answer is slow, and queues", 3, ("connection-pinning",), quick, also=("uneven-work",))


def _changing(cluster: Cluster) -> Iterator[Arrangement]:
    web = [deployment(replicas=3), service()]
    hinted = [deployment(replicas=4), service(trafficDistribution="PreferSameZone")]
    expected = ("invalid-measurement",)
    for scenario, pods, objects, run in (
        ("scaled out during the run", 3, web, while_changing(lambda s: s.scale("web", 6), lambda s: s.scale("web", 3))),
        ("scaled in during the run", 3, web, while_changing(lambda s: s.scale("web", 2), lambda s: s.scale("web", 3))),
        ("rollout during the run", 3, web, while_changing(Stage.roll)),
        ("a Pod deleted during the run", 3, web, while_changing(_delete)),
        ("a Pod taken out of the selector during the run", 3, web, while_changing(_relabel, _remove_relabelled)),
        ("hints, and a rollout during the run", 4, hinted, while_changing(Stage.roll)),
    ):
        yield _arranged(cluster, scenario, pods, expected, objects, run=run)


def _arranged(
    cluster: Cluster,
    scenario: str,
    pods: int,
    expected: tuple[str, ...],
    objects: list[Object],
    *,
    also: tuple[str, ...] = (),
    runs: int = 3,
    run: Run | None = None,
    prepare: Prepare = lambda stage: None,
) -> Arrangement:
    def stand() -> AbstractContextManager[Probe]:
        return _stand(cluster, objects, run or from_node(), prepare)

    return Arrangement(scenario=scenario, dataplane="cluster", pods=pods, expected=expected, also=also, runs=runs, stand=stand)


@contextmanager
def _stand(cluster: Cluster, objects: list[Object], run: Run, prepare: Prepare) -> Iterator[Probe]:
    """What the cluster does not do is a run that could not be made, and no failure of kbalance."""
    with _translated(), staged(cluster, *objects) as stage:
        prepare(stage)
        stage.settle()

        def probe(seed: int) -> Any:
            with _translated():
                return run(stage, seed)

        yield probe


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (AssertionError, subprocess.SubprocessError) as error:
        raise NotMeasured(str(error)) from error


def _unready() -> Object:
    return unready(deployment("unready", replicas=1))


def _beside(one: Object) -> Prepare:
    """Deploys Pods that run and never become ready."""
    return lambda stage: stage.begin(one)


def _in_one_zone(stage: Stage) -> None:
    """The nodes stay where they are; to kube-proxy only the hints say where Pods are."""
    stage.cluster.apply(stage.namespace, written_by_hand(stage.pods(), zone="zone-a"))


def _scaled_out_later(stage: Stage) -> None:
    stage.grow_old(AGE_S)
    stage.scale("web", 5)


def _delete(stage: Stage) -> None:
    stage.kubectl("delete", "pod", stage.pods()[0]["metadata"]["name"])


def _relabel(stage: Stage) -> None:
    """The Pod lives on, and so do connections to it; its Deployment makes no new one, which looks at another label."""
    stage.kubectl("label", "pod", stage.pods()[0]["metadata"]["name"], "app=elsewhere", "--overwrite")


def _remove_relabelled(stage: Stage) -> None:
    stage.kubectl("delete", "pod", "-l", "app=elsewhere")
    stage.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
