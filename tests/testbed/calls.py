"""The calls that kbalance makes to a Kubernetes API, as a script for both the real one and the embedded one."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

Value = dict[str, Any]

AGENT = """\
import os, signal, sys
for n in range(3):
    print("line", n, os.environ["JOB_COMPLETION_INDEX"], flush=True)
if sys.argv[1] == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pause()
if sys.argv[1] == "eat":
    eaten = []
    while True:
        eaten.append(bytearray(1 << 20))
sys.exit(int(sys.argv[1]))
"""

METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class Side(Protocol):
    """One of the two: a namespace with a Service ``web`` of three pods, and ways to spoil it."""

    namespace: str

    def ask(self, method: str, path: str, body: object = None, accept: str = "application/json") -> tuple[int, str, Any]:
        """Status, media type and value (JSON, or text) of the answer."""

    def trouble(self, fault: str | None) -> None:
        """Have Jobs created from now on meet this, if it does not come with the Job itself."""

    def lock(self) -> None:
        """Have nothing be allowed from now on."""


class Calls:
    """The script's words."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.core = f"/api/v1/namespaces/{side.namespace}"
        self.batch = f"/apis/batch/v1/namespaces/{side.namespace}"
        self.answers: dict[str, Value] = {}

    def note(self, name: str, method: str, path: str, body: object = None, **more: str) -> Any:
        """Make a call and keep its answer under that name."""
        status, media, value = self.side.ask(method, path, body, **more)
        self.answers[name] = {"status": status, "type": media, "value": value}
        return value

    def job(self, name: str, *arguments: str, config: str = "agent", pod: Value | None = None, **spec: Any) -> None:
        status, _, value = self.side.ask("POST", f"{self.batch}/jobs", job(name, *arguments, config=config, pod=pod, **spec))
        assert status == 201, value

    def pods(self, name: str) -> list[Value]:
        found = self.side.ask("GET", f"{self.core}/pods?labelSelector=job-name%3D{name}")[2]["items"]
        return [dict(one) for one in found]

    def pod_when(self, name: str, holds: Callable[[Value], bool]) -> Value:
        """The Job's first pod once that holds of its status."""
        return until(lambda: next((pod for pod in self.pods(name) if holds(pod["status"])), None))

    def job_when(self, name: str, holds: Callable[[Value], bool]) -> Value:
        return until(lambda: value if holds((value := self.side.ask("GET", f"{self.batch}/jobs/{name}")[2])["status"]) else None)

    def event(self, about: str, reason: str, message: str = "") -> Value:
        """The event of that reason about a pod or Job of that name."""
        query = f"fieldSelector=involvedObject.name%3D{about}"

        def look() -> Value | None:
            found = self.side.ask("GET", f"{self.core}/events?{query}")[2]["items"]
            return next((one for one in found if one["reason"] == reason and message in one["message"]), None)

        return until(look)

    def keep(self, name: str, value: Value) -> None:
        self.answers[name] = {"status": 200, "type": "application/json", "value": value}


def value_of(path: str, media: str, text: str) -> Any:
    """What an answer says: JSON, the events of a watch, or text."""
    if "json" not in media:
        return text
    return [json.loads(line) for line in text.splitlines()] if "watch=true" in path and '{"type"' in text else json.loads(text)


def until(look: Callable[[], Value | None], within_s: float = 60.0) -> Value:
    due = time.monotonic() + within_s
    while (found := look()) is None:
        assert time.monotonic() < due, "it never came true"
        time.sleep(0.01)
    return found


def job(name: str, *arguments: str, config: str = "agent", pod: Value | None = None, **spec: Any) -> Value:
    """A Job as kbalance makes them."""
    container = {
        "name": "agent",
        "image": "python:3.11-slim",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "/agent/run.py"],
        "args": list(arguments),
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "volumeMounts": [{"name": "agent", "mountPath": "/agent"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    changed = dict(pod or {})
    container |= changed.pop("container", {})
    template = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "agent", "configMap": {"name": config}}],
    }
    filled = {"completionMode": "Indexed", "completions": 1, "parallelism": 1, "backoffLimit": 0, **spec}
    return {"metadata": {"name": name}, "spec": {**filled, "template": {"spec": template | changed}}}


def agent(calls: Calls) -> None:
    calls.side.ask("POST", f"{calls.core}/configmaps", {"metadata": {"name": "agent"}, "data": {"run.py": AGENT}})


