"""The embedded cluster's own moving parts, and the verbs that clients use on its objects."""

import asyncio
import copy
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from kbalance.testbed import jobfaults, podlogs
from kbalance.testbed.collector import POLICIES, Collector
from kbalance.testbed.events import Recorder
from kbalance.testbed.jobfaults import JobFault
from kbalance.testbed.jobs import JobController
from kbalance.testbed.kubelet import Kubelet
from kbalance.testbed.objects import Object
from kbalance.testbed.permissions import Permissions
from kbalance.testbed.resources import CONFIG_MAPS, JOBS, NAMESPACES, PODS, Resource
from kbalance.testbed.statuses import bad_request, exists, forbidden, invalid, not_found
from kbalance.testbed.store import Store, shown
from kbalance.testbed.watches import Watches
from kbalance.testbed.writing import completed, parsed


def now() -> str:
    """RFC 3339, UTC, whole seconds, as in objects."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class ControlPlane:
    """Objects and those who act on them."""

    def __init__(self, store: Store) -> None:
        """Needs a running event loop."""
        self.store = store
        self.permissions = Permissions()
        self.watches = Watches(store)
        self._fault: JobFault | None = None
        self._breaks = 0
        events = Recorder(store, now)
        self.kubelet = Kubelet(store, events, now, lambda pod: self._jobs.on_pod(pod))
        self._jobs = JobController(store, events, now, self.kubelet, lambda job: self._collector.expire(job))
        self._collector = Collector(store, self.kubelet, self._jobs)

    def set_fault(self, fault: JobFault | None) -> None:
        """What is wrong with the Jobs created from now on, ``None``: nothing; those that run keep what they have."""
        self._fault = fault
        self._breaks = int(fault is JobFault.LOG_BREAK)

    def read(self, resource: Resource, namespace: str, name: str) -> Object:
        """One object.

        Raises:
            Refusal: 404.
        """
        return shown(resource, self._known(resource, namespace, name))

    def _known(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self.store.get(resource, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return found

    def create(self, resource: Resource, namespace: str, body: bytes, options: Mapping[str, str]) -> Object:
        """The object as it was created, or with ``dryRun=All`` as it would be.

        Raises:
            Refusal: 400, 403 (quota), 404 (namespace), 409 or 422.
        """
        found = parsed(resource, body, namespace)
        name = found["metadata"]["name"]
        if self.store.get(NAMESPACES, "", namespace) is None:
            raise not_found(NAMESPACES, namespace)
        if self._fault is JobFault.CONFIG_REFUSED and resource is CONFIG_MAPS:
            quota = jobfaults.QUOTA.format(quota=jobfaults.QUOTA_NAME, what="count/configmaps")
            raise forbidden(resource, name, quota)
        if self.store.get(resource, namespace, name) is not None:
            raise exists(resource, name)
        completed(resource, found, now())
        if options.get("dryRun") == "All":
            return shown(resource, found)
        self.store.put(resource, found)
        answer = shown(resource, found)
        self._collector.adopt(resource, found)
        if resource is JOBS:
            # A turn later: the answer shows the Job without a status, as the real server's does.
            asyncio.get_running_loop().call_soon(self._jobs.start, found, self._fault)
        return answer

    def put(self, resource: Resource, found: Object) -> None:
        """Have an object as it is given, with what a server adds; nothing is checked."""
        metadata = found["metadata"]
        old = self.store.get(resource, metadata.get("namespace", ""), metadata["name"])
        made: Object = {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 0} if old is None else old["metadata"]
        metadata |= {"uid": made["uid"], "creationTimestamp": made["creationTimestamp"]}
        metadata["generation"] = int(made.get("generation", 0)) + 1
        self.store.put(resource, found)

    def delete(self, resource: Resource, namespace: str, name: str, body: bytes, options: Mapping[str, str]) -> Object:
        """What the server says to a deletion: the object where it is still on its way, else a Status.

        Raises:
            Refusal: 400, 404 or 422.
        """
        wishes = _delete_options(body, options)
        policy = wishes.get("propagationPolicy", "Orphan" if resource is JOBS else "Background")
        if policy not in POLICIES:
            supported = ", ".join(f'"{one}"' for one in (*POLICIES, "nil"))
            cause = (
                "FieldValueNotSupported",
                "propagationPolicy",
                f'Unsupported value: "{policy}": supported values: {supported}',
            )
            raise invalid("DeleteOptions", "", [cause], "meta.k8s.io")
        found = self._known(resource, namespace, name)
        details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": found["metadata"]["uid"]}
        before = shown(resource, found)
        gone = wishes.get("dryRun") == ["All"] or self._collector.delete(
            resource, found, policy, wishes.get("gracePeriodSeconds"), now()
        )
        if resource is PODS:
            return before if gone else shown(resource, found)
        if not gone:
            return shown(resource, found)
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {key: value for key, value in details.items() if value},
        }

    def log(self, namespace: str, name: str, options: Mapping[str, str]) -> AsyncIterator[bytes] | None:
        """A pod's log, or ``None`` while no node has the pod.

        Raises:
            Refusal: 400, 404 or 422.
        """
        pod = self._known(PODS, namespace, name)
        podlogs.check(options, name)
        podlogs.refuse_unready(pod, options.get("container", ""))
        if "nodeName" not in pod["spec"]:
            return None
        broken = self._breaks > 0 and options.get("follow") == "true"
        self._breaks -= broken
        return podlogs.stream(self.kubelet.log(pod), options, broken=broken)

    def close(self) -> None:
        """End every process."""
        self._jobs.close()
        self.kubelet.close()


def _delete_options(body: bytes, options: Mapping[str, str]) -> dict[str, Any]:
    """From the body; only without one from the query, as the real server has it."""
    if not body:
        wishes: dict[str, Any] = {key: options[key] for key in ("propagationPolicy",) if key in options}
        if "gracePeriodSeconds" in options:
            wishes["gracePeriodSeconds"] = int(options["gracePeriodSeconds"])
        return wishes | ({"dryRun": ["All"]} if options.get("dryRun") == "All" else {})
    try:
        read = json.loads(body)
        return copy.copy(dict(read))
    except (ValueError, TypeError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
