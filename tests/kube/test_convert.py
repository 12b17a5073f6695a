import re
from dataclasses import replace
from typing import Any

import pytest

from kbalance.errors import DiscoveryError
from kbalance.kube.convert import facts, service_port, with_pods, zones_of
from kbalance.model.target import Address, EndpointFacts, Facts, ServiceFacts
from kbalance.model.words import FactsSource

Json = dict[str, Any]

HTTP = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}
METRICS = {"name": "metrics", "port": 9090}


def _service(*ports: Json, annotations: Json | None = None, **spec: Any) -> Json:
    metadata = {"name": "web", "namespace": "shop", "annotations": annotations}
    usual = {"type": "ClusterIP", "clusterIP": "198.18.0.1", "selector": {"app": "web"}, "ports": list(ports or [HTTP])}
    return {"metadata": metadata, "spec": {**usual, **spec}}


def _slice(*endpoints: Json, name: str = "web-1", family: str = "IPv4", ports: Any = None, **metadata: Any) -> Json:
    listed = [{"name": "http", "protocol": "TCP", "port": 8080}] if ports is None else ports
    return {"metadata": {"name": name, **metadata}, "addressType": family, "ports": listed, "endpoints": list(endpoints)}


def _pod(name: str, ip: str, **more: Any) -> Json:
    return {"addresses": [ip], "targetRef": {"kind": "Pod", "name": name}, **more}


def _endpoints(*slices: Json, service: Json | None = None, port: int | str | None = None) -> tuple[EndpointFacts, ...]:
    return facts(service or _service(), slices, port).endpoints


def test_a_plain_service() -> None:
    conditions = {"ready": True, "serving": True, "terminating": False}
    b = _pod("web-b", "198.18.2.2", nodeName="node-1", zone="zone-a", conditions=conditions)
    found = facts(_service(), [_slice(b, _pod("web-a", "198.18.2.1"))])
    assert replace(found, revision="") == Facts(
        source=FactsSource.API,
        service=ServiceFacts(
            type="ClusterIP", cluster_ip="198.18.0.1", port_name="http", target_port="http", selector=(("app", "web"),)
        ),
        endpoints=(
            EndpointFacts(name="web-a", address=Address("198.18.2.1", 8080)),
            EndpointFacts(name="web-b", address=Address("198.18.2.2", 8080), node="node-1", zone="zone-a"),
        ),
    )


def test_what_the_service_says_is_kept_in_the_apis_words() -> None:
    port = {"port": 443, "targetPort": 8443, "nodePort": 30443, "appProtocol": "https"}
    service = _service(
        port,
        type="LoadBalancer",
        clusterIP="None",
        selector=None,
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 600}},
        internalTrafficPolicy="Local",
        externalTrafficPolicy="Local",
        trafficDistribution="PreferSameNode",
        publishNotReadyAddresses=True,
    )
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}, {"hostname": "lb.example"}]}}
    assert facts(service, []).service == ServiceFacts(
        type="LoadBalancer",
        cluster_ip="None",
        session_affinity="ClientIP",
        internal_traffic_policy="Local",
        external_traffic_policy="Local",
        traffic_distribution="PreferSameNode",
        affinity_timeout_s=600,
        publish_not_ready_addresses=True,
        has_selector=False,
        target_port="8443",
        app_protocol="https",
        node_port=30443,
        load_balancer=("198.51.100.9", "lb.example"),
    )


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"service.kubernetes.io/topology-mode": "Auto"}, "topology-mode: Auto"),
        ({"service.kubernetes.io/topology-aware-hints": "auto"}, "topology-mode: Auto"),
        ({"service.kubernetes.io/topology-mode": "Disabled", "service.kubernetes.io/topology-aware-hints": "auto"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_topology_annotations_are_a_traffic_distribution(annotations: Json | None, expected: str | None) -> None:
    service = facts(_service(annotations=annotations), []).service
    assert service is not None
    assert service.traffic_distribution == expected


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, (True, True, False)),
        ({}, (True, True, False)),
        ({"ready": None, "serving": None, "terminating": None}, (True, True, False)),
        ({"ready": False}, (False, False, False)),
        ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
    ],
)
def test_absent_conditions_mean_what_the_api_says(conditions: Json | None, expected: tuple[bool, bool, bool]) -> None:
    (endpoint,) = _endpoints(_slice(_pod("a", "198.18.2.1", conditions=conditions)))
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == expected


