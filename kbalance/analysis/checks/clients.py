"""What clients that hold connections make of a path that shares out fresh ones fairly."""

from collections.abc import Collection

from kbalance.analysis.case import Case, Conclusion, fair_fresh, held, met, settings, spreading_fresh, static_explanations
from kbalance.analysis.checks.measurement import ends
from kbalance.analysis.endings import ending
from kbalance.analysis.protocols import HTTP2, says
from kbalance.analysis.samplesize import expected_busiest
from kbalance.analysis.wording import PROTOCOL_NAMES, count, exchange, odds, times
from kbalance.model.report import ProfileReport
from kbalance.model.words import Confidence, Placement, PoolPolicy, Profile, Protocol, Spread

CROWDED = 2.0
"""Requests on the fullest connection over the pool's mean, from which on the pool's order and not the draw makes the load uneven:
below, the draw of a few connections already does more."""

CROWDED_REQUESTS = 5
"""And so many requests more than the mean, or the pool was hardly used."""


def pool_order(case: Case) -> Conclusion | None:
    """The pool has several connections and sends most requests down few of them, even where luck made that no worse this time."""
    pooled = case.pooled
    if pooled is None or case.n < 2 or not held(pooled) or pooled.placement in (Placement.FIXED, Placement.BIASED):
        return None
    if case.fresh is not None and not spreading_fresh(case):
        return None
    size = slots(pooled)
    if size < 2 or not crowded(pooled):
        return None
    policy = pooled.parameters.get("pool_policy")
    chosen = policy not in (None, PoolPolicy.ROUND_ROBIN)
    return Conclusion(
        confidence=Confidence.CERTAIN if chosen and fair_fresh(case) else Confidence.LIKELY,
        summary=f"The pool of {size} sends most requests down few connections, so a bigger pool would not help.",
        evidence=(
            f"pooled ({policy}): {pooled.connections.requests_max} of {pooled.requests.sent} requests on one connection; "
            f"in turn, each of {size} would carry {pooled.requests.sent / size:.0f}.",
            *_load(pooled),
            *_fresh_evidence(case),
        ),
    )


def http2_multiplexing(case: Case) -> Conclusion | None:
    """HTTP/2 was spoken, or the port speaks it: clients put all requests on one connection, which stays where it was opened."""
    pinned = connection_pinning(case)
    if pinned is None:
        return None
    if case.protocol.multiplexes:
        return _multiplexed(case, pinned)
    said = says(case.facts.service, HTTP2)
    if said is None:
        return None
    return Conclusion(
        confidence=Confidence.LIKELY,
        summary="HTTP/2 and gRPC clients put all requests on one connection, and here a connection stays on one endpoint: each "
        "client loads one of them.",
        evidence=(
            f"The Service's port has {said}.",
            *pinned.evidence,
            "Measured over HTTP/1.1: what it shows of connections holds for HTTP/2 as well.",
        ),
    )


def _multiplexed(case: Case, pinned: Conclusion) -> Conclusion:
    """What was measured over HTTP/2 itself."""
    shown = [p for p in (case.stock, case.single) if p is not None and _all_on_one(p)]
    protocol, unit = PROTOCOL_NAMES[case.protocol], exchange(case.protocol)
    who = "An ordinary gRPC client (pick_first)" if case.protocol is Protocol.GRPC else "An ordinary HTTP/2 client"
    if shown and fair_fresh(case):
        confidence = Confidence.CERTAIN
    else:
        confidence = Confidence.POSSIBLE if pinned.confidence is Confidence.POSSIBLE else Confidence.LIKELY
    habit = "puts all requests on one connection"
    part = "one of them at a time" if _one_after_the_other(case.stock) else "one of them"
    if _overflows(case.stock):
        habit, part = "opens a further connection only while the server takes no more streams on the others", "few of them"
    lifetime = ends(case)
    return Conclusion(
        confidence=confidence,
        summary=f"{who} {habit}, and here a connection stays on one endpoint: each client loads {part}.",
        evidence=(
            f"Spoken was {protocol}, which carries many {unit}s at once on a connection.",
            *(line for p in (case.stock, case.single, case.pooled) if p is not None and held(p) for line in _load(p)),
            *(
                (f"The server ends connections {ending(lifetime)}, and the next one is drawn anew.",)
                if lifetime is not None
                else ()
            ),
            *_fresh_evidence(case),
            *settings(case.facts),
            *_unmeasured(case, shown),
        ),
    )


def _all_on_one(report: ProfileReport) -> bool:
    """Whether one connection carried everything to one endpoint, though requests could have gone elsewhere.

    The stock client had a pool to fill. The single client has one connection by definition, and shows something where several
    requests were under way on it.
    """
    choice = report.profile is Profile.STOCK or report.connections.streams_max > 1
    return choice and held(report) and report.spread is Spread.PINNED and report.connections.opened == 1


def _overflows(stock: ProfileReport | None) -> bool:
    """Whether an ordinary client had several connections at once: more than those that took the place of ended ones."""
    if stock is None:
        return False
    counts = stock.connections
    return counts.opened > 1 + counts.closed_by_server + counts.closed_by_failure


def _one_after_the_other(stock: ProfileReport | None) -> bool:
    """Whether an ordinary client came to several endpoints, since connections took the place of ended ones."""
    return stock is not None and not _overflows(stock) and len(met(stock)) > 1


