"""Who belongs to the Service: not ready, of another version, or younger than the connections."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from kbalance.analysis.case import Case, Conclusion, held
from kbalance.analysis.checks.measurement import KEEPING, ends
from kbalance.analysis.endings import ending
from kbalance.analysis.wording import count, listed, percent
from kbalance.model.report import Newcomer, ScaleOut
from kbalance.model.target import EndpointFacts
from kbalance.model.words import Confidence, FactsSource, Profile, Spread

STARTING_S = 120.0
"""A Pod that is not ready at this age may still be starting."""

YOUNG = 0.5
"""Of the oldest endpoint's age: whoever is younger missed half of the time in which connections may have been made."""

YOUNG_GAP_S = 60.0
"""And so much younger at least: the Pods of one rollout start one after the other."""

WATCHED_LEAST_S = 5.0
"""From a newcomer's readiness to the end, before one says that held connections never meet it."""

WATCHED_LEAST = 3.0
"""And so many times as long as fresh connections took to meet it."""

REQUESTS_LEAST = 20
"""Requests on a profile's held connections meanwhile; fewer show nothing of where they go."""


def not_ready(case: Case) -> Conclusion | None:
    """Endpoints that are listed and do not serve, and are not on their way out; or all that serve are on their way out."""
    out = out_of_service(case)
    service = case.facts.service
    if case.facts.source is not FactsSource.API or not case.n:
        return None
    if all(e.terminating for e in case.facts.ready):
        return _all_leave(case)
    if not out:
        return None
    starting = [e for e in out if (age := _age_s(e, case)) is not None and age < STARTING_S]
    names = listed(e.name for e in out)
    return Conclusion(
        confidence=Confidence.POSSIBLE if len(starting) == len(out) else Confidence.CERTAIN,
        summary=f"Not ready: {names}; {_who_carries(case, out)}.",
        evidence=(
            f"{len(out)} of {count(len(case.facts.endpoints), 'endpoint')} are not ready in the EndpointSlices.",
            *((f"Made less than {STARTING_S:.0f} s before: {listed(e.name for e in starting)}.",) if starting else ()),
            *(
                ("The Service has publishNotReadyAddresses, so they get traffic all the same.",)
                if service is not None and service.publish_not_ready_addresses
                else ()
            ),
        ),
    )


def out_of_service(case: Case) -> list[EndpointFacts]:
    """Endpoints that are listed and do not serve, and are not on their way out."""
    return [e for e in case.facts.endpoints if not (e.ready and e.serving) and not e.terminating]


def _who_carries(case: Case, out: Sequence[EndpointFacts]) -> str:
    """What becomes of the traffic of those that are out."""
    if all(e in case.facts.ready for e in out):
        return "traffic goes there all the same"
    others = case.n - sum(e in case.facts.ready for e in out)
    return f"{count(others, 'other endpoint')} carry {'its' if len(out) == 1 else 'their'} load"


def _all_leave(case: Case) -> Conclusion:
    """Where nobody is ready, traffic goes to those that still serve while they end (KEP-1669)."""
    return Conclusion(
        confidence=Confidence.CERTAIN,
        summary=f"Nobody is ready: what gets traffic is about to end ({count(case.n, 'endpoint')}).",
        evidence=(f"Terminating and still serving: {listed(e.name for e in case.facts.ready)}.",),
    )


def mixed_versions(case: Case) -> Conclusion | None:
    """Pods of several makers or versions serve side by side."""
    by, groups = versions(case.facts.ready)
    if len(groups) < 2:
        return None
    return Conclusion(
        confidence=Confidence.CERTAIN,
        summary=f"{len(groups)} {by} serve side by side, so each gets traffic by its number of Pods: "
        f"{listed(f'{name} {percent(len(members) / case.n)}' for name, members in groups)}.",
        evidence=tuple(_of_version(case, name, members) for name, members in groups),
    )


def versions(ready: Sequence[EndpointFacts]) -> tuple[str, list[tuple[str, list[EndpointFacts]]]]:
    """Endpoints by version, or by maker where not all have one."""
    for by, values in (("versions", [e.version for e in ready]), ("makers of Pods", [e.owner for e in ready])):
        known = [value for value in values if value is not None]
        if len(known) == len(ready) and len(set(known)) > 1:
            groups = {value: [e for e, v in zip(ready, known, strict=True) if v == value] for value in sorted(set(known))}
            return by, list(groups.items())
    return "", []


def _of_version(case: Case, name: str, members: Sequence[EndpointFacts]) -> str:
    fresh, names = case.fresh, {e.name for e in members}
    total = sum(e.connections for e in fresh.endpoints) if fresh is not None else 0
    pods = f"{name}: {count(len(members), 'endpoint')} of {case.n}, {percent(len(members) / case.n)}"
    if fresh is None or not total:
        return f"{pods}."
    got = sum(e.connections for e in fresh.endpoints if e.name in names)
    return f"{pods}; {got} of {total} fresh connections, {percent(got / total)}."


def stale_membership(case: Case) -> Conclusion | None:
    """Endpoints joined that connections made before do not know."""
    return _watched(case) or _joined_during_the_run(case) or _joined_late(case)


