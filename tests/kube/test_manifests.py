"""The objects of a Job, as far as they can be judged without a cluster."""

from base64 import b64decode
from dataclasses import replace

from kbalance.kube.manifests import Content, Placement, belongings, job

CONTENT = Content(agent=b"PK agent", order=b"[]", secrets={}, deadline_s=120.0)
PLACEMENT = Placement(node_selector={})


def pod(placement: Placement = PLACEMENT, content: Content = CONTENT) -> dict:  # type: ignore[type-arg]
    return job("kbalance-x", "shop", placement, content)["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def test_its_pods_fulfil_the_restricted_pod_security_standard() -> None:
    spec = pod()
    (container,) = spec["containers"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {kind for volume in spec["volumes"] for kind in volume} - {"name"} <= {"configMap", "secret"}
    assert spec["automountServiceAccountToken"] is False


def test_it_ends_by_itself_and_leaves_by_itself() -> None:
    spec = job("kbalance-x", "shop", PLACEMENT, CONTENT)["spec"]

    assert spec["activeDeadlineSeconds"] > CONTENT.deadline_s
    assert spec["ttlSecondsAfterFinished"] <= 600
    assert spec["backoffLimit"] == 0


def test_what_it_needs_is_owned_by_it() -> None:
    config_map, secret = belongings("kbalance-x", "shop", replace(CONTENT, secrets={"key.pem": b"k"}), "uid-1")

    for one in (config_map, secret):
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Job", "uid-1")
    assert b64decode(config_map["binaryData"]["agent.pyz"]) == CONTENT.agent
    assert b64decode(secret["data"]["key.pem"]) == b"k"


def test_there_is_no_secret_where_there_is_nothing_to_keep() -> None:
    assert [one["kind"] for one in belongings("kbalance-x", "shop", CONTENT, "uid-1")] == ["ConfigMap"]
    assert len(pod()["volumes"]) == 1


def test_several_workers_keep_apart_without_insisting() -> None:
    spec = pod(replace(PLACEMENT, workers=3))

    assert {c["whenUnsatisfiable"] for c in spec["topologySpreadConstraints"]} == {"ScheduleAnyway"}
    assert [c["topologyKey"] for c in spec["topologySpreadConstraints"]] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]


def test_the_user_places_it() -> None:
    toleration = {"operator": "Exists", "key": "dedicated"}
    spec = pod(
        replace(
            PLACEMENT, workers=2, node="n1", node_selector={"disk": "ssd"}, tolerations=(toleration,), service_account="probe"
        )
    )

    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [toleration]
    assert spec["serviceAccountName"] == "probe"
    assert "topologySpreadConstraints" not in spec