def test_slices_are_merged_and_an_endpoint_in_two_of_them_counts_once() -> None:
    behind = _pod("a", "198.18.2.1", conditions={"ready": False})
    for order in (("web-1", "web-2"), ("web-2", "web-1")):
        found = _endpoints(
            _slice(behind, _pod("b", "198.18.2.2"), name=order[0]),
            _slice(_pod("a", "198.18.2.1", zone="zone-a"), name=order[1]),
        )
        assert [(e.name, e.ready, e.zone) for e in found] == [("a", True, "zone-a"), ("b", True, None)]


@pytest.mark.parametrize("field", ["endpoints", "ports"])
@pytest.mark.parametrize("absent", [True, False])
def test_null_and_absent_lists_are_empty(field: str, absent: bool) -> None:
    one = _slice(_pod("a", "198.18.2.1"))
    one[field] = None
    if absent:
        del one[field]
    assert _endpoints(one) == ()


def test_no_slice_is_no_endpoint() -> None:
    assert _endpoints() == ()


def test_a_named_port_may_have_another_number_in_each_slice() -> None:
    found = _endpoints(
        _slice(_pod("a", "198.18.2.1"), ports=[{"name": "metrics", "port": 1}, {"name": "http", "port": 8080}]),
        _slice(_pod("b", "198.18.2.2"), ports=[{"name": "http", "port": 8081}]),
        _slice(_pod("c", "198.18.2.3"), ports=[{"name": "metrics", "port": 2}]),
        _slice(_pod("d", "198.18.2.4"), ports=[{"name": "http", "port": None}]),
        _slice(_pod("e", "198.18.2.5"), ports=[{"name": "http", "port": 5, "protocol": "UDP"}]),
    )
    assert [e.address for e in found] == [Address("198.18.2.1", 8080), Address("198.18.2.2", 8081)]


def test_an_unnamed_port_is_the_empty_name() -> None:
    for ports in ([{"port": 8080}], [{"name": None, "port": 8080}], [{"name": "", "port": 8080}]):
        assert len(_endpoints(_slice(_pod("a", "198.18.2.1"), ports=ports), service=_service({"port": 80}))) == 1


@pytest.mark.parametrize("port", [9090, "9090", "metrics"])
def test_a_port_is_chosen_by_number_or_name(port: int | str) -> None:
    both = [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9100}]
    found = _endpoints(_slice(_pod("a", "198.18.2.1"), ports=both), service=_service(HTTP, METRICS), port=port)
    assert [e.address for e in found] == [Address("198.18.2.1", 9100)]
    assert service_port(_service(HTTP, METRICS), port) == METRICS


@pytest.mark.parametrize(
    ("service", "port", "sentence"),
    [
        (_service(HTTP, METRICS), 81, "Service shop/web has no TCP port 81; it has 80 (http), 9090 (metrics)"),
        (_service({"port": 80}), "http", "Service shop/web has no TCP port http; it has 80"),
        (_service({"port": 53, "protocol": "UDP"}), 53, "Service shop/web has no TCP port 53; it has none at all"),
        (
            _service(HTTP, METRICS),
            None,
            "Service shop/web has several ports: 80 (http), 9090 (metrics); name one, for example svc/web:http",
        ),
        (_service(ports=None), None, "Service shop/web has no TCP port, so there is nothing to connect to"),
        (
            _service(ports=None, clusterIP="None"),
            None,
            "Headless Service shop/web names no port; name the Pods' own, for example svc/web:8080",
        ),
        (_service(ports=None, clusterIP="None"), "http", "Service shop/web has no TCP port http; it has none at all"),
    ],
)
def test_a_port_that_cannot_be_told_is_an_error_with_the_choice(service: Json, port: int | str | None, sentence: str) -> None:
    with pytest.raises(DiscoveryError) as caught:
        facts(service, [], port)
    assert str(caught.value) == sentence


