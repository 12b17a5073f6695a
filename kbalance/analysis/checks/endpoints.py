"""What is wrong with single endpoints: failing, slow, never chosen, or not an endpoint at all."""

import math

from kbalance.analysis.case import Case, Conclusion, came_back, failed_share, unexplained
from kbalance.analysis.changes import standing
from kbalance.analysis.samplesize import SELDOM, draws_to_fix, draws_to_miss
from kbalance.analysis.statistics import e_value
from kbalance.analysis.wording import count, failure_kinds, failures_of, listed, millis, percent
from kbalance.model.report import EndpointLoad, ProfileReport
from kbalance.model.words import Confidence, FactsSource, Failure, Placement, Spread

FAILING_SHARE = 0.1
"""Of one endpoint's requests: a tenth is ten times what retries and rollouts explain."""

FAILING_LEAST = 2
"""Requests: a single one may be a connection that the server closed at that moment."""

FRESH_FAILED_LEAST = 5
"""Fresh connections that must fail before one reasons from their share."""

FAILING_LEADS = 0.2
"""Of the requests through the target's address: whatever else is found, so many failures come first."""

FAILING_AT_TIMES = 0.01
"""Of the requests on fresh connections, from which on they no longer count as healthy."""

SLOW_RATIO = 3.0
"""Median over the others' median: below, another node or a colder cache will do it."""

SLOW_FLOOR_MS = 10.0
"""And so much in all: 0.2 ms against 0.6 ms is a ratio of three that no user feels and one busy core makes."""

SLOW_ANSWERS = 5
"""A median of fewer is one request's bad luck."""

UNEVEN_TAIL = 5.0
"""Ninth decile over the median, at most endpoints: for one and the same request, the work and not the network varies so."""

SLOW_LISTED = 5
"""Slow endpoints whose numbers are given; their names stand in the summary."""


def endpoint_failing(case: Case) -> Conclusion | None:
    """Endpoints that fail when dialled directly, or the shadow they throw on fresh connections."""
    if not any(came_back(p) for p in case.profiles):
        return None
    if case.direct is None:
        return _failing_unseen(case)
    failing = failing_directly(case)
    unreachable = all(e.failed == e.requests for e in case.direct.endpoints)
    if unreachable and any(_works(p) for p in case.through):
        # All fail directly and yet the target answers: it is the direct way that is closed from here, not the endpoints.
        return None
    if not failing:
        return _failing_at_times(case)
    everyone = len(failing) == len(case.direct.endpoints)
    who = f"all {len(failing)} endpoints" if everyone and len(failing) > 1 else listed(e.name for e in failing)
    clear = not everyone and all(2 * e.failed >= e.requests for e in failing)
    return Conclusion(
        confidence=Confidence.CERTAIN if clear else Confidence.LIKELY,
        summary=f"Ready but failing when asked directly: {who} ({failure_kinds(case.direct, failing[0].name)}"
        + (f", {percent(failed_share(case.direct))} of the requests)." if everyone else ")."),
        evidence=(
            *(_direct_failures(case.direct, e) for e in failing),
            *_fresh_failures(case.fresh, len(failing), len(case.direct.endpoints)),
        ),
    )


def failing_directly(case: Case) -> list[EndpointLoad]:
    """Endpoints that failed too often when asked directly, but for those that left during the run."""
    asked, gone = case.direct.endpoints if case.direct is not None else (), _gone(case)
    return [e for e in asked if e.failed >= max(FAILING_LEAST, FAILING_SHARE * e.requests) and e.name not in gone]


def avoided(case: Case) -> dict[str, int]:
    """Slow endpoints with their fresh connections, where they get less than the others and these are treated alike."""
    fresh, slow = case.fresh, {e.name for e, _ in _slow(case)}
    if fresh is None or not slow or fresh.placement is not Placement.BIASED:
        return {}
    drawn = {e.name: e.connections for e in fresh.endpoints if e.expected_share}
    others = [count for name, count in drawn.items() if name not in slow]
    if not others or e_value(others) >= 1 / case.alpha:
        return {}
    fewer = {name: drawn[name] for name in slow if name in drawn and drawn[name] < min(others)}
    return fewer if len(fewer) == len(slow) else {}


