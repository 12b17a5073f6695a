"""A run from inside the cluster: makes the Job, hands on what its Pods say, and takes everything away again."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, Protocol

from kbalance.errors import ApiError, DiscoveryError
from kbalance.kube import troubles
from kbalance.kube.manifests import CONTAINER, START_S, Content, Placement, belongings, job
from kbalance.model.record import GaveUp

POLL_S = 0.25
UNSCHEDULABLE_S = 20.0
"""How long no node may take a Pod: an autoscaler that is going to add one says so by then."""
SCALING_UP_S = 110.0
REOPENED = 20
"""Times that one log is opened again after it broke."""
REMOVED_S = 20.0
"""How long is waited for Pods to be gone."""

Object = Mapping[str, Any]


class Log(Protocol):
    """A log that is being written."""

    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class Api(Protocol):
    """The calls that this room makes."""

    def get(self, path: str) -> dict[str, Any]: ...
    def list(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]: ...
    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]: ...
    def delete(self, path: str) -> bool: ...
    def follow(self, path: str, query: Mapping[str, str]) -> Log: ...


class Job:
    """One Job from making to removal.

    Iterate over ``output()`` after ``start()``, and call ``remove()`` whatever happened. ``interrupt()`` may be called from a
    signal handler: Pods are then told to stop, and what they still say is handed on.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        namespace: str,
        placement: Placement,
        content: Content,
        on_state: Callable[[str], None] = lambda state: None,
    ) -> None:
        self.name = name
        self._api = api
        self._namespace = namespace
        self._placement = placement
        self._content = content
        self._on_state = on_state
        self._said: queue.SimpleQueue[tuple[int, bytes | None]] = queue.SimpleQueue()
        self._followers: dict[int, _Follower] = {}
        self._pods: dict[int, Object] = {}
        self._open = set(range(placement.workers))
        self._made: list[tuple[str, str]] = []
        self._interrupted = False
        self._removing = False
        self._started_s = monotonic()

    def start(self) -> None:
        """Makes the Job and what it needs.

        Raises:
            DiscoveryError: the cluster refuses.
        """
        made = self._create("batch", "jobs", job(self.name, self._namespace, self._placement, self._content))
        for one in belongings(self.name, self._namespace, self._content, made["metadata"]["uid"]):
            self._create("", f"{one['kind'].lower()}s", one)

    def output(self) -> Iterator[tuple[int, bytes | GaveUp]]:
        """Lines of the workers' logs as they come, each with its worker; a worker that cannot go on gives up in the end.

        A log that broke is read anew from its start, so lines may come twice.
        """
        due_s = 0.0
        until_s = float("inf")
        while self._open and monotonic() < until_s:
            if self._interrupted and not self._removing:
                self._removing = True
                self._delete()
                until_s = monotonic() + 3.0
            yield from self._spoken()
            if self._removing and all(follower.ended for follower in self._followers.values()):
                break
            if monotonic() >= due_s and not self._removing:
                yield from self._look()
                due_s = monotonic() + (POLL_S if len(self._followers) < self._placement.workers else 4 * POLL_S)
        for follower in self._followers.values():
            follower.close()

    def finish(self, worker: int) -> None:
        """This worker has said all that there is to say."""
        self._open.discard(worker)

    def interrupt(self) -> None:
        """Ends the traffic."""
        self._interrupted = True

    def remove(self) -> tuple[str, ...]:
        """Takes away everything that was made and waits until it is gone; gives what could not be removed, in sentences."""
        for follower in self._followers.values():
            follower.close()
        problems = self._delete()
        until_s = monotonic() + REMOVED_S
        pause = threading.Event()
        try:
            while self._made and not problems and (left := self._listed()):
                if monotonic() >= until_s:
                    return (f"Job {self.name} is removed, but {left[0]['metadata']['name']} still ends after {REMOVED_S:g} s.",)
                pause.wait(POLL_S)
        except DiscoveryError:
            # Whoever may not look at Pods was told so before; they are gone with their Job.
            return problems
        return problems

    def _create(self, group: str, resource: str, body: Mapping[str, Any]) -> dict[str, Any]:
        # Before the call: one that was not answered may have been obeyed.
        self._made.append((group, resource))
        try:
            return self._api.create(_path(group, self._namespace, resource), body)
        except ApiError as error:
            if error.status is not None:
                self._made.pop()
            if error.status != 403:
                raise
            rule = f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["create", "delete"]'
            raise DiscoveryError(
                f"A Job from which to measure cannot be made in namespace {self._namespace}: {error.answer or error};"
                f" allow it with a Role that has {rule}, or run kbalance inside the cluster with --vantage local."
            ) from error

    def _delete(self) -> tuple[str, ...]:
        problems = []
        for group, resource in self._made:
            try:
                self._api.delete(f"{_path(group, self._namespace, resource)}/{self.name}")
            except DiscoveryError as error:
                kept = f"{resource[:-1]}/{self.name} in namespace {self._namespace}"
                problems.append(f"{kept} could not be removed: {error} (kubectl delete -n {self._namespace} {kept.split()[0]})")
        return tuple(problems)

    def _listed(self) -> list[dict[str, Any]]:
        query = {"labelSelector": f"batch.kubernetes.io/job-name={self.name}"}
        return self._api.list(_path("", self._namespace, "pods"), query)

    def _spoken(self) -> Iterator[tuple[int, bytes]]:
        """What was said within the next moment."""
        wait = POLL_S
        while True:
            try:
                worker, line = self._said.get(timeout=wait) if wait else self._said.get_nowait()
            except queue.Empty:
                return
            wait = 0.0
            if line is None:
                self._followers[worker].ended = True
            else:
                yield worker, line
            if self._interrupted and not self._removing:
                return

    def _look(self) -> Iterator[tuple[int, GaveUp]]:
        """Looks at the Pods: follows the logs of those that run, and gives up on those that never will."""
        self._pods = {_index(pod): pod for pod in self._listed()}
        self._on_state(self._state())
        for worker in sorted(self._open):
            reason = self._trouble(worker, self._pods.get(worker))
            if reason is not None:
                self._open.discard(worker)
                yield worker, GaveUp(kind=DiscoveryError.__name__, message=reason)

    def _trouble(self, worker: int, pod: Object | None) -> str | None:
        waited_s = monotonic() - self._started_s
        if pod is None:
            return self._missing(waited_s)
        phase = (pod.get("status") or {}).get("phase")
        ended = troubles.terminated(pod)
        follower = self._followers.get(worker)
        if phase in ("Running", "Succeeded", "Failed") and (ended or phase != "Failed"):
            if follower is None:
                self._followers[worker] = _Follower(self._api, self._log_path(pod), worker, self._said)
            elif follower.ended and not ended:
                follower.reopen()
            elif follower.ended:
                return troubles.ended_badly(pod)
            return None
        if phase == "Failed":
            return self._job_trouble() or troubles.ended_badly(pod)
        return self._waiting(pod, waited_s)

    def _waiting(self, pod: Object, waited_s: float) -> str | None:
        found = troubles.waiting(pod)
        if found is None:
            if waited_s < START_S:
                return None
            found = ("Pending", "it did not start in time")
        reason, message = found
        unschedulable = reason == "Unschedulable"
        if waited_s < START_S and not (reason in troubles.HOPELESS or (unschedulable and waited_s > UNSCHEDULABLE_S)):
            return None
        events = self._events(pod)
        scaling = any(e.get("reason") == "TriggeredScaleUp" for e in events)
        if unschedulable and scaling and waited_s < SCALING_UP_S:
            return None
        return troubles.not_started(pod, reason, message, self._placement.image, events)

    def _missing(self, waited_s: float) -> str | None:
        """A Pod that is not there: not yet, not allowed, or taken away by somebody."""
        if waited_s < 1.0:
            return None
        try:
            made = self._api.get(f"{_path('batch', self._namespace, 'jobs')}/{self.name}")
        except ApiError as error:
            if error.status == 404:
                return f"Somebody removed Job {self.name} while it ran."
            raise
        refused = troubles.job_failed(made) or troubles.no_pods(made, self._events(made))
        if refused is None and waited_s > START_S:
            return f"Job {self.name} has no Pod after {START_S} s; is the controller manager running?"
        return refused

    def _job_trouble(self) -> str | None:
        return troubles.job_failed(self._api.get(f"{_path('batch', self._namespace, 'jobs')}/{self.name}"))

    def _events(self, involved: Object) -> list[dict[str, Any]]:
        """Of one object, oldest first; none where they may not be read, since the object's own status says most of it."""
        selector = f"involvedObject.uid={involved['metadata']['uid']}"
        try:
            found = self._api.list(_path("", self._namespace, "events"), {"fieldSelector": selector})
        except ApiError as error:
            if error.status == 403:
                return []
            raise
        return sorted(found, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))

    def _log_path(self, pod: Object) -> str:
        return f"{_path('', self._namespace, 'pods')}/{pod['metadata']['name']}/log"

    def _state(self) -> str:
        """What the Pods are waiting for, in a word or two."""
        reasons = [found[0] for pod in self._pods.values() if (found := troubles.waiting(pod))]
        running = sum((pod.get("status") or {}).get("phase") == "Running" for pod in self._pods.values())
        what = ", ".join(sorted(set(reasons))) or "starting"
        return "" if running or not self._open else f"{self.name}: {what}"


