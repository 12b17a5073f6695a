"""Deletion: what goes with an object when it goes."""

import asyncio

from kbalance.testbed.jobs import JobController
from kbalance.testbed.kubelet import Kubelet
from kbalance.testbed.objects import Object
from kbalance.testbed.resources import JOBS, PODS, Resource
from kbalance.testbed.sockets import spawn
from kbalance.testbed.store import Store

POLICIES = ("Foreground", "Background", "Orphan")


class Collector:
    """Deletes objects, and those that they own."""

    def __init__(self, store: Store, kubelet: Kubelet, jobs: JobController) -> None:
        self._store = store
        self._kubelet = kubelet
        self._jobs = jobs

    def delete(self, resource: Resource, found: Object, policy: str, grace_s: int | None, now: str) -> bool:
        """Delete an object by a propagation policy; whether it is gone at once rather than when all that it owns is."""
        if resource is PODS:
            self._kubelet.delete(found, grace_s)
            return self._store.get(PODS, found["metadata"]["namespace"], found["metadata"]["name"]) is None
        self._jobs.forget(found)
        if policy == "Foreground":
            metadata = found["metadata"]
            metadata |= {"deletionTimestamp": now, "deletionGracePeriodSeconds": 0, "finalizers": ["foregroundDeletion"]}
            metadata["generation"] = metadata.get("generation", 0) + 1
            self._store.put(resource, found)
            spawn(self._after_its_own(resource, found))
            return False
        if policy == "Orphan":
            for _, one in self._store.owned_by(found["metadata"]["uid"]):
                one["metadata"].pop("ownerReferences")
        self._store.remove(resource, found)
        asyncio.get_running_loop().call_soon(self._collect, found["metadata"]["uid"])
        return True

    def adopt(self, resource: Resource, found: Object) -> None:
        """Delete what is created for owners that are all gone."""
        owners = found["metadata"].get("ownerReferences", ())
        if owners and not any(self._store.has_uid(owner["uid"]) for owner in owners):
            asyncio.get_running_loop().call_soon(self._drop, resource, found)

    def expire(self, job: Object) -> None:
        """Delete a Job that ended long enough ago."""
        self.delete(JOBS, job, "Background", None, "")

    def _collect(self, uid: str) -> None:
        for resource, one in self._store.owned_by(uid):
            self._drop(resource, one)

    def _drop(self, resource: Resource, found: Object) -> None:
        if resource is PODS:
            self._kubelet.delete(found)
            return
        self._jobs.forget(found)
        self._store.remove(resource, found)
        self._collect(found["metadata"]["uid"])

    async def _after_its_own(self, resource: Resource, found: Object) -> None:
        # A turn later: the answer to the request still shows the object as it waits.
        await asyncio.sleep(0)
        self._collect(found["metadata"]["uid"])
        while self._store.owned_by(found["metadata"]["uid"]):
            await self._store.pulse.wait()
        self._store.remove(resource, found)
