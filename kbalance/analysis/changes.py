"""What happened to the endpoints of a Service between two readings, as far as it decides where traffic goes."""

from collections.abc import Iterator
from dataclasses import replace

from kbalance.analysis.wording import listed
from kbalance.model.target import EndpointFacts, Facts


def changes(before: Facts, after: Facts) -> tuple[str, ...]:
    """Who did what, a clause each; empty where whatever happened left the traffic alone.

    Only endpoints that should get traffic count, in one of the readings or in between: a Pod that starts or ends beside them
    changes nothing.
    """
    grouped: dict[str, list[str]] = {}
    for name, what in _endpoints(before, after):
        grouped.setdefault(what, []).append(name)
    told = (f"{listed(names)} {what}" for what, names in grouped.items())
    happened = (*told, *_hints(before, after), *_settings(before, after))
    return happened or (("the EndpointSlices changed and changed back",) if _taken_back(before, after) else ())


def standing(name: str, before: Facts, after: Facts | None) -> str:
    """What somebody who answered, but should not have got traffic, is to the cluster."""
    old = _called(name, before)
    new = _called(name, after) if after is not None else None
    if old is not None:
        return "terminating" if old.terminating else "listed but not ready"
    if new is not None:
        return "joined during the run" if new.ready else "joined during the run, not ready"
    return "not in the list"


def _called(name: str, facts: Facts) -> EndpointFacts | None:
    return next((e for e in facts.endpoints if name in (e.name, *e.aliases)), None)


def _endpoints(before: Facts, after: Facts) -> Iterator[tuple[str, str]]:
    """Names, each with what it did."""
    old, new = ({e.name: e for e in facts.endpoints} for facts in (before, after))
    for name in sorted({e.name for e in (*before.ready, *after.ready)}):
        if name not in old:
            yield name, "joined"
        elif name not in new:
            yield name, "left"
        else:
            yield from ((name, what) for what in _of_one(old[name], new[name]))
    got = {e.name for e in (*before.ready, *after.ready)}
    for name in sorted(n for n in new if n not in got and _came_and_went(old.get(n), new[n])):
        yield name, f"{'became ready' if name in old else 'joined'} and began to terminate"


def _hints(before: Facts, after: Facts) -> Iterator[str]:
    old, new = ({e.name: e for e in facts.endpoints} for facts in (before, after))
    hints = [n for n in sorted(old.keys() & new.keys()) if sorted(old[n].hints) != sorted(new[n].hints)]
    if hints:
        yield f"the hints of {listed(hints)} changed"


def _came_and_went(old: EndpointFacts | None, new: EndpointFacts) -> bool:
    """Whether it was ready between the readings: what serves while it ends did so before, as `serving` follows readiness."""
    return new.serving and new.terminating and (old is None or not (old.serving or old.terminating))


def _of_one(old: EndpointFacts, new: EndpointFacts) -> Iterator[str]:
    if new.terminating and not old.terminating:
        yield "began to terminate"
    elif new.ready != old.ready:
        yield f"became {'ready' if new.ready else 'not ready'}"
    elif new.serving != old.serving:
        yield "began to serve again" if new.serving else "ceased to serve"
    if new.address != old.address:
        yield "changed the address"


def _settings(before: Facts, after: Facts) -> Iterator[str]:
    """A load balancer's address is the Service's status: it stands beside the way that was measured."""
    old, new = (facts.service and replace(facts.service, load_balancer=()) for facts in (before, after))
    if old != new or _spec(before) != _spec(after):
        yield "the Service's spec changed"


def _spec(facts: Facts) -> str:
    return facts.revision.partition(" ")[0]


def _taken_back(before: Facts, after: Facts) -> bool:
    """Whether EndpointSlices that look as before were written in between.

    It takes two writes to change something and change it back. A write to the labels, which follow the Service's, counts as well
    in a generation, and does not matter.
    """
    if before.endpoints != after.endpoints:
        return False
    old, new = _slices(before), _slices(after)
    return sum(_writes(old.get(name, (0, "")), new.get(name, (0, ""))) for name in old.keys() | new.keys()) > 1


def _writes(old: tuple[int, str], new: tuple[int, str]) -> int:
    grown = abs(new[0] - old[0])
    relabelled = "" not in (old[1], new[1]) and old[1] != new[1]
    return grown - relabelled if grown else 0


def _slices(facts: Facts) -> dict[str, tuple[int, str]]:
    """EndpointSlice to generation and digest of its labels."""
    words = [word.split(":") for word in facts.revision.split()[1:]]
    return {name: (int(generation), labels) for name, generation, labels in words}
