"""EndpointSlices as a source of endpoints: real calls to the embedded cluster, and what is told of them."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbalance.balancing.endpoints import Elsewhere, Endpoint, Known, News, Origin, Source, Trouble
from kbalance.balancing.slices import EndpointSlices, ServiceName, service_in
from kbalance.kube.watching import Timing
from kbalance.model.target import Address
from kbalance.testbed.cluster import Cluster
from kbalance.testbed.objects import NODES
from kbalance.testbed.outages import Outage, WatchEnd
from tests.kube.hearing import Heard
from tests.testbed.client import eventually

Json = dict[str, Any]

QUICK = Timing(pause_s=0.01, longest_pause_s=0.05, refresh_s=0.05)
EVERYTHING: list[Json] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
HTTP, GRPC = {"name": "http", "port": 8080}, {"name": "grpc", "port": 9000}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster.start() as started:
        yield started


@pytest.fixture
def kubeconfig(cluster: Cluster, tmp_path: Path) -> str:
    """Its context has the namespace ``shop``, where the Service ``web`` is."""
    path = tmp_path / "config"
    path.write_text(cluster.kubeconfig())
    return str(path)


class Followed:
    """A host that is followed, and all that was told of it."""

    def __init__(self, source: Source, host: str, port: int = 80) -> None:
        self.heard: Heard[News] = Heard()
        following = source.follow(Origin("http", host, port), self.heard)
        assert following is not None
        self.following = following

    def known(self, number: int | None = None) -> tuple[Endpoint, ...]:
        """The next endpoints, or the next that are so many."""
        news = self.heard.until(lambda one: isinstance(one, Known) and number in (None, len(one.endpoints)))
        assert isinstance(news, Known)
        return news.endpoints

    def reason(self, kind: type[Elsewhere] | type[Trouble]) -> str:
        news = self.heard.until(lambda one: isinstance(one, kind))
        assert isinstance(news, Elsewhere | Trouble)
        return news.reason


@pytest.fixture
def follow(kubeconfig: str) -> Iterator[Any]:
    """Follows hosts, and leaves them at the end."""
    made: list[Followed] = []

    def start(host: str = "web", port: int = 80, **options: Any) -> Followed:
        wanted: dict[str, Any] = {"kubeconfig": kubeconfig, "timing": QUICK, **options}
        made.append(Followed(EndpointSlices(**wanted), host, port))
        return made[-1]

    yield start
    for one in made:
        one.following.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("kbalance-endpoints")] == []


def sliced(name: str, *addresses: str, of: str = "two", ports: Any = (HTTP, GRPC), namespace: str = "shop", **more: Any) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": of}}
    endpoints = [
        {"addresses": [address], "targetRef": {"kind": "Pod", "name": f"pod-{address}"}, "zone": "zone-a", **more}
        for address in addresses
    ]
    return {"metadata": metadata, "addressType": "IPv4", "ports": list(ports), "endpoints": endpoints}


def service(*ports: Json, name: str = "two", **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": {}},
        "spec": {"type": "ClusterIP", "clusterIP": "198.18.1.1", "selector": {}, "ports": list(ports), **spec},
    }


def addresses(endpoints: tuple[Endpoint, ...]) -> list[str]:
    return [str(one.address) for one in endpoints]


# Which hosts may be Services.


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("checkout", ServiceName("checkout")),
        ("checkout.shop", ServiceName("checkout", "shop")),
        ("Checkout.Shop", ServiceName("checkout", "shop")),
        ("checkout.shop.svc", ServiceName("checkout", "shop", True)),
        ("checkout.shop.svc.", ServiceName("checkout", "shop", True)),
        ("checkout.shop.svc.cluster.local", ServiceName("checkout", "shop", True)),
        ("checkout.shop.svc.cluster.local.", ServiceName("checkout", "shop", True)),
        ("checkout.shop.svc.prod.example.com", ServiceName("checkout", "shop", True)),
        ("a.1", ServiceName("a", "1")),
        ("example.com", ServiceName("example", "com")),
        ("checkout.", None),
        ("checkout.shop.", None),
        ("checkout.shop.svc.clusterset.local", None),
        ("api.example.com", None),
        ("web-0.web.shop.svc.cluster.local", None),
        ("checkout.shop.pod.cluster.local", None),
        ("localhost", None),
        ("localhost.", None),
        ("app.localhost", None),
        ("198.51.100.1", None),
        ("127.1", None),
        ("2130706433", None),
        ("0x7f000001", None),
        ("::1", None),
        ("2001:db8::1", None),
        ("fe80::1%eth0", None),
        ("", None),
        (".", None),
        ("check_out", None),
        ("-checkout", None),
        ("checkout-.shop", None),
        ("checkout..svc", None),
        ("käse", None),
        ("a" * 64, None),
        ("a" * 63, ServiceName("a" * 63)),
    ],
)
def test_a_host_may_be_a_service(host: str, expected: ServiceName | None) -> None:
    assert service_in(host) == expected


def test_a_host_that_cannot_be_a_service_is_not_followed(kubeconfig: str) -> None:
    source, heard = EndpointSlices(kubeconfig=kubeconfig), Heard[News]()
    before = set(threading.enumerate())

    followed = [source.follow(Origin("http", host, 80), heard) for host in ("198.51.100.1", "localhost", "api.example.com")]

    assert followed == [None] * 3
    assert (heard.all, set(threading.enumerate()) - before) == ([], set())


def test_only_listed_services_are_followed_where_there_is_a_list(kubeconfig: str) -> None:
    source = EndpointSlices(kubeconfig=kubeconfig, namespace="shop", services=["web", "cart.store"])

    def follows(host: str) -> bool:
        following = source.follow(Origin("http", host, 80), lambda news: None)
        if following is not None:
            following.close()
        return following is not None

    hosts = ("web", "web.shop", "web.shop.svc.cluster.local", "cart.store", "web.store", "cart", "cart.shop", "other")
    assert [follows(host) for host in hosts] == [True, True, True, True, False, False, False, False]


@pytest.mark.parametrize("wrong", ["", "198.51.100.1", "api.example.com", "web:80", "localhost"])
def test_what_is_listed_has_to_be_a_service(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"give NAME or NAME\.NAMESPACE"):
        EndpointSlices(services=["web", wrong])


# What is told.


def test_it_is_a_source() -> None:
    source: Source = EndpointSlices()

    assert source.follow(Origin("http", "198.51.100.1", 80), lambda news: None) is None


def test_endpoints_come_with_pod_and_zone(cluster: Cluster, follow: Any) -> None:
    endpoints = follow("web").known()

    assert {one.name for one in endpoints} == set(cluster.pods)
    assert {one.zone for one in endpoints} == {zone for _, zone in NODES}
    assert len({one.address for one in endpoints}) == 3


@pytest.mark.parametrize("host", ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local."])
def test_all_spellings_lead_to_the_same_endpoints(follow: Any, host: str) -> None:
    assert len(follow(host).known()) == 3


def test_the_thread_says_what_it_is_for(follow: Any) -> None:
    follow("web.shop.svc")

    assert "kbalance-endpoints web.shop" in [thread.name for thread in threading.enumerate() if thread.daemon]


def test_endpoints_follow_the_service(cluster: Cluster, follow: Any) -> None:
    followed = follow()
    followed.known(3)
    for number in (5, 1, 0, 4):
        cluster.scale(number)
        assert len(followed.known(number)) == number


def test_contact_that_changes_nothing_is_told_as_well(cluster: Cluster, follow: Any) -> None:
    followed = follow()
    first = followed.known()

    followed.following.refresh()
    assert followed.known() == first
    # The server may take the watch that was left for the one that is only coming.
    eventually(lambda: cluster.end_watches(WatchEnd.RESET) > 0 and len(followed.heard.all) > 2)
    assert followed.known() == first


def test_slices_are_merged_and_what_is_not_ready_is_left_out(cluster: Cluster, follow: Any) -> None:
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", "198.18.2.2", ports=[HTTP]))
    cluster.put("endpointslices", sliced("two-2", "198.18.2.2", "198.18.2.3", ports=[{"name": "http", "port": 8081}]))
    followed = follow("two")
    assert addresses(followed.known()) == ["198.18.2.1:8080", "198.18.2.2:8080", "198.18.2.2:8081", "198.18.2.3:8081"]

    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", ports=[HTTP], conditions={"ready": False}))
    assert addresses(followed.known(2)) == ["198.18.2.2:8081", "198.18.2.3:8081"]
    cluster.remove("endpointslices", "two-2")
    assert followed.known() == ()
    leaving = {"ready": False, "serving": True, "terminating": True}
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", ports=[HTTP], conditions=leaving))

    assert followed.known() == (Endpoint(address=Address("198.18.2.1", 8080), name="pod-198.18.2.1", zone="zone-a"),)


def test_a_client_is_made_by_the_first_thread_and_shared(follow: Any, kubeconfig: str) -> None:
    source = EndpointSlices(kubeconfig=kubeconfig)
    one, other = Followed(source, "web"), Followed(source, "web.shop")
    try:
        assert one.known() == other.known()
        assert source.client() is source.client()
    finally:
        one.following.close()
        other.following.close()


# Ports.


def test_of_several_ports_the_service_says_which(cluster: Cluster, follow: Any) -> None:
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1"))
    cluster.put("services", service({"name": "http", "port": 80}, {"name": "grpc", "port": 81}))

    assert addresses(follow("two", 80).known()) == ["198.18.2.1:8080"]
    assert addresses(follow("two", 81).known()) == ["198.18.2.1:9000"]
    assert "Service shop/two has no TCP port 82; it has 80 (http), 81 (grpc)" in follow("two", 82).reason(Trouble)


def test_the_service_is_read_once_and_again_when_ports_have_other_names(cluster: Cluster, follow: Any) -> None:
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1"))
    cluster.put("services", service({"name": "http", "port": 80}, {"name": "grpc", "port": 81}))
    followed = follow("two", 80)
    followed.known(1)
    # It may not be read any more, and need not be.
    cluster.deny("get", "services")
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", "198.18.2.2"))
    followed.known(2)
    cluster.allow_only(EVERYTHING)
    cluster.put("services", service({"name": "web", "port": 80}, {"name": "grpc", "port": 81}))
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", ports=[GRPC, {"name": "web", "port": 7000}]))

    assert addresses(followed.known(1)) == ["198.18.2.1:7000"]


def test_where_the_service_may_not_be_read_the_pods_own_port_has_to_do(cluster: Cluster, follow: Any) -> None:
    cluster.deny("get", "services")
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1"))

    assert addresses(follow("two", 9000).known()) == ["198.18.2.1:9000"]
    reason = follow("two", 80).reason(Trouble)
    assert "Which of the ports grpc, http is 80" in reason
    assert 'resources: ["services"], verbs: ["get"]' in reason


def test_with_one_port_the_service_is_not_asked_for(cluster: Cluster, follow: Any) -> None:
    cluster.deny("get", "services")

    assert len(follow("web", 12345).known()) == 3


# Not a Service, or not to be asked.


def test_a_host_without_slices_is_elsewhere_until_it_has_some(cluster: Cluster, follow: Any) -> None:
    followed = follow("two.shop.svc")
    assert "no EndpointSlice for two in namespace shop" in followed.reason(Elsewhere)

    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", ports=[HTTP]))
    followed.following.refresh()

    assert addresses(followed.known()) == ["198.18.2.1:8080"]


def test_a_host_without_slices_is_looked_at_again(cluster: Cluster, follow: Any) -> None:
    followed = follow("two", timing=replace(QUICK, idle_s=0.05))
    followed.reason(Elsewhere)

    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", ports=[HTTP]))

    assert addresses(followed.known()) == ["198.18.2.1:8080"]


def test_a_service_that_is_deleted_and_made_anew(cluster: Cluster, follow: Any) -> None:
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", ports=[HTTP]))
    followed = follow("two")
    followed.known(1)
    cluster.remove("endpointslices", "two-1")
    followed.reason(Elsewhere)
    # The watch still goes on, so there is no need to look again.
    cluster.put("endpointslices", sliced("two-2", "198.18.2.2", ports=[HTTP]))

    assert addresses(followed.known(1)) == ["198.18.2.2:8080"]


@pytest.mark.parametrize(
    ("host", "options", "kind"),
    [
        ("web", {}, Elsewhere),
        ("example.com", {}, Elsewhere),
        ("web.shop.svc", {}, Trouble),
        ("web", {"services": ["web"]}, Trouble),
    ],
)
def test_what_may_not_be_listed_is_elsewhere_if_it_was_a_guess(
    cluster: Cluster, follow: Any, host: str, options: Json, kind: type[Elsewhere] | type[Trouble]
) -> None:
    cluster.deny("list", "endpointslices")

    followed = follow(host, **options)

    assert "may not list endpointslices.discovery.k8s.io" in followed.reason(kind)
    assert {type(one) for one in followed.heard.all} == {kind}


def test_a_guess_that_proved_right_is_in_trouble_when_it_may_no_longer_be_listed(cluster: Cluster, follow: Any) -> None:
    followed = follow("web")
    followed.known(3)
    cluster.deny("list", "endpointslices")
    followed.following.refresh()

    assert "may not list" in followed.reason(Trouble)
    cluster.allow_only(EVERYTHING)
    followed.known(3)


def test_an_api_that_is_away_is_trouble_until_it_is_back(cluster: Cluster, follow: Any) -> None:
    cluster.set_outage(Outage.AWAY)
    followed = follow("web")
    assert "refused the connection" in followed.reason(Trouble)
    cluster.set_outage(Outage.NONE)
    followed.known(3)
    cluster.set_outage(Outage.AWAY)
    assert "refused the connection" in followed.reason(Trouble)
    cluster.scale(4)
    cluster.set_outage(Outage.NONE)
    followed.known(4)


def test_outside_of_any_cluster_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    followed = Followed(EndpointSlices(), "web.shop")
    try:
        assert "give EndpointSlices(kubeconfig=FILE)" in followed.reason(Trouble)
    finally:
        followed.following.close()


def test_without_kubeconfig_there_is_trouble_until_there_is_one(cluster: Cluster, follow: Any, tmp_path: Path) -> None:
    followed = follow("web", kubeconfig=str(tmp_path / "late"))
    assert "does not exist" in followed.reason(Trouble)

    (tmp_path / "late").write_text(cluster.kubeconfig())

    followed.known(3)


def test_a_bug_is_told_before_the_thread_ends_with_it(cluster: Cluster, follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: Heard[Any] = Heard()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: ended(arguments.exc_type))
    cluster.put("endpointslices", sliced("two-1", "198.18.2.1", ports=["no port"]))

    assert "which is a bug" in follow("two").reason(Trouble)
    assert ended.next() is AttributeError


# The end.


def test_closing_leaves_no_thread_and_tells_nothing_more(cluster: Cluster, kubeconfig: str) -> None:
    before = set(threading.enumerate())
    source = EndpointSlices(kubeconfig=kubeconfig)
    followed = [Followed(source, host) for host in ("web", "web.shop.svc", "nobody")]
    followed[0].known(3)
    for one in followed:
        one.following.close()
    told = [one.heard.all for one in followed]
    cluster.scale(5)

    assert set(threading.enumerate()) <= before
    assert [one.heard.all for one in followed] == told
    # Once more is harmless.
    followed[0].following.close()
    followed[0].following.refresh()


def test_it_can_be_closed_by_what_it_tells(cluster: Cluster, kubeconfig: str) -> None:
    done, ready = threading.Event(), threading.Event()

    def tell(news: News) -> None:
        ready.wait(10)
        assert following is not None
        following.close()
        done.set()

    following = EndpointSlices(kubeconfig=kubeconfig).follow(Origin("http", "web", 80), tell)
    ready.set()
    assert done.wait(10)
    assert following is not None
    following.close()


def test_the_library_for_kubernetes_is_not_loaded_before_somebody_follows() -> None:
    code = (
        "import sys, kbalance.balancing.slices as s; s.EndpointSlices(services=['web']);"
        "print(*{'kubernetes', 'urllib3', 'ssl', 'asyncio', 'httpx', 'yaml'} & set(sys.modules))"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    assert out.split() == []
