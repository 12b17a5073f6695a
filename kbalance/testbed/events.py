"""Events: what happened to an object, in the words of the part of the cluster that saw it."""

import itertools
import time
import uuid
from collections.abc import Callable

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import EVENTS, Resource
from kbalance.testbed.store import Store

_moments = itertools.count(time.time_ns())
"""Names of events end in their time, so that their order is that of their names; here no two are the same."""


class Recorder:
    """Writes Events to the store; one that is said again is counted."""

    def __init__(self, store: Store, now: Callable[[], str]) -> None:
        """`now` gives the time as RFC 3339."""
        self._store = store
        self._now = now
        self._said: dict[tuple[str, ...], Object] = {}

    def _record(
        self, about: tuple[Resource, Object], kind: str, reason: str, message: str, source: Object, field: str = ""
    ) -> None:
        resource, found = about
        now = self._now()
        key = (found["metadata"]["uid"], reason, message)
        if key in self._said:
            event = self._said[key] | {"lastTimestamp": now, "count": self._said[key]["count"] + 1}
        else:
            event = _event(resource, found, kind, reason, message, source, field, now)
        self._said[key] = event
        self._store.put(EVENTS, event)

    def of_job(self, job: tuple[Resource, Object], kind: str, reason: str, message: str) -> None:
        self._record(job, kind, reason, message, {"component": "job-controller"})

    def of_scheduler(self, pod: tuple[Resource, Object], kind: str, reason: str, message: str) -> None:
        self._record(pod, kind, reason, message, {"component": "default-scheduler"})

    def of_kubelet(
        self, pod: tuple[Resource, Object], kind: str, reason: str, message: str, container: str | None = None
    ) -> None:
        """About a container of the pod, or (``None``) about the pod as a whole."""
        source = {"component": "kubelet", "host": pod[1]["spec"]["nodeName"]}
        self._record(pod, kind, reason, message, source, f"spec.containers{{{container}}}" if container else "")


def _event(
    resource: Resource, found: Object, kind: str, reason: str, message: str, source: Object, field: str, now: str
) -> Object:
    metadata = found["metadata"]
    about = {
        "kind": resource.kind,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "apiVersion": resource.api_version,
        "resourceVersion": metadata.get("resourceVersion", ""),
        **({"fieldPath": field} if field else {}),
    }
    own = {
        "name": f"{metadata['name']}.{next(_moments):x}",
        "namespace": metadata["namespace"],
        "uid": str(uuid.uuid4()),
        "creationTimestamp": now,
    }
    return {
        "metadata": own,
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "source": source,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": kind,
        "eventTime": None,
        "reportingComponent": source["component"],
        "reportingInstance": source.get("host", ""),
    }
