"""A blocking client of the embedded API, and the objects that the tests of Jobs create there."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from kbalance.testbed.cluster import Cluster

from .client import PATIENCE_S, eventually

CORE = "/api/v1/namespaces/shop"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
JOBS = "/apis/batch/v1/namespaces/shop/jobs"

AGENT = """\
import json, os, signal, sys
from pathlib import Path

here = Path(__file__).parent
names = ("NODE", "POD", "IP", "SPACE", "INDEX", "WHERE", "JOB_COMPLETION_INDEX")
print("started", flush=True)
match sys.argv[1:]:
    case ["tell", *rest]:
        found = {file.name: file.read_text() for file in here.iterdir()}
        print(json.dumps({"env": {n: os.environ.get(n) for n in names}, "files": found, "rest": rest}), flush=True)
    case ["fail", code]:
        print("failing", file=sys.stderr)
        sys.exit(int(code))
    case ["wait"]:
        # Past the stream, which may just be writing when the signal comes.
        signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"asked to stop\\n"), sys.exit(0)))
        print(os.getpid(), flush=True)
        signal.pause()
    case ["stay"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        while True:
            signal.pause()
    case ["lines", count]:
        for n in range(int(count)):
            print("line", n, flush=True)
        signal.pause()
    case ["count", count]:
        print(*range(int(count)), sep="\\n")
"""


def call(cluster: Cluster, method: str, path: str, body: object = None, accept: str = "*/*") -> tuple[int, Any]:
    """Status and value: JSON, or text where the answer is no JSON."""
    connection = http.client.HTTPConnection(urlsplit(cluster.api_url).netloc, timeout=PATIENCE_S)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), {"Accept": accept})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if answer.headers.get("Content-Type") == "application/json" else text
    finally:
        connection.close()


def job(name: str, *arguments: str, spec: dict[str, Any] | None = None, pod: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Job that runs `AGENT` from the ConfigMap ``agent``."""
    fields = {"NODE": "spec.nodeName", "POD": "metadata.name", "IP": "status.podIP", "SPACE": "metadata.namespace"}
    fields["INDEX"] = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    env = [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()]
    container = {
        "name": "agent",
        "image": "python:3.12-slim",
        "command": ["python3", "/agent/run.py"],
        "args": list(arguments),
        "env": [*env, {"name": "WHERE", "value": "/agent/run.py"}],
        "volumeMounts": [{"name": "agent", "mountPath": "/agent"}],
    }
    template = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [{"name": "agent", "configMap": {"name": "agent"}}],
    }
    wanted = {"completionMode": "Indexed", "completions": 1, "parallelism": 1, "backoffLimit": 0}
    return {"metadata": {"name": name}, "spec": wanted | (spec or {}) | {"template": {"spec": template | (pod or {})}}}


def create(cluster: Cluster, name: str, *arguments: str, **more: Any) -> dict[str, Any]:
    """The Job as it was created; the ConfigMap that it runs is made as well, if it is not there."""
    call(cluster, "POST", f"{CORE}/configmaps", {"metadata": {"name": "agent"}, "data": {"run.py": AGENT}})
    status, made = call(cluster, "POST", JOBS, job(name, *arguments, **more))
    assert status == 201, made
    return dict(made)


def status_of(cluster: Cluster, name: str) -> dict[str, Any]:
    return dict(call(cluster, "GET", f"{JOBS}/{name}")[1]["status"])


def pods_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    selector = quote(f"batch.kubernetes.io/job-name={name}")
    return list(call(cluster, "GET", f"{CORE}/pods?labelSelector={selector}")[1]["items"])


def pod_in(cluster: Cluster, name: str, phase: str) -> dict[str, Any]:
    """The Job's first pod, once it is in that phase."""
    eventually(lambda: [pod["status"]["phase"] for pod in pods_of(cluster, name)][:1] == [phase])
    return pods_of(cluster, name)[0]


def log_of(cluster: Cluster, pod: dict[str, Any], query: str = "") -> str:
    status, text = call(cluster, "GET", f"{CORE}/pods/{pod['metadata']['name']}/log?{query}")
    assert status == 200, text
    return str(text)


def started(cluster: Cluster, name: str) -> list[str]:
    """What the Job's pod printed, once it is two lines."""
    pod = pod_in(cluster, name, "Running")
    eventually(lambda: len(log_of(cluster, pod).splitlines()) >= 2)
    return log_of(cluster, pod).splitlines()


def finished(cluster: Cluster, name: str) -> str:
    """The reason of the Job's end, once it has one."""
    last: list[str] = []

    def ended() -> bool:
        conditions = status_of(cluster, name).get("conditions", ())
        last[:] = [one["reason"] for one in conditions if one["type"] in ("Complete", "Failed")]
        return bool(last)

    eventually(ended)
    return last[0]


def events_of(cluster: Cluster, name: str) -> dict[str, str]:
    """Reason to the latest message, of what happened to an object of that name."""
    selector = quote(f"involvedObject.name={name},metadata.namespace=shop")
    found = call(cluster, "GET", f"{CORE}/events?fieldSelector={selector}")[1]["items"]
    return {event["reason"]: event["message"] for event in found}


class Watch:
    """One that is open."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def next(self) -> tuple[str, dict[str, Any]]:
        event = json.loads(self._answer.readline())
        return event["type"], event["object"]

    def rest(self) -> bytes:
        return self._answer.read()


@contextmanager
def watch(cluster: Cluster, path: str = SLICES, query: str = "", *, version: str | None = None) -> Iterator[Watch]:
    since = call(cluster, "GET", path)[1]["metadata"]["resourceVersion"] if version is None else version
    connection = http.client.HTTPConnection(urlsplit(cluster.api_url).netloc, timeout=PATIENCE_S)
    connection.request("GET", f"{path}?watch=true&resourceVersion={since}&{query}")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    yield Watch(answer)
    connection.close()
    answer.close()
