"""What is asked of two reports: each question gets its part of alpha and answers with a verdict, the evidence and a sentence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from kbalance.analysis import comparability
from kbalance.analysis.pairing import Draws, by_endpoint, through
from kbalance.analysis.two_samples import Trials, bounds, chance_in_order, highest_rise, lowest_fall, some_rise, trials
from kbalance.analysis.wording import count, known_millis, millis, percent, times
from kbalance.model.comparison import Item
from kbalance.model.past import PastEndpoint, PastProfile, PastReport
from kbalance.model.words import Matching, Profile, Verdict

LEAST_CHANGE = 1.1
"""Factor by which the busiest endpoint's load must differ before it is called better or worse."""
MATTERS = 2.0
"""A factor that matters, as a plan looks for an endpoint of double weight: where the bounds exclude it, the load is the same."""
LEAST_MS = 5.0
"""A busy client machine adds as much by itself; two runs may differ by that much whatever the endpoints do."""

Question = tuple[float, Callable[[float], Item]]
"""A weight, and what answers with that part of alpha."""


def answered(questions: Sequence[Question], alpha: float) -> tuple[Item, ...]:
    """Every question with its part of alpha; which are asked is settled by what was measured, not by what came out."""
    total = sum(weight for weight, _ in questions)
    return tuple(answer(alpha * weight / total) for weight, answer in questions)


def questions(
    before: PastReport,
    after: PastReport,
    usable: Sequence[tuple[PastProfile, PastProfile]],
    draws: tuple[Draws, Draws],
    matching: Matching,
    *,
    learned: bool,
) -> list[Question]:
    """What is asked, the weightiest most of alpha: whether the load is more even is why somebody compares.

    Args:
        usable: The profiles that can be compared.
        draws: Of them, before and after.
        learned: Whether endpoints are known from answers alone, so that how many there are, and who got nothing, is not.
    """
    asked: list[Question] = []
    old, new = draws
    if min(len(old.counts), len(new.counts)) > 1 and old.total and new.total:
        asked.append((8, partial(_busiest, old, new, matching, not learned)))
        if not learned:
            asked.append((4, partial(_quietest, old, new, matching)))
        kept = [pair for pair in usable if through(pair[0]) and min(p.requests_most for p in pair) > 1]
        if kept:
            asked.append((1, partial(_placed_by_request, kept)))
    if not any(comparability.of_requests(before, after)):
        timed = not any(comparability.of_latencies(before, after))
        for pair in usable:
            asked += _of_requests(*pair, matching, timed=timed)
    return asked


def _of_requests(old: PastProfile, new: PastProfile, matching: Matching, *, timed: bool) -> list[Question]:
    """What is asked of one profile's failures and latencies."""
    if through(old):
        return [(3 if old.profile == Profile.SHORT_LIVED else 0.5, partial(_failed, old, new))]
    failures: list[Question] = [(3, partial(_direct_failed, old, new, matching))]
    latencies: list[Question] = [
        (2, partial(_latency, old, new, matching, "p50")),
        (1, partial(_latency, old, new, matching, "p99")),
    ]
    return failures + (latencies if timed else [])


def _judged(better: float, worse: float, share: float) -> Verdict | None:
    """What the e-values claim; both at once is no answer."""
    claims = [verdict for e, verdict in ((better, Verdict.BETTER), (worse, Verdict.WORSE)) if e >= 1 / share]
    return claims[0] if len(claims) == 1 else None


def _busiest(old: Draws, new: Draws, matching: Matching, fair: bool, share: float) -> Item:
    """Whether the busiest endpoint's part of the draws changed."""
    if matching is Matching.NAME:
        up, down = some_rise(trials(old.counts), trials(new.counts)), some_rise(trials(new.counts), trials(old.counts))
    else:
        olds, news = (trials(d.counts, len(d.counts) if fair else 1.0) for d in (old, new))
        up, down = highest_rise(olds, news), highest_rise(news, olds)
    before, after = old.busiest, new.busiest
    claimed = _judged(down if before >= after * LEAST_CHANGE else 0.0, up if after >= before * LEAST_CHANGE else 0.0, share)
    verdict = claimed or (Verdict.SAME if _no_change_that_matters(old, new, share) else Verdict.UNCLEAR)
    evidence = down if after < before else up
    units = _units(old, new)
    summary = (
        f"The busiest endpoint got {times(before)} times its fair share of {units[0]} before, and {times(after)} times that of "
        f"{units[1]} after; {_odds(evidence, share)}."
    )
    if verdict is Verdict.SAME:
        summary += f" That it changed by a factor of {MATTERS:g} is excluded."
    return _item("busiest", before, after, verdict, share, summary, evidence=evidence)


def _no_change_that_matters(old: Draws, new: Draws, alpha: float) -> bool:
    one, other = bounds(old.counts, alpha), bounds(new.counts, alpha)
    return bool(one and other and one[1] < MATTERS * other[0] and other[1] < MATTERS * one[0])