def _unmeasured(case: Case, shown: Collection[ProfileReport]) -> tuple[str, ...]:
    if shown or case.stock is not None:
        return ()
    return ("How many connections an ordinary client takes was not measured; add --profile stock.",)


def connection_pinning(case: Case) -> Conclusion | None:
    """Requests follow their connection, and a connection stays on the endpoint that it was drawn for."""
    sticking = [p for p in case.keeping if held(p) and _unequal(p)]
    if case.n < 2 or not sticking or any(p.several for p in case.through):
        return None
    if case.fresh is None:
        if any(p.placement is Placement.FIXED for p in sticking):
            return None
        confidence = Confidence.POSSIBLE if static_explanations(case.facts) else Confidence.LIKELY
    elif case.fresh.spread in (Spread.EVEN, Spread.UNEVEN) and case.fresh.placement is not Placement.FIXED:
        confidence = Confidence.CERTAIN if fair_fresh(case) else Confidence.LIKELY
    else:
        return None
    return Conclusion(
        confidence=confidence,
        summary="Each connection stays on one endpoint, so clients that keep connections load endpoints unevenly.",
        evidence=(
            *(line for p in sticking for line in _load(p)),
            *_fresh_evidence(case),
            *settings(case.facts),
        ),
    )


def small_sample(case: Case) -> Conclusion | None:
    """The pool is uneven by no more than few connections make it by luck."""
    pooled = case.pooled
    if pooled is None or not held(pooled) or pooled.expected_busiest is None or pooled.busiest is None:
        return None
    if not _unequal(pooled) or pooled.placement not in (Placement.UNKNOWN, Placement.RANDOM) or not spreading_fresh(case):
        return None
    if pool_order(case) is not None or case.dead or pooled.connections.failed or case.expected.because is not None:
        return None
    draws = pooled.evidence.connections
    return Conclusion(
        confidence=Confidence.CERTAIN if fair_fresh(case) else Confidence.LIKELY,
        summary=f"A pool of {draws} over {count(case.n, 'endpoint')} is this uneven by luck; many clients even out.",
        evidence=(
            f"pooled: the busiest endpoint got {times(pooled.busiest)} times its fair share; fair draws of {draws} connections "
            f"give {times(pooled.expected_busiest)} on average ({odds(pooled.evidence.e_value)}).",
            f"100 such clients together: {times(expected_busiest(100 * draws, case.n))}.",
        ),
    )


def _unequal(report: ProfileReport) -> bool:
    return report.spread in (Spread.PINNED, Spread.UNEVEN)


def slots(report: ProfileReport) -> int:
    """The size of the pool; of all vantage points' pools together."""
    planned = report.parameters.get("connections")
    return planned if isinstance(planned, int) and planned else report.connections.planned


def crowded(report: ProfileReport) -> bool:
    """Whether the fullest connection carries far more than the mean of the pool."""
    mean = report.requests.sent / slots(report)
    return report.connections.requests_max >= max(CROWDED * mean, mean + CROWDED_REQUESTS)


def _load(report: ProfileReport) -> tuple[str, ...]:
    """Requests, connections and what became of them."""
    requests = f"{report.profile}: {count(report.requests.answered, 'request')}"
    went = f"{requests} of a pool of up to {slots(report)} went on" if report.profile is Profile.STOCK else f"{requests} on"
    opened = f"{went} {count(report.connections.opened, 'connection')}{_at_once(report)}"
    if report.spread is Spread.PINNED:
        name = max(report.endpoints, key=lambda e: e.requests).name
        return (f"{opened}, all answered by {name} of {len(report.endpoints)} endpoints.",)
    return (f"{opened}, busiest endpoint {times(report.busiest or 0)} times its fair share.",)


def _at_once(report: ProfileReport) -> str:
    streams = report.connections.streams_max
    several = report.profile is Profile.STOCK and report.connections.opened > 1 and not _overflows(report)
    told = [*(["one after the other ended"] if several else []), *([f"{streams} streams at once"] if streams > 1 else [])]
    return f" ({', '.join(told)})" if told else ""


def _fresh_evidence(case: Case) -> tuple[str, ...]:
    """What fresh connections did, or that they were not measured."""
    fresh = case.fresh
    if fresh is None:
        return ("Whether fresh connections spread was not measured; add --profile short-lived.",)
    reached = sum(1 for e in fresh.endpoints if e.connections)
    left, why = len(case.expected.among), case.expected.because
    among = f"{case.n} endpoints" if why is None else f"the {left} endpoints that {why} leaves of {case.n}"
    line = f"short-lived: {fresh.evidence.connections} fresh connections reached {reached} of {among}"
    if fresh.placement is Placement.EVEN:
        return (f"{line} in turn.",)
    return (f"{line}; {odds(fresh.evidence.e_value)}{_missed(fresh)}.",)


def _missed(fresh: ProfileReport) -> str:
    """What else may be true, and what would exclude it."""
    if fresh.placement is Placement.BIASED:
        return ""
    if fresh.evidence.enough:
        return ", and none has double the weight of the others or a quarter"
    if fresh.requests.failed:
        return f", and {fresh.requests.failed} that failed leave it open"
    more = f"; {fresh.evidence.more} more settle it at the latest" if fresh.evidence.more else ""
    return f", too few to exclude a bias{more}"
