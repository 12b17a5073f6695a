"""What the API inside a namespace tells is what kbalance reads."""

from dataclasses import replace

from bench.accuracy.api import described, told
from kbalance.kube import convert
from kbalance.model.target import Address

PODS = {f"pod-{i}": Address(f"127.0.1.{i}", 8080) for i in (1, 2, 3)}
KNOWN = told(Address("127.96.0.10", 80), PODS)


def test_a_plain_service_has_nothing_special() -> None:
    objects = described(KNOWN)

    facts = convert.facts(objects["services"][0], objects["endpointslices"])

    assert facts.service is not None
    assert (facts.service.cluster_ip, facts.service.session_affinity, facts.service.internal_traffic_policy) == (
        "127.96.0.10",
        "None",
        "Cluster",
    )
    assert {e.name: (e.address, e.node, e.zone, e.ready, e.hints) for e in facts.endpoints} == {
        "pod-1": (PODS["pod-1"], "node-1", "zone-a", True, ()),
        "pod-2": (PODS["pod-2"], "node-2", "zone-b", True, ()),
        "pod-3": (PODS["pod-3"], "node-1", "zone-a", True, ()),
    }


def test_what_is_told_of_single_pods_is_read_of_them() -> None:
    changed = KNOWN.each(version="1.0").only(["pod-2"], ready=False, owner="web-2", version="1.1", created="2026-02-01T00:00:00Z")
    changed = changed.only(["pod-3"], hints=("zone-a",))

    objects = described(changed)
    facts = convert.facts(objects["services"][0], objects["endpointslices"])
    endpoints = {e.name: e for e in convert.with_pods(facts.endpoints, objects["pods"])}

    assert {name: (e.ready, e.owner, e.version, e.created) for name, e in endpoints.items()} == {
        "pod-1": (True, "ReplicaSet/web-6d4cf56db6", "1.0", "2026-01-05T08:00:00Z"),
        "pod-2": (False, "ReplicaSet/web-2", "1.1", "2026-02-01T00:00:00Z"),
        "pod-3": (True, "ReplicaSet/web-6d4cf56db6", "1.0", "2026-01-05T08:00:00Z"),
    }
    assert [endpoints[name].hints for name in PODS] == [(), (), ("zone-a",)]


def test_what_is_told_of_the_service_is_read_of_it() -> None:
    changed = replace(
        KNOWN.without("pod-1"), affinity_s=600, spec={"trafficDistribution": "PreferClose"}, app_protocol="kubernetes.io/h2c"
    )

    objects = described(changed)
    service = convert.facts(objects["services"][0], objects["endpointslices"]).service

    assert service is not None
    assert (service.session_affinity, service.affinity_timeout_s) == ("ClientIP", 600)
    assert (service.traffic_distribution, service.app_protocol) == ("PreferClose", "kubernetes.io/h2c")
    assert [pod["metadata"]["name"] for pod in objects["pods"]] == ["pod-2", "pod-3"]
