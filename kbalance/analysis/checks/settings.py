"""What a setting of the Service makes of connections, where they were seen to follow it."""

from collections.abc import Collection, Mapping, Sequence

from kbalance.analysis.case import Case, Conclusion, choosing, met, stranded
from kbalance.analysis.expectation import from_outside
from kbalance.analysis.wording import count, listed, odds, percent, times
from kbalance.model.report import EndpointLoad, ProfileReport
from kbalance.model.target import EndpointFacts
from kbalance.model.words import Confidence, FactsSource, Placement, Spread

OUTSIDE_TYPES = ("NodePort", "LoadBalancer")
"""Of Services that have clients outside the cluster."""


def session_affinity(case: Case) -> Conclusion | None:
    """The Service is told to keep each client address on one endpoint, and it does."""
    service, report = case.facts.service, choosing(case)
    if service is None or service.session_affinity == "None" or case.n < 2 or report is None:
        return None
    if case.nothing_through and case.dead:
        return _kept_on_a_dead_one(case, report, service.session_affinity)
    if report.spread is not Spread.PINNED:
        return None
    opened = count(report.connections.opened, "connection")
    return Conclusion(
        confidence=_sureness(report),
        summary=f"sessionAffinity: {service.session_affinity} keeps this client on {busiest(report).name} "
        f"whatever connections it opens; {_others(case.n - 1)} nothing from it.",
        evidence=(
            f"The Service has sessionAffinity: {service.session_affinity}{_timeout(service.affinity_timeout_s)}.",
            f"{report.profile}: all of {opened} reached {busiest(report).name}; {odds(report.evidence.e_value)}.",
        ),
    )


def _kept_on_a_dead_one(case: Case, report: ProfileReport, setting: str) -> Conclusion:
    """Others answer directly, and nothing came back through the Service: luck would have met one of them."""
    alive = case.n - len(case.dead)
    return Conclusion(
        confidence=Confidence.CERTAIN if report.requests.failed >= 10 else Confidence.LIKELY,
        summary=f"sessionAffinity: {setting} keeps this client on an endpoint that fails: {listed(sorted(case.dead))}.",
        evidence=(
            f"The Service has sessionAffinity: {setting}.",
            f"{report.profile}: all of {count(report.requests.failed, 'request')} failed, though {count(alive, 'endpoint')} of "
            f"{case.n} answer when asked directly.",
        ),
    )


def _timeout(seconds: int | None) -> str:
    return "" if seconds is None else f", which is forgotten after {seconds} s without a connection"


def traffic_policy_local(case: Case) -> Conclusion | None:
    """The Service is told to stay on the client's node, and connections do."""
    service, report = case.facts.service, choosing(case)
    if service is None or service.internal_traffic_policy != "Local" or report is None:
        return None
    if (place := stranded(case)) is not None:
        return Conclusion(
            confidence=Confidence.CERTAIN if case.nothing_through else Confidence.LIKELY,
            summary=f"internalTrafficPolicy: Local, and {place} has no ready endpoint: clients there get no answer.",
            evidence=(
                "The Service has internalTrafficPolicy: Local.",
                f"All {count(case.n, 'ready endpoint')} are on other nodes: {_where(case.facts.ready)}.",
                f"{report.profile}: {report.requests.failed} of {count(report.requests.sent, 'request')} failed.",
            ),
        )
    if case.expected.because is not None and set(case.expected.among) <= case.dead:
        return _kept_on_dead_ones(case)
    reached = met(report)
    here = case.vantage.node if case.vantage is not None else None
    nodes = {nodes_of(case).get(name) for name in reached}
    if not reached or len(reached) == case.n or len(nodes) != 1 or None in nodes or (here is not None and nodes != {here}):
        return None
    where = next(iter(nodes))
    return Conclusion(
        confidence=Confidence.CERTAIN if here is not None else Confidence.LIKELY,
        summary=f"internalTrafficPolicy: Local keeps clients on {where} to its own {count(len(reached), 'endpoint')};"
        f" {_others(case.n - len(reached))} nothing from there.",
        evidence=("The Service has internalTrafficPolicy: Local.", *_kept(case, report, reached, f"on {where}")),
    )


def _kept_on_dead_ones(case: Case) -> Conclusion:
    among = case.expected.among
    return Conclusion(
        confidence=Confidence.CERTAIN if case.nothing_through else Confidence.LIKELY,
        summary=f"{case.expected.because} leaves this client only what fails: {listed(among)}.",
        evidence=(f"{_others(case.n - len(among)).capitalize()} nothing from here, whether or not they would answer.",),
    )


def _others(n: int) -> str:
    return "the other endpoint gets" if n == 1 else f"the other {n} endpoints get"