def _slow(case: Case) -> list[tuple[EndpointLoad, float]]:
    """Slow endpoints, and their median over the others'."""
    measured = _timed(case.direct) if case.direct is not None else []
    found = ((e, _slowness(e, [o for o in measured if o is not e])) for e in measured)
    return [(e, ratio) for e, ratio in found if ratio is not None and _slow_elsewhere(case, e.name)]


def _timed(report: ProfileReport) -> list[EndpointLoad]:
    """Endpoints with answers enough for a median."""
    return [e for e in report.endpoints if e.latency_ms is not None and e.requests - e.failed >= SLOW_ANSWERS]


def _slow_elsewhere(case: Case, name: str) -> bool:
    """Whether fresh connections do not speak against it: a moment in which its node stood still shows in one profile only.

    They are not compared with anything: requests that wait for a slow endpoint make all of them late, in either profile.
    """
    timed = _timed(case.fresh) if case.fresh is not None else []
    return all(_p50(e) >= SLOW_FLOOR_MS for e in timed if e.name == name)


def _gone(case: Case) -> set[str]:
    """Endpoints that were there when the run began and had left or were leaving when it ended: no wonder that they failed."""
    if case.facts_after is None or case.facts.source is not FactsSource.API:
        return set()
    return {e.name for e in case.facts.ready} - {e.name for e in case.facts_after.ready}


def slow_endpoint(case: Case) -> Conclusion | None:
    """Endpoints whose median, asked directly, lies beyond nearly all answers of the others."""
    slow = _slow(case)
    if case.direct is None or not slow:
        return None
    names = [e.name for e, _ in slow]
    worst = max(slow, key=lambda pair: pair[1])[0]
    others = [e for e in _timed(case.direct) if e.name not in names]
    typical = middle([_p50(e) for e in others]) or 0.0
    return Conclusion(
        confidence=Confidence.CERTAIN if len(slow) == 1 and worst.requests >= 2 * SLOW_ANSWERS else Confidence.LIKELY,
        summary=f"Far slower than the others when asked directly: {listed(names)} "
        f"({millis(_p50(worst))} at the median, the others {millis(typical)}).",
        evidence=(
            *(_median_of(e) for e, _ in slow[:SLOW_LISTED]),
            f"The other {count(len(others), 'endpoint')}: median {millis(typical)}, "
            f"nine of ten within {millis(max((_p90(e) for e in others), default=0.0))} at each.",
            *(
                f"Fresh connections avoid it: {name} got {got} of {case.fresh.evidence.connections}, as least connections has it."
                for name, got in avoided(case).items()
                if case.fresh is not None
            ),
        ),
    )


def uneven_work(case: Case) -> Conclusion | None:
    """The same request takes very different times at the same endpoint, at most of them."""
    if case.direct is None or any(p.spread is not Spread.EVEN for p in (case.direct, case.fresh) if p is not None):
        return None
    measured = [e for e in case.direct.endpoints if e.latency_ms is not None and e.requests - e.failed >= 2 * SLOW_ANSWERS]
    varying = [e for e in measured if _p90(e) >= UNEVEN_TAIL * _p50(e) and _p90(e) - _p50(e) >= SLOW_FLOOR_MS]
    if len(varying) * 2 <= len(case.direct.endpoints) or (case.fresh is not None and not _varies(case.fresh)):
        return None
    worst = max(varying, key=_p90)
    return Conclusion(
        confidence=Confidence.LIKELY if case.fresh is not None else Confidence.POSSIBLE,
        summary=f"Even counts are not even work: the same request takes {millis(_p50(worst))} or {millis(_p90(worst))} at one "
        "endpoint.",
        evidence=(
            f"At {len(varying)} of {count(len(measured), 'endpoint')} one answer in ten takes {UNEVEN_TAIL:.0f} times the median "
            "or more.",
            *(_median_of(e) for e in sorted(varying, key=lambda e: -_p90(e))[:3]),
        ),
    )


