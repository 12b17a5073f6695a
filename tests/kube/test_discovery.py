"""Discovery through the real client, against a small API over real sockets that holds objects and may refuse."""

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from kbalance.errors import DiscoveryError
from kbalance.kube.client import Access, Client, connect
from kbalance.kube.discovery import Discovery, Reference, discover, reread, scheme
from kbalance.model.target import Address, EndpointFacts, ServiceFacts

from .apis import kubeconfig

Json = dict[str, Any]

SHOP = "/api/v1/namespaces/shop"
SERVICE = f"{SHOP}/services/web"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
HTTP = {"name": "http", "port": 80, "targetPort": "http"}
CREATED = "2026-01-02T03:04:05Z"


class Cluster:
    """What there is, who may not read what, and what was asked."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {SHOP: {}}
        self.lists: dict[str, list[Json]] = {f"{SHOP}/services": [], SLICES: [], f"{SHOP}/pods": [], "/api/v1/nodes": []}
        self.forbidden: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        """Path and label selector, in no order."""
        self.brief: list[str] = []
        """Paths of which only metadata was asked for."""

    def answer(self, path: str, selector: str, accept: str) -> tuple[int, Json]:
        self.asked.append((path, selector))
        if "PartialObjectMetadataList" in accept:
            self.brief.append(path)
        if path in self.forbidden:
            return 403, _status(403, "Forbidden", f'User "anna" cannot read {path}')
        if path in self.objects:
            return 200, self.objects[path]
        if path in self.lists:
            wanted = dict(term.split("=") for term in selector.split(",") if term)
            return 200, {"items": [o for o in self.lists[path] if wanted.items() <= o["metadata"].get("labels", {}).items()]}
        return 404, _status(404, "NotFound", f"{path} not found")

    def serve(self, *ports: Json, **spec: Any) -> None:
        """Service ``web``."""
        usual = {"type": "ClusterIP", "clusterIP": "198.18.1.7", "selector": {"app": "web", "tier": "front"}}
        self.objects[SERVICE] = {
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {**usual, "ports": list(ports or [HTTP]), **spec},
        }

    def slice(self, *endpoints: Json, port: int = 8080, name: str = "http", service: str = "web", generation: int = 1) -> None:
        """An EndpointSlice more; it has a label that Pods share."""
        listed = self.lists[SLICES]
        labels = {"kubernetes.io/service-name": service, "app": "web"}
        metadata = {"name": f"{service}-{len(listed)}", "generation": generation, "labels": labels}
        ports = [{"name": name, "port": port, "protocol": "TCP"}]
        listed.append({"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": list(endpoints)})

    def pod(self, name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> None:
        owner = {"kind": "ReplicaSet", "name": "web-7d4", "controller": True}
        metadata = {"name": name, "labels": dict(labels or {"app": "web", "tier": "front"}), "creationTimestamp": CREATED}
        self.lists[f"{SHOP}/pods"].append({"metadata": {**metadata, "ownerReferences": [owner]}, "spec": spec})

    def node(self, name: str, zone: str) -> None:
        self.lists["/api/v1/nodes"].append({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}})


def _status(code: int, reason: str, message: str) -> Json:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def client(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("NO_PROXY", "*")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            selector = parse_qs(parts.query).get("labelSelector", [""])[0]
            status, value = cluster.answer(unquote(parts.path), selector, self.headers["Accept"])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield connect(Access(kubeconfig=kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}")))
        server.shutdown()
        thread.join()


def endpoint(name: str, number: int, **more: Any) -> Json:
    return {"addresses": [f"198.18.2.{number}"], "targetRef": {"kind": "Pod", "name": name}, **more}


def found(client: Client, port: int | str | None = None) -> Discovery:
    return discover(client, Reference(name="web", namespace="shop", port=port))


def refused(client: Client, port: int | str | None = None) -> str:
    with pytest.raises(DiscoveryError) as caught:
        found(client, port)
    return str(caught.value)


def test_a_service_is_read_in_one_go_and_each_list_once(cluster: Cluster, client: Client) -> None:
    cluster.serve()
    cluster.slice(endpoint("web-a", 1, nodeName="node-1", zone="zone-a"))
    cluster.slice(endpoint("web-b", 2), service="other")
    cluster.pod("web-a", hostname="custom")
    cluster.node("node-1", "zone-a")
    cluster.node("node-2", "zone-b")

    discovery = found(client)

    facts = discovery.facts
    assert facts.service == ServiceFacts(
        type="ClusterIP",
        cluster_ip="198.18.1.7",
        port_name="http",
        target_port="http",
        selector=(("app", "web"), ("tier", "front")),
    )
    assert facts.endpoints == (
        EndpointFacts(
            name="web-a",
            address=Address("198.18.2.1", 8080),
            node="node-1",
            zone="zone-a",
            owner="ReplicaSet/web-7d4",
            created=CREATED,
            aliases=("custom",),
        ),
    )
    assert facts.notices == ()
    assert (discovery.scheme, discovery.host, discovery.port) == ("http", "198.18.1.7", 80)
    assert discovery.zones == {"node-1": "zone-a", "node-2": "zone-b"}
    assert sorted(cluster.asked) == [
        ("/api/v1/namespaces/shop/pods", "app=web,tier=front"),
        (SERVICE, ""),
        ("/api/v1/nodes", ""),
        (SLICES, "kubernetes.io/service-name=web"),
    ]
    assert cluster.brief == ["/api/v1/nodes"]


def test_a_second_reading_asks_only_what_decides_and_keeps_what_pods_told(cluster: Cluster, client: Client) -> None:
    cluster.serve()
    cluster.slice(endpoint("web-a", 1, nodeName="node-1"))
    cluster.pod("web-a", hostname="custom")
    cluster.node("node-1", "zone-a")
    before = found(client).facts
    cluster.asked.clear()

    same = reread(client, Reference(name="web", namespace="shop"), before)
    cluster.slice(endpoint("web-b", 2))
    grown = reread(client, Reference(name="web", namespace="shop"), before)

    assert same == before
    assert [(e.name, e.owner) for e in grown.endpoints] == [("web-a", "ReplicaSet/web-7d4"), ("web-b", None)]
    assert grown.revision != before.revision
    assert sorted(path for path, _ in cluster.asked) == [SERVICE] * 2 + [SLICES] * 2


def test_pods_that_may_not_be_read_are_a_notice_with_the_rule(cluster: Cluster, client: Client) -> None:
    cluster.serve()
    cluster.slice(endpoint("web-a", 1, zone="zone-a"))
    cluster.forbidden.add(f"{SHOP}/pods")

    facts = found(client).facts

    assert [(e.name, e.owner) for e in facts.endpoints] == [("web-a", None)]
    assert facts.notices == (
        "Pods may not be read, so owner, age and host network of the endpoints are unknown; a Role with"
        ' apiGroups: [""], resources: ["pods"], verbs: ["list"] would allow it.',
    )


@pytest.mark.parametrize("zone", ["zone-a", None])
def test_nodes_that_may_not_be_read_are_a_notice_only_where_a_zone_is_unknown(
    cluster: Cluster, client: Client, zone: str | None
) -> None:
    cluster.serve()
    cluster.slice(endpoint("web-a", 1, nodeName="node-1", zone=zone))
    cluster.forbidden.add("/api/v1/nodes")

    discovery = found(client)

    rule = 'a ClusterRole with apiGroups: [""], resources: ["nodes"], verbs: ["list"] would allow it.'
    assert discovery.zones == ({"node-1": zone} if zone else {})
    assert discovery.facts.notices == (() if zone else (f"Nodes may not be read, so zones of endpoints are unknown; {rule}",))


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        (SERVICE, 'apiGroups: [""], resources: ["services"], verbs: ["get"]'),
        (SLICES, 'apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list"]'),
    ],
)
def test_what_cannot_be_done_without_is_an_error_with_the_rule(cluster: Cluster, client: Client, path: str, rule: str) -> None:
    cluster.serve()
    cluster.slice(endpoint("web-a", 1))
    cluster.forbidden.add(path)

    assert refused(client) == (
        f'svc/web cannot be examined: User "anna" cannot read {path}; a Role in namespace shop with {rule} would allow it.'
    )


@pytest.mark.parametrize(
    ("services", "message"),
    [
        (["webb", "db"], "There is no Service 'web' in namespace shop; did you mean svc/webb?"),
        (["db"], "There is no Service 'web' in namespace shop, which has db; name one of those, or another namespace with -n."),
        (
            ["a1", "b2", "c3", "d4", "e5", "f6", "g7"],
            "There is no Service 'web' in namespace shop, which has a1, b2, c3, d4, e5 and 2 more;"
            " name one of those, or another namespace with -n.",
        ),
        ([], "There is no Service 'web' in namespace shop, which has none at all; name one in another namespace with -n."),
        (None, "There is no Service 'web' in namespace shop; check its name, the namespace (-n) and the context (--context)."),
    ],
)
def test_a_service_that_is_not_there_is_told_with_what_is(
    cluster: Cluster, client: Client, services: list[str] | None, message: str
) -> None:
    cluster.lists[f"{SHOP}/services"] = [{"metadata": {"name": name}} for name in services or ()]
    if services is None:
        cluster.forbidden.add(f"{SHOP}/services")

    assert refused(client) == message


def test_a_namespace_that_is_not_there_is_told(cluster: Cluster, client: Client) -> None:
    del cluster.objects[SHOP]

    message = "There is no namespace 'shop' in this cluster; name another with -n, or another cluster with --context."
    assert refused(client) == message


def test_who_may_not_ask_for_the_namespace_is_not_told_that_it_is_missing(cluster: Cluster, client: Client) -> None:
    cluster.forbidden.add(SHOP)

    assert refused(client).startswith("There is no Service 'web' in namespace shop")


@pytest.mark.parametrize(
    ("ports", "port", "number"),
    [([], None, "PORT"), ([], 8080, "8080"), ([{"port": 5432}], None, "5432"), ([HTTP, {"port": 1}], "http", "PORT")],
)
def test_another_name_for_something_outside_is_refused_with_advice(
    cluster: Cluster, client: Client, ports: list[Json], port: int | str | None, number: str
) -> None:
    cluster.serve(type="ExternalName", clusterIP=None, externalName="db.example", ports=ports)

    assert refused(client, port) == (
        "svc/web is of type ExternalName, another name for db.example, and has no endpoints in this cluster;"
        f" probe http://db.example:{number}/ instead."
    )


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        (
            [{"port": 53, "protocol": "UDP"}, {"port": 9, "protocol": "SCTP"}],
            "has no TCP port, so there is nothing to connect to",
        ),
        ([HTTP, {"name": "admin", "port": 81}], "has several ports: 80 (http), 81 (admin); name one, for example svc/web:http"),
    ],
)
def test_a_port_that_cannot_be_told_is_refused(cluster: Cluster, client: Client, ports: list[Json], message: str) -> None:
    cluster.serve(*ports)

    assert refused(client) == f"Service shop/web {message}"


@pytest.mark.parametrize("port", ["admin", 81, "81"])
def test_one_of_several_ports_is_chosen_by_name_or_number(cluster: Cluster, client: Client, port: int | str) -> None:
    cluster.serve({"name": "dns", "port": 81, "protocol": "UDP"}, HTTP, {"name": "admin", "port": 81, "nodePort": 30081})
    cluster.slice(endpoint("web-a", 1), port=9000, name="admin")

    discovery = found(client, port)

    assert (discovery.port, [e.address for e in discovery.facts.endpoints]) == (81, [Address("198.18.2.1", 9000)])
    assert discovery.facts.service is not None
    assert (discovery.facts.service.port_name, discovery.facts.service.node_port) == ("admin", 30081)


def test_a_headless_service_is_its_name_at_the_pods_own_port(cluster: Cluster, client: Client) -> None:
    cluster.serve(clusterIP="None")
    cluster.slice(endpoint("web-a", 1))

    discovery = found(client)

    assert (discovery.host, discovery.port) == ("web.shop.svc", 8080)
    assert discovery.facts.notices == ("The Service is headless, so the Pods' own port 8080 is dialled instead of 80.",)


def test_a_headless_service_of_several_ports_is_dialled_at_the_most_frequent_one(cluster: Cluster, client: Client) -> None:
    cluster.serve(clusterIP="None")
    cluster.slice(endpoint("web-a", 1), port=8080)
    cluster.slice(endpoint("web-b", 2), endpoint("web-c", 3), port=8081)

    discovery = found(client)

    assert discovery.port == 8081
    assert discovery.facts.notices == (
        "The endpoints of this headless Service listen on different ports: 8081 is dialled, not 8080.",
    )


def test_a_headless_service_without_endpoints_keeps_its_own_port(cluster: Cluster, client: Client) -> None:
    cluster.serve({"port": 8080}, clusterIP="None")

    assert (found(client).port, found(client).facts.notices) == (8080, ())


def test_a_name_for_the_target_port_may_lead_to_another_number_in_each_pod(cluster: Cluster, client: Client) -> None:
    cluster.serve()
    cluster.slice(endpoint("web-a", 1), port=8080)
    cluster.slice(endpoint("web-b", 2), port=8081)

    discovery = found(client)

    assert [str(e.address) for e in discovery.facts.endpoints] == ["198.18.2.1:8080", "198.18.2.2:8081"]
    assert (discovery.port, discovery.facts.notices) == (80, ())


def test_without_a_selector_pods_are_those_that_slices_name(cluster: Cluster, client: Client) -> None:
    cluster.serve(selector=None)
    cluster.slice(endpoint("db-0", 1))
    cluster.pod("db-0", {"app": "db"})
    cluster.pod("stranger", {"app": "other"})

    facts = found(client).facts

    assert [(e.name, e.owner) for e in facts.endpoints] == [("db-0", "ReplicaSet/web-7d4")]
    assert (f"{SHOP}/pods", "") in cluster.asked


def test_without_selector_and_pods_none_are_asked_for(cluster: Cluster, client: Client) -> None:
    cluster.serve(selector=None)
    cluster.slice({"addresses": ["198.51.100.9"]})

    facts = found(client).facts

    assert facts.service is not None
    assert (facts.service.has_selector, [e.name for e in facts.endpoints]) == (False, ["198.51.100.9:8080"])
    assert f"{SHOP}/pods" not in dict(cluster.asked)


def test_without_selector_and_endpoints_it_says_so(cluster: Cluster, client: Client) -> None:
    cluster.serve(selector=None)

    assert found(client).facts.notices == ("The Service has no selector, and no EndpointSlice names an endpoint for it.",)


def test_many_endpoints_in_several_slices_count_once_each(cluster: Cluster, client: Client) -> None:
    cluster.serve()
    for start in (1, 91, 181):
        cluster.slice(*(endpoint(f"web-{n:03}", n) for n in range(start, min(start + 100, 251))))

    facts = found(client).facts

    assert [e.name for e in facts.endpoints] == [f"web-{n:03}" for n in range(1, 251)]


def test_no_ready_endpoint_is_no_error(cluster: Cluster, client: Client) -> None:
    cluster.serve()
    cluster.slice(endpoint("web-a", 1, conditions={"ready": False, "serving": False}))
    cluster.lists[SLICES].append({**cluster.lists[SLICES][0], "endpoints": None})

    facts = found(client).facts

    assert ([e.name for e in facts.endpoints], facts.ready, facts.notices) == (["web-a"], (), ())


def test_endpoints_that_end_and_still_serve_stand_in_where_none_is_ready(cluster: Cluster, client: Client) -> None:
    ending = endpoint("web-a", 1, conditions={"ready": False, "serving": True, "terminating": True})
    cluster.serve()
    cluster.slice(ending, endpoint("web-b", 2, conditions={"ready": False}))

    facts = found(client).facts

    assert [e.name for e in facts.ready] == ["web-a"]
    assert facts.notices == ("No endpoint is ready; those that still serve while they end get the traffic.",)


def test_pods_on_the_network_of_one_node_are_a_notice(cluster: Cluster, client: Client) -> None:
    cluster.serve()
    cluster.slice(*(endpoint(f"web-{n}", n, nodeName="node-1" if n < 3 else "node-2", zone="zone-a") for n in (1, 2, 3)))
    for n in (1, 2, 3):
        cluster.pod(f"web-{n}", hostNetwork=True)

    facts = found(client).facts

    assert [(e.host_network, e.aliases) for e in facts.endpoints] == [
        (True, ("node-1",)),
        (True, ("node-1",)),
        (True, ("node-2",)),
    ]
    assert facts.notices == ("Several Pods are on the host network of node-1, whose name does not tell them apart.",)


def test_traffic_for_pods_that_are_not_ready_is_a_notice(cluster: Cluster, client: Client) -> None:
    cluster.serve(publishNotReadyAddresses=True)
    cluster.slice(endpoint("web-a", 1))

    assert found(client).facts.notices == ("publishNotReadyAddresses is set: Pods that are not ready get traffic as well.",)


def test_of_a_dual_stack_service_the_first_family_counts(cluster: Cluster, client: Client) -> None:
    cluster.serve(ipFamilies=["IPv6", "IPv4"], clusterIP="fd00::7")
    cluster.slice(endpoint("web-a", 1))
    v4 = cluster.lists[SLICES][0]
    v6 = {**v4, "addressType": "IPv6", "endpoints": [{**endpoint("web-a", 1), "addresses": ["fd00::1"]}]}
    cluster.lists[SLICES].append(v6)

    discovery = found(client)

    assert (discovery.host, [e.address for e in discovery.facts.endpoints]) == ("fd00::7", [Address("fd00::1", 8080)])


def test_unknown_fields_do_no_harm(cluster: Cluster, client: Client) -> None:
    cluster.serve(novelty={"a": [1]})
    cluster.slice(endpoint("web-a", 1, novelty=3))
    cluster.pod("web-a", novelty=[])
    plain = found(client)

    assert [e.name for e in plain.facts.endpoints] == ["web-a"]


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"port": 80}, "http"),
        ({"port": 443}, "https"),
        ({"port": 443, "name": "web"}, "https"),
        ({"port": 443, "name": "http"}, "http"),
        ({"port": 443, "name": "http-admin"}, "http"),
        ({"port": 8443, "name": "https"}, "https"),
        ({"port": 8443, "name": "https-admin"}, "https"),
        ({"port": 80, "appProtocol": "https"}, "https"),
        ({"port": 80, "appProtocol": "HTTPS", "name": "http"}, "https"),
        ({"port": 80, "appProtocol": "kubernetes.io/wss"}, "https"),
        ({"port": 443, "appProtocol": "http", "name": "https"}, "http"),
        ({"port": 443, "appProtocol": "kubernetes.io/h2c"}, "http"),
        ({"port": 443, "appProtocol": None}, "https"),
    ],
)
def test_the_scheme_follows_app_protocol_then_name_then_number(port: Json, expected: str) -> None:
    assert scheme(port) == expected


def test_the_scheme_is_that_of_the_probed_port(cluster: Cluster, client: Client) -> None:
    cluster.serve(HTTP, {"name": "secure", "port": 443})

    assert (found(client, "http").scheme, found(client, 443).scheme) == ("http", "https")
