"""What chose the endpoint for each connection, where it was no fair draw and no setting says so."""

from kbalance.analysis import groups
from kbalance.analysis.case import Case, Conclusion, choosing, settings, unexplained
from kbalance.analysis.checks.endpoints import avoided, missing_names
from kbalance.analysis.checks.proxied import far_from_fair, proxy_keepalive, proxy_policy
from kbalance.analysis.checks.settings import busiest
from kbalance.analysis.statistics import e_value
from kbalance.analysis.wording import count, listed, odds, percent, times
from kbalance.model.report import EndpointLoad, ProfileReport
from kbalance.model.words import Confidence, Placement


def source_hash(case: Case) -> Conclusion | None:
    """Every fresh connection from here reaches the same endpoint, and no setting says so."""
    report = choosing(case)
    if report is None or case.dialled or report.placement is not Placement.FIXED or unexplained(case):
        return None
    if proxy_keepalive(case) is not None or proxy_policy(case) is not None:
        return None
    known = case.facts.service is not None
    what = "a balancer on the way" if known else "session affinity, a local traffic policy or a balancer on the way"
    named = [who for who in case.at_once if who is not None]
    return Conclusion(
        # Of two endpoints, the other one may as well be unknown to the rules; where affinity may be set, it is the likelier.
        confidence=Confidence.LIKELY if report is case.fresh and (case.n > 2 or not known) else Confidence.POSSIBLE,
        summary=f"Every connection from here reaches {busiest(report).name}: {what} goes by where the client is.",
        evidence=(
            f"{report.profile}: all of {count(report.evidence.connections, 'connection')} reached {busiest(report).name}; "
            f"{odds(report.evidence.e_value)}.",
            *((f"So did {len(named)} requests that were sent at the same time.",) if len(named) > 1 else ()),
            *settings(case.facts),
            "Only one source address was used; from another one, another endpoint should be the one.",
        ),
    )


def balancer_biased(case: Case) -> Conclusion | None:
    """Fresh connections are significantly and noticeably unequal, also among those that get any."""
    fresh = case.fresh
    if fresh is None or fresh.placement is not Placement.BIASED or unexplained(case):
        return None
    if proxy_keepalive(case) is not None or proxy_policy(case) is not None:
        return None
    explained = {*missing_names(case), *case.dead}
    loads = [e for e in fresh.endpoints if e.name not in explained and (e.expected_share or 0.0) > 0]
    if len(loads) < 2 or not far_from_fair([e.connections for e in loads], case.tolerance):
        return None
    if not _unfair_without(case, loads, explained):
        return None
    if avoided(case):
        # A balancer by least connections does what it is there for; the endpoint that is slow is the cause.
        return None
    top, bottom = max(loads, key=lambda e: e.connections), min(loads, key=lambda e: e.connections)
    return Conclusion(
        confidence=Confidence.CERTAIN if case.facts.service is not None else Confidence.LIKELY,
        summary=f"Fresh connections are not shared out fairly: {top.name} got {times(_ratio(top, loads))} times its fair share, "
        f"{bottom.name} {times(_ratio(bottom, loads))} times.",
        evidence=(
            f"{fresh.evidence.connections} fresh connections: {odds(fresh.evidence.e_value)}.",
            f"{_shares(loads)}; fair would be {percent(1 / len(loads))} each.",
            *(_bounds(load, fresh) for load in dict.fromkeys((top, bottom)) if load.chance_low is not None),
            *_grouped(case, loads),
            *settings(case.facts),
        ),
    )


def _unfair_without(case: Case, loads: list[EndpointLoad], explained: set[str]) -> bool:
    """Whether the others are unequal too; what is never chosen or fails has a rule of its own."""
    return not explained or e_value([e.connections for e in loads]) >= 1 / case.alpha


def _grouped(case: Case, loads: list[EndpointLoad]) -> tuple[str, ...]:
    """What the favoured have in common, and how easily that comes about by luck."""
    names = {e.name for e in loads}
    among = [e for e in case.facts.ready if e.name in names]
    found = groups.explain(among, {e.name: e.connections for e in loads}, case.alpha)
    if found is None:
        return ()
    total = sum(group.connections for group in found.groups)
    parts = listed(
        f"{group.value} {percent(group.connections / total)} with {group.endpoints} of {len(among)} endpoints"
        for group in found.groups
    )
    luck = f"one dealing of the groups in {1 / found.by_luck:.0f} would tell it as well"
    return (f"By {found.by}: {parts}; inside each it is fair ({luck}).",)


def _ratio(load: EndpointLoad, loads: list[EndpointLoad]) -> float:
    """Connections over the fair share."""
    return load.connections * len(loads) / max(1, sum(e.connections for e in loads))


def _bounds(load: EndpointLoad, fresh: ProfileReport) -> str:
    """Between what the chance of being chosen lies."""
    low, high, sure = (percent(share or 0.0) for share in (load.chance_low, load.chance_high, fresh.evidence.coverage))
    return f"{load.name}'s chance of a connection is between {low} and {high} ({sure} sure of all)."


def _shares(loads: list[EndpointLoad]) -> str:
    total = max(1, sum(e.connections for e in loads))
    ordered = sorted(loads, key=lambda e: (-e.connections, e.name))
    return listed((f"{e.name} {percent(e.connections / total)}" for e in ordered), limit=6)
