"""Why a cause is not there: the fact or number that speaks against it; ``None`` where it is merely not shown."""

from kbalance.analysis.case import Case, fair_fresh, held, met
from kbalance.analysis.checks.clients import pool_order
from kbalance.analysis.checks.endpoints import endpoint_failing, slow_endpoint
from kbalance.analysis.checks.membership import not_ready
from kbalance.analysis.checks.proxied import per_request_balancing
from kbalance.analysis.checks.settings import external_traffic_policy
from kbalance.analysis.expectation import from_outside
from kbalance.analysis.protocols import HTTP2, says
from kbalance.analysis.wording import between, count, exchange, millis, percent, times
from kbalance.model.words import FactsSource, Placement


def no_session_affinity(case: Case) -> str | None:
    service = case.facts.service
    return "sessionAffinity is None." if service is not None and service.session_affinity == "None" else None


def no_local_policy(case: Case) -> str | None:
    service = case.facts.service
    return "internalTrafficPolicy is Cluster." if service is not None and service.internal_traffic_policy == "Cluster" else None


def no_hints(case: Case) -> str | None:
    if case.facts.source is not FactsSource.API or any(e.hints for e in case.facts.ready):
        return None
    return "No endpoint has a hint in its EndpointSlice."


def no_external_policy(case: Case) -> str | None:
    service = case.facts.service
    if service is None:
        return None
    if service.external_traffic_policy != "Local":
        return f"externalTrafficPolicy is {service.external_traffic_policy or 'not set'}."
    shares = from_outside(case.facts.ready)
    if not shares or external_traffic_policy(case) is not None:
        return None
    return f"From outside no endpoint gets more than {times(max(shares.values()) * case.n)} times its fair share."


def not_headless(case: Case) -> str | None:
    service = case.facts.service
    return "The Service has an address of its own." if service is not None and not service.headless else None


def nobody_fails(case: Case) -> str | None:
    direct = case.direct
    if (
        direct is None
        or not direct.requests.sent
        or any(e.failed for e in direct.endpoints)
        or endpoint_failing(case) is not None
    ):
        return None
    return f"{count(direct.requests.answered, 'direct request')} to {count(len(direct.endpoints), 'endpoint')}, none failed."


def nobody_is_slow(case: Case) -> str | None:
    medians = [e.latency_ms.p50 for e in case.direct.endpoints if e.latency_ms] if case.direct is not None else []
    if len(medians) < 2 or len(medians) < len(case.direct.endpoints if case.direct else ()) or slow_endpoint(case) is not None:
        return None
    low, high = min(medians), max(medians)
    ratio = f", {times(high / low)} times the fastest one" if low else ""
    return f"Asked directly, the slowest median is {millis(high)}{ratio}."


def all_are_chosen(case: Case) -> str | None:
    fresh = case.fresh
    if fresh is None or not case.n or case.learned or len(met(fresh)) < case.n:
        return None
    fewest = min(e.connections for e in fresh.endpoints)
    if case.n == 1:
        return f"Fresh connections reached the one endpoint {count(fewest, 'time')}."
    return f"Fresh connections reached all {count(case.n, 'endpoint')}, each at least {count(fewest, 'time')}."


def no_strangers(case: Case) -> str | None:
    if case.learned or case.strangers or case.identity.source is None:
        return None
    answers = sum(p.requests.answered for p in case.through)
    return f"{count(answers, 'answer')}, all from ready endpoints." if answers else None


def address_does_not_decide(case: Case) -> str | None:
    fresh = case.fresh
    if fresh is None or len(met(fresh)) < 2:
        return None
    return f"Fresh connections from one address reached {len(met(fresh))} of {case.n} endpoints."


def fairly_drawn(case: Case) -> str | None:
    fresh = case.fresh
    if fresh is None or not fair_fresh(case):
        return None
    if fresh.placement is Placement.EVEN:
        return f"{fresh.evidence.connections} fresh connections went in turn."
    low = min((e.chance_low for e in fresh.endpoints if e.expected_share and e.chance_low is not None), default=None)
    high = max((e.chance_high for e in fresh.endpoints if e.expected_share and e.chance_high is not None), default=None)
    between = "" if low is None or high is None else f", each endpoint's chance is between {percent(low)} and {percent(high)}"
    coverage = f" ({percent(fresh.evidence.coverage)} sure of all)" if between and fresh.evidence.coverage else ""
    return f"{fresh.evidence.connections} fresh connections fit a fair draw{between}{coverage}."


def held_to_one(case: Case) -> str | None:
    """No proxy places requests: a connection with many of them was answered by one endpoint."""
    keeping = [p for p in case.keeping if held(p)]
    if not keeping or any(p.several for p in case.through):
        return None
    connections = sum(p.connections.opened for p in keeping)
    requests = sum(p.requests.answered for p in keeping)
    return f"{count(requests, 'request')} on {count(connections, 'connection')}, each answered by one endpoint alone."


def in_turn(case: Case) -> str | None:
    pooled = case.pooled
    if pooled is None or not held(pooled) or pool_order(case) is not None:
        return None
    least, most = pooled.connections.requests_min, pooled.connections.requests_max
    return f"Pooled connections carried {between(str(least), str(most))} requests each."


def not_http2(case: Case) -> str | None:
    """HTTP/2 is not there, or does no harm: a connection's streams are placed one by one."""
    if case.protocol.multiplexes:
        unit, placed = exchange(case.protocol), per_request_balancing(case) is not None
        return f"The {unit}s of one connection are answered by several endpoints: each {unit} is placed." if placed else None
    service = case.facts.service
    if service is None or says(service, HTTP2):
        return None
    named = ("appProtocol", service.app_protocol), ("the name", service.port_name)
    said = " and ".join(f"{what} {word}" for what, word in named if word) or "neither name nor appProtocol"
    return f"The port has {said}, which does not stand for HTTP/2."


def all_ready(case: Case) -> str | None:
    if case.facts.source is not FactsSource.API or not case.n or not_ready(case) is not None:
        return None
    return f"{count(case.n, 'endpoint')} of {case.n} ready."


def one_version(case: Case) -> str | None:
    owners = {e.owner for e in case.facts.ready}
    return f"All endpoints belong to {next(iter(owners))}." if len(owners) == 1 and None not in owners else None


def server_keeps_connections(case: Case) -> str | None:
    keeping = [p for p in case.keeping if p.connections.opened]
    if not keeping or any(p.connections.closed_by_server for p in keeping):
        return None
    most = max(p.connections.requests_max for p in keeping)
    return f"No connection was closed by the server within {most} requests and {max(p.duration_s for p in keeping):.1f} s."
