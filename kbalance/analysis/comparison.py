"""Two reports to an answer: did it become better, worse, or does the evidence show no change?

Connections are what is counted, over all profiles that go through the target's address: behind an L4 balancer each is one draw
with the same chances, whoever opened it. What a profile's load did beyond that is the luck of its few draws.

One alpha for the word "worse" and one for "better" are shared out over the questions by fixed weights, so that two runs of the
same thing are called worse with probability below alpha (Boole's inequality over the questions; each is an e-value against 1 over
its part, or an exact p-value).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kbalance.analysis import comparability
from kbalance.analysis.pairing import Draws, draws_of, matched, pairs, per_request, through, widened
from kbalance.analysis.questions import LEAST_CHANGE, answered, questions
from kbalance.analysis.samplesize import expected_busiest
from kbalance.analysis.two_samples import bounds
from kbalance.analysis.wording import count, known_millis, listed, percent, times
from kbalance.model.comparison import Comparison, EndpointChange, Item, ProfileChange, Side, Source
from kbalance.model.past import PastEndpoint, PastProfile, PastReport
from kbalance.model.words import Matching, Outcome, Profile, Verdict

FEW_DRAWS = 100
"""A run that was certain of its own answer after fewer connections says little of how much there is of it."""

_ALONE = "1 connection is 1 draw, and says nothing by itself"


def compare(before: PastReport, after: PastReport, alpha: float) -> Comparison:
    """The comparison of two reports.

    Args:
        alpha: Chance that two runs of the same thing are called worse, and that they are called better.
    """
    obstacles = tuple(comparability.of_reports(before, after))
    shared = [(old, new) for old in before.profiles for new in after.profiles if old.profile == new.profile]
    stopped = {old.profile: comparability.of_profiles(old, new) for old, new in shared}
    usable = [] if obstacles else [(old, new) for old, new in shared if not stopped[old.profile]]
    draws = draws_of([old for old, _ in usable]), draws_of([new for _, new in usable])
    learned = "answers" in (before.source, after.source)
    shown, matching = matched(shared, learned=learned)
    if learned:
        draws = widened(*draws)
    items = answered(questions(before, after, usable, draws, matching, learned=learned), alpha)
    items = tuple(sorted((*_loads(usable, items), *items), key=_first))
    outcome = _outcome(items) if items else Outcome.NOT_COMPARABLE
    told = obstacles or tuple(_untold(before, after, stopped))
    same_profiles = {p.profile for p in before.profiles} == {p.profile for p in after.profiles}
    # What a profile would have shown that one of them did not run is neither gone nor new.
    gone, new = (_causes(before, after), _causes(after, before)) if same_profiles else ((), ())
    return Comparison(
        outcome=outcome,
        headline=_headline(outcome, items, told, gone, new),
        alpha=alpha,
        before=_source(before, draws[0], alpha),
        after=_source(after, draws[1], alpha),
        matching=shown,
        profiles=tuple(_change(old, new, shown, stopped[old.profile]) for old, new in shared),
        items=items,
        gone=gone,
        new=new,
        settings=tuple(comparability.settings(before, after)),
        obstacles=told,
        surer=tuple(_surer(before, after, items, usable)),
    )


# --- what is compared


def _untold(before: PastReport, after: PastReport, stopped: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    yield from comparability.alone(before, after)
    yield from (f"{profile}: {'; '.join(why)}" for profile, why in stopped.items() if why)
    yield from comparability.of_requests(before, after)
    yield from comparability.of_latencies(before, after)


# --- what follows


def _loads(usable: Sequence[tuple[PastProfile, PastProfile]], items: Sequence[Item]) -> Iterator[Item]:
    """What each profile's load did: better or worse where the chances are and the load followed them, else luck."""
    law = next((i for i in items if i.what == "busiest"), None)
    for old, new in usable:
        if law is None or not through(old) or old.busiest is None or new.busiest is None:
            continue
        up, down = new.busiest >= old.busiest * LEAST_CHANGE, old.busiest >= new.busiest * LEAST_CHANGE
        followed = (law.verdict is Verdict.WORSE and up) or (law.verdict is Verdict.BETTER and down)
        steady = law.verdict is Verdict.SAME and old.profile == Profile.SHORT_LIVED
        verdict = law.verdict if followed or steady else Verdict.UNCLEAR
        summary = f"{old.profile}: the busiest endpoint got {times(old.busiest)} times its fair share of requests before and "
        summary += f"{times(new.busiest)} times after" + (f"; {_luck(old, new)}." if verdict is Verdict.UNCLEAR else ".")
        yield replace(
            law, what="load", profile=old.profile, before=old.busiest, after=new.busiest, verdict=verdict, summary=summary
        )


def _luck(old: PastProfile, new: PastProfile) -> str:
    """Why a load alone proves nothing."""
    draws, n = min(old.opened, new.opened), max(len(old.endpoints), len(new.endpoints))
    if per_request(old) or per_request(new):
        return "that is a proxy's placing of requests, which the connections before say nothing of"
    if draws <= 1:
        return _ALONE
    by_luck = times(expected_busiest(draws, n))
    return f"fair draws of {count(draws, 'connection')} over {count(n, 'endpoint')} give {by_luck} on average, and vary by luck"


def _outcome(items: Sequence[Item]) -> Outcome:
    verdicts = {item.verdict for item in items}
    if Verdict.WORSE in verdicts:
        return Outcome.WORSE
    return Outcome.BETTER if Verdict.BETTER in verdicts else Outcome.NO_CHANGE


_LEADING = ("load", "busiest", "quietest", "failed", "direct-failed", "per-request", "p50", "p99")
_MILD = "info"


