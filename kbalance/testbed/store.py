"""What the embedded API knows: objects by kind, namespace and name, each with the version that changed it last."""

import asyncio
import copy
from collections.abc import Mapping, Sequence

from kbalance.testbed.history import History
from kbalance.testbed.objects import Object
from kbalance.testbed.resources import NAMESPACES, NODES, Resource

Key = tuple[str, str]
"""Namespace, empty for the cluster's own, and name."""

CLUSTER_WIDE = (NODES, NAMESPACES)


def key_of(found: Object) -> Key:
    metadata = found["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Store:
    """Objects that change."""

    def __init__(self, objects: Mapping[Resource, Sequence[Object]] | None = None, version: int = 1000) -> None:
        self.version = version
        """Of the latest change; the resourceVersion of lists."""
        self.compacted = 0
        """Lists that began at this version or before cannot be continued, nor watches from before it."""
        self.pulse = asyncio.Event()
        """Set with the next change, and then replaced by another one."""
        self.history = History()
        self._objects: dict[Resource, dict[Key, Object]] = {}
        for resource, some in (objects or {}).items():
            self._objects[resource] = {key_of(one): one for one in some}
            for one in some:
                self.history.remember(version, resource, one["metadata"]["uid"], one)

    def replace(self, resource: Resource, objects: Sequence[Object], previous: Sequence[Object]) -> None:
        """Have these in the place of the previous ones; a generation grows where the content changed."""
        known = self._objects.setdefault(resource, {})
        for old in previous:
            known.pop(key_of(old), None)
        before = {key_of(old): old for old in previous}
        for one in objects:
            one["metadata"]["resourceVersion"] = str(self.version + 1)
            if key_of(one) in before and "generation" in one["metadata"]:
                one["metadata"]["generation"] = _next_generation(before[key_of(one)], one)
            known[key_of(one)] = one
            self._remember(resource, one)
        for key in before.keys() - known.keys():
            self._remember(resource, before[key], gone=True)

    def _remember(self, resource: Resource, found: Object, *, gone: bool = False) -> None:
        self.history.remember(self.version + 1, resource, found["metadata"]["uid"], None if gone else found)

    def commit(self) -> None:
        """Count a change and wake who waits for one."""
        self.version += 1
        self.wake()

    def wake(self) -> None:
        """Have everyone look who waits for a change."""
        self.pulse.set()
        self.pulse = asyncio.Event()

    def put(self, resource: Resource, found: Object) -> None:
        """Add an object, or have its new content."""
        found["metadata"]["resourceVersion"] = str(self.version + 1)
        self._objects.setdefault(resource, {})[key_of(found)] = found
        self._remember(resource, found)
        self.commit()

    def remove(self, resource: Resource, found: Object) -> None:
        """Forget an object, if it is still this one."""
        known = self._objects.get(resource, {}).get(key_of(found))
        if known is not None and known["metadata"]["uid"] == found["metadata"]["uid"]:
            del self._objects[resource][key_of(found)]
            self._remember(resource, found, gone=True)
            self.commit()

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self._objects.get(resource, {}).get((namespace, name))

    def of(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """All of a kind, of one namespace or (``None``) of all, by namespace and name."""
        known = sorted(self._objects.get(resource, {}).items())
        return [one for (space, _), one in known if namespace in (None, space)]

    def owned_by(self, uid: str) -> list[tuple[Resource, Object]]:
        """What names that object as an owner."""
        return [
            (resource, one)
            for resource, known in self._objects.items()
            for one in known.values()
            if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences", ()))
        ]

    def has_uid(self, uid: str) -> bool:
        return any(one["metadata"]["uid"] == uid for known in self._objects.values() for one in known.values())


def _next_generation(old: Object, new: Object) -> int:
    before, after = ({key: value for key, value in one.items() if key != "metadata"} for one in (old, new))
    return int(old["metadata"]["generation"]) + (before != after)


def shown(resource: Resource, found: Object) -> Object:
    """A copy with its kind, as the API answers for a single object."""
    return {"kind": resource.kind, "apiVersion": resource.api_version, **copy.deepcopy(found)}
