"""What chose the endpoint for each connection, where it was no fair draw."""

from kbalance.analysis.case import Case, Conclusion, ruled_out, static_explanations
from kbalance.analysis.checks.endpoints import missing_names
from kbalance.analysis.statistics import e_value
from kbalance.analysis.wording import count, listed, odds, percent, times
from kbalance.model.report import EndpointLoad, ProfileReport
from kbalance.model.words import Confidence, FactsSource, Placement, Spread


def per_request_balancing(case: Case) -> Conclusion | None:
    """One connection answered by several endpoints: something on the way places requests."""
    mixed = [p for p in case.through if p.several]
    if not mixed:
        return None
    uneven = [p for p in mixed if p.spread in (Spread.UNEVEN, Spread.PINNED)]
    tail = f", though not evenly ({uneven[0].profile}: {times(uneven[0].busiest or 0)} times the fair share)" if uneven else ""
    return Conclusion(
        confidence=Confidence.CERTAIN if sum(p.several for p in mixed) > 1 or not case.learned else Confidence.LIKELY,
        summary=f"A proxy on the way balances single requests{tail}: clients may keep their connections.",
        evidence=tuple(
            f"{p.profile}: {p.several} of {count(p.connections.opened, 'connection')} answered by two or more endpoints."
            for p in mixed
        ),
    )


def session_affinity(case: Case) -> Conclusion | None:
    """The Service is told to keep each client address on one endpoint, and it does."""
    service, report = case.facts.service, _choosing(case)
    if service is None or service.session_affinity == "None" or case.n < 2 or report is None:
        return None
    if report.spread is not Spread.PINNED:
        return None
    opened = count(report.connections.opened, "connection")
    return Conclusion(
        confidence=_sureness(report),
        summary=f"sessionAffinity: {service.session_affinity} keeps this client on {_busiest(report).name} "
        f"whatever connections it opens; the other {count(case.n - 1, 'endpoint')} get nothing from it.",
        evidence=(
            f"The Service has sessionAffinity: {service.session_affinity}.",
            f"{report.profile}: all of {opened} reached {_busiest(report).name}; {odds(report.evidence.e_value)}.",
        ),
    )


def traffic_policy_local(case: Case) -> Conclusion | None:
    """The Service is told to stay on the client's node, and connections do."""
    service, report = case.facts.service, _choosing(case)
    if service is None or service.internal_traffic_policy != "Local" or report is None:
        return None
    node = case.vantage.node if case.vantage is not None else None
    nodes = {e.name: e.node for e in case.facts.ready}
    met = _met(report)
    here = {nodes.get(name) for name in met}
    if not met or len(met) == case.n or len(here) != 1 or None in here or (node is not None and here != {node}):
        return None
    where = next(iter(here))
    left = case.n - len(met)
    return Conclusion(
        confidence=Confidence.CERTAIN if node is not None else Confidence.LIKELY,
        summary=f"internalTrafficPolicy: Local keeps clients on {where} to its own {count(len(met), 'endpoint')};"
        f" the other {count(left, 'endpoint')} get nothing from there.",
        evidence=(
            "The Service has internalTrafficPolicy: Local.",
            f"{report.profile}: all of {count(report.evidence.connections, 'connection')} stayed on {where}:"
            f" {listed(sorted(met))}.",
        ),
    )


def topology_hints(case: Case) -> Conclusion | None:
    """The EndpointSlices name zones or nodes for their endpoints, and connections keep to those of the client."""
    report = _choosing(case)
    hints = {e.name: set(e.hints) for e in case.facts.ready}
    if report is None or not all(hints.values()) or not hints:
        return None
    met = _met(report)
    shared = set.intersection(*(hints[name] for name in met if name in hints)) if met else set()
    vantage = case.vantage
    own = {vantage.zone, vantage.node} if vantage is not None else set()
    known = shared & own or (shared if not own - {None} else set())
    if not known or len(met) == case.n or any(hints[name] & known for name in hints.keys() - met):
        return None
    where = sorted(known)[0]
    why = case.facts.service.traffic_distribution if case.facts.service is not None else None
    return Conclusion(
        confidence=Confidence.CERTAIN if shared & own else Confidence.LIKELY,
        summary=f"Topology hints keep clients in {where} to {len(met)} of {case.n} endpoints;"
        f" the other {case.n - len(met)} get nothing from there.",
        evidence=(
            f"The Service has trafficDistribution: {why}, and every endpoint has hints."
            if why
            else "Every endpoint has hints in its EndpointSlice.",
            f"{report.profile}: all of {count(report.evidence.connections, 'connection')} reached endpoints hinted for {where}:"
            f" {listed(sorted(met))}.",
        ),
    )


