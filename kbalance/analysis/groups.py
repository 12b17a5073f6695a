"""What the endpoints that get more have in common: node, zone, version, maker or age."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from random import Random

from kbalance.analysis.statistics import e_value
from kbalance.model.target import EndpointFacts

ARRANGEMENTS = 2000
"""Ways of dealing the groups out to the endpoints that are tried; all of them where there are no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Endpoints that share a property."""

    value: str
    endpoints: int
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """A property by which the skew can be told: inside each group connections are shared out fairly."""

    by: str
    groups: tuple[Group, ...]
    """The busiest first."""
    by_luck: float
    """Share of the ways of dealing the same groups out to the endpoints that would tell the skew as well."""


def explain(endpoints: Sequence[EndpointFacts], connections: Mapping[str, int], alpha: float) -> Grouping | None:
    """The property that tells the skew best, the one least likely to by luck; ``None``: none does.

    Args:
        endpoints: those among which connections were drawn.
        connections: drawn for each, by name.
        alpha: chance with which a fair draw inside the groups would be refused.
    """
    counts = [connections.get(e.name, 0) for e in endpoints]
    found = []
    for by, values in _properties(endpoints):
        distinct = set(values)
        if not 1 < len(distinct) < len(endpoints) or not _fits(counts, values, alpha):
            continue
        found.append(Grouping(by=by, groups=_groups(counts, values), by_luck=_by_luck(counts, values, alpha)))
    return min(found, key=lambda grouping: grouping.by_luck, default=None)


def _properties(endpoints: Sequence[EndpointFacts]) -> Iterator[tuple[str, list[str]]]:
    """Each property that is known of all endpoints, with its values in their order."""
    for by, values in (
        ("version", [e.version for e in endpoints]),
        ("owner", [e.owner for e in endpoints]),
        ("zone", [e.zone for e in endpoints]),
        ("node", [e.node for e in endpoints]),
        ("age", _ages(endpoints)),
    ):
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            yield by, known


def _ages(endpoints: Sequence[EndpointFacts]) -> list[str | None]:
    """Older or younger than the widest gap between two successive times of making (RFC 3339 in UTC, which sorts as text)."""
    times = sorted(e.created for e in endpoints if e.created is not None)
    if len(times) < len(endpoints) or len(times) < 2 or times[0] == times[-1]:
        return [None] * len(endpoints)
    seconds = [_seconds(time) for time in times]
    _, border = max((late - early, time) for early, late, time in zip(seconds, seconds[1:], times[1:], strict=False))
    return [f"made {border} or later" if (e.created or "") >= border else f"made before {border}" for e in endpoints]


def _seconds(time: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(time).timestamp()


def _fits(counts: Sequence[int], values: Sequence[str], alpha: float) -> bool:
    """Whether nothing speaks against a fair draw inside each group; the product of independent e-values is one."""
    inside = defaultdict(list)
    for count, value in zip(counts, values, strict=True):
        inside[value].append(count)
    return sum(math.log(e_value(group)) for group in inside.values()) < -math.log(alpha)


def _groups(counts: Sequence[int], values: Sequence[str]) -> tuple[Group, ...]:
    groups = [
        Group(
            value=value,
            endpoints=values.count(value),
            connections=sum(c for c, v in zip(counts, values, strict=True) if v == value),
        )
        for value in sorted(set(values))
    ]
    return tuple(sorted(groups, key=lambda group: -group.connections / group.endpoints))


def _by_luck(counts: Sequence[int], values: Sequence[str], alpha: float) -> float:
    """Whether the property itself matters: among few endpoints some property nearly always fits."""
    dealt: list[Sequence[str]]
    if math.factorial(len(values)) <= ARRANGEMENTS:
        dealt = list(islice(permutations(values), ARRANGEMENTS))
    else:
        random = Random(0)
        dealt = [random.sample(list(values), len(values)) for _ in range(ARRANGEMENTS // 4)]
    fitting = sum(_fits(counts, arrangement, alpha) for arrangement in dealt)
    return max(fitting, 1) / len(dealt)
