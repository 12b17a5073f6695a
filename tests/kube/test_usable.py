"""Which endpoints of EndpointSlices get traffic, and which of their ports a URL means."""

from typing import Any

import pytest

from kbalance.errors import DiscoveryError
from kbalance.kube.convert import usable
from kbalance.kube.ports import needs_service, port_behind

Json = dict[str, Any]

HTTP, GRPC = {"name": "http", "port": 8080}, {"name": "grpc", "port": 9000, "protocol": "TCP"}


def sliced(*endpoints: Json, ports: Any = (HTTP,), family: str = "IPv4", name: str = "web-1") -> Json:
    listed = None if ports is None else list(ports)
    return {"metadata": {"name": name}, "addressType": family, "ports": listed, "endpoints": list(endpoints)}


def pod(name: str, address: str, ready: bool | None = True, serving: bool | None = None, terminating: bool = False) -> Json:
    conditions = {"ready": ready, "serving": ready if serving is None else serving, "terminating": terminating}
    return {"addresses": [address], "targetRef": {"kind": "Pod", "name": name}, "conditions": conditions}


def service(*ports: Json, **spec: Any) -> Json:
    return {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "198.18.1.1", "ports": list(ports), **spec}}


def found(*slices: Json, port: str | int = "http", service: Json | None = None) -> list[str]:
    return [f"{one.name} {one.address}" for one in usable(slices, port, service)]


A, B = pod("a", "198.18.2.1"), pod("b", "198.18.2.2")
UNREADY = pod("c", "198.18.2.3", ready=False)
LEAVING = pod("d", "198.18.2.4", ready=False, serving=True, terminating=True)
DYING = pod("e", "198.18.2.5", ready=False, serving=False, terminating=True)


def test_ready_endpoints_are_used_and_no_others() -> None:
    assert found(sliced(B, UNREADY, LEAVING, A)) == ["a 198.18.2.1:8080", "b 198.18.2.2:8080"]


def test_where_none_is_ready_those_serve_that_are_leaving() -> None:
    assert found(sliced(UNREADY, LEAVING, DYING)) == ["d 198.18.2.4:8080"]
    assert found(sliced(UNREADY, DYING)) == []


def test_absent_conditions_mean_ready() -> None:
    assert found(sliced({"addresses": ["198.18.2.9"]})) == ["198.18.2.9:8080 198.18.2.9:8080"]


def test_an_endpoint_in_two_slices_counts_once_and_a_stale_one_does_not_hide_it() -> None:
    stale = pod("a", "198.18.2.1", ready=False)

    assert found(sliced(stale, name="web-1"), sliced(A, B, name="web-2")) == ["a 198.18.2.1:8080", "b 198.18.2.2:8080"]


def test_slices_may_differ_in_the_number_of_a_port() -> None:
    assert found(sliced(A), sliced(B, ports=[{"name": "http", "port": 8081}], name="web-2")) == [
        "a 198.18.2.1:8080",
        "b 198.18.2.2:8081",
    ]


def test_slices_without_endpoints_or_without_the_port_add_nothing() -> None:
    bare = {"metadata": {"name": "web-0"}, "addressType": "IPv4", "endpoints": None, "ports": None}

    assert found(bare, sliced(A), sliced(B, ports=[GRPC], name="web-2")) == ["a 198.18.2.1:8080"]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (None, ["a 198.18.2.1:8080"]),
        (service(ipFamilies=["IPv6", "IPv4"]), ["a [2001:db8::1]:8080"]),
        (service(ipFamilies=["IPv4", "IPv6"]), ["a 198.18.2.1:8080"]),
    ],
)
def test_of_two_families_one_is_used(of: Json | None, expected: list[str]) -> None:
    assert found(sliced(pod("a", "2001:db8::1"), family="IPv6"), sliced(A, name="web-2"), service=of) == expected


def test_one_family_alone_is_used_whichever_it_is() -> None:
    assert found(sliced(pod("a", "2001:db8::1"), family="IPv6")) == ["a [2001:db8::1]:8080"]


def test_a_number_stands_for_itself() -> None:
    assert found(sliced(A, ports=None), port=7000) == ["a 198.18.2.1:7000"]


# Ports.


def test_the_only_port_is_meant_whatever_the_url_says() -> None:
    slices = [sliced(A), sliced(B, ports=[{"name": "http", "port": 8081}, {"name": "dns", "port": 53, "protocol": "UDP"}])]

    assert not needs_service(slices)
    assert port_behind(slices, 80) == "http"
    assert port_behind([sliced(A, ports=[{"port": 8080}])], 80) == ""


def test_of_several_ports_the_service_tells_which() -> None:
    slices = [sliced(A, ports=[HTTP, GRPC])]
    of = service({"name": "http", "port": 80}, {"name": "grpc", "port": 8080})

    assert needs_service(slices)
    assert [port_behind(slices, number, of) for number in (80, 8080)] == ["http", "grpc"]
    with pytest.raises(DiscoveryError, match="Service shop/web has no TCP port 9000; it has 80"):
        port_behind(slices, 9000, of)


def test_without_the_service_the_pods_own_number_has_to_do() -> None:
    slices = [sliced(A, ports=[HTTP, GRPC])]

    assert [port_behind(slices, number) for number in (8080, 9000, 80)] == ["http", "grpc", None]
    # Not where slices differ, or two ports have it.
    assert port_behind([*slices, sliced(B, ports=[{"name": "http", "port": 8081}])], 8080) is None
    assert port_behind([sliced(A, ports=[HTTP, {"name": "web", "port": 8080}])], 8080) is None


def test_a_headless_service_is_asked_for_by_the_pods_own_port_or_by_its_own() -> None:
    slices = [sliced(A, ports=[HTTP, GRPC])]
    of = service({"name": "http", "port": 80}, {"name": "grpc", "port": 8080}, clusterIP="None")

    assert [port_behind(slices, number, of) for number in (80, 8080, 9000)] == ["http", "http", "grpc"]


def test_slices_without_ports_have_the_urls() -> None:
    assert port_behind([sliced(A, ports=None)], 7000) == 7000
    assert port_behind([sliced(ports=[])], 80) == 80
