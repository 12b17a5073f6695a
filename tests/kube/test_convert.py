from typing import Any

import pytest

from kbalance.errors import DiscoveryError
from kbalance.kube.convert import facts, service_port
from kbalance.model.target import Address, EndpointFacts, Facts, ServiceFacts
from kbalance.model.words import FactsSource

Json = dict[str, Any]

HTTP = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}
METRICS = {"name": "metrics", "port": 9090}


def _service(*ports: Json, annotations: Json | None = None, **spec: Any) -> Json:
    metadata = {"name": "web", "namespace": "shop", "annotations": annotations}
    return {
        "metadata": metadata,
        "spec": {"type": "ClusterIP", "clusterIP": "198.18.0.1", "ports": list(ports or [HTTP]), **spec},
    }


def _slice(*endpoints: Json, name: str = "web-1", family: str = "IPv4", ports: Any = None) -> Json:
    listed = [{"name": "http", "protocol": "TCP", "port": 8080}] if ports is None else ports
    return {"metadata": {"name": name}, "addressType": family, "ports": listed, "endpoints": list(endpoints)}


def _pod(name: str, ip: str, **more: Any) -> Json:
    return {"addresses": [ip], "targetRef": {"kind": "Pod", "name": name}, **more}


def _endpoints(*slices: Json, service: Json | None = None, port: int | str | None = None) -> tuple[EndpointFacts, ...]:
    return facts(service or _service(), slices, port).endpoints


def test_a_plain_service() -> None:
    conditions = {"ready": True, "serving": True, "terminating": False}
    b = _pod("web-b", "198.18.2.2", nodeName="node-1", zone="zone-a", conditions=conditions)
    assert facts(_service(), [_slice(b, _pod("web-a", "198.18.2.1"))]) == Facts(
        source=FactsSource.API,
        service=ServiceFacts(type="ClusterIP", cluster_ip="198.18.0.1"),
        endpoints=(
            EndpointFacts(name="web-a", address=Address("198.18.2.1", 8080)),
            EndpointFacts(name="web-b", address=Address("198.18.2.2", 8080), node="node-1", zone="zone-a"),
        ),
    )


def test_what_the_service_says_is_kept_in_the_apis_words() -> None:
    service = _service(
        type="LoadBalancer",
        clusterIP="None",
        sessionAffinity="ClientIP",
        internalTrafficPolicy="Local",
        externalTrafficPolicy="Local",
        trafficDistribution="PreferSameNode",
    )
    assert facts(service, []).service == ServiceFacts(
        type="LoadBalancer",
        cluster_ip="None",
        session_affinity="ClientIP",
        internal_traffic_policy="Local",
        external_traffic_policy="Local",
        traffic_distribution="PreferSameNode",
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


def test_unknown_fields_do_no_harm() -> None:
    service = _service(novelty={"a": [1]})
    one = _slice(_pod("a", "198.18.2.1", novelty=3, conditions={"ready": True, "novel": 1}))
    assert len(facts({**service, "status": None}, [{**one, "novelty": []}]).endpoints) == 1