def _met(report: ProfileReport) -> set[str]:
    """Who got a connection."""
    return {load.name for load in report.endpoints if load.connections}


def source_hash(case: Case) -> Conclusion | None:
    """Every fresh connection from here reaches the same endpoint, and no setting says so."""
    report = _choosing(case)
    if report is None or case.dialled or report.placement is not Placement.FIXED or static_explanations(case.facts):
        return None
    what = "a balancer on the way" if case.facts.service is not None else "session affinity or a balancer on the way"
    return Conclusion(
        confidence=Confidence.LIKELY if report is case.fresh else Confidence.POSSIBLE,
        summary=f"Every connection from here reaches {_busiest(report).name}: {what} chooses by the client's address.",
        evidence=(
            f"{report.profile}: all of {count(report.evidence.connections, 'connection')} reached {_busiest(report).name}; "
            f"{odds(report.evidence.e_value)}.",
            ruled_out(case.facts),
            "Only one source address was used; from another one, another endpoint should be the one.",
        ),
    )


def headless_first_address(case: Case) -> Conclusion | None:
    """The name stands for all endpoints, and who takes its first address meets one of them."""
    service, report = case.facts.service, _choosing(case)
    several = case.facts.source is FactsSource.DNS or (service is not None and service.cluster_ip == "None")
    if case.dialled is None or not several or case.n < 2 or report is None or report.spread is not Spread.PINNED:
        return None
    return Conclusion(
        confidence=Confidence.CERTAIN,
        summary=f"{case.target.host} has {case.n} addresses, and a client that takes the first one always meets {case.dialled}.",
        evidence=(
            f"{report.profile}: all of {count(report.connections.opened, 'connection')} went there, which is the first address.",
            "The resolver may sort addresses by nearness (RFC 6724), so the first one can stay the same for a client.",
        ),
    )


def balancer_biased(case: Case) -> Conclusion | None:
    """Fresh connections are significantly and noticeably unequal, also among those that get any."""
    fresh = case.fresh
    if fresh is None or fresh.placement is not Placement.BIASED or static_explanations(case.facts):
        return None
    missing = missing_names(case)
    loads = [e for e in fresh.endpoints if e.name not in missing]
    if not _noticeable(loads, case.tolerance) or (missing and e_value([e.connections for e in loads]) < 1 / case.alpha):
        return None
    top, bottom = max(loads, key=lambda e: e.connections), min(loads, key=lambda e: e.connections)
    return Conclusion(
        confidence=Confidence.CERTAIN if case.facts.service is not None else Confidence.LIKELY,
        summary=f"Fresh connections are not shared out fairly: {top.name} got {times(_ratio(top, loads))} times its fair share, "
        f"{bottom.name} {times(_ratio(bottom, loads))} times.",
        evidence=(
            f"{fresh.evidence.connections} fresh connections: {odds(fresh.evidence.e_value)}.",
            f"{_shares(loads)}; fair would be {percent(1 / len(loads))} each.",
            ruled_out(case.facts),
        ),
    )


def _choosing(case: Case) -> ProfileReport | None:
    """The profile that shows best what chooses the endpoint: the one with most connections."""
    return case.fresh or case.pooled or case.single


def _sureness(report: ProfileReport) -> Confidence:
    """How far the draws alone, beside a setting that says the same, exclude luck."""
    if report.placement is Placement.FIXED:
        return Confidence.CERTAIN
    return Confidence.LIKELY if report.evidence.connections > 1 else Confidence.POSSIBLE


def _busiest(report: ProfileReport) -> EndpointLoad:
    return max(report.endpoints, key=lambda e: e.requests)


def _noticeable(loads: list[EndpointLoad], tolerance: float) -> bool:
    """Whether somebody is further from the fair share than half of what is tolerated.

    With enough connections any real balancer differs measurably from 1/n. Half, because one endpoint of double weight among two
    or three is no further away (1.33 and 1.5 times).
    """
    margin = (tolerance - 1) / 2
    return any(abs(_ratio(load, loads) - 1) >= margin for load in loads)


def _ratio(load: EndpointLoad, loads: list[EndpointLoad]) -> float:
    """Connections over the fair share."""
    return load.connections * len(loads) / max(1, sum(e.connections for e in loads))


def _shares(loads: list[EndpointLoad]) -> str:
    total = max(1, sum(e.connections for e in loads))
    ordered = sorted(loads, key=lambda e: (-e.connections, e.name))
    return listed((f"{e.name} {percent(e.connections / total)}" for e in ordered), limit=6)
