"""Short labels for endpoints: pods of one Service share a long beginning, and only the end tells them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

SHORT = 12
"""Names up to this long are left whole."""
TELLING = 4
"""Fewest characters of a label: the ``0`` of a StatefulSet's pod alone says too little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What stands for each name, and how to read it."""

    by_name: Mapping[str, str]
    prefix: str = ""
    """What every label leaves off at the front."""
    numbered: bool = False
    """Whether the labels are numbers that need a list of the names beside them."""

    def __getitem__(self, name: str) -> str:
        return self.by_name.get(name, name)


def shortened(names: Sequence[str]) -> Labels:
    """Names without the beginning that all of them share, cut where a word of the name ends."""
    cut = _cut(names)
    return Labels(by_name={name: name[cut:] for name in names}, prefix=names[0][:cut] if names else "")


def numbered(names: Sequence[str]) -> Labels:
    """``#1`` and so on, for names whose ends are long too."""
    return Labels(by_name={name: f"#{number}" for number, name in enumerate(names, 1)}, numbered=True)


def ending(name: str, room: int) -> str:
    """The name, or as much of its end as there is room for."""
    return name if len(name) <= room else f"..{name[2 - room :]}"


def _cut(names: Sequence[str]) -> int:
    """How many characters to leave off."""
    if len(names) < 2 or max(map(len, names)) <= SHORT:
        return 0
    # What the first and the last in sorted order share, all share.
    first, last = min(names), max(names)
    limit = min(map(len, names)) - TELLING
    same = takewhile(lambda i: first[i] == last[i], range(limit))
    return max((i + 1 for i in same if first[i] in "-.:/"), default=0)