def _varies(report: ProfileReport) -> bool:
    """Whether at most endpoints the tail is long here too: one moment at which all stood still shows in one profile only."""
    known = [e for e in report.endpoints if e.latency_ms is not None]
    return sum(_p90(e) >= UNEVEN_TAIL * _p50(e) and _p90(e) - _p50(e) >= SLOW_FLOOR_MS for e in known) * 2 > len(known)


def missing_endpoint(case: Case) -> Conclusion | None:
    """Endpoints that fresh connections never reach although they are ready and answer."""
    missing = missing_names(case)
    if case.fresh is None or not missing:
        return None
    asked = {e.name: e for e in case.direct.endpoints if e.requests > e.failed} if case.direct else {}
    draws = case.fresh.evidence.connections
    return Conclusion(
        confidence=_sure_of_missing(case, asked=bool(asked)),
        summary=f"Ready but never chosen by {draws} fresh connections: {listed(missing)}; {_why_missing(case)}.",
        evidence=(
            *(
                ("An endpoint that is always met may also be the one of this client's address; --workers 2 would tell.",)
                if case.fresh.placement is Placement.FIXED
                else ()
            ),
            f"{draws} connections would have met an endpoint of a tenth of the others' weight with "
            f"{percent(_chance(draws, case))}.",
            *(f"{n}: {asked[n].requests} direct requests, {asked[n].failed} failed." for n in missing if n in asked),
            *(() if asked else ("The endpoints were not asked directly; add --profile per-endpoint.",)),
        ),
    )


def _why_missing(case: Case) -> str:
    if case.facts.service is None:
        return "the rules on the way are stale, or a local traffic policy leaves it out"
    return "the rules on the way look stale"


def _chance(draws: int, case: Case) -> float:
    """Of meeting one of a tenth of the others' weight."""
    n = len(case.expected.among)
    return 1 - (1 - SELDOM / (n - 1 + SELDOM)) ** draws


def _sure_of_missing(case: Case, *, asked: bool) -> Confidence:
    if case.fresh is not None and case.fresh.placement is Placement.FIXED:
        return Confidence.POSSIBLE
    return Confidence.CERTAIN if asked and case.facts.service is not None else Confidence.LIKELY


def unknown_endpoint(case: Case) -> Conclusion | None:
    """Answers that carry the name of somebody who should not get traffic."""
    answers = case.strangers
    if not answers or case.learned:
        return None
    sure = case.facts.source is FactsSource.API
    return Conclusion(
        confidence=(Confidence.CERTAIN if case.identity.calibrated else Confidence.LIKELY) if sure else Confidence.POSSIBLE,
        summary=f"Answered, but not among the ready endpoints: {listed(answers)}.",
        evidence=(
            *(f"{name}: {count(n, 'answer')}, {standing(name, case.facts, case.facts_after)}." for name, n in answers.items()),
            *(() if sure else ("The list of endpoints does not come from the API and may be incomplete.",)),
        ),
    )


def missing_names(case: Case) -> tuple[str, ...]:
    """Endpoints left out by fresh connections, not by accident, not by a setting, and not because they fail."""
    fresh = case.fresh
    if fresh is None or case.dialled or case.learned or case.proxied or unexplained(case):
        return ()
    among = [e for e in fresh.endpoints if e.expected_share]
    fixed = fresh.placement is Placement.FIXED
    needed = draws_to_fix() if fixed and len(among) > 2 else draws_to_miss(len(among))
    if not (fixed or _unfair(case, fresh, among)) or fresh.evidence.connections < needed:
        return ()
    return tuple(e.name for e in among if not e.connections and e.name not in {*case.dead, *case.at_once})