def reading(calls: Calls) -> None:
    calls.note("service", "GET", f"{calls.core}/services/web")
    calls.note("namespace", "GET", calls.core)
    calls.note("slices", "GET", f"/apis/discovery.k8s.io/v1/namespaces/{calls.side.namespace}/endpointslices")
    calls.note("pods", "GET", f"{calls.core}/pods?labelSelector=app%3Dweb")
    calls.note("nodes", "GET", "/api/v1/nodes?labelSelector=topology.kubernetes.io/zone")
    calls.note("service-missing", "GET", f"{calls.core}/services/nope")
    calls.note("namespace-empty", "GET", "/api/v1/namespaces/nowhere/pods")
    calls.note("metadata-list", "GET", f"{calls.core}/pods?labelSelector=app+in+(web,x),app", accept=METADATA.format("List"))
    calls.note("metadata-one", "GET", f"{calls.core}/services/web", accept=METADATA.format(""))
    calls.note("unknown", "GET", f"{calls.core}/nothing")


def paging(calls: Calls) -> None:
    first = calls.note("first", "GET", f"{calls.core}/pods?limit=2")
    calls.note("last", "GET", f"{calls.core}/pods?limit=2&continue={first['metadata']['continue']}")
    calls.note("selected", "GET", f"{calls.core}/pods?limit=1&labelSelector=app%3Dweb")


def watching(calls: Calls) -> None:
    maps = f"{calls.core}/configmaps"
    version = calls.side.ask("GET", maps)[2]["metadata"]["resourceVersion"]
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"a": "b"}}, "data": {"a": "b"}}
    calls.side.ask("POST", maps, config)
    calls.side.ask("DELETE", f"{maps}/c", {"propagationPolicy": "Background"})
    since = f"watch=true&resourceVersion={version}&timeoutSeconds=1"
    calls.note("changes", "GET", f"{maps}?{since}&fieldSelector=metadata.name%3Dc")
    calls.note("changes-selected", "GET", f"{maps}?{since}&labelSelector=a%3Db&allowWatchBookmarks=true")
    calls.note("version-unreadable", "GET", f"{maps}?watch=true&resourceVersion=abc")
    calls.note("seconds-unreadable", "GET", f"{maps}?watch=true&timeoutSeconds=x")
    calls.note("label-unreadable", "GET", f"{maps}?watch=true&labelSelector=(((")
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{calls.side.namespace}/endpointslices"
    first = calls.side.ask("GET", f"{slices}?watch=true&resourceVersion=0&timeoutSeconds=1")[2][0]
    # Only after a change of Pods there is one.
    first["object"]["metadata"].pop("annotations", None)
    calls.keep("slices-from-any-version", first)


def refusals(calls: Calls) -> None:
    for resource in ("services", "pods", "configmaps", "events"):
        calls.note(f"field-{resource}", "GET", f"{calls.core}/{resource}?fieldSelector=metadata.foo%3D1")
    calls.note("field-jobs", "GET", f"{calls.batch}/jobs?fieldSelector=metadata.foo%3D1")
    calls.note("label", "GET", f"{calls.core}/pods?labelSelector=(((")
    calls.note("put", "PUT", f"{calls.core}/nothing")


def writing(calls: Calls) -> None:
    maps, secrets = f"{calls.core}/configmaps", f"{calls.core}/secrets"
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
    calls.note("dry-run", "POST", f"{maps}?dryRun=All", config)
    calls.note("not-there-after-dry-run", "GET", f"{maps}/c")
    calls.note("config", "POST", maps, config)
    calls.note("config-again", "POST", maps, config)
    calls.note("config-nameless", "POST", maps, {"metadata": {}})
    calls.note("config-badly-named", "POST", maps, {"metadata": {"name": "Bad_Name"}})
    calls.note("config-elsewhere", "POST", maps, {"metadata": {"name": "d", "namespace": "other"}})
    calls.note("config-nowhere", "POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "d"}})
    calls.note("config-too-long", "POST", maps, {"metadata": {"name": "d"}, "data": {"a": "x" * 1_100_000}})
    calls.note("other-kind", "POST", maps, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "d"}})
    calls.note("secret", "POST", secrets, {"metadata": {"name": "s"}, "stringData": {"a": "b"}})
    calls.note("secret-deleted", "DELETE", f"{secrets}/s", {"propagationPolicy": "Background"})
    calls.note("secret-gone", "DELETE", f"{secrets}/s")
    calls.note("job-incomplete", "POST", f"{calls.batch}/jobs", {"metadata": {}})
    calls.note("job-missing", "DELETE", f"{calls.batch}/jobs/nope", {"propagationPolicy": "Background"})
    calls.note("config-deleted", "DELETE", f"{maps}/c", {"propagationPolicy": "Sideways"})


