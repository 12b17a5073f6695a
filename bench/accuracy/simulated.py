"""Both error rates from thousands of simulated runs: kbalance's own plan, fold and rules, over draws from a seeded generator.

Real runs are too few to see an error of one in a hundred; here nothing but the dataplane is made up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from bench.accuracy.chisquare import one_doubled
from kbalance.analysis.fold import ProfileFold
from kbalance.analysis.planning import alpha_share
from kbalance.analysis.rules import diagnose
from kbalance.model.observation import ConnectionObservation
from kbalance.model.plan import Options, ProfilePlan
from kbalance.model.report import ProfileReport
from kbalance.model.words import Profile, Stop
from tests.builders import answers, case, connection, direct, facts, pods, traffic_plan

SIZES = (2, 3, 5, 10)

CONSISTENT_WITH_FAIR = frozenset({"connection-pinning", "small-sample", "healthy", "inconclusive", "server-lifetime"})
"""Findings that do not say that anything but luck chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What came of many simulated runs on so many endpoints."""

    pods: int
    runs: int
    """Of each kind."""
    false_alarms: int
    """Runs on a fair chooser in which a finding says that it is not."""
    missed: int
    """Runs with one endpoint of double weight in which no finding says that the balancer is biased."""
    fair_drawn: float
    """Fresh connections until the verdict, at the median."""
    doubled_drawn: float


def simulate(n: int, runs: int, seed: int = 1) -> Simulated:
    """Fair runs, and as many with one endpoint of double weight."""
    random = Random(seed * 1000 + n)
    fair = [_run(n, [1 / n] * n, random) for _ in range(runs)]
    doubled = [_run(n, one_doubled(n), random) for _ in range(runs)]
    return Simulated(
        pods=n,
        runs=runs,
        false_alarms=sum(bool(causes - CONSISTENT_WITH_FAIR) for causes, _ in fair),
        missed=sum("balancer-biased" not in causes for causes, _ in doubled),
        fair_drawn=median(drawn for _, drawn in fair),
        doubled_drawn=median(drawn for _, drawn in doubled),
    )


def _run(n: int, shares: Sequence[float], random: Random) -> tuple[frozenset[str], int]:
    """Causes of all findings of one run, and its fresh connections."""
    options, known = Options(), facts(pods(n))
    plan = traffic_plan(known, options)
    through = [
        _profile(one, options, pods(n), shares, random) for one in plan.profiles if one.profile is not Profile.PER_ENDPOINT
    ]
    ended = case(*through, direct(pods(n)), facts=known, facts_after=known, plan=plan)
    drawn = next(p.evidence.connections for p in through if p.profile is Profile.SHORT_LIVED)
    return frozenset(finding.cause for finding in diagnose(ended).findings), drawn


def _profile(plan: ProfilePlan, options: Options, names: Sequence[str], shares: Sequence[float], random: Random) -> ProfileReport:
    """One profile to its end, or to where more connections would not change the answer."""
    alpha = alpha_share(plan.profile, options)
    folded = ProfileFold(plan, tuple(names), tolerance=options.tolerance, alpha=alpha)
    stopped = Stop.DONE
    for observation in _drawn(plan, names, shares, random):
        folded.add(observation)
        if folded.certain:
            stopped = Stop.CERTAIN
            break
    return folded.settle(stopped, 1.0)


def _drawn(plan: ProfilePlan, names: Sequence[str], shares: Sequence[float], random: Random) -> Iterator[ConnectionObservation]:
    fresh = plan.profile is Profile.SHORT_LIVED
    connections, each = (plan.requests, 1) if fresh else (plan.slots, plan.requests // plan.slots)
    made = {name: connection(answers(name, each)) for name in names}
    for name in random.choices(names, shares, k=connections):
        yield made[name]