def test_hints_name_zones_and_nodes() -> None:
    hints = {"forZones": [{"name": "zone-a"}, {"name": "zone-b"}], "forNodes": [{"name": "node-1"}]}
    found = _endpoints(_slice(_pod("a", "198.18.2.1", hints=hints), _pod("b", "198.18.2.2", hints={"forZones": None})))
    assert [e.hints for e in found] == [("zone-a", "zone-b", "node-1"), ()]


def test_names_come_from_the_pod_and_else_from_the_address() -> None:
    found = _endpoints(
        _slice(
            _pod("db-0", "198.18.2.1", hostname="db-0"),
            _pod("web-7d4", "198.18.2.2", hostname="custom"),
            {"addresses": ["198.18.2.3"], "hostname": "bare"},
            {"addresses": ["198.18.2.4"]},
            {"addresses": []},
        )
    )
    assert [(e.name, e.aliases) for e in found] == [
        ("198.18.2.3:8080", ("bare",)),
        ("198.18.2.4:8080", ()),
        ("db-0", ()),
        ("web-7d4", ("custom",)),
    ]


def test_names_are_unique_even_where_targets_are_not() -> None:
    found = _endpoints(_slice(_pod("a", "198.18.2.1"), _pod("a", "198.18.2.2"), _pod("b", "198.18.2.3")))
    assert [(e.name, e.aliases) for e in found] == [("198.18.2.1:8080", ("a",)), ("198.18.2.2:8080", ("a",)), ("b", ())]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"ipFamilies": ["IPv6", "IPv4"]}, "fd00::1"),
        ({"ipFamilies": ["IPv4", "IPv6"]}, "198.18.2.1"),
        ({"clusterIP": "fd00::10"}, "fd00::1"),
        ({"clusterIP": "None"}, "198.18.2.1"),
    ],
)
def test_of_a_dual_stack_service_the_first_family_counts(spec: Json, expected: str) -> None:
    v4, v6 = _slice(_pod("a", "198.18.2.1")), _slice(_pod("a", "fd00::1"), family="IPv6", name="web-6")
    (endpoint,) = _endpoints(v4, v6, service=_service(**spec))
    assert endpoint.address == Address(expected, 8080)


def test_an_ipv6_only_service_of_an_old_api_server_is_read() -> None:
    assert len(_endpoints(_slice(_pod("a", "fd00::1"), family="IPv6"), service=_service(clusterIP="None"))) == 1


def test_slices_of_names_are_nobodys() -> None:
    names = _slice({"addresses": ["db.example"]}, family="FQDN", name="web-0")
    assert _endpoints(names, _slice(_pod("a", "198.18.2.1"))) == _endpoints(_slice(_pod("a", "198.18.2.1")))
    assert _endpoints(names) == ()


@pytest.mark.parametrize("port", [5432, "5432"])
@pytest.mark.parametrize("ports", [[], None])
def test_a_headless_service_without_ports_has_every_number(port: int | str, ports: Any) -> None:
    one = {**_slice(_pod("db-0", "198.18.2.1")), "ports": ports}
    (endpoint,) = _endpoints(one, service=_service(ports=None, clusterIP="None"), port=port)
    assert endpoint.address == Address("198.18.2.1", 5432)


def test_a_revision_names_spec_and_slices_whatever_their_order() -> None:
    a, b = _slice(name="web-a", generation=3, labels={"app": "web"}), _slice(name="web-b")
    revision = facts(_service(), [b, a]).revision
    assert re.fullmatch(r"[0-9a-f]{8} web-a:3:[0-9a-f]{8} web-b:0:[0-9a-f]{8}", revision)
    assert facts(_service(), [a, b]).revision == revision