class _Follower:
    """Reads one log in a thread of its own, and opens it again as long as its Pod runs."""

    def __init__(self, api: Api, path: str, worker: int, said: "queue.SimpleQueue[tuple[int, bytes | None]]") -> None:
        self._api = api
        self._path = path
        self._worker = worker
        self._said = said
        self._log: Log | None = None
        self._closed = False
        self._opened = 0
        self.ended = False
        self._start()

    def reopen(self) -> None:
        """Reads on after the stream ended while the Pod still ran."""
        self.ended = False
        self._start()

    def close(self) -> None:
        self._closed = True
        if self._log is not None:
            self._log.close()

    def _start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name=f"log-{self._worker}").start()

    def _run(self) -> None:
        pause = threading.Event()
        while not self._closed and self._opened < REOPENED:
            self._opened += 1
            try:
                self._log = self._api.follow(self._path, {"follow": "true", "container": CONTAINER})
                for line in self._log:
                    self._said.put((self._worker, line))
                break
            except DiscoveryError:
                # Broken, or not ready yet; whether the Pod is still there, the main loop sees.
                pause.wait(POLL_S)
        self._said.put((self._worker, None))


def _path(group: str, namespace: str, resource: str) -> str:
    root = {"": "/api/v1", "batch": "/apis/batch/v1"}[group]
    return f"{root}/namespaces/{namespace}/{resource}"


def _index(pod: Object) -> int:
    labels: Object = pod["metadata"].get("labels") or {}
    annotations: Object = pod["metadata"].get("annotations") or {}
    key = "batch.kubernetes.io/job-completion-index"
    return int(labels.get(key) or annotations.get(key) or 0)