def _quietest(old: Draws, new: Draws, matching: Matching, share: float) -> Item:
    """Whether the endpoint that gets least gets more, or less."""
    if matching is Matching.NAME:
        up, down = some_rise(trials(old.counts), trials(new.counts)), some_rise(trials(new.counts), trials(old.counts))
    else:
        olds, news = (trials(d.counts, len(d.counts)) for d in (old, new))
        up, down = lowest_fall(news, olds), lowest_fall(olds, news)
    before, after, least = old.quietest, new.quietest, LEAST_CHANGE - 1
    claimed = _judged(up if after >= before + least else 0.0, down if before >= after + least else 0.0, share)
    met = before > 0 and after > 0 and _no_change_that_matters(old, new, share)
    evidence = up if after > before else down
    idle = [sum(not c for c in d.counts) for d in (old, new)]
    summary = (
        f"The quietest endpoint got {times(before)} times its fair share before and {times(after)} times after "
        f"({idle[0]} and {idle[1]} endpoints got nothing); {_odds(evidence, share)}."
    )
    verdict = claimed or (Verdict.SAME if met else Verdict.UNCLEAR)
    return _item("quietest", before, after, verdict, share, summary, evidence=evidence)


def _placed_by_request(kept: Sequence[tuple[PastProfile, PastProfile]], share: float) -> Item:
    """Whether kept connections reach several endpoints, which is what a proxy at L7 does."""
    old, new = (
        Trials(hits=min(hits, total), draws=total, parts=2)
        for hits, total in (
            (sum(pair[side].several for pair in kept), sum(pair[side].opened for pair in kept)) for side in (0, 1)
        )
    )
    up, down = some_rise([old], [new]), some_rise([new], [old])
    evidence = up if new.level >= old.level else down
    summary = (
        f"{old.hits:g} of {count(int(old.draws), 'kept connection')} carried answers of several endpoints before, "
        f"{new.hits:g} of {new.draws:g} after; {_odds(evidence, share)}."
    )
    verdict = _judged(up, down, share) or (Verdict.SAME if old.level == new.level else Verdict.UNCLEAR)
    return _item("per-request", old.level, new.level, verdict, share, summary, evidence=evidence)


def _failed(old: PastProfile, new: PastProfile, share: float) -> Item:
    """Whether fewer requests fail; the unit is the connection, for requests on one connection fail together."""
    most = max(old.requests_most, new.requests_most, 1)
    pair = [
        Trials(hits=min(p.failed / most, p.opened + p.not_opened), draws=p.opened + p.not_opened, parts=max(2, len(p.endpoints)))
        for p in (old, new)
    ]
    up, down = some_rise(pair[:1], pair[1:]), some_rise(pair[1:], pair[:1])
    shares = [p.failed / p.requests if p.requests else 0.0 for p in (old, new)]
    verdict = _judged(down, up, share) or (Verdict.SAME if not old.failed + new.failed else Verdict.UNCLEAR)
    evidence = up if shares[1] >= shares[0] else down
    summary = (
        f"{old.profile}: {old.failed} of {count(old.requests, 'request')} failed before ({percent(shares[0])}), {new.failed} of "
        f"{new.requests:,} after ({percent(shares[1])}), on {pair[0].draws:,g} and {pair[1].draws:,g} connections"
    )
    summary += f"; {_odds(evidence, share)}." if old.failed + new.failed else "."
    return _item("failed", shares[0], shares[1], verdict, share, summary, evidence=evidence, profile=old.profile)


