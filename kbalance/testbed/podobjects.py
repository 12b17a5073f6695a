"""The pods of Jobs as JSON values: how they are born, and their status at each step of their life. Pure."""

import copy
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from kbalance.testbed.objects import Object

INDEX = "batch.kubernetes.io/job-completion-index"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def job_pod(job: Object, index: int | None, now: str) -> Object:
    """The pod that runs a Job, or one index of it, as it is created at an RFC 3339 time."""
    metadata, template = job["metadata"], job["spec"]["template"]
    identity = uuid.uuid4()
    stem = metadata["name"] if index is None else f"{metadata['name']}-{index}"
    mark = {} if index is None else {INDEX: str(index)}
    annotations = template["metadata"].get("annotations", {}) | mark
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    own: Object = {
        "name": f"{stem}-{''.join(_LETTERS[byte % len(_LETTERS)] for byte in identity.bytes[-5:])}",
        "generateName": f"{stem}-",
        "namespace": metadata["namespace"],
        "uid": str(identity),
        "generation": 1,
        "creationTimestamp": now,
        "labels": template["metadata"]["labels"] | mark,
        **({"annotations": annotations} if annotations else {}),
        "ownerReferences": [owner],
        "finalizers": ["batch.kubernetes.io/job-tracking"],
    }
    return {"metadata": own, "spec": _spec(template["spec"], stem, index), "status": pending(template["spec"])}


def _spec(template: Object, stem: str, index: int | None) -> Object:
    gone = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    spec = copy.deepcopy(template)
    spec |= {
        "serviceAccountName": spec.get("serviceAccountName", "default"),
        "serviceAccount": spec.get("serviceAccountName", "default"),
        "tolerations": [
            *spec.get("tolerations", ()),
            *({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300} for key in gone),
        ],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    if index is not None:
        spec["hostname"] = stem
        field = {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}
        for container in spec["containers"]:
            container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": field}})
    return spec


def _condition(kind: str, status: bool, now: str, **more: str) -> Object:
    shown = "True" if status else "False"
    return {"type": kind, "observedGeneration": 1, "status": shown, "lastProbeTime": None, "lastTransitionTime": now, **more}


def pending(spec: Object) -> Object:
    """The status before any node has taken the pod."""
    limited = any(container.get("resources") for container in spec["containers"])
    return {"phase": "Pending", "qosClass": "Burstable" if limited else "BestEffort"}


def unschedulable(pod: Object, message: str, now: str) -> Object:
    condition = _condition("PodScheduled", False, now, reason="Unschedulable", message=message)
    return pending(pod["spec"]) | {"conditions": [condition]}


def waiting(pod: Object, state: Mapping[str, str], ip: str, now: str, *, sandbox: bool) -> Object:
    """The status while the container waits; `sandbox` tells whether the pod has its network already."""
    names = f"[{' '.join(container['name'] for container in pod['spec']['containers'])}]"
    unready = {"reason": "ContainersNotReady", "message": f"containers with unready status: {names}"}
    conditions = _conditions(now, sandbox=sandbox, ready=False, why=unready)
    return _status(pod, "Pending", conditions, {"waiting": dict(state)}, ip if sandbox else "", now)


def running(pod: Object, ip: str, now: str) -> Object:
    conditions = _conditions(now, sandbox=True, ready=True, why={})
    return _status(pod, "Running", conditions, {"running": {"startedAt": now}}, ip, now)


def terminated(pod: Object, code: int, reason: str, ip: str, now: str, message: str = "") -> Object:
    """The status once the container has ended with that exit code."""
    done = {"reason": "PodCompleted" if code == 0 else "PodFailed"}
    began = pod["status"].get("containerStatuses", [{}])[0].get("state", {}).get("running", {}).get("startedAt")
    state = {
        "exitCode": code,
        "reason": reason,
        **({"message": message} if message else {}),
        # A container that never ran has the beginning of time there, as on a real kubelet.
        "startedAt": began or "1970-01-01T00:00:00Z",
        "finishedAt": now,
        "containerID": _container_id(pod),
    }
    conditions = _conditions(now, sandbox=False, ready=False, why=done)
    if code == 0:
        conditions[1] |= done
    return _status(pod, "Succeeded" if code == 0 else "Failed", conditions, {"terminated": state}, ip, now)


def _conditions(now: str, *, sandbox: bool, ready: bool, why: Mapping[str, str]) -> list[Object]:
    return [
        _condition("PodReadyToStartContainers", sandbox, now),
        _condition("Initialized", True, now),
        _condition("Ready", ready, now, **why),
        _condition("ContainersReady", ready, now, **why),
        _condition("PodScheduled", True, now),
    ]


def _container_id(pod: Object) -> str:
    return "containerd://" + hashlib.sha256(pod["metadata"]["uid"].encode()).hexdigest()


def _status(pod: Object, phase: str, conditions: list[Object], state: Object, ip: str, now: str) -> Object:
    started = "waiting" not in state
    container = pod["spec"]["containers"][0]
    status: dict[str, Any] = {
        "name": container["name"],
        "state": state,
        "lastState": {},
        "ready": "running" in state,
        "restartCount": 0,
        "image": container["image"],
        "imageID": "sha256:" + hashlib.sha256(container["image"].encode()).hexdigest() if started else "",
        **({"containerID": _container_id(pod)} if started else {}),
        "started": "running" in state,
        **({"resources": container["resources"]} if started else {}),
        "volumeMounts": [
            {k: m[k] for k in ("name", "mountPath", "readOnly") if k in m} for m in container.get("volumeMounts", ())
        ],
    }
    address = {"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}
    return {
        "observedGeneration": 1,
        "phase": phase,
        "conditions": conditions,
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        **address,
        "startTime": pod["status"].get("startTime", now),
        "containerStatuses": [status],
        "qosClass": pod["status"]["qosClass"],
    }
