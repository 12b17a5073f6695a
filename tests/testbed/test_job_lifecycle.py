"""Jobs on the embedded cluster, from their creation to the last trace of them."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kbalance.testbed.cluster import Cluster

from .client import PATIENCE_S, eventually
from .kubernetes_calls import (
    AGENT,
    CORE,
    JOBS,
    call,
    create,
    events_of,
    finished,
    job,
    log_of,
    pod_in,
    pods_of,
    started,
    status_of,
    watch,
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster.start() as cluster:
        yield cluster


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_indexed_job_runs_its_workers_on_all_nodes_and_completes(cluster: Cluster) -> None:
    made = create(cluster, "probe", "tell", "/agent/run.py", spec={"completions": 3, "parallelism": 3})

    assert made["status"] == {}
    assert finished(cluster, "probe") == "CompletionsReached"
    status = status_of(cluster, "probe")
    assert (status["succeeded"], status["completedIndexes"], status["ready"]) == (3, "0-2", 0)
    pods = pods_of(cluster, "probe")
    assert [pod["metadata"]["name"][:-6] for pod in pods] == ["probe-0", "probe-1", "probe-2"]
    assert [pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] for pod in pods] == ["0", "1", "2"]
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods} == {made["metadata"]["uid"]}
    assert [pod["spec"]["nodeName"] for pod in pods] == ["node-1", "node-2", "node-1"]
    assert len({pod["status"]["podIP"] for pod in pods}) == (1 if pods[0]["status"]["podIP"] == "127.0.0.1" else 3)
    assert {pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] for pod in pods} == {"Completed"}


def test_a_pod_has_its_files_its_arguments_and_its_variables(cluster: Cluster) -> None:
    create(cluster, "probe", "tell", "--from=/agent/run.py", "/agents/x", "$(INDEX)")
    finished(cluster, "probe")
    pod = pods_of(cluster, "probe")[0]

    first, said = log_of(cluster, pod).splitlines()

    told = json.loads(said)
    assert (first, told["files"]) == ("started", {"run.py": AGENT})
    real = told["env"].pop("WHERE")
    assert Path(real).name == "run.py"
    assert real != "/agent/run.py"
    assert told["rest"] == [f"--from={real}", "/agents/x", "0"]
    assert told["env"] == {
        "NODE": pod["spec"]["nodeName"],
        "POD": pod["metadata"]["name"],
        "IP": pod["status"]["podIP"],
        "SPACE": "shop",
        "INDEX": "0",
        "JOB_COMPLETION_INDEX": "0",
    }


def test_secrets_are_files_and_chosen_items_have_paths_of_their_own(cluster: Cluster) -> None:
    call(cluster, "POST", f"{CORE}/secrets", {"metadata": {"name": "keys"}, "stringData": {"token": "t0ken", "other": "x"}})
    volumes = [
        {"name": "agent", "configMap": {"name": "agent"}},
        {"name": "keys", "secret": {"secretName": "keys", "items": [{"key": "token", "path": "deep/token"}]}},
    ]
    wanted = job("probe", pod={"volumes": volumes})
    container = wanted["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"].append({"name": "keys", "mountPath": "/keys"})
    show = "import os; print(open('/keys/deep/token').read(), os.listdir('/keys'))"
    container |= {"command": ["python3", "-c", show], "args": []}

    call(cluster, "POST", f"{CORE}/configmaps", {"metadata": {"name": "agent"}, "data": {}})
    assert call(cluster, "POST", JOBS, wanted)[0] == 201

    finished(cluster, "probe")
    assert log_of(cluster, pods_of(cluster, "probe")[0]) == "t0ken ['deep']\n"


def test_a_pod_waits_for_its_config_map(cluster: Cluster) -> None:
    assert call(cluster, "POST", JOBS, job("probe", "count", "2"))[0] == 201
    eventually(lambda: bool(pods_of(cluster, "probe")))
    name = pods_of(cluster, "probe")[0]["metadata"]["name"]
    eventually(lambda: "FailedMount" in events_of(cluster, name))

    status, refusal = call(cluster, "GET", f"{CORE}/pods/{name}/log?follow=true")

    waits = f'container "agent" in pod "{name}" is waiting to start: ContainerCreating'
    assert (status, refusal["reason"], refusal["message"]) == (400, "BadRequest", waits)
    assert events_of(cluster, name)["FailedMount"] == 'MountVolume.SetUp failed for volume "agent" : configmap "agent" not found'
    call(cluster, "POST", f"{CORE}/configmaps", {"metadata": {"name": "agent"}, "data": {"run.py": AGENT}})
    assert finished(cluster, "probe") == "CompletionsReached"


def test_a_log_is_followed_while_it_is_written_and_ends_with_the_process(cluster: Cluster) -> None:
    create(cluster, "probe", "wait")
    pod = pod_in(cluster, "probe", "Running")
    connection = http.client.HTTPConnection(urlsplit(cluster.api_url).netloc, timeout=PATIENCE_S)
    connection.request("GET", f"{CORE}/pods/{pod['metadata']['name']}/log?follow=true&container=agent")
    answer = connection.getresponse()

    lines = [answer.readline(), answer.readline()]
    os.kill(int(lines[1]), signal.SIGTERM)
    rest = answer.read()
    connection.close()

    assert (answer.status, answer.headers["Transfer-Encoding"], answer.headers["Content-Type"]) == (200, "chunked", "text/plain")
    assert (lines[0], rest) == (b"started\n", b"asked to stop\n")


def test_a_log_is_cut_to_what_was_asked_for(cluster: Cluster) -> None:
    create(cluster, "probe", "count", "5")
    finished(cluster, "probe")
    pod = pods_of(cluster, "probe")[0]

    assert log_of(cluster, pod, "tailLines=2") == "3\n4\n"
    assert log_of(cluster, pod, "limitBytes=9") == "started\n0"
    assert log_of(cluster, pod, "sinceTime=2000-01-01T00:00:00Z") == "started\n0\n1\n2\n3\n4\n"
    assert log_of(cluster, pod, "sinceTime=2999-01-01T00:00:00Z") == ""


def test_a_failed_worker_fails_the_job_and_stops_the_others(cluster: Cluster) -> None:
    wanted = job("probe", spec={"completions": 2, "parallelism": 2})
    choose = "import os, signal, sys; sys.exit(3) if os.environ['INDEX'] == '1' else signal.pause()"
    wanted["spec"]["template"]["spec"]["containers"][0] |= {"command": ["python3", "-c", choose], "args": []}
    call(cluster, "POST", f"{CORE}/configmaps", {"metadata": {"name": "agent"}, "data": {}})
    call(cluster, "POST", JOBS, wanted)

    assert finished(cluster, "probe") == "BackoffLimitExceeded"

    assert status_of(cluster, "probe")["failed"] == 2
    left = pods_of(cluster, "probe")
    states = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in left]
    assert [(state["exitCode"], state["reason"]) for state in states] == [(3, "Error")]


def test_a_job_is_stopped_at_its_deadline(cluster: Cluster, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    wanted = job("probe", spec={"activeDeadlineSeconds": 2}, pod={"volumes": []})
    stay = f"import os, signal; open({str(note)!r}, 'w').write(str(os.getpid())); signal.pause()"
    wanted["spec"]["template"]["spec"]["containers"][0] |= {"command": ["python3", "-c", stay], "args": [], "volumeMounts": []}
    assert call(cluster, "POST", JOBS, wanted)[0] == 201

    assert finished(cluster, "probe") == "DeadlineExceeded"

    # On a very busy machine it has not even begun by then.
    assert not (note.exists() and note.read_text() and _runs(int(note.read_text())))
    assert pods_of(cluster, "probe") == []


def test_a_finished_job_goes_when_its_time_to_live_is_over(cluster: Cluster) -> None:
    create(cluster, "probe", "count", "1", spec={"ttlSecondsAfterFinished": 0})

    eventually(lambda: call(cluster, "GET", f"{JOBS}/probe")[0] == 404)
    eventually(lambda: pods_of(cluster, "probe") == [])


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_deleting_a_job_takes_its_pods_and_all_that_it_owns(cluster: Cluster, policy: str) -> None:
    uid = create(cluster, "probe", "wait")["metadata"]["uid"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "probe", "uid": uid}
    for plural in ("configmaps", "secrets"):
        body = {"metadata": {"name": "owned", "ownerReferences": [owner]}}
        assert call(cluster, "POST", f"{CORE}/{plural}", body)[0] == 201
    pid = int(started(cluster, "probe")[1])

    status, answer = call(cluster, "DELETE", f"{JOBS}/probe", {"propagationPolicy": policy})

    assert (status, answer["kind"]) == (200, "Status" if policy == "Background" else "Job")
    paths = (f"{JOBS}/probe", f"{CORE}/configmaps/owned", f"{CORE}/secrets/owned")
    eventually(lambda: {call(cluster, "GET", path)[0] for path in paths} == {404})
    eventually(lambda: pods_of(cluster, "probe") == [] and not _runs(pid))
    assert call(cluster, "GET", f"{CORE}/configmaps/agent")[0] == 200
    assert call(cluster, "DELETE", f"{JOBS}/probe", {"propagationPolicy": policy})[0] == 404


def test_what_is_created_for_an_owner_that_is_gone_goes_as_well(cluster: Cluster) -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "probe", "uid": "6f1b8f3e-0000-4000-8000-000000000000"}

    status, _ = call(cluster, "POST", f"{CORE}/configmaps", {"metadata": {"name": "late", "ownerReferences": [owner]}})

    assert status == 201
    eventually(lambda: call(cluster, "GET", f"{CORE}/configmaps/late")[0] == 404)


def test_a_process_that_does_not_stop_is_killed_after_its_grace_period(cluster: Cluster) -> None:
    create(cluster, "probe", "stay", pod={"terminationGracePeriodSeconds": 1})
    pid = int(started(cluster, "probe")[1])

    with watch(cluster, f"{CORE}/pods") as stream:
        began_s = time.monotonic()
        call(cluster, "DELETE", f"{JOBS}/probe", {"propagationPolicy": "Background"})
        _, leaving = stream.next()
    eventually(lambda: not _runs(pid) and pods_of(cluster, "probe") == [])

    assert leaving["metadata"]["deletionGracePeriodSeconds"] == 1
    assert time.monotonic() - began_s >= 1


def test_a_node_may_be_asked_for_by_label_or_name(cluster: Cluster) -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["node-2"]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]}}
    create(cluster, "named", "count", "1", pod={"affinity": {"nodeAffinity": required}})
    create(cluster, "labelled", "count", "1", pod={"nodeSelector": {"topology.kubernetes.io/zone": "zone-b"}})
    create(cluster, "nowhere", "count", "1", pod={"nodeSelector": {"topology.kubernetes.io/zone": "zone-z"}})

    for name in ("named", "labelled"):
        finished(cluster, name)
        assert [pod["spec"]["nodeName"] for pod in pods_of(cluster, name)] == ["node-2"]
    assert "nodeName" not in pod_in(cluster, "nowhere", "Pending")["spec"]


def test_nothing_is_left_when_the_cluster_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Cluster.start() as cluster:
        create(cluster, "probe", "stay")
        pid = int(started(cluster, "probe")[1])
        assert list(tmp_path.rglob("run.py")) != []

    assert not _runs(pid)
    assert list(tmp_path.iterdir()) == []


PARENT = """\
import sys
from kbalance.testbed.cluster import Cluster
from tests.testbed.kubernetes_calls import create, started
cluster = Cluster.start()
create(cluster, "probe", "stay")
print(cluster.pid, started(cluster, "probe")[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("dies", ["parent", "cluster"])
def test_nothing_runs_on_when_the_parent_or_the_cluster_is_killed(tmp_path: Path, dies: str) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", PARENT]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], **pipes) as parent:  # type: ignore[call-overload]
        cluster, pod = map(int, parent.stdout.readline().split())

        os.kill(parent.pid if dies == "parent" else cluster, signal.SIGKILL)

        eventually(lambda: not _runs(pod))
        if dies == "parent":
            eventually(lambda: not _runs(cluster) and list(tmp_path.iterdir()) == [])
        parent.kill()
