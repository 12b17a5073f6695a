"""Lists in pages and as metadata, what may be created, and who may do what, on the embedded API."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from kbalance.testbed.cluster import Cluster

from .client import eventually
from .kubernetes_calls import CORE, JOBS, call, create, finished, job, pods_of

SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster.start() as cluster:
        yield cluster


def _names(value: Any) -> list[str]:
    return [one["metadata"]["name"] for one in value["items"]]


def test_pages_together_are_the_list_at_its_version(cluster: Cluster) -> None:
    whole = call(cluster, "GET", f"{CORE}/pods")[1]

    first = call(cluster, "GET", f"{CORE}/pods?limit=2")[1]
    last = call(cluster, "GET", f"{CORE}/pods?limit=2&continue={first['metadata']['continue']}")[1]

    assert (len(first["items"]), first["metadata"]["remainingItemCount"]) == (2, 1)
    assert _names(first) + _names(last) == _names(whole)
    assert "continue" not in last["metadata"]
    assert last["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_an_expired_token_is_gone_and_the_new_one_goes_on(cluster: Cluster) -> None:
    first = call(cluster, "GET", f"{CORE}/pods?limit=2")[1]
    cluster.expire_lists()

    status, refusal = call(cluster, "GET", f"{CORE}/pods?limit=2&continue={first['metadata']['continue']}")

    assert (status, refusal["reason"]) == (410, "Expired")
    rest = call(cluster, "GET", f"{CORE}/pods?limit=2&continue={refusal['metadata']['continue']}")[1]
    assert sorted(_names(first) + _names(rest)) == sorted(cluster.pods)


def test_labels_select(cluster: Cluster) -> None:
    expected = {
        "app=web": 3,
        "app in (db, web)": 3,
        "app notin (web)": 0,
        "app,pod-template-hash": 3,
        "!app": 0,
        "app!=db": 3,
        "app==web,tier": 0,
    }

    found = {one: len(call(cluster, "GET", f"{CORE}/pods?labelSelector={quote(one)}")[1]["items"]) for one in expected}

    assert found == expected


def test_fields_select_objects_and_events(cluster: Cluster) -> None:
    create(cluster, "one", "count", "1")
    create(cluster, "two", "count", "1")
    finished(cluster, "one")
    finished(cluster, "two")
    uid = pods_of(cluster, "one")[0]["metadata"]["uid"]

    def reasons(selector: str) -> set[str]:
        return {e["reason"] for e in call(cluster, "GET", f"{CORE}/events?fieldSelector={quote(selector)}")[1]["items"]}

    assert _names(call(cluster, "GET", f"{JOBS}?fieldSelector=metadata.name%3Dtwo")[1]) == ["two"]
    assert {"Scheduled", "Pulled", "Created", "Started"} <= reasons(f"involvedObject.uid={uid}")
    assert reasons("involvedObject.name=one,involvedObject.kind=Job") == {"SuccessfulCreate", "Completed"}
    assert reasons("involvedObject.name=three") == set()


def test_metadata_alone_is_served_on_request(cluster: Cluster) -> None:
    form = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"

    many = call(cluster, "GET", f"{CORE}/pods?limit=1", accept=form.format("List"))[1]
    one = call(cluster, "GET", f"{CORE}/services/web", accept=form.format(""))[1]

    assert (many["kind"], many["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert many["metadata"]["remainingItemCount"] == 2
    assert set(one) == {"kind", "apiVersion", "metadata"}
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "web")
    assert all(set(item) == {"kind", "apiVersion", "metadata"} for item in many["items"])


def test_slices_grow_their_generation_with_every_change_and_split_at_a_hundred(cluster: Cluster) -> None:
    def slices() -> list[tuple[int, int]]:
        listed = call(cluster, "GET", SLICES)[1]["items"]
        return [(len(one["endpoints"]), one["metadata"]["generation"]) for one in listed]

    assert slices() == [(3, 1)]
    cluster.scale(3)
    assert slices() == [(3, 1)]
    cluster.scale(4)
    assert slices() == [(4, 2)]
    cluster.scale(150)
    assert sum(endpoints for endpoints, _ in slices()) == 150
    assert max(endpoints for endpoints, _ in slices()) == 100


def test_a_name_can_be_taken_once(cluster: Cluster) -> None:
    create(cluster, "probe", "count", "1")

    status, refusal = call(cluster, "POST", JOBS, job("probe", "count", "1"))

    assert (status, refusal["reason"], refusal["message"]) == (409, "AlreadyExists", 'jobs.batch "probe" already exists')


def test_an_object_without_a_name_is_invalid(cluster: Cluster) -> None:
    status, refusal = call(cluster, "POST", f"{CORE}/secrets", {"metadata": {}})

    assert (status, refusal["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in refusal["details"]["causes"]] == ["metadata.name"]


def test_a_dry_run_answers_and_creates_nothing(cluster: Cluster) -> None:
    status, made = call(cluster, "POST", f"{JOBS}?dryRun=All", job("probe", "count", "1"))

    assert (status, made["metadata"]["name"], made["spec"]["suspend"]) == (201, "probe", False)
    assert call(cluster, "GET", f"{JOBS}/probe")[0] == 404
    assert pods_of(cluster, "probe") == []


def test_a_denied_verb_is_forbidden_in_the_real_servers_words(cluster: Cluster) -> None:
    cluster.deny("list", "pods")
    cluster.deny("list", "nodes")
    cluster.deny("create", "jobs")
    cluster.deny("get", "pods/log")

    def message(method: str, path: str, body: object = None) -> str:
        status, refusal = call(cluster, method, path, body)
        assert (status, refusal["reason"]) == (403, "Forbidden")
        return str(refusal["message"])

    said = 'User "embedded" cannot {} resource "{}" in API group "{}" {}'
    inside = 'in the namespace "shop"'
    assert message("GET", f"{CORE}/pods") == "pods is forbidden: " + said.format("list", "pods", "", inside)
    assert message("GET", "/api/v1/nodes") == "nodes is forbidden: " + said.format("list", "nodes", "", "at the cluster scope")
    jobs = "jobs.batch is forbidden: " + said.format("create", "jobs", "batch", inside)
    assert message("POST", JOBS, {"metadata": {"name": "x"}}) == jobs
    log = 'pods "x" is forbidden: ' + said.format("get", "pods/log", "", inside)
    assert message("GET", f"{CORE}/pods/x/log") == log
    assert call(cluster, "GET", f"{CORE}/pods/{cluster.pods[0]}")[0] == 200
    assert call(cluster, "GET", f"{CORE}/services")[0] == 200


def test_a_roles_rules_are_all_that_is_allowed(cluster: Cluster) -> None:
    rules = [
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get"], "resourceNames": ["web"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["*"], "verbs": ["list"]},
    ]
    cluster.allow_only(rules)

    def status(method: str, path: str) -> int:
        return call(cluster, method, path)[0]

    assert (status("GET", f"{CORE}/services/web"), status("GET", SLICES)) == (200, 200)
    assert status("GET", f"{CORE}/services/other") == 403
    assert (status("GET", f"{CORE}/services"), status("GET", f"{CORE}/pods")) == (403, 403)
    assert status("DELETE", f"{JOBS}/probe") == 403
    assert status("GET", "/version") == 200


def test_a_deleted_pod_is_shown_as_it_ends_and_then_gone(cluster: Cluster) -> None:
    create(cluster, "probe", "wait")
    eventually(lambda: [pod["status"]["phase"] for pod in pods_of(cluster, "probe")] == ["Running"])
    name = pods_of(cluster, "probe")[0]["metadata"]["name"]

    status, answer = call(cluster, "DELETE", f"{CORE}/pods/{name}")

    assert (status, answer["kind"], "deletionTimestamp" in answer["metadata"]) == (200, "Pod", True)
    eventually(lambda: call(cluster, "GET", f"{CORE}/pods/{name}")[0] == 404)