def _headline(outcome: Outcome, items: Sequence[Item], obstacles: Sequence[str], gone: Sequence[str], new: Sequence[str]) -> str:
    """The answer in one line."""
    if outcome is Outcome.NOT_COMPARABLE:
        return "; ".join(obstacles[:2]) or "nothing in these reports can be compared"
    word = {Outcome.BETTER: Verdict.BETTER, Outcome.WORSE: Verdict.WORSE}.get(outcome)
    led = sorted((i for i in items if i.verdict is word), key=_first)
    if any(i.what == "load" for i in led):
        led = [i for i in led if i.what != "busiest"]
    if word is None:
        led = [i for i in items if i.what == "load" and i.profile == Profile.SHORT_LIVED] or sorted(items, key=_first)
        clauses = [_short(i) for i in led[:1]]
    else:
        clauses = [_short(i) for i in led[:2]]
        if outcome is Outcome.WORSE and any(i.verdict is Verdict.BETTER for i in items):
            clauses.append("other things are better")
    clauses += [f"{listed(gone)} {'is' if len(gone) == 1 else 'are'} gone"] if gone and outcome is not Outcome.WORSE else []
    clauses += [f"{listed(new)} {'is' if len(new) == 1 else 'are'} new"] if new and outcome is not Outcome.BETTER else []
    return "; ".join(clauses)


def _first(item: Item) -> tuple[int, bool]:
    return _LEADING.index(item.what), item.profile != Profile.SHORT_LIVED


def _short(item: Item) -> str:
    """An item in a few words."""
    about = f"{item.profile}: " if item.profile and item.what in ("load", "failed") else ""
    match item.what:
        case "load" | "busiest":
            return f"{about}busiest endpoint {_x(item.before)} -> {_x(item.after)}"
        case "quietest":
            return f"quietest endpoint {_x(item.before)} -> {_x(item.after)}"
        case "per-request":
            return f"connections that reach several endpoints {_share(item.before)} -> {_share(item.after)}"
        case "failed":
            return f"{about}failed {_share(item.before)} -> {_share(item.after)}"
        case "direct-failed":
            return f"{item.endpoint or 'endpoints'} asked directly: failed {_share(item.before)} -> {_share(item.after)}"
    return f"slowest endpoint's {item.what} {known_millis(item.before)} -> {known_millis(item.after)}"


def _causes(one: PastReport, other: PastReport) -> tuple[str, ...]:
    """Causes that matter and that only the one report names."""
    return tuple(cause for cause, severity in one.causes.items() if cause not in other.causes and severity != _MILD)


def _surer(
    before: PastReport, after: PastReport, items: Sequence[Item], usable: Sequence[tuple[PastProfile, PastProfile]]
) -> Iterator[str]:
    """What to do where the evidence does not reach."""
    unclear = {i.what for i in items if i.verdict is Verdict.UNCLEAR}
    decided = {i.what for i in items if i.verdict in (Verdict.BETTER, Verdict.WORSE)}
    uneven = "busiest" in unclear and not decided & {"busiest", "quietest"}
    for index, (name, report) in enumerate((("BEFORE", before), ("AFTER", after))):
        if report.partial:
            yield f"{name} was cut short: let it run to its end."
        fresh = next((pair[index] for pair in usable if pair[0].profile == Profile.SHORT_LIVED), None)
        if fresh is not None and fresh.stopped == "certain" and uneven and fresh.opened < FEW_DRAWS:
            yield (
                f"{name} stopped after {count(fresh.opened, 'fresh connection')}, once its own answer was certain; "
                "--no-early-stop makes them all."
            )
    if uneven:
        most = max((p.opened for pair in usable for p in pair if p.profile == Profile.SHORT_LIVED), default=0)
        yield f"More fresh connections on both sides tell smaller changes: --profile short-lived --requests {max(600, 2 * most)}."
    if unclear & {"direct-failed", "p50", "p99"} and "failed" not in decided:
        asked = max((p.requests for pair in usable for p in pair if not through(p)), default=0)
        more = max(600, 4 * asked)
        yield f"More direct requests on both sides tell failures and latencies: --profile per-endpoint --requests {more}."


# --- the picture


def _source(report: PastReport, draws: Draws, alpha: float) -> Source:
    limits = bounds(draws.counts, alpha) if len(draws.counts) > 1 else None
    return Source(
        target=report.target.where,
        started=report.started,
        kbalance=report.kbalance,
        cause=report.cause,
        busiest_low=limits and limits[0],
        busiest_high=limits and limits[1],
        connections=draws.total,
    )


def _change(old: PastProfile, new: PastProfile, matching: Matching, obstacles: tuple[str, ...]) -> ProfileChange:
    return ProfileChange(
        profile=old.profile,
        before=_side(old),
        after=_side(new),
        endpoints=tuple(_beside(one, other) for one, other in pairs(old.endpoints, new.endpoints, matching)),
        obstacles=obstacles,
    )


def _side(profile: PastProfile) -> Side:
    return Side(
        connections=profile.opened,
        requests=profile.requests,
        failed=profile.failed,
        busiest=profile.busiest,
        by_luck=profile.expected_busiest,
        idle=profile.idle,
        spread=profile.spread,
        placement=profile.placement,
    )


def _beside(old: PastEndpoint | None, new: PastEndpoint | None) -> EndpointChange:
    return EndpointChange(
        before=old.name if old else None,
        after=new.name if new else None,
        share_before=old.share if old else None,
        share_after=new.share if new else None,
        requests_before=old.requests if old else None,
        requests_after=new.requests if new else None,
        failed_before=old.failed if old else None,
        failed_after=new.failed if new else None,
        latency_before=old.latency_ms if old else None,
        latency_after=new.latency_ms if new else None,
    )


def _x(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)
