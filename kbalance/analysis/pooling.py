"""Several vantage points' records as if they were one's."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kbalance.analysis import planning
from kbalance.analysis.account import Account
from kbalance.model.plan import Options
from kbalance.model.record import AtOnce, Calibrated, Ended, ProfileBegan, ProfileEnded, Record
from kbalance.model.target import Facts
from kbalance.model.words import Profile, Stop


def pooled(facts: Facts, options: Options, records: Sequence[Sequence[Record]]) -> Account:
    """All workers' connections in one account, worker after worker, so that the order in which logs arrive changes nothing."""
    together = Account(facts, options)
    calibrated = [r for told in records for r in told if isinstance(r, Calibrated)]
    if not calibrated:
        return together
    plans = [p for c in calibrated for p in c.plan.profiles]
    kinds = tuple(dict.fromkeys(p.profile for p in plans))
    profiles = tuple(planning.pooled([p for p in plans if p.profile is kind]) for kind in kinds)
    asked = replace(
        calibrated[0].identity,
        requests=sum(c.identity.requests for c in calibrated),
        connections=sum(c.identity.connections for c in calibrated),
    )
    plan = replace(calibrated[0].plan, profiles=profiles)
    together.add(replace(calibrated[0], plan=plan, identity=asked))
    for kind in kinds:
        parts = [part for told in records for part in _of_profile(told, kind)]
        ends = [r for r in parts if isinstance(r, ProfileEnded)]
        together.add(ProfileBegan(profile=kind))
        for record in parts:
            if not isinstance(record, ProfileEnded):
                together.add(record)
        if ends:
            # A worker that was lost before the end leaves less than was planned.
            lost = len(ends) < sum(p.profile is kind for p in plans)
            worst = Stop.INTERRUPTED if lost else max((e.stopped for e in ends), key=list(Stop).index)
            together.add(ProfileEnded(stopped=worst, duration_s=max(e.duration_s for e in ends)))
    for last in [r for told in records for r in told if isinstance(r, AtOnce | Ended)]:
        together.add(last)
    return together


def _of_profile(told: Sequence[Record], kind: Profile) -> Iterator[Record]:
    """What one worker told of one profile."""
    inside = False
    for record in told:
        if isinstance(record, ProfileBegan):
            inside = record.profile is kind
        elif inside:
            yield record
            inside = not isinstance(record, ProfileEnded)