def topology_hints(case: Case) -> Conclusion | None:
    """The EndpointSlices name zones or nodes for their endpoints, and connections keep to those of the client."""
    report = choosing(case)
    hints = {e.name: set(e.hints) for e in case.facts.ready}
    service = case.facts.service
    if report is None or not hints or not all(hints.values()) or (service and service.internal_traffic_policy == "Local"):
        return None
    if case.expected.because is not None and set(case.expected.among) <= case.dead:
        return _kept_on_dead_ones(case)
    reached = met(report)
    if not reached <= hints.keys() or not reached or len(reached) == case.n:
        return None
    if case.expected.because is not None:
        where = case.expected.because.rpartition(" ")[2] if reached == set(case.expected.among) else None
    else:
        where = _shared_place(case, hints, reached)
    if where is None:
        return None
    why = service.traffic_distribution if service is not None else None
    return Conclusion(
        confidence=Confidence.CERTAIN if case.expected.because is not None else Confidence.LIKELY,
        summary=f"Topology hints keep clients in {where} to {len(reached)} of {case.n} endpoints;"
        f" {_others(case.n - len(reached))} nothing from there.",
        evidence=(
            f"The Service has trafficDistribution: {why}, and every endpoint has hints."
            if why
            else "Every endpoint has hints in its EndpointSlice.",
            *_kept(case, report, reached, f"with endpoints hinted for {where}"),
        ),
    )


def _shared_place(case: Case, hints: Mapping[str, set[str]], reached: Collection[str]) -> str | None:
    """The hint that all have who were reached and nobody else; the client's own where its place is known."""
    vantage = case.vantage
    own = {place for place in (vantage.zone, vantage.node) if place is not None} if vantage is not None else set()
    shared = set.intersection(*(hints[name] for name in reached))
    known = shared & own if own else shared
    others = set[str]().union(*(hints[name] for name in hints.keys() - set(reached)))
    return min(known - others, default=None)


def _kept(case: Case, report: ProfileReport, reached: Collection[str], where: str) -> tuple[str, ...]:
    """The connections that stayed, and whether they were shared out fairly among those that remain."""
    stayed = f"{report.profile}: all of {count(report.evidence.connections, 'connection')} stayed {where}:"
    among = len(case.expected.among)
    fair = () if case.expected.because is None or among < 2 else (f"Among these {among}: {odds(report.evidence.e_value)}.",)
    return (f"{stayed} {listed(sorted(reached))}.", *fair)


def external_traffic_policy(case: Case) -> Conclusion | None:
    """Clients outside the cluster reach each node alike, and nodes have different numbers of endpoints."""
    service = case.facts.service
    if service is None or service.type not in OUTSIDE_TYPES or service.external_traffic_policy != "Local" or case.n < 2:
        return None
    shares = from_outside(case.facts.ready)
    if shares is None or max(shares.values()) * case.n <= case.tolerance:
        return None
    name = max(shares, key=lambda e: (shares[e], e))
    return Conclusion(
        confidence=Confidence.LIKELY,
        summary=f"externalTrafficPolicy: Local and uneven nodes: from outside the cluster {name} gets "
        f"{times(shares[name] * case.n)} times its fair share.",
        evidence=(
            f"The Service is of type {service.type} with externalTrafficPolicy: Local.",
            f"Ready endpoints on each node: {_where(case.facts.ready)}.",
            f"By arithmetic, for connections that arrive at each of these nodes alike: {_listed_shares(shares)}.",
            "Clients inside the cluster are not concerned; traffic from outside was not measured.",
        ),
    )


def _where(endpoints: Sequence[EndpointFacts]) -> str:
    nodes = sorted({e.node or "node not known" for e in endpoints})
    return listed(f"{node} has {sum((e.node or 'node not known') == node for e in endpoints)}" for node in nodes)


def _listed_shares(shares: Mapping[str, float]) -> str:
    ordered = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
    return listed(f"{name} {percent(share)}" for name, share in ordered)


def headless_first_address(case: Case) -> Conclusion | None:
    """The name stands for all endpoints, and who takes its first address meets one of them."""
    service, report = case.facts.service, choosing(case)
    several = case.facts.source is FactsSource.DNS or (service is not None and service.headless)
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


def nodes_of(case: Case) -> dict[str, str | None]:
    """The node of each ready endpoint."""
    return {e.name: e.node for e in case.facts.ready}


def busiest(report: ProfileReport) -> EndpointLoad:
    """The endpoint with most requests."""
    return max(report.endpoints, key=lambda e: e.requests)


def _sureness(report: ProfileReport) -> Confidence:
    """How far the draws alone, beside a setting that says the same, exclude luck."""
    if report.placement is Placement.FIXED:
        return Confidence.CERTAIN
    return Confidence.LIKELY if report.evidence.connections > 1 else Confidence.POSSIBLE
