"""The stub API as the real client reads it; its typed models refuse any field that they do not know."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes
import pytest

from kbalance.model.target import Address
from kbalance.testbed import kubeapi, objects, resources
from kbalance.testbed.cluster import Cluster
from kbalance.testbed.controlplane import ControlPlane
from kbalance.testbed.messages import Request
from kbalance.testbed.objects import Catalogue, PodRecord
from kbalance.testbed.statuses import Refusal
from kbalance.testbed.store import Store
from kbalance.testbed.tables import table


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.start("session-affinity") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    file = tmp_path_factory.mktemp("kube") / "config"
    file.write_text(cluster.kubeconfig())
    config: Any = kubernetes.config
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        client = config.new_client_from_config(config_file=str(file))
    yield client
    client.rest_client.pool_manager.clear()


def test_the_real_client_reads_the_service(cluster: Cluster, client: Any) -> None:
    api: Any = kubernetes.client.CoreV1Api(client)
    service = api.read_namespaced_service("web", "shop")
    assert (service.spec.cluster_ip, service.spec.ports[0].port) == cluster.service
    assert service.spec.ports[0].name == service.spec.ports[0].target_port == "http"
    assert service.spec.session_affinity == "ClientIP"
    assert service.spec.session_affinity_config.client_ip.timeout_seconds == 10800
    assert service.metadata.creation_timestamp.tzinfo is not None


def test_the_real_client_lists_the_slices_of_the_service(cluster: Cluster, client: Any) -> None:
    api: Any = kubernetes.client.DiscoveryV1Api(client)

    listed = api.list_namespaced_endpoint_slice("shop", label_selector="kubernetes.io/service-name=web")

    endpoints = [endpoint for one in listed.items for endpoint in one.endpoints]
    assert {endpoint.target_ref.name for endpoint in endpoints} == set(cluster.pods)
    assert {(endpoint.node_name, endpoint.zone) for endpoint in endpoints} == set(objects.NODES)
    assert listed.metadata.resource_version == listed.items[0].metadata.resource_version
    assert api.read_namespaced_endpoint_slice(listed.items[0].metadata.name, "shop") is not None
    assert api.list_namespaced_endpoint_slice("shop", label_selector="kubernetes.io/service-name=other").items == []
    assert api.list_namespaced_endpoint_slice("elsewhere").items == []


def test_the_real_client_lists_pods_nodes_and_namespaces(cluster: Cluster, client: Any) -> None:
    core: Any = kubernetes.client.CoreV1Api(client)

    pods = core.list_namespaced_pod("shop", label_selector="app=web,app!=db,pod-template-hash").items

    assert {pod.metadata.name for pod in pods} == set(cluster.pods)
    assert {pod.metadata.owner_references[0].kind for pod in pods} == {"ReplicaSet"}
    assert len({pod.status.pod_ip for pod in pods}) in (1, 3)
    assert [node.metadata.labels["topology.kubernetes.io/zone"] for node in core.list_node().items] == ["zone-a", "zone-b"]
    assert core.read_namespace("shop").status.phase == "Active"
    assert [s.metadata.name for s in core.list_service_for_all_namespaces(field_selector="metadata.name=web").items] == ["web"]
    assert kubernetes.client.VersionApi(client).get_code().major == "1"


def test_what_is_not_there_is_a_status(client: Any) -> None:
    with pytest.raises(kubernetes.client.ApiException) as caught:
        kubernetes.client.CoreV1Api(client).read_namespaced_service("nope", "shop")
    assert caught.value.status == 404
    assert json.loads(str(caught.value.body))["message"] == 'services "nope" not found'


def _answer(some: Mapping[resources.Resource, list[Any]], path: str, query: str = "", method: str = "GET") -> tuple[int, Any]:
    target = f"{path}?{query}"
    request = Request(method=method, target=target, version="HTTP/1.1", headers=())
    return kubeapi.respond(ControlPlane(Store(some)), request)


@pytest.mark.parametrize(
    ("method", "path", "query", "code", "reason"),
    [
        ("GET", "/api/v1/namespaces/shop/endpoints", "", 404, "NotFound"),
        ("GET", "/apis/apps/v1/deployments", "", 404, "NotFound"),
        ("GET", "/api/v1/namespaces/shop/nodes", "", 404, "NotFound"),
        ("GET", "/api/v1/services/web", "", 404, "NotFound"),
        ("GET", "/nothing", "", 404, "NotFound"),
        ("POST", "/api/v1/namespaces/shop/pods", "", 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/namespaces/shop/services/web", "", 405, "MethodNotAllowed"),
        ("GET", "/api/v1/pods", "watch=true&resourceVersion=abc", 500, ""),
        ("GET", "/api/v1/pods", "watch=1&timeoutSeconds=x", 400, "BadRequest"),
        ("GET", "/api/v1/services", "watch=1&fieldSelector=spec.color%3Dred", 400, "BadRequest"),
        ("GET", "/api/v1/services", "labelSelector=app%20near%20(web)", 400, "BadRequest"),
        ("GET", "/api/v1/services", "fieldSelector=spec.color%3Dred", 400, "BadRequest"),
        ("GET", "/api/v1/services", "limit=many", 400, "BadRequest"),
        ("GET", "/api/v1/services", "continue=nonsense", 400, "BadRequest"),
    ],
)
def test_refusals_are_status_objects(method: str, path: str, query: str, code: int, reason: str) -> None:
    service = Catalogue(created="2026-01-01T00:00:00Z", version=1).service(Address("127.96.0.10", 80), None)
    with pytest.raises(Refusal) as caught:
        _answer({resources.SERVICES: [service]}, path, query, method)
    value = caught.value.value
    assert (caught.value.code, value["kind"], value["code"], value["reason"]) == (code, "Status", code, reason)


def test_kubectl_gets_the_columns_that_it_shows() -> None:
    catalogue = Catalogue(created="2026-01-01T00:00:00Z", version=1)
    record = PodRecord(name="pod-1", address=Address("127.0.1.1", 8000), node="node-1", zone="zone-a", ready=False)
    store = {
        resources.SERVICES: [catalogue.service(Address("127.96.0.10", 80), None)],
        resources.PODS: [catalogue.pod(record)],
        resources.NODES: [catalogue.node("node-1", "zone-a")],
        resources.NAMESPACES: [catalogue.namespace()],
        resources.ENDPOINT_SLICES: catalogue.endpoint_slices([record]),
    }

    def cells(resource: resources.Resource, path: str) -> list[Any]:
        status, value = _answer(store, path)
        shown = table(resource, value, 1767225600.0 + 150)
        assert (status, shown["kind"]) == (200, "Table")
        assert len(shown["columnDefinitions"]) == len(shown["rows"][0]["cells"])
        return [shown["rows"][0]["object"]["metadata"]["name"], *shown["rows"][0]["cells"][1:]]

    age = "2m"
    web = cells(resources.SERVICES, "/api/v1/namespaces/shop/services/web")
    assert web == ["web", "ClusterIP", "127.96.0.10", "80/TCP", age, "app=web"]
    assert cells(resources.PODS, "/api/v1/pods") == ["pod-1", "0/1", "Running", "0", age, "127.0.1.1", "node-1"]
    assert cells(resources.NODES, "/api/v1/nodes") == ["node-1", "Ready", "zone-a", age]
    assert cells(resources.NAMESPACES, "/api/v1/namespaces") == ["shop", "Active", age]
    slices = cells(resources.ENDPOINT_SLICES, "/apis/discovery.k8s.io/v1/endpointslices")
    assert slices[1:] == ["IPv4", "8000", "127.0.1.1", age]


def test_discovery_names_every_resource() -> None:
    def names(path: str) -> set[str]:
        return {resource["name"] for resource in _answer({}, path)[1]["resources"]}

    core = {"services", "pods", "pods/log", "nodes", "namespaces", "configmaps", "secrets", "events"}
    assert names("/api/v1") == core
    assert names("/apis/discovery.k8s.io/v1") == {"endpointslices"}
    assert names("/apis/batch/v1") == {"jobs"}
    assert [g["name"] for g in _answer({}, "/apis")[1]["groups"]] == ["batch", "discovery.k8s.io"]


def test_slices_hold_one_port_and_a_hundred_endpoints_at_most() -> None:
    addresses = [Address("127.0.1.1", 8000 + n % 2) for n in range(250)]
    records = [PodRecord(name=f"pod-{n:03}", address=a, node="node-1", zone="zone-a") for n, a in enumerate(addresses)]
    slices = Catalogue(created="2026-01-01T00:00:00Z", version=1).endpoint_slices(records)
    assert [(s["ports"][0]["port"], len(s["endpoints"])) for s in slices] == [(8000, 100), (8000, 25), (8001, 100), (8001, 25)]
    assert len({s["metadata"]["name"] for s in slices}) == 4


def test_pod_names_differ() -> None:
    assert len({objects.pod_name(n) for n in range(1000)}) == 1000
