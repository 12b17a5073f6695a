"""EndpointSlices of a real API server: endpoints are told when they are ready, and when they leave."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbalance.balancing.endpoints import Elsewhere, Endpoint, Known, News, Origin, Trouble
from kbalance.balancing.slices import EndpointSlices, Follower
from kbalance.kube.client import Access, connect
from kbalance.kube.watching import Slices
from tests.cluster.kube import Cluster
from tests.cluster.stage import Stage, staged
from tests.cluster.workloads import deployment, service
from tests.kube.hearing import Heard

WITHIN_S = 120.0


@pytest.fixture
def stage(cluster: Cluster) -> Iterator[Stage]:
    with staged(cluster, deployment(replicas=2), service()) as stage:
        yield stage


class Followed:
    """A host that is followed on the cluster, from the laptop."""

    def __init__(self, kubeconfig: str, host: str, port: int = 80) -> None:
        self.heard: Heard[tuple[float, News]] = Heard()
        self.source = EndpointSlices(kubeconfig=kubeconfig)
        following = self.source.follow(Origin("http", host, port), lambda news: self.heard((time.time(), news)))
        assert following is not None
        self.following: Follower = following

    def until(self, number: int) -> tuple[float, tuple[Endpoint, ...]]:
        """When so many endpoints were told, and which."""
        at_s, news = self.heard.until(lambda one: isinstance(one[1], Known) and len(one[1].endpoints) == number, WITHIN_S)
        assert isinstance(news, Known)
        return at_s, news.endpoints

    def close(self) -> None:
        self.following.close()


@pytest.fixture
def web(stage: Stage) -> Iterator[Followed]:
    followed = Followed(stage.cluster.kubeconfig, f"web.{stage.namespace}.svc.cluster.local")
    yield followed
    followed.close()


def names(endpoints: tuple[Endpoint, ...]) -> set[str]:
    return {one.name for one in endpoints}


def test_endpoints_arrive_when_they_are_ready_and_leave_when_they_end(stage: Stage, web: Followed) -> None:
    _, first = web.until(2)
    pods = {pod["metadata"]["name"]: pod for pod in stage.pods()}
    assert names(first) == set(pods)
    assert {one.address for one in first} == {(pod["status"]["podIP"], 8080) for pod in pods.values()}
    assert {one.zone for one in first} <= {"zone-a", "zone-b"}

    stage.scale("web", 4)
    _, grown = web.until(4)
    assert names(grown) == {pod["metadata"]["name"] for pod in stage.pods()}

    stage.scale("web", 1)
    _, shrunk = web.until(1)
    assert names(shrunk) < names(grown)

    stage.scale("web", 0)
    assert web.until(0)[1] == ()
    assert [news for _, news in web.heard.all if not isinstance(news, Known)] == []


def test_a_pod_is_told_once_the_api_knows_that_it_is_ready(stage: Stage, web: Followed) -> None:
    """How soon is measured against a watch of the Pods, begun before; both readings are by the same clock."""
    _, before = web.until(2)
    client = connect(Access(kubeconfig=stage.cluster.kubeconfig))
    path, query = f"/api/v1/namespaces/{stage.namespace}/pods", {"labelSelector": "app=web"}
    version = client.listed(path, query).version
    with client.watch(path, {**query, "resourceVersion": version}, lasting_s=60) as pods:
        stage.kubectl("scale", "deployment/web", "--replicas=3")
        ready_s, ready = next(
            (time.time(), found["metadata"]["name"])
            for found in (json.loads(line)["object"] for line in pods)
            if found["metadata"]["name"] not in names(before)
            and any(one["type"] == "Ready" and one["status"] == "True" for one in found["status"].get("conditions", ()))
        )
    told_s, endpoints = web.until(3)

    assert ready in names(endpoints)
    print(f"told {told_s - ready_s:.3f} s after the Pod was ready")


def test_a_rollout_replaces_every_endpoint(stage: Stage, web: Followed) -> None:
    _, old = web.until(2)
    stage.roll()
    _, new = web.heard.until(
        lambda one: isinstance(one[1], Known) and len(one[1].endpoints) == 2 and not names(one[1].endpoints) & names(old),
        WITHIN_S,
    )

    assert isinstance(new, Known)
    assert {len(news.endpoints) for _, news in web.heard.all if isinstance(news, Known)} <= {2, 3}


def test_a_service_that_is_made_later_is_found(stage: Stage) -> None:
    followed = Followed(stage.cluster.kubeconfig, f"late.{stage.namespace}")
    try:
        followed.heard.until(lambda one: isinstance(one[1], Elsewhere), WITHIN_S)
        stage.cluster.apply(stage.namespace, service("late"))
        stage.kubectl("wait", "--for=create", "endpointslice", "-l", "kubernetes.io/service-name=late", "--timeout=30s")
        followed.following.refresh()
        followed.until(2)
    finally:
        followed.close()


def test_several_ports_and_a_headless_service(stage: Stage) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "admin", "port": 81, "targetPort": 9999}]
    stage.cluster.apply(stage.namespace, service("both", ports=ports), service("bare", ports=ports, clusterIP="None"))
    for name in ("both", "bare"):
        stage.kubectl("wait", "--for=create", "endpointslice", "-l", f"kubernetes.io/service-name={name}", "--timeout=30s")
    for host, port, expected in (("both", 80, 8080), ("both", 81, 9999), ("bare", 8080, 8080), ("bare", 81, 9999)):
        followed = Followed(stage.cluster.kubeconfig, f"{host}.{stage.namespace}", port)
        try:
            assert {one.address.port for one in followed.until(2)[1]} == {expected}
        finally:
            followed.close()


def test_a_service_account_without_a_role_is_told_what_is_missing(stage: Stage, tmp_path: Path) -> None:
    """And the Role of the documentation of the source is enough."""
    cluster, namespace = stage.cluster, stage.namespace
    stage.kubectl("create", "serviceaccount", "client")
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    config["users"][0]["user"] = {"token": stage.kubectl("create", "token", "client").strip()}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    guess, certain = Followed(str(path), f"web.{namespace}"), Followed(str(path), f"web.{namespace}.svc")
    try:
        guess.heard.until(lambda one: isinstance(one[1], Elsewhere), WITHIN_S)
        _, trouble = certain.heard.until(lambda one: isinstance(one[1], Trouble), WITHIN_S)
        assert isinstance(trouble, Trouble)
        assert 'resources: ["endpointslices"], verbs: ["list"]' in trouble.reason
        stage.kubectl("create", "role", "client", "--verb=list,watch", "--resource=endpointslices.discovery.k8s.io")
        stage.kubectl("create", "rolebinding", "client", "--role=client", f"--serviceaccount={namespace}:client")
        certain.until(2)
        # RBAC is learnt by the API server in its own time, so one refresh may come too early.
        news: News = trouble
        for _ in range(20):
            guess.following.refresh()
            news = guess.heard.until(lambda one: not isinstance(one[1], Trouble), WITHIN_S)[1]
            if isinstance(news, Known):
                break
        assert isinstance(news, Known)
    finally:
        guess.close()
        certain.close()


def test_bookmarks_and_the_end_of_a_watch_come_as_expected(stage: Stage) -> None:
    """The real server sends a bookmark before it ends a watch, from which the next one goes on."""
    client = connect(Access(kubeconfig=stage.cluster.kubeconfig))
    path = f"/apis/discovery.k8s.io/v1/namespaces/{stage.namespace}/endpointslices"
    query = {"labelSelector": "kubernetes.io/service-name=web"}
    listed = client.listed(path, query)
    slices = Slices()
    slices.begin(listed)
    # Another object makes the version of the cluster newer than that of the slices.
    stage.cluster.apply(stage.namespace, service("other"))
    stage.kubectl("wait", "--for=create", "endpointslice", "-l", "kubernetes.io/service-name=other", "--timeout=30s")
    began_s = time.monotonic()
    with client.watch(path, {**query, "resourceVersion": slices.version, "allowWatchBookmarks": "true"}, lasting_s=8) as watch:
        lines = list(watch)
    took_s = time.monotonic() - began_s

    for line in lines:
        slices.feed(line)
    assert took_s > 7
    assert slices.all() == tuple(listed.items)
    assert "BOOKMARK" in {json.loads(line)["type"] for line in lines}
    assert int(slices.version) >= int(listed.version)
