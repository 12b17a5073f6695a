"""Which way out comes first, for this Service and not by a fixed list."""

from collections.abc import Iterable

from kbalance.analysis.advice.shape import averages_out, few, multiplexes, worst
from kbalance.analysis.case import Case
from kbalance.model.report import Recommendation

KEPT = frozenset({"connection-pinning", "http2-multiplexing", "pool-order", "small-sample"})
"""Causes that are nobody's fault: clients keep connections. Their ways out compete; elsewhere the cause's repair comes first."""

GOOD_ANYWAY = frozenset({"stale-membership"})
"""Causes whose ways out are there for new Pods, whatever they do to those that are old."""


def ranked(cause: str, made: Iterable[Recommendation], case: Case) -> list[Recommendation]:
    """The ways out of one cause that help here, best first.

    First what the shape of this Service asks for. Then what keeps to the tolerance; among that, what this run measured before
    what is only predicted; and then as the table has it.
    """
    helping = [one for one in made if cause in GOOD_ANYWAY or not _no_better(one, case)]
    if cause not in KEPT:
        return helping
    asked_for = _asked_for(cause, case)
    return sorted(helping, key=lambda one: _key(one, asked_for, case.tolerance))


def effect(one: Recommendation) -> float | None:
    """The busiest endpoint's load over its fair share with the change: the worse of what was measured and what is predicted."""
    known = [value for value in (one.measured_busiest, one.predicted_busiest) if value is not None]
    return max(known, default=None)


def _asked_for(cause: str, case: Case) -> tuple[str, ...]:
    """What comes before all measured effect, and why:

    - a pool that uses few of its connections makes every other number meaningless, and one setting cures it;
    - where clients are many, luck evens out and nothing needs to be built;
    - HTTP/2 clients keep one connection for everything, so that a choice per request is the only one that scales with them;
    - fewer connections than endpoints leave some idle in every draw, so that only a connection to each can be even.
    """
    if cause == "pool-order":
        return ("round-robin-pool",)
    if averages_out(case):
        return ("shorter-lifetime",)
    if multiplexes(case):
        return ("client-side-balancing", "meshed-client")
    if few(case):
        return ("client-side-balancing",)
    return ()


def _key(one: Recommendation, asked_for: tuple[str, ...], tolerance: float) -> tuple[int, bool, bool]:
    """Smaller comes first."""
    value = effect(one)
    first = asked_for.index(one.id) if one.id in asked_for else len(asked_for)
    return first, value is None or value > tolerance, one.measured_busiest is None


def _no_better(one: Recommendation, case: Case) -> bool:
    value, now = effect(one), worst(case)
    return value is not None and now is not None and value >= now