def success(calls: Calls) -> None:
    agent(calls)
    calls.note("created", "POST", f"{calls.batch}/jobs", job("good", "0", completions=2, parallelism=2, activeDeadlineSeconds=60))
    calls.note("again", "POST", f"{calls.batch}/jobs", job("good", "0"))
    calls.job_when("good", lambda status: "completionTime" in status)
    calls.note("complete", "GET", f"{calls.batch}/jobs/good")
    calls.note("listed", "GET", f"{calls.batch}/jobs?fieldSelector=metadata.name%3Dgood")
    pod = calls.note("pods", "GET", f"{calls.core}/pods?labelSelector=batch.kubernetes.io/job-name%3Dgood")["items"][0]
    name = pod["metadata"]["name"]
    calls.note("log", "GET", f"{calls.core}/pods/{name}/log?follow=true&container=agent")
    calls.note("log-limited", "GET", f"{calls.core}/pods/{name}/log?limitBytes=9")
    calls.note("log-tail", "GET", f"{calls.core}/pods/{name}/log?tailLines=1")
    calls.note("log-tail-wrong", "GET", f"{calls.core}/pods/{name}/log?tailLines=-3")
    calls.note("log-of-other-container", "GET", f"{calls.core}/pods/{name}/log?container=zz")
    calls.note("log-missing", "GET", f"{calls.core}/pods/nope/log")
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        calls.keep(f"event-{reason}", calls.event(name, reason))
    for reason in ("SuccessfulCreate", "Completed"):
        calls.keep(f"event-{reason}", calls.event("good", reason))
    query = (
        f"involvedObject.name%3Dgood,involvedObject.uid%3D{calls.job_when('good', bool)['metadata']['uid']},reason%3DCompleted"
    )
    calls.note("events", "GET", f"{calls.core}/events?fieldSelector={query}")


def deletion(calls: Calls) -> None:
    agent(calls)
    calls.job("held", "wait")
    uid = calls.job_when("held", bool)["metadata"]["uid"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "held", "uid": uid}
    calls.note("owned", "POST", f"{calls.core}/configmaps", {"metadata": {"name": "owned", "ownerReferences": [owner]}})
    calls.keep("running", calls.pod_when("held", lambda status: status["phase"] == "Running"))
    calls.job_when("held", lambda status: status.get("ready") == 1)
    calls.note("active", "GET", f"{calls.batch}/jobs/held")
    calls.note("foreground", "DELETE", f"{calls.batch}/jobs/held", {"propagationPolicy": "Foreground"})
    until(lambda: None if calls.side.ask("GET", f"{calls.batch}/jobs/held")[0] == 200 else {})
    until(lambda: {} if not calls.pods("held") else None)
    until(lambda: None if calls.side.ask("GET", f"{calls.core}/configmaps/owned")[0] == 200 else {})
    calls.note("gone", "GET", f"{calls.batch}/jobs/held")
    calls.job("quick", "wait")
    pod = calls.pod_when("quick", lambda status: status["phase"] == "Running")["metadata"]["name"]
    calls.note("background", "DELETE", f"{calls.batch}/jobs/quick", {"propagationPolicy": "Background"})
    until(lambda: {} if not calls.pods("quick") else None)
    calls.keep("event-Killing", calls.event(pod, "Killing"))


def failures(calls: Calls) -> None:
    agent(calls)
    calls.job("bad", "3")
    calls.keep("failed-job", calls.job_when("bad", _has_ended))
    calls.keep("failed-pod", calls.pods("bad")[0])
    calls.keep("event-BackoffLimitExceeded", calls.event("bad", "BackoffLimitExceeded"))
    calls.job("late", "wait", activeDeadlineSeconds=2)
    calls.keep("late-job", calls.job_when("late", _has_ended))
    calls.keep("event-DeadlineExceeded", calls.event("late", "DeadlineExceeded"))
    calls.keep("event-SuccessfulDelete", calls.event("late", "SuccessfulDelete"))
    until(lambda: {} if not calls.pods("late") else None)
    calls.note("late-pods", "GET", f"{calls.core}/pods?labelSelector=job-name%3Dlate")
    calls.job("lacking", "0", config="missing")
    pod = calls.pod_when("lacking", lambda status: "containerStatuses" in status)
    calls.keep("waiting-pod", pod)
    calls.note("waiting-log", "GET", f"{calls.core}/pods/{pod['metadata']['name']}/log?follow=true")
    calls.keep("event-FailedMount", calls.event(pod["metadata"]["name"], "FailedMount"))


def _has_ended(status: Value) -> bool:
    """Whether a failed Job, and every pod of it, has come to its end."""
    return len(status.get("conditions", ())) == 2