def test_a_revision_differs_by_spec_generation_and_labels_alone() -> None:
    base = _slice(_pod("a", "198.18.2.1"), generation=3, labels={"app": "web"}, resourceVersion="1")
    service = _service()
    revision = facts(service, [base]).revision
    written = {**base, "metadata": {**base["metadata"], "generation": 4}}
    relabelled = {**base, "metadata": {**base["metadata"], "labels": {"app": "shop"}}}
    touched = {**base, "metadata": {**base["metadata"], "resourceVersion": "2", "annotations": {"a": "b"}}}
    noted = {**service, "metadata": {**service["metadata"], "resourceVersion": "2", "labels": {"app": "web"}}}
    other = _slice(_pod("a", "fd00::1"), family="IPv6", name="web-6", generation=7)

    assert facts(service, [written]).revision != revision
    assert facts(service, [relabelled]).revision != revision
    assert facts(_service(selector={"app": "other"}), [base]).revision != revision
    assert facts(noted, [touched, other]).revision == revision


def test_pods_tell_owner_age_and_the_names_that_they_know_themselves_by() -> None:
    found = _endpoints(
        _slice(_pod("web-a", "198.18.2.1"), _pod("web-b", "198.18.2.2", nodeName="node-1"), _pod("c", "198.18.2.3"))
    )
    owners = [{"kind": "Thing", "name": "x"}, {"kind": "ReplicaSet", "name": "web-7d4", "controller": True}]
    pods: list[Json] = [
        {
            "metadata": {"name": "web-a", "creationTimestamp": "2026-01-02T03:04:05Z", "ownerReferences": owners},
            "spec": {"hostname": "custom", "nodeName": "node-2"},
        },
        {"metadata": {"name": "web-b"}, "spec": {"hostNetwork": True, "hostname": "web-b"}},
        {"metadata": {"name": "stranger"}},
    ]

    c, a, b = with_pods(found, pods)

    assert (a.owner, a.created, a.node, a.aliases, a.host_network) == (
        "ReplicaSet/web-7d4",
        "2026-01-02T03:04:05Z",
        "node-2",
        ("custom",),
        False,
    )
    assert (b.owner, b.created, b.node, b.aliases, b.host_network) == (None, None, "node-1", ("node-1",), True)
    assert c == found[0]


def test_a_pod_with_two_ports_is_found_behind_both_endpoints() -> None:
    two = [_slice(_pod("a", "198.18.2.1"), name=f"web-{port}", ports=[{"name": "http", "port": port}]) for port in (1, 2)]
    found = with_pods(_endpoints(*two), [{"metadata": {"name": "a", "creationTimestamp": "2026-01-02T03:04:05Z"}}])
    assert [(e.name, e.created) for e in found] == [
        ("198.18.2.1:1", "2026-01-02T03:04:05Z"),
        ("198.18.2.1:2", "2026-01-02T03:04:05Z"),
    ]


def test_zones_are_those_of_nodes_that_have_one() -> None:
    zoned = {"metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "zone-a"}}}
    assert zones_of([zoned, {"metadata": {"name": "node-2"}}]) == {"node-1": "zone-a"}


def _standing(name: str, *, ready: bool = False, serving: bool = False, terminating: bool = False) -> Json:
    return _pod(name, f"198.18.2.{ord(name)}", conditions={"ready": ready, "serving": serving, "terminating": terminating})


def test_ready_endpoints_get_the_traffic_and_ending_ones_only_where_none_is_ready() -> None:
    ending, starting, gone = _standing("e", serving=True, terminating=True), _standing("s"), _standing("g", terminating=True)
    ready = _standing("r", ready=True, serving=True)

    def names(*pods: Json, **spec: Any) -> list[str]:
        return [e.name for e in facts(_service(**spec), [_slice(*pods)]).ready]

    assert names(ending, starting, gone, ready) == ["r"]
    assert names(ending, starting, gone) == ["e"]
    assert names(starting, gone) == []
    assert names(ending, starting, gone, clusterIP="None") == []


def test_unknown_fields_do_no_harm() -> None:
    service = _service(novelty={"a": [1]})
    one = _slice(_pod("a", "198.18.2.1", novelty=3, conditions={"ready": True, "novel": 1}))
    assert len(facts({**service, "status": None}, [{**one, "novelty": []}]).endpoints) == 1
