"""What changed, for as long as the embedded API remembers it."""

import copy
from collections import deque
from dataclasses import dataclass

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import Resource

LENGTH = 2000
"""Changes that are remembered."""


@dataclass(frozen=True, slots=True)
class Change:
    """Of one object; copies, since objects are changed in place."""

    version: int
    resource: Resource
    old: Object | None
    new: Object | None


class History:
    """The latest changes."""

    def __init__(self) -> None:
        self.forgotten = 0
        """Changes up to this version are not remembered."""
        self._changes: deque[Change] = deque()
        self._known: dict[tuple[Resource, str], Object] = {}

    def remember(self, version: int, resource: Resource, uid: str, found: Object | None) -> None:
        """What has become of an object, ``None``: it is gone; what looks as before is no change."""
        key = (resource, uid)
        old, new = self._known.pop(key, None), copy.deepcopy(found)
        if new is not None:
            self._known[key] = new
        if (old is None and new is None) or (old is not None and new is not None and _content(old) == _content(new)):
            return
        self._changes.append(Change(version, resource, old, new))
        if len(self._changes) > LENGTH:
            self.forgotten = self._changes.popleft().version

    def since(self, version: int, resource: Resource) -> list[Change]:
        """The changes of a kind after that version, oldest first."""
        return [change for change in self._changes if change.version > version and change.resource is resource]


def _content(found: Object) -> Object:
    metadata = {key: value for key, value in found["metadata"].items() if key != "resourceVersion"}
    return {**found, "metadata": metadata}
