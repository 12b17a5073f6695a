"""The Job controller: as many pods as a Job wants, and its status from theirs."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from kbalance.testbed import jobfaults, podobjects
from kbalance.testbed.events import Recorder
from kbalance.testbed.jobfaults import JobFault
from kbalance.testbed.kubelet import Kubelet
from kbalance.testbed.objects import Object
from kbalance.testbed.resources import JOBS, PODS
from kbalance.testbed.store import Store

_WORDS = {
    "BackoffLimitExceeded": "Job has reached the specified backoff limit",
    "DeadlineExceeded": "Job was active longer than specified deadline",
    "CompletionsReached": "Reached expected number of succeeded pods",
}


@dataclass(slots=True, kw_only=True)
class _Run:
    """A Job's life; changes as it goes on."""

    job: Object
    fault: JobFault | None
    done: set[str] = field(default_factory=set)
    """Indexes, or pods' uids where there are none, that succeeded."""
    failed: set[str] = field(default_factory=set)
    """Uids of pods that failed, or were deleted before they could succeed."""
    outcome: str | None = None
    """The reason for which it fails, once it does; its pods may still be ending."""
    finished: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class JobController:
    """Keeps every Job of the store going."""

    def __init__(
        self, store: Store, events: Recorder, now: Callable[[], str], kubelet: Kubelet, expire: Callable[[Object], None]
    ) -> None:
        """Needs a running event loop; `expire` is called with Jobs whose time to live after their end is over."""
        self._store = store
        self._events = events
        self._now = now
        self._kubelet = kubelet
        self._expire = expire
        self._runs: dict[str, _Run] = {}

    def start(self, job: Object, fault: JobFault | None) -> None:
        """Take a Job that is in the store."""
        run = self._runs[job["metadata"]["uid"]] = _Run(job=job, fault=fault)
        job["status"] = {"startTime": self._now()}
        deadline = job["spec"].get("activeDeadlineSeconds")
        if deadline is not None:
            run.timers.append(asyncio.get_running_loop().call_later(deadline, self._fail, run, "DeadlineExceeded"))
        self._sync(run)

    def forget(self, job: Object) -> None:
        """Leave a Job and its pods alone from now on."""
        run = self._runs.pop(job["metadata"]["uid"], None)
        for timer in run.timers if run is not None else ():
            timer.cancel()

    def on_pod(self, pod: Object) -> None:
        """Look after the Job that this pod belongs to."""
        for owner in pod["metadata"].get("ownerReferences", ()):
            run = self._runs.get(owner["uid"])
            if run is not None:
                self._account(run, pod)
                self._sync(run)

    def _account(self, run: _Run, pod: Object) -> None:
        phase, uid = pod["status"]["phase"], pod["metadata"]["uid"]
        present = self._store.get(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"]) is not None
        if phase == "Succeeded":
            run.done.add(pod["metadata"]["labels"].get(podobjects.INDEX, uid))
        elif phase == "Failed" or not present:
            run.failed.add(uid)
        if phase in ("Succeeded", "Failed"):
            # Held until it was counted.
            pod["metadata"].pop("finalizers", None)

    def _sync(self, run: _Run) -> None:
        spec = run.job["spec"]
        pods = [one for resource, one in self._store.owned_by(run.job["metadata"]["uid"]) if resource is PODS]
        live = [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]
        active = [pod for pod in live if "deletionTimestamp" not in pod["metadata"]]
        if run.finished:
            return
        if run.outcome is None and len(run.failed) > spec["backoffLimit"]:
            return self._fail(run, "BackoffLimitExceeded")
        if run.outcome is None and len(run.done) < spec["completions"] and (lacking := self._lacking(run, active)):
            return self._create(run, lacking)
        run.finished = not live and (run.outcome is not None or len(run.done) >= spec["completions"])
        self._write(run, active, live)
        if run.finished:
            self._finish(run)

    def _lacking(self, run: _Run, active: list[Object]) -> list[int | None]:
        """The indexes to start now."""
        spec = run.job["spec"]
        room = min(spec["parallelism"], spec["completions"] - len(run.done)) - len(active)
        if run.fault in (JobFault.QUOTA, JobFault.ADMISSION) and run.job["status"].get("uncountedTerminatedPods") is not None:
            return []
        if spec["completionMode"] != "Indexed":
            return [None] * max(0, room)
        taken = run.done | {pod["metadata"]["labels"][podobjects.INDEX] for pod in active}
        lacking: list[int | None] = [index for index in range(spec["completions"]) if str(index) not in taken]
        return lacking[: max(0, room)]

    def _create(self, run: _Run, indexes: list[int | None]) -> None:
        pods = [podobjects.job_pod(run.job, index, self._now()) for index in indexes]
        if run.fault in (JobFault.QUOTA, JobFault.ADMISSION):
            why = jobfaults.QUOTA.format(quota=jobfaults.QUOTA_NAME, what="pods")
            if run.fault is JobFault.ADMISSION:
                why = jobfaults.ADMISSION.format(container=pods[0]["spec"]["containers"][0]["name"])
            message = f'Error creating: pods "{pods[0]["metadata"]["name"]}" is forbidden: {why}'
            self._events.of_job((JOBS, run.job), "Warning", "FailedCreate", message)
            return self._write(run, [], [])
        for pod in pods:
            self._kubelet.start(pod, run.fault)
            self._events.of_job((JOBS, run.job), "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        self._sync(run)

    def _fail(self, run: _Run, reason: str) -> None:
        if run.finished or run.outcome is not None:
            return
        run.outcome = reason
        self._condition(run, "FailureTarget", reason)
        for resource, pod in self._store.owned_by(run.job["metadata"]["uid"]):
            if resource is PODS and pod["status"]["phase"] in ("Pending", "Running"):
                run.failed.add(pod["metadata"]["uid"])
                self._events.of_job((JOBS, run.job), "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
                self._kubelet.delete(pod)
        self._sync(run)

    def _condition(self, run: _Run, kind: str, reason: str) -> None:
        now = self._now()
        condition = {
            "type": kind,
            "status": "True",
            "lastProbeTime": now,
            "lastTransitionTime": now,
            "reason": reason,
            "message": _WORDS[reason],
        }
        run.job["status"].setdefault("conditions", []).append(condition)

    def _write(self, run: _Run, active: list[Object], live: list[Object]) -> None:
        """The Job's status as of now."""
        before = run.job["status"]
        counts: dict[str, Any] = {"active": len(active), "succeeded": len(run.done), "failed": len(run.failed)}
        status = {key: before[key] for key in ("conditions", "startTime", "completionTime") if key in before}
        status |= {key: value for key, value in counts.items() if value}
        if run.done and run.job["spec"]["completionMode"] == "Indexed":
            status["completedIndexes"] = ranges(sorted(map(int, run.done)))
        ready = sum(pod["status"]["phase"] == "Running" for pod in active)
        run.job["status"] = status | {"terminating": len(live) - len(active), "uncountedTerminatedPods": {}, "ready": ready}
        self._store.put(JOBS, run.job)

    def _finish(self, run: _Run) -> None:
        if run.outcome is None:
            self._condition(run, "SuccessCriteriaMet", "CompletionsReached")
            self._condition(run, "Complete", "CompletionsReached")
            run.job["status"]["completionTime"] = self._now()
            self._events.of_job((JOBS, run.job), "Normal", "Completed", "Job completed")
        else:
            self._condition(run, "Failed", run.outcome)
            self._events.of_job((JOBS, run.job), "Warning", run.outcome, _WORDS[run.outcome])
        self._store.put(JOBS, run.job)
        ttl = run.job["spec"].get("ttlSecondsAfterFinished")
        if ttl is not None:
            run.timers.append(asyncio.get_running_loop().call_later(ttl, self._expire, run.job))

    def close(self) -> None:
        """Stop every clock."""
        for run in self._runs.values():
            for timer in run.timers:
                timer.cancel()


def ranges(numbers: list[int]) -> str:
    """Sorted numbers as the API writes completed indexes: ``0,2-4``, two in a row with a comma.

    Source: kubernetes `pkg/controller/job/indexed_job_utils.go`, orderedIntervals.
    """
    parts = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        parts.append(str(members[0]) if len(members) == 1 else f"{members[0]}{',' if len(members) == 2 else '-'}{members[-1]}")
    return ",".join(parts)
