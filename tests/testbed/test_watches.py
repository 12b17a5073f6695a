"""Watches of the embedded API, read line by line, and what tests can do to them."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from kbalance.testbed.cluster import Cluster
from kbalance.testbed.outages import Outage, WatchEnd
from tests.testbed.client import eventually
from tests.testbed.kubernetes_calls import CORE, SLICES, call, watch

MAP = {"metadata": {"name": "one", "namespace": "shop", "labels": {"app": "web"}}, "data": {"a": "b"}}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster.start() as started:
        yield started


def test_changes_come_as_they_happen(cluster: Cluster) -> None:
    with watch(cluster) as stream:
        cluster.scale(4)
        kind, found = stream.next()

    assert (kind, found["kind"], len(found["endpoints"])) == ("MODIFIED", "EndpointSlice", 4)
    assert int(found["metadata"]["resourceVersion"]) > 1000


def test_what_is_written_as_it_was_is_no_change(cluster: Cluster) -> None:
    with watch(cluster, f"{CORE}/services", "timeoutSeconds=1") as stream:
        cluster.scale(4)
        assert stream.rest() == b""


def test_objects_come_change_and_go(cluster: Cluster) -> None:
    with watch(cluster, f"{CORE}/configmaps") as stream:
        cluster.put("configmaps", MAP)
        cluster.put("configmaps", {**MAP, "data": {"a": "c"}})
        cluster.remove("configmaps", "one")
        seen = [stream.next() for _ in range(3)]

    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [found["data"]["a"] for _, found in seen] == ["b", "c", "c"]
    versions = [int(found["metadata"]["resourceVersion"]) for _, found in seen]
    assert versions == sorted(set(versions))


def test_an_object_that_is_no_longer_selected_is_deleted_to_the_watch(cluster: Cluster) -> None:
    with watch(cluster, f"{CORE}/configmaps", "labelSelector=app%3Dweb") as stream:
        cluster.put("configmaps", MAP)
        cluster.put("configmaps", {**MAP, "metadata": {"name": "one", "namespace": "shop", "labels": {"app": "db"}}})
        cluster.put("configmaps", MAP)
        kinds = [stream.next()[0] for _ in range(3)]

    assert kinds == ["ADDED", "DELETED", "ADDED"]


def test_a_watch_without_version_begins_with_what_is_there(cluster: Cluster) -> None:
    for version in ("", "0"):
        with watch(cluster, version=version) as stream:
            kind, found = stream.next()
        assert (kind, len(found["endpoints"])) == ("ADDED", 3)


def test_a_watch_goes_on_from_a_version(cluster: Cluster) -> None:
    version = call(cluster, "GET", SLICES)[1]["metadata"]["resourceVersion"]
    cluster.scale(4)
    cluster.scale(5)

    with watch(cluster, version=version) as stream:
        assert [len(stream.next()[1]["endpoints"]) for _ in range(2)] == [4, 5]


def test_a_version_that_is_too_old_is_an_event(cluster: Cluster) -> None:
    version = call(cluster, "GET", SLICES)[1]["metadata"]["resourceVersion"]
    cluster.scale(4)
    cluster.expire_lists()

    with watch(cluster, version=version) as stream:
        kind, found = stream.next()
        assert (kind, found["kind"], found["code"], found["reason"]) == ("ERROR", "Status", 410, "Expired")
        assert stream.rest() == b""
    with watch(cluster) as stream:
        cluster.scale(5)
        assert stream.next()[0] == "MODIFIED"


def test_bookmarks_come_to_those_who_want_them(cluster: Cluster) -> None:
    with watch(cluster, query="allowWatchBookmarks=true") as stream, watch(cluster) as other:
        cluster.put("configmaps", MAP)
        cluster.bookmark()
        kind, found = stream.next()
        cluster.scale(4)

        assert other.next()[0] == "MODIFIED"
    assert (kind, found["kind"], set(found["metadata"])) == (
        "BOOKMARK",
        "EndpointSlice",
        {"resourceVersion"},
    )
    assert found["metadata"]["resourceVersion"] == "1002"


def test_watches_end_in_their_time_or_as_a_test_wants(cluster: Cluster) -> None:
    with watch(cluster, query="timeoutSeconds=1") as stream:
        assert stream.rest() == b""
    with watch(cluster) as stream:
        assert cluster.end_watches() == 1
        assert stream.rest() == b""
    with watch(cluster) as stream:
        cluster.end_watches(WatchEnd.ERROR)
        assert stream.next()[1]["code"] == 500
    with watch(cluster) as stream:
        cluster.end_watches(WatchEnd.RESET)
        with pytest.raises(ConnectionResetError):
            stream.next()


def test_the_api_goes_away_and_comes_back_at_the_same_address(cluster: Cluster) -> None:
    with watch(cluster) as stream:
        cluster.set_outage(Outage.AWAY)
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            assert stream.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        call(cluster, "GET", SLICES)

    cluster.set_outage(Outage.NONE)

    assert call(cluster, "GET", SLICES)[0] == 200


def test_a_silent_api_tells_everything_once_it_is_heard_again(cluster: Cluster) -> None:
    with watch(cluster) as stream:
        cluster.set_outage(Outage.SILENT)
        cluster.scale(4)
        connection = http.client.HTTPConnection(urlsplit(cluster.api_url).netloc, timeout=0.2)
        connection.request("GET", SLICES)
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        cluster.set_outage(Outage.NONE)

        assert stream.next()[0] == "MODIFIED"


def test_a_watch_has_to_be_allowed(cluster: Cluster) -> None:
    cluster.deny("watch", "endpointslices")

    status, value = call(cluster, "GET", f"{SLICES}?watch=true")

    assert status == 403
    assert 'cannot watch resource "endpointslices"' in value["message"]


def test_a_client_that_left_is_forgotten(cluster: Cluster) -> None:
    with watch(cluster):
        pass
    cluster.scale(4)
    cluster.scale(5)

    eventually(lambda: cluster.end_watches() == 0)