def _unfair(case: Case, fresh: ProfileReport, among: list[EndpointLoad]) -> bool:
    """Whether the draw was shown to be unfair.

    Connections that failed may have gone to whoever has fewest, and hide it then. Where endpoints fail directly, they went there.
    """
    if fresh.placement is Placement.BIASED:
        return True
    failing = [e.name for e in among if e.name in case.dead]
    if not failing or fresh.placement is not Placement.UNKNOWN:
        return False
    each = fresh.connections.failed // len(failing)
    evidence = e_value([e.connections + (each if e.name in failing else 0) for e in among])
    return evidence >= 1 / (fresh.evidence.alpha or case.alpha)


def _failing_unseen(case: Case) -> Conclusion | None:
    """Without direct connections: fresh ones that fail in the proportion of whole endpoints."""
    fresh, n = case.fresh, case.n
    if fresh is None or case.learned or n < 2 or fresh.requests.failed < FRESH_FAILED_LEAST:
        return _failing_through(case)
    share = failed_share(fresh)
    if share < 0.5 / n:
        return _failing_through(case)
    suspects = [e.name for e in fresh.endpoints if e.requests == e.failed or e.failed > e.requests / 2]
    fits = 0 < len(suspects) < n and abs(share - len(suspects) / n) < 3 * _deviation(len(suspects) / n, fresh)
    whom = f"{listed(suspects)} would explain it" if fits else "asking each endpoint directly would tell (--profile per-endpoint)"
    return Conclusion(
        confidence=Confidence.LIKELY if fits or share >= FAILING_LEADS else Confidence.POSSIBLE,
        summary=f"{percent(share)} of the requests on fresh connections failed ({failure_kinds(fresh)}); {whom}.",
        evidence=(
            *_fresh_failures(fresh, max(1, len(suspects)), n),
            "The endpoints were not asked directly.",
        ),
    )


def _failing_through(case: Case) -> Conclusion | None:
    """Kept connections alone, and so many of their requests fail that nothing else comes before it."""
    failing = [p for p in case.through if failed_share(p) >= FAILING_LEADS and p.requests.failed >= FRESH_FAILED_LEAST]
    failed, answered = (sum(getattr(p.requests, what) for p in case.through) for what in ("failed", "answered"))
    if not failing or failed < FAILING_LEADS * (failed + answered):
        return None
    worst = max(failing, key=failed_share)
    ask = "; asking each endpoint directly would tell whose they are (--profile per-endpoint)"
    return Conclusion(
        confidence=Confidence.LIKELY,
        summary=f"{percent(failed / (failed + answered))} of the requests failed ({failure_kinds(worst)})"
        f"{ask if case.n > 1 and not case.learned else ''}.",
        evidence=(
            *(f"{p.profile}: {percent(failed_share(p))} of the requests failed: {failures_of(p)}." for p in failing),
            "The endpoints were not asked directly.",
        ),
    )


def _failing_at_times(case: Case) -> Conclusion | None:
    """Endpoints answered directly on their one connection each, and yet fresh ones fail: one fails at times, or a proxy does."""
    fresh = case.fresh
    if fresh is None or case.n < 2 or case.learned or failed_share(fresh) < FAILING_AT_TIMES or _gone(case):
        return None
    if case.nothing_through:
        # That is no endpoint's doing: a local policy, say, or a way that is closed.
        return None
    # A run stops early where nearly all fail.
    if fresh.requests.failed < (FRESH_FAILED_LEAST if failed_share(fresh) < 0.5 else FAILING_LEAST):
        return None
    suspects, own = failing_at_times(case), proxys_own_errors(case)
    who = listed(suspects) if suspects else "the proxy on the way" if own else "something on the way"
    share, tried = percent(failed_share(fresh)), fresh.requests.failed + fresh.requests.answered
    return Conclusion(
        confidence=Confidence.LIKELY,
        summary=f"{share} of the requests on fresh connections failed ({failure_kinds(fresh)}), though every endpoint answered "
        f"directly: {who} {'fail' if len(suspects) > 1 else 'fails'} at times.",
        evidence=(
            f"short-lived: {fresh.requests.failed} of {count(tried, 'request')} failed: {failures_of(fresh)}.",
            *(
                (f"Given back to {suspects[0]}, and to nobody else, they make the draw a fair one.",)
                if suspects and not _erring(fresh)
                else ()
            ),
            *((f"{count(own, 'error answer')} by way of the proxy had no endpoint's name: most likely its own.",) if own else ()),
            "Directly, each endpoint was asked over one connection.",
        ),
    )


