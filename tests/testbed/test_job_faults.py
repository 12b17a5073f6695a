"""What goes wrong with Jobs when the embedded cluster is told so: the statuses and events of a real one."""

import http.client
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from kbalance.testbed.cluster import Cluster, ClusterError
from kbalance.testbed.jobfaults import JobFault

from .client import PATIENCE_S, eventually
from .kubernetes_calls import CORE, call, create, events_of, finished, log_of, pod_in, pods_of, status_of, watch


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with Cluster.start() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    shared.set_job_fault(None)


def _ended(cluster: Cluster, name: str) -> dict[str, Any]:
    """How the container of the Job's pod ended."""
    assert finished(cluster, name) == "BackoffLimitExceeded"
    return dict(pods_of(cluster, name)[0]["status"]["containerStatuses"][0]["state"]["terminated"])


def test_an_image_that_cannot_be_pulled_is_waited_for(cluster: Cluster) -> None:
    cluster.set_job_fault("image-pull")
    create(cluster, "pull", "count", "1")

    def state() -> dict[str, str]:
        statuses = pods_of(cluster, "pull")[0]["status"].get("containerStatuses", [{"state": {}}])
        return dict(statuses[0]["state"].get("waiting", {}))

    eventually(lambda: state().get("reason") == "ImagePullBackOff")
    pod = pods_of(cluster, "pull")[0]["metadata"]["name"]
    assert state()["message"].startswith('Back-off pulling image "python:3.12-slim": ErrImagePull: ')
    assert events_of(cluster, pod)["BackOff"] == 'Back-off pulling image "python:3.12-slim"'
    status, refusal = call(cluster, "GET", f"{CORE}/pods/{pod}/log")
    waits = f'container "agent" in pod "{pod}" is waiting to start: trying and failing to pull image'
    assert (status, refusal["message"]) == (400, waits)


def test_a_pod_that_no_node_takes_says_so(cluster: Cluster) -> None:
    cluster.set_job_fault("unschedulable")
    create(cluster, "homeless", "count", "1")

    pod = pod_in(cluster, "homeless", "Pending")
    eventually(lambda: "conditions" in pods_of(cluster, "homeless")[0]["status"])

    condition = pods_of(cluster, "homeless")[0]["status"]["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert condition["message"].startswith("0/2 nodes are available: 2 node(s) didn't match")
    assert events_of(cluster, pod["metadata"]["name"])["FailedScheduling"] == condition["message"]


@pytest.mark.parametrize(
    ("fault", "words"), [("quota", "exceeded quota: embedded, requested: pods=1"), ("admission", "violates PodSecurity")]
)
def test_a_job_whose_pods_are_refused_has_an_event_and_no_pod(cluster: Cluster, fault: str, words: str) -> None:
    cluster.set_job_fault(fault)
    create(cluster, fault, "count", "1")

    eventually(lambda: "FailedCreate" in events_of(cluster, fault))

    said = events_of(cluster, fault)["FailedCreate"]
    assert said.startswith(f'Error creating: pods "{fault}-0-')
    assert words in said
    assert pods_of(cluster, fault) == []
    assert "active" not in status_of(cluster, fault)


def test_a_config_map_that_a_quota_refuses_is_forbidden(cluster: Cluster) -> None:
    cluster.set_job_fault("config-refused")

    status, refusal = call(cluster, "POST", f"{CORE}/configmaps", {"metadata": {"name": "more"}})

    words = 'configmaps "more" is forbidden: exceeded quota: embedded, requested: count/configmaps=1'
    assert (status, refusal["reason"]) == (403, "Forbidden")
    assert refusal["message"].startswith(words)
    assert call(cluster, "GET", f"{CORE}/configmaps/more")[0] == 404


def test_a_process_out_of_memory_is_killed_after_it_began(cluster: Cluster) -> None:
    cluster.set_job_fault("oom")
    create(cluster, "hungry", "wait")

    ended = _ended(cluster, "hungry")

    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert log_of(cluster, pods_of(cluster, "hungry")[0]).startswith("started\n")


def test_a_crash_has_the_exit_code_of_its_signal(cluster: Cluster) -> None:
    cluster.set_job_fault("crash")
    create(cluster, "crashing", "wait")

    ended = _ended(cluster, "crashing")

    assert (ended["reason"], ended["exitCode"]) == ("Error", 139)


def test_an_image_without_python_fails_to_start(cluster: Cluster) -> None:
    cluster.set_job_fault("no-python")
    create(cluster, "bare", "count", "1")

    ended = _ended(cluster, "bare")

    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert 'exec: "python3": executable file not found in $PATH' in ended["message"]
    pod = pods_of(cluster, "bare")[0]["metadata"]["name"]
    assert events_of(cluster, pod)["Failed"] == f"Error: {ended['message']}"


def test_a_stuck_pod_stays_pending_until_its_job_is_deleted(cluster: Cluster) -> None:
    cluster.set_job_fault("stuck-pending")

    with watch(cluster, f"{CORE}/pods", "labelSelector=batch.kubernetes.io%2Fjob-name%3Dstuck") as stream:
        create(cluster, "stuck", "count", "1", spec={"activeDeadlineSeconds": 1})
        seen = [stream.next()]
        while seen[-1][0] != "DELETED":
            seen.append(stream.next())

    assert finished(cluster, "stuck") == "DeadlineExceeded"
    assert {pod["status"]["phase"] for _, pod in seen} == {"Pending"}
    assert "Started" not in events_of(cluster, seen[0][1]["metadata"]["name"])


def test_a_log_stream_breaks_once_and_the_next_one_has_it_all(cluster: Cluster) -> None:
    cluster.set_job_fault("log-break")
    create(cluster, "talker", "lines", "6")
    name = pod_in(cluster, "talker", "Running")["metadata"]["name"]
    path = f"{CORE}/pods/{name}/log?follow=true"

    broken = http.client.HTTPConnection(urlsplit(cluster.api_url).netloc, timeout=PATIENCE_S)
    broken.request("GET", path)
    answer = broken.getresponse()
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        answer.read()
    broken.close()
    whole = http.client.HTTPConnection(urlsplit(cluster.api_url).netloc, timeout=PATIENCE_S)
    whole.request("GET", path)
    answer = whole.getresponse()
    lines = [answer.readline() for _ in range(7)]
    whole.close()

    assert lines == [b"started\n", *(f"line {n}\n".encode() for n in range(6))]


def test_a_fault_meets_later_jobs_only_and_ends_with_none(cluster: Cluster) -> None:
    create(cluster, "earlier", "wait")
    first = pod_in(cluster, "earlier", "Running")
    cluster.set_job_fault(JobFault.NO_PYTHON)
    create(cluster, "between", "count", "1")
    cluster.set_job_fault(None)
    create(cluster, "later", "count", "1")

    assert finished(cluster, "between") == "BackoffLimitExceeded"
    assert finished(cluster, "later") == "CompletionsReached"
    eventually(lambda: len(log_of(cluster, first).splitlines()) == 2)
    os.kill(int(log_of(cluster, first).splitlines()[1]), 15)
    assert finished(cluster, "earlier") == "CompletionsReached"


def test_an_unknown_fault_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="'earthquake' is not a valid JobFault"):
        cluster.set_job_fault("earthquake")