def _watched(case: Case) -> Conclusion | None:
    """Measured: while endpoints joined, the connections that were held never met some of them, fresh ones did.

    Only fresh connections tell that a newcomer could be met: those of per-endpoint are directed there.
    """
    grown = case.scale_out
    if grown is None or any(p.several for p in case.through):
        return None
    unmet = [newcomer for newcomer in grown.newcomers if _unmet(newcomer, grown)]
    if not unmet:
        return None
    lifetime = ends(case)
    return Conclusion(
        confidence=Confidence.CERTAIN if lifetime is None else Confidence.LIKELY,
        summary=f"Ready while kbalance watched, and never met by a connection that was held: {listed(n.name for n in unmet)}; "
        "scaling out does not relieve the others until clients connect anew.",
        evidence=(
            *(_heard(newcomer, grown) for newcomer in unmet[:3]),
            *(
                (f"The server ends connections {ending(lifetime)}, and those that follow may go there; none did so far.",)
                if lifetime is not None
                else ()
            ),
        ),
    )


def _unmet(newcomer: Newcomer, grown: ScaleOut) -> bool:
    """Whether fresh connections met it, and held ones had the time and the requests to and did not."""
    fresh_s = newcomer.first_s.get(Profile.SHORT_LIVED.value)
    if fresh_s is None or any(newcomer.first_s.get(profile.value) is not None for profile in KEEPING):
        return False
    long_enough = grown.duration_s - newcomer.ready_s >= max(WATCHED_LEAST_S, WATCHED_LEAST * fresh_s)
    return long_enough and bool(_since(newcomer, grown))


def _since(newcomer: Newcomer, grown: ScaleOut) -> dict[str, int]:
    """Requests of the profiles that held connections to the end, since it was ready: their part of the time; not where few."""
    part = (grown.duration_s - newcomer.ready_s) / grown.duration_s
    held_on = [p.value for p in KEEPING if p.value in newcomer.first_s and p.value not in grown.cut_short]
    since = {profile: round(grown.requests.get(profile, 0) * part) for profile in held_on}
    return {profile: requests for profile, requests in since.items() if requests >= REQUESTS_LEAST}


def _heard(newcomer: Newcomer, grown: ScaleOut) -> str:
    """When it heard from fresh connections, and how much went elsewhere since it was ready."""
    fresh_s = newcomer.first_s[Profile.SHORT_LIVED.value] or 0.0
    watched_s = grown.duration_s - newcomer.ready_s
    made = listed(f"{profile} about {requests:,}" for profile, requests in _since(newcomer, grown).items())
    return (
        f"{newcomer.name}: met by {Profile.SHORT_LIVED} after {fresh_s:.1f} s; requests on held connections in the "
        f"{watched_s:.0f} s since it was ready: {made}, none of them to it."
    )


def _joined_during_the_run(case: Case) -> Conclusion | None:
    """Seen: fresh connections met newcomers, the held ones never did."""
    after, fresh = case.facts_after, case.fresh
    if after is None or case.facts.source is not FactsSource.API or fresh is None:
        return None
    new = {e.name for e in after.ready} - {e.name for e in case.facts.endpoints}
    met_fresh = {u.name: u.requests for u in fresh.unknown if u.name in new}
    keeping = [p for p in case.keeping if held(p)]
    if not met_fresh or not keeping or any(u.name in new for p in keeping for u in p.unknown):
        return None
    return Conclusion(
        confidence=Confidence.CERTAIN,
        summary=f"Joined during the run, met by fresh connections and by none that was held: {listed(sorted(met_fresh))}.",
        evidence=(
            *(f"{name}: {count(requests, 'answer')} on fresh connections." for name, requests in sorted(met_fresh.items())),
            *(f"{p.profile}: {count(p.connections.opened, 'connection')} held, none of them met it." for p in keeping),
        ),
    )


def _joined_late(case: Case) -> Conclusion | None:
    """By age: some are much younger than others of the same maker, and connections stay where they are."""
    if not any(held(p) and p.spread is not Spread.EVEN for p in case.keeping):
        return None
    ages = {e.name: age for e in case.facts.ready if (age := _age_s(e, case)) is not None}
    if len(ages) < max(2, case.n) or len({e.owner for e in case.facts.ready}) > 1:
        return None
    oldest = max(ages.values())
    young = sorted((age, name) for name, age in ages.items() if age < YOUNG * oldest and oldest - age >= YOUNG_GAP_S)
    if not young:
        return None
    return Conclusion(
        confidence=Confidence.LIKELY,
        summary=f"Younger than clients may be: {listed(name for _, name in young)}; connections made before "
        f"{'it' if len(young) == 1 else 'they'} started never move there, so scaling out does not relieve the others.",
        evidence=tuple(_ages(young, oldest, case)),
    )


def _ages(young: Sequence[tuple[float, str]], oldest: float, case: Case) -> Iterator[str]:
    for age, name in young[:3]:
        yield f"{name} is {_duration(age)} old, the oldest endpoint {_duration(oldest)}."
    kept = listed(p.profile for p in case.keeping)
    yield f"A held connection stays on its endpoint (see {kept}); only new ones reach the newcomers."


def _age_s(endpoint: EndpointFacts, case: Case) -> float | None:
    """Seconds from the Pod's making to the start of the run; ``None``: one of them is not known."""
    if endpoint.created is None or not case.started:
        return None
    return (datetime.fromisoformat(case.started) - datetime.fromisoformat(endpoint.created)).total_seconds()


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