def failing_at_times(case: Case) -> list[str]:
    """Endpoints that answered directly, and that fresh connections speak against.

    By the answers that have an error status; else by who got fewer than the others: with the failed connections given back to it,
    the draw is fair.
    """
    if case.fresh is None:
        return []
    return _erring(case.fresh) or _fitting(case.fresh, case.alpha)


def proxys_own_errors(case: Case) -> int:
    """Error answers through a proxy that name no endpoint, where none is suspected and none gave one when asked directly."""
    if case.direct is None or case.direct.requests.failed or not case.proxied or failing_at_times(case):
        return 0
    return sum(f.requests for p in case.through for f in p.failures if f.kind is Failure.STATUS and f.endpoint is None)


def _erring(fresh: ProfileReport) -> list[str]:
    among = [e for e in fresh.endpoints if e.expected_share]
    return [e.name for e in among if e.failed >= max(FAILING_LEAST, FAILING_SHARE * e.requests)]


def _fitting(fresh: ProfileReport, alpha: float) -> list[str]:
    """The one whose losses the failed connections are; nobody where they could be several ones'."""
    among = [e for e in fresh.endpoints if e.expected_share]
    lost = fresh.requests.failed - sum(e.failed for e in among)
    fitting = [e.name for e in among if e_value(_given_back(among, e.name, lost)) < 1 / alpha] if lost else []
    return fitting if len(fitting) == 1 else []


def _given_back(loads: list[EndpointLoad], name: str, failed: int) -> list[int]:
    return [e.connections + (failed if e.name == name else 0) for e in loads]


def _deviation(share: float, report: ProfileReport) -> float:
    """Standard deviation of a share over a report's requests."""
    return math.sqrt(share * (1 - share) / max(1, report.requests.sent))


def _direct_failures(direct: ProfileReport, load: EndpointLoad) -> str:
    return f"{load.name}: {load.failed} of {load.requests} direct requests failed: {failures_of(direct, load.name)}."


def _fresh_failures(fresh: ProfileReport | None, failing: int, n: int) -> tuple[str, ...]:
    if fresh is None or not fresh.requests.failed:
        return ()
    failed = f"{fresh.requests.failed} of {fresh.requests.sent} requests on fresh connections failed"
    expected = f"{failing} of {n} endpoints failing would make it {percent(failing / n)}"
    return (f"{failed} ({percent(failed_share(fresh))}); {expected}.",)


def _works(report: ProfileReport) -> bool:
    return report.requests.answered > report.requests.failed


def _slowness(load: EndpointLoad, others: list[EndpointLoad]) -> float | None:
    """How many times the others' median this endpoint's is, if that is no noise."""
    typical, tail = (middle([value(o) for o in others]) for value in (_p50, _p90))
    if typical is None or tail is None:
        return None
    mine = _p50(load)
    far = mine >= SLOW_RATIO * typical and mine - typical >= SLOW_FLOOR_MS and mine > tail
    return mine / typical if far and typical else None


def _p50(load: EndpointLoad) -> float:
    return load.latency_ms.p50 if load.latency_ms else 0.0


def _p90(load: EndpointLoad) -> float:
    return load.latency_ms.p90 if load.latency_ms else 0.0


def middle(values: list[float]) -> float | None:
    """The median; ``None`` of nothing."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2 if ordered else None


def _median_of(load: EndpointLoad) -> str:
    quantiles = f"median {millis(_p50(load))}, nine of ten within {millis(_p90(load))}"
    return f"{load.name}: {quantiles} ({count(load.requests, 'request')})."
