"""What a proxy on the way makes of requests and connections."""

from collections.abc import Iterator, Sequence

from kbalance.analysis.case import Case, Conclusion, choosing, met
from kbalance.analysis.samplesize import draws_to_fix, draws_to_miss, noticeable
from kbalance.analysis.statistics import e_value
from kbalance.analysis.wording import count, exchange, listed, odds, percent, times
from kbalance.model.report import ProfileReport
from kbalance.model.words import Confidence, Placement, Spread

STICKING = 6.0
"""Standard deviations: below once in a billion fair runs, and a proxy that keeps connections is beyond it within a hundred."""


def per_request_balancing(case: Case) -> Conclusion | None:
    """One connection answered by several endpoints: something on the way places requests."""
    mixed = [p for p in case.through if p.several]
    if not mixed or _keeps_connections(case):
        return None
    uneven = [p for p in mixed if p.spread in (Spread.UNEVEN, Spread.PINNED)]
    tail = f", though not evenly ({uneven[0].profile}: {times(uneven[0].busiest or 0)} times the fair share)" if uneven else ""
    return Conclusion(
        confidence=Confidence.CERTAIN if sum(p.several for p in mixed) > 1 or not case.learned else Confidence.LIKELY,
        summary=f"A proxy on the way balances single {exchange(case.protocol)}s{tail}: clients may keep their connections.",
        evidence=(
            *(
                f"{p.profile}: {p.several} of {count(p.connections.opened, 'connection')} answered by two or more endpoints."
                for p in mixed
            ),
            *_signs(case),
        ),
    )


def proxy_keepalive(case: Case) -> Conclusion | None:
    """Fresh connections of the client meet few endpoints, because a proxy goes on using connections of its own."""
    fresh = case.fresh
    if fresh is None or case.n < 2 or case.dialled or case.expected.because or fresh.placement is Placement.EVEN:
        return None
    service = case.facts.service
    if service is not None and service.session_affinity != "None":
        return None
    sure = _sure_of_keepalive(case, fresh)
    if sure is None:
        return None
    reached, drawn = sorted(met(fresh)), f"{fresh.evidence.connections} fresh connections"
    return Conclusion(
        confidence=sure,
        summary=f"A proxy on the way keeps its own connections: {drawn} met "
        + (f"only {listed(reached)}." if len(reached) < case.n else "what those few lead to, not what a draw would."),
        evidence=(
            f"short-lived: {drawn} reached {len(reached)} of {case.n} endpoints; {odds(fresh.evidence.e_value)}.",
            *_traces(case, fresh, sure),
            *_signs(case),
        ),
    )


def _traces(case: Case, fresh: ProfileReport, sure: Confidence) -> Iterator[str]:
    """What kept connections leave in the answers."""
    apart, in_a_row, sticking = _answered_at_once(case), _in_a_row(case), fresh.evidence.sticking or 0.0
    if in_a_row:
        yield f"single: {in_a_row} requests one after the other all met one endpoint, and several at a time did not."
    if apart > 1:
        yield f"Requests at the same time met {apart} endpoints, so the client's address does not decide."
    if sticking >= STICKING:
        yield f"A connection met the endpoint of the one before {sticking:.0f} standard deviations too often."
    if sure is Confidence.POSSIBLE:
        yield "A proxy that goes by a hash of the client's address would show the same; its configuration tells."


def _sure_of_keepalive(case: Case, fresh: ProfileReport) -> Confidence | None:
    """How well it is told from a proxy that goes by an address, which leads everything from here to one endpoint."""
    fixed = fresh.placement is Placement.FIXED
    apart = _answered_at_once(case) > 1
    if fixed and apart:
        return Confidence.CERTAIN if case.proxied else Confidence.LIKELY
    if _in_a_row(case):
        return Confidence.CERTAIN
    if (fresh.evidence.sticking or 0.0) >= STICKING and (case.proxied or apart):
        return Confidence.LIKELY
    if not case.proxied:
        return None
    if fixed:
        return Confidence.POSSIBLE
    left_out = {e.name for e in fresh.endpoints} - set().union(*(met(p) for p in case.through)) - case.dead
    enough = fresh.evidence.connections >= draws_to_miss(case.n)
    return Confidence.LIKELY if left_out and enough else None


def _in_a_row(case: Case) -> int:
    """Requests one after the other that all met one endpoint, though others at the same time spread over kept connections; or 0.

    Any way of choosing among endpoints would spread the ones as well; a hash of the address neither. Over HTTP/2 the single
    connection may carry several at a time, and then there are none that came one after the other.
    """
    single = case.single
    if single is None or single.several or single.spread is not Spread.PINNED or single.requests.answered < draws_to_fix():
        return 0
    if single.connections.streams_max > 1:
        return 0
    return single.requests.answered if any(p.several for p in case.through) else 0


def _keeps_connections(case: Case) -> bool:
    """Whether that is more than a possibility."""
    found = proxy_keepalive(case)
    return found is not None and found.confidence is not Confidence.POSSIBLE


def proxy_policy(case: Case) -> Conclusion | None:
    """A proxy places requests or connections, and does not mean to be even."""
    if not case.proxied or case.n < 2 or _keeps_connections(case):
        return None
    report, counts = _policy_counts(case)
    if report is None or not far_from_fair(counts, case.tolerance):
        return None
    if e_value(counts) < 1 / (report.evidence.alpha or case.alpha):
        return None
    names = [e.name for e in report.endpoints]
    total = sum(counts)
    ranked = sorted(zip(counts, names, strict=True), key=lambda pair: (-pair[0], pair[1]))
    unit = f"{exchange(case.protocol)}s" if report.several else "connections"
    return Conclusion(
        confidence=Confidence.LIKELY if proxy_keepalive(case) is None else Confidence.POSSIBLE,
        summary=f"A proxy on the way shares {unit} out by a policy of its own, not evenly: {ranked[0][1]} got "
        f"{times(ranked[0][0] * len(counts) / total)} times its fair share.",
        evidence=(
            f"{report.profile}: {listed(f'{name} {percent(c / total)}' for c, name in ranked)}; "
            f"{total} {unit}: {odds(e_value(counts))}.",
            "Weights, least requests, a hash or a cookie would do this; it is a fault only if the proxy was meant to be even.",
            *_signs(case),
        ),
    )


def _policy_counts(case: Case) -> tuple[ProfileReport | None, tuple[int, ...]]:
    """Requests where a connection is answered by several, for then each is a draw; else fresh connections."""
    mixed = max((p for p in case.through if p.several), key=lambda p: p.requests.answered, default=None)
    if mixed is not None:
        return mixed, tuple(e.requests for e in mixed.endpoints)
    report = choosing(case)
    if report is None or not case.proxy_signs or report.placement not in (Placement.FIXED, Placement.BIASED):
        return None, ()
    return report, tuple(e.connections for e in report.endpoints)


def far_from_fair(counts: Sequence[int], tolerance: float) -> bool:
    """Whether somebody is far from the fair share: with enough connections any real balancer differs from it a little."""
    fair = max(1, sum(counts)) / len(counts)
    return any(abs(c / fair - 1) >= noticeable(len(counts), tolerance) for c in counts)


def _answered_at_once(case: Case) -> int:
    """Different endpoints that answered requests sent at the same time."""
    return len({who for who in case.at_once if who is not None})


def _signs(case: Case) -> tuple[str, ...]:
    if not case.proxy_signs:
        return ()
    return (f"Answers by way of {case.target.host} carry what direct ones do not: {listed(case.proxy_signs)}.",)