def _direct_failed(old: PastProfile, new: PastProfile, matching: Matching, share: float) -> Item:
    """Whether an endpoint that is asked directly fails more, or less; the unit is the request."""
    olds, news = by_endpoint(old.endpoints, new.endpoints, matching)
    one, other = ([Trials(hits=e.failed, draws=e.requests, parts=2) for e in side] for side in (olds, news))
    if matching is Matching.NAME:
        up, down = some_rise(one, other), some_rise(other, one)
    else:
        up, down = highest_rise(one, other), highest_rise(other, one)
    failed = [sum(e.failed for e in side) for side in (olds, news)]
    asked = [sum(e.requests for e in side) for side in (olds, news)]
    shares = [f / a if a else 0.0 for f, a in zip(failed, asked, strict=True)]
    verdict = _judged(down, up, share) or (Verdict.SAME if not sum(failed) else Verdict.UNCLEAR)
    evidence = up if shares[1] >= shares[0] else down
    worst = [max(side, key=lambda e: (e.failed / (e.requests or 1), e.name)) for side in (olds, news) if side]
    names = " and ".join(
        f"{e.name} {e.failed} of {e.requests} {when}" for e, when in zip(worst, ("before", "after"), strict=False) if e.failed
    )
    summary = f"Asked directly, {failed[0]} of {count(asked[0], 'request')} failed before and {failed[1]} of {asked[1]:,} after"
    summary += f" (most: {names}); {_odds(evidence, share)}." if names else "."
    blamed = worst[0].name if worst and worst[0].failed else worst[-1].name if worst and worst[-1].failed else None
    return _item(
        "direct-failed", shares[0], shares[1], verdict, share, summary, evidence=evidence, profile=old.profile, endpoint=blamed
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slower:
    """An endpoint's quantile in one run, beyond a quantile of the other run."""

    endpoint: str
    p_value: float
    low: float
    high: float

    @property
    def matters(self) -> bool:
        return self.high >= MATTERS * self.low and self.high >= self.low + LEAST_MS


def _latency(old: PastProfile, new: PastProfile, matching: Matching, quantile: str, share: float) -> Item:
    """Whether an endpoint answers sooner, or later, when it is asked directly; the unit is the request."""
    olds, news = (
        [e for e in side if e.latency_ms is not None and e.requests and not e.failed]
        for side in by_endpoint(old.endpoints, new.endpoints, matching)
    )
    values = [[_at(e, quantile) for e in side] for side in (olds, news)]
    slower, faster = _slowed(olds, news, matching, quantile), _slowed(news, olds, matching, quantile)
    before, after = (max(side, default=None) for side in values)
    best = min((s for s in (slower, faster) if s), key=lambda s: s.p_value, default=None)
    verdict = Verdict.UNCLEAR
    if best is not None and best.p_value <= share:
        verdict = Verdict.WORSE if best is slower else Verdict.BETTER
    elif before is not None and after is not None and abs(after - before) < LEAST_MS:
        verdict = Verdict.SAME
    summary = f"Asked directly, the slowest endpoint's {quantile} was "
    summary += f"{known_millis(before)} and is {known_millis(after)}"
    if verdict is Verdict.SAME:
        summary += f"; less than {LEAST_MS:g} ms apart, which the client's own machine may add."
    elif best is not None and verdict is not Verdict.UNCLEAR:
        who = best.endpoint
        summary += f"; {who}: {millis(best.low if best is slower else best.high)} before, "
        summary += f"{millis(best.high if best is slower else best.low)} after; two runs of the same thing differ so with a "
        summary += f"probability of at most {best.p_value:.1g}."
    else:
        summary += "; so few requests for each endpoint do not show whether that is chance."
    return _item(
        quantile,
        before,
        after,
        verdict,
        share,
        summary,
        p_value=best.p_value if best else None,
        profile=old.profile,
        endpoint=best.endpoint if best and verdict is not Verdict.UNCLEAR else None,
    )


def _slowed(olds: Sequence[PastEndpoint], news: Sequence[PastEndpoint], matching: Matching, quantile: str) -> _Slower | None:
    """The endpoint that most surely answers later in the second run, by a difference that matters.

    Matched by name, an endpoint's quantile is held against its own 90 % point and maximum; else against the largest of all
    endpoints, which whoever it was before is below. All these tests share the p-value's correction.
    """
    by_name = {e.name: e for e in olds}
    found: list[_Slower] = []
    for e in news:
        ours = [one for one in [by_name.get(e.name)] if one is not None] if matching is Matching.NAME else list(olds)
        if not ours:
            continue
        for other in ("p90", "max"):
            low, high = max(_at(one, other) for one in ours), _at(e, quantile)
            sizes = min(one.requests for one in ours), e.requests
            ranks = _rank(other, sizes[0]), _rank(quantile, sizes[1])
            p_value = chance_in_order((ranks[0], sizes[0]), (ranks[1], sizes[1])) if high > low else 1.0
            same = max(_at(one, quantile) for one in ours)
            found.append(_Slower(endpoint=e.name, p_value=min(1.0, p_value * 2 * len(news)), low=same, high=high))
    return min((s for s in found if s.matters), key=lambda s: (s.p_value, s.endpoint), default=None)


def _at(e: PastEndpoint, quantile: str) -> float:
    return float(getattr(e.latency_ms, quantile))


def _rank(quantile: str, size: int) -> int:
    """Which of so many sorted values the report calls by this name (nearest rank)."""
    hundredths = {"p50": 50, "p90": 90, "p99": 99, "max": 100}[quantile]
    return max(1, -(-size * hundredths // 100))


# --- words


def _item(
    what: str,
    before: float | None,
    after: float | None,
    verdict: Verdict,
    share: float,
    summary: str,
    *,
    evidence: float | None = None,
    p_value: float | None = None,
    profile: str | None = None,
    endpoint: str | None = None,
) -> Item:
    return Item(
        what=what,
        profile=profile,
        endpoint=endpoint,
        before=before,
        after=after,
        verdict=verdict,
        evidence=evidence,
        p_value=p_value,
        alpha=share,
        summary=summary,
    )


def _units(old: Draws, new: Draws) -> tuple[str, str]:
    one, other = (count(d.total, "request" if d.per_request else "connection") for d in (old, new))
    return one, other


def _odds(evidence: float, share: float) -> str:
    """An e-value in words, beside what it must reach."""
    if evidence >= 1e6:
        return "more than a million to one against the same chances"
    if evidence >= 20:
        enough = "" if evidence >= 1 / share else f", {1 / share:,.0f} would be certain"
        return f"{evidence:,.0f} to one against the same chances{enough}"
    return "nothing speaks against the same chances"
