"""Why a Job's Pod does not run, in a sentence with the cluster's own words: pure, from the Pod, the Job and their events.

Source: kubernetes/kubernetes `pkg/kubelet/images/types.go` and `pkg/kubelet/container/sync_result.go` (reasons of waiting
containers), `core/v1/types.go` (PodScheduled, Unschedulable), `batch/v1/types.go` (JobReasonDeadlineExceeded).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

HOPELESS = frozenset(
    {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
    | {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)
"""Reasons of a waiting container that do not go away while a user waits."""


def waiting(pod: Object) -> tuple[str, str] | None:
    """Reason and message of what a Pod waits for; ``None``: it waits for nothing in particular."""
    status: Object = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("reason") or "Unschedulable"), str(condition.get("message") or "")
    for container in status.get("containerStatuses") or ():
        state = (container.get("state") or {}).get("waiting")
        if state and state.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return str(state["reason"]), str(state.get("message") or "")
    return None


def terminated(pod: Object) -> Object | None:
    """How a Pod's container ended; ``None``: it has not."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        ended: Object | None = (container.get("state") or {}).get("terminated")
        if ended:
            return ended
    return None


def not_started(pod: Object, reason: str, message: str, image: str, events: Iterable[Object] = ()) -> str:
    """The sentence for a Pod that cannot start."""
    name = _name(pod)
    said = _tidy(_fullest(message, [e for e in events if e.get("type") == "Warning"]))
    if reason in ("Unschedulable", "SchedulerError"):
        return f"No node takes Pod {name}: {said}; see --node, --node-selector and --toleration."
    if "python3" in said and ("not found" in said or "no such file" in said.lower()):
        return f"The image {image} has no python3 that Pod {name} could run; name one that has with --image."
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        return f"The image {image} of Pod {name} cannot be pulled ({reason}: {said}); name one that the nodes have with --image."
    return f"Pod {name} cannot start ({reason}: {said})."


def ended_badly(pod: Object) -> str:
    """The sentence for a Pod that ended before its results were complete."""
    name, ended = _name(pod), terminated(pod) or {}
    status: Object = pod.get("status") or {}
    reason = str(ended.get("reason") or status.get("reason") or "unknown reason")
    if reason == "OOMKilled":
        return f"Pod {name} was killed for using more memory than its limit (OOMKilled); ask for fewer --requests."
    if status.get("reason") == "Evicted":
        return f"Pod {name} was evicted: {_tidy(str(status.get('message') or ''))}; choose another node with --node."
    said = _tidy(str(ended.get("message") or status.get("message") or ""))
    if reason in ("StartError", "ContainerCannotRun") and "python3" in said:
        return f"The image of Pod {name} has no python3; name one that has with --image."
    last = f": {said}" if said else ""
    return f"Pod {name} ended with exit code {ended.get('exitCode', 'unknown')} ({reason}){last}."


def no_pods(job: Object, events: Sequence[Object]) -> str | None:
    """The sentence for a Job whose Pods the cluster refuses to create; ``None``: nothing says that it does."""
    refused = [str(e.get("message") or "") for e in events if e.get("reason") == "FailedCreate"]
    if not refused:
        return None
    said = _tidy(refused[-1].removeprefix("Error creating: "))
    if "exceeded quota" in said:
        return f"A ResourceQuota does not let Job {_name(job)} create its Pod: {said}; free some of it or ask for more."
    return f"The cluster does not let Job {_name(job)} create its Pod: {said}."


def job_failed(job: Object) -> str | None:
    """The sentence for a Job that was ended; ``None``: it was not."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Failed", "FailureTarget") and condition.get("status") == "True":
            if condition.get("reason") == "DeadlineExceeded":
                return (
                    f"Job {_name(job)} took longer than its deadline allows, with the time to start its Pods; raise --deadline."
                )
            return f"Job {_name(job)} failed ({condition.get('reason')}: {_tidy(str(condition.get('message') or ''))})."
    return None


def _fullest(message: str, events: Sequence[Object]) -> str:
    """What a back-off waits for stands in an earlier event and not in its own words."""
    causes = [str(e.get("message") or "") for e in events if e.get("reason") in ("Failed", "FailedScheduling", "FailedMount")]
    told = [c for c in causes if not c.startswith("Error: ")]
    return told[-1] if told and message.startswith("Back-off") else message


def _name(value: Object) -> str:
    return str((value.get("metadata") or {}).get("name"))


def _tidy(text: str) -> str:
    """On one line, without the full stop that the sentence around it has."""
    return " ".join(text.split()).rstrip(".")[:600]