def faults(calls: Calls) -> None:
    agent(calls)
    calls.side.trouble("no-python")
    calls.job("no-python", "0", pod={"container": {"image": "registry.k8s.io/e2e-test-images/agnhost:2.53"}})
    calls.job_when("no-python", _has_ended)
    pod = calls.pods("no-python")[0]
    calls.keep("no-python", pod)
    calls.keep("no-python-event", calls.event(pod["metadata"]["name"], "Failed"))
    calls.note("no-python-log", "GET", f"{calls.core}/pods/{pod['metadata']['name']}/log")
    calls.side.trouble("oom")
    calls.job("oom", "eat", pod={"container": {"resources": {"limits": {"memory": "24Mi"}}}})
    calls.job_when("oom", _has_ended)
    calls.keep("oom", calls.pods("oom")[0])
    calls.side.trouble("unschedulable")
    calls.job("nowhere", "0", pod={"nodeSelector": {"nowhere": "true"}})
    pod = calls.pod_when("nowhere", lambda status: "conditions" in status)
    calls.keep("unschedulable", pod)
    calls.keep("unschedulable-event", calls.event(pod["metadata"]["name"], "FailedScheduling"))
    calls.note("unschedulable-log", "GET", f"{calls.core}/pods/{pod['metadata']['name']}/log")
    calls.side.trouble("image-pull")
    calls.job("pull", "0", pod={"container": {"image": "kbalance.invalid/none:1"}})
    pod = calls.pod_when("pull", lambda status: _waits_for(status, "ImagePullBackOff"))
    calls.keep("image-pull", pod)
    calls.note("image-pull-log", "GET", f"{calls.core}/pods/{pod['metadata']['name']}/log")
    for message in ("Failed to pull", "Error: ErrImagePull", "Error: ImagePullBackOff"):
        calls.keep(f"image-pull-{message}", calls.event(pod["metadata"]["name"], "Failed", message))
    calls.keep("image-pull-BackOff", calls.event(pod["metadata"]["name"], "BackOff"))


def _waits_for(status: Value, reason: str) -> bool:
    return any(one["state"].get("waiting", {}).get("reason") == reason for one in status.get("containerStatuses", ()))


def admission(calls: Calls) -> None:
    calls.side.trouble("admission")
    open_pod: Value = {"securityContext": {}, "container": {"securityContext": {}}}
    calls.job("open", "0", pod=open_pod)
    calls.keep("event", calls.event("open", "FailedCreate"))
    calls.note("job", "GET", f"{calls.batch}/jobs/open")


def quota(calls: Calls) -> None:
    calls.side.trouble("quota")
    calls.job("many", "0")
    calls.keep("event", calls.event("many", "FailedCreate"))
    calls.note("job", "GET", f"{calls.batch}/jobs/many")


def config_refused(calls: Calls) -> None:
    calls.side.trouble("config-refused")
    calls.note("refused", "POST", f"{calls.core}/configmaps", {"metadata": {"name": "c"}})


def forbidden(calls: Calls) -> None:
    calls.side.lock()
    for name, method, path in (
        ("pods", "GET", f"{calls.core}/pods"),
        ("service", "GET", f"{calls.core}/services/web"),
        ("nodes", "GET", "/api/v1/nodes"),
        ("everywhere", "GET", "/api/v1/pods"),
        ("log", "GET", f"{calls.core}/pods/x/log"),
        ("namespace", "GET", calls.core),
        ("create", "POST", f"{calls.batch}/jobs"),
        ("delete", "DELETE", f"{calls.batch}/jobs/zz"),
        ("slices", "GET", f"/apis/discovery.k8s.io/v1/namespaces/{calls.side.namespace}/endpointslices"),
    ):
        calls.note(name, method, path, {"metadata": {"name": "zz"}} if method == "POST" else None)


Step = Callable[[Calls], None]

STEPS: Mapping[str, Step] = {
    step.__name__.replace("_", "-"): step
    for step in (
        reading, paging, watching, refusals, writing, success, deletion, failures, faults, admission, quota, config_refused,
        forbidden,
    )
}  # fmt: skip
"""Each starts from a namespace of its own."""


def play(step: Step, side: Side) -> dict[str, Value]:
    """The answers of one step, in placeholders where they differ from run to run."""
    from .placeholders import plain

    calls = Calls(side)
    step(calls)
    return {name: plain(answer, side.namespace) for name, answer in calls.answers.items()}


def differences(recorded: Any, ours: Any, at: str = "") -> Iterator[str]:
    """Where ours lacks what was recorded, or says something else; what we have beyond it does not count."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for key, value in recorded.items():
            if key not in ours:
                yield f"{at}.{key} is missing, recorded as {json.dumps(value)[:120]}"
            else:
                yield from differences(value, ours[key], f"{at}.{key}")
    elif isinstance(recorded, list) and isinstance(ours, list):
        if len(recorded) != len(ours):
            yield f"{at} has {len(ours)} elements, recorded {len(recorded)}"
        for n, (value, our) in enumerate(zip(recorded, ours, strict=False)):
            yield from differences(value, our, f"{at}[{n}]")
    elif recorded != ours:
        yield f"{at} is {ours!r}, recorded {recorded!r}"
