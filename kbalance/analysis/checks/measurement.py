"""Could we measure at all, is all well, and what does the evidence not reach."""

import re

from kbalance.analysis.case import Case, Conclusion, came_back, failed_share, stranded, unexplained
from kbalance.analysis.changes import changes, standing
from kbalance.analysis.checks.settings import session_affinity
from kbalance.analysis.checks.tunnels import tunnelled
from kbalance.analysis.endings import Jitter, ending, goaway, varies
from kbalance.analysis.identity import contradicts
from kbalance.analysis.wording import count, failure_words, failures_of, listed, millis, odds, percent, target_name, times
from kbalance.model.report import FailureCount, ProfileReport, ServerLifetime
from kbalance.model.words import Confidence, FactsSource, Failure, Placement, PoolPolicy, Profile, Protocol, Spread, Stop

FAILURES_IGNORED = 0.01
"""Share of failed requests below which a path still counts as healthy."""

NEARLY_ALL = 0.9
"""Share of failed requests from which on nothing else is worth a word."""

_FOREIGN = re.compile(r"(?:UNKNOWN|UNIMPLEMENTED): HTTP status")
"""How the words about an answer begin that no gRPC server gave, and that no proxy gave for want of one."""

KEEPING = (Profile.SINGLE, Profile.POOLED, Profile.STOCK)
"""Profiles that keep their connections."""

OPENED_LEAST = 0.9
"""Share of the planned connections that must have been opened when a profile ran to its end."""


def no_endpoints(case: Case) -> Conclusion | None:
    """Nobody is ready to serve."""
    if case.n or case.learned:
        return None
    known = len(case.facts.endpoints)
    return Conclusion(
        confidence=Confidence.CERTAIN,
        summary=f"{target_name(case.target)} has no ready endpoint, so there was nothing to measure.",
        evidence=(
            f"{count(known, 'endpoint')} known, none of them ready."
            if known
            else "No endpoint is known: the selector matches no Pod, or no Pod has an address.",
        ),
    )


def invalid_measurement(case: Case) -> Conclusion | None:
    """What was measured is not what was asked for."""
    if not case.n and not case.learned:
        return None
    reasons = (*tunnelled(case), *_silence(case), *_no_grpc(case)) or (
        *_bypassed(case),
        *_changes(case),
        *_nobody_identified(case),
        *_not_as_planned(case),
    )
    if not reasons:
        return None
    return Conclusion(
        confidence=Confidence.CERTAIN,
        summary=f"This run gives no verdict: {reasons[0][0].lower()}{reasons[0][1:]}",
        evidence=reasons,
    )


def healthy(case: Case) -> Conclusion | None:
    """Everything that was measured is even, and the path to the target was measured."""
    if not case.through or any(p.spread is not Spread.EVEN or failed_share(p) >= FAILURES_IGNORED for p in case.profiles):
        return None
    if case.n == 1 and not case.learned:
        return Conclusion(
            confidence=Confidence.CERTAIN,
            summary=f"{target_name(case.target)} has one endpoint and it answers: there is nothing to balance.",
            evidence=tuple(_answered(p) for p in case.profiles),
        )
    shown = case.fresh is not None and case.fresh.placement in (Placement.RANDOM, Placement.EVEN) and not case.learned
    cut_off = _cut_off(case)
    if any(profile in KEEPING for profile in cut_off):
        # What clients do that keep connections was to be shown.
        return None
    usual = (Profile.SINGLE, Profile.POOLED, Profile.SHORT_LIVED)
    missing = [p.value for p in Profile if p in cut_off or (p in usual and case.profile(p) is None)]
    return Conclusion(
        confidence=Confidence.CERTAIN if shown and not missing else Confidence.LIKELY,
        summary=f"Traffic to {target_name(case.target)} is even over its {count(case.n, 'endpoint')}"
        + (f", as far as was measured; not run: {listed(missing)}." if missing else "."),
        evidence=tuple(_evenness(p) for p in case.profiles),
    )


def _cut_off(case: Case) -> tuple[Profile, ...]:
    """Profiles that were planned, and that the run did not come to."""
    planned = case.plan.profiles if case.plan is not None and case.interrupted else ()
    return tuple(p.profile for p in planned if case.profile(p.profile) is None)


def inconclusive(case: Case) -> Conclusion:
    """What is lacking for an answer; the last rule, for when no other one concludes."""
    reasons = tuple(_lacking(case)) or ("No rule explains what was measured.",)
    return Conclusion(
        confidence=Confidence.POSSIBLE,
        summary=f"How traffic is shared out is not settled: {reasons[0][0].lower()}{reasons[0][1:]}",
        evidence=reasons,
    )


def server_lifetime(case: Case) -> Conclusion | None:
    """The server ends connections by itself; one closed connection may be an accident.

    Of several profiles the one speaks in which the server closed most: whether ages vary is told from many.
    """
    seen = _most_ended(case)
    if seen is None:
        return None
    report, lifetime = seen
    together = "" if varies(lifetime) is not Jitter.NONE else ", all at the same age: a whole pool moves at once"
    return Conclusion(
        confidence=Confidence.CERTAIN,
        summary=f"The server closes connections {ending(lifetime)}{together or ': clients already choose anew at times'}.",
        evidence=(
            f"{report.profile}: the server closed {lifetime.connections} of "
            f"{count(report.connections.opened, 'connection')} after an answer.",
            *goaway(lifetime),
        ),
    )


def ends(case: Case) -> ServerLifetime | None:
    """How the server ends connections; ``None``: it was not seen to."""
    seen = _most_ended(case)
    return seen[1] if seen is not None else None


def _most_ended(case: Case) -> tuple[ProfileReport, ServerLifetime] | None:
    """The profile in which the server closed most connections, two at least."""
    seen = [(p, p.server_lifetime) for p in case.keeping if p.server_lifetime is not None and p.server_lifetime.connections >= 2]
    return max(seen, key=lambda pair: pair[1].connections, default=None)


def _silence(case: Case) -> tuple[str, ...]:
    """Why nothing can be said when nobody answered at the target's address."""
    if not case.profiles:
        return ("The run ended before anything was measured; let it run longer (--deadline) or faster (--rate).",)
    if any(came_back(p) for p in case.through) or (case.direct and not case.through and came_back(case.direct)):
        return ()
    kinds = tuple(f"{p.profile}: {count(p.requests.failed, 'request')} failed: {failures_of(p)}." for p in case.profiles)
    only_dead_ones = case.expected.because is not None and set(case.expected.among) <= case.dead
    if stranded(case) or only_dead_ones or session_affinity(case) is not None:
        # Nobody is reached, and a setting of the Service says why.
        return ()
    if case.direct is not None and came_back(case.direct):
        return (
            f"The endpoints answer directly, but {case.target.url} answered nothing from here; "
            "measure from inside the cluster, or check kube-proxy on this node.",
            *kinds,
        )
    return (f"{case.target.url} answered nothing ({_worst(case.profiles)}); {_way_out(case.profiles)}.", *kinds)


def _no_grpc(case: Case) -> tuple[str, ...]:
    """Why nothing can be said of calls when what answers is no gRPC server: an ordinary one, or a port for something else."""
    failed, foreign = 0, 0
    for failure in (f for p in case.profiles for f in p.failures):
        failed += failure.requests
        foreign += failure.requests if _FOREIGN.match(failure.detail) else 0
    if case.protocol is not Protocol.GRPC or not failed or _failed_of_all(case) < NEARLY_ALL or foreign < NEARLY_ALL * failed:
        return ()
    ended = sum(p.requests.answered + p.requests.failed for p in case.profiles)
    said = _most_frequent(case.profiles).detail
    return (
        f"What answered was not a gRPC server ({said}: {failed:,} of {count(ended, 'call')} failed); check the port, or measure "
        "it as what it is (--protocol h2c, h2 or http1).",
    )


def _failed_of_all(case: Case) -> float:
    """Failed requests over those that ended, of all profiles together."""
    failed = sum(p.requests.failed for p in case.profiles)
    ended = failed + sum(p.requests.answered for p in case.profiles)
    return failed / ended if ended else 0.0


def _most_frequent(profiles: tuple[ProfileReport, ...]) -> FailureCount:
    return max((f for p in profiles for f in p.failures), key=lambda f: f.requests)


def _worst(profiles: tuple[ProfileReport, ...]) -> str:
    """The most frequent failure, in the words of whoever noticed it."""
    if not any(p.failures for p in profiles):
        return "no request ended"
    worst = _most_frequent(profiles)
    words = failure_words(worst.kind, profiles[0].protocol, worst.detail)
    detail = worst.detail.removeprefix(words).removeprefix(": ")
    return f"{words}: {detail}" if detail else words


def _way_out(profiles: tuple[ProfileReport, ...]) -> str:
    if any(f.kind is Failure.TLS for p in profiles for f in p.failures):
        return "check the certificate and its name (--cacert, --host, --insecure) and that the port speaks TLS"
    return "check that it can be reached from here"


def _bypassed(case: Case) -> tuple[str, ...]:
    """Nothing chooses between endpoints when the target is one of them."""
    if case.dialled is None or case.n < 2 or case.facts.source is not FactsSource.GIVEN:
        return ()
    return (f"The target's address is the one of endpoint {case.dialled}, so nothing chooses; probe the Service's address.",)


def _changes(case: Case) -> tuple[str, ...]:
    """How the facts differ from those before the traffic, as far as it decides where traffic goes."""
    if case.facts_after is None or case.facts.source is not FactsSource.API:
        return ()
    happened = changes(case.facts, case.facts_after)
    if not happened:
        return ()
    return (
        f"The cluster changed while it was measured ({listed(happened)}); run again when it is quiet.",
        *(f"{name}: {count(n, 'answer')}, {standing(name, case.facts, case.facts_after)}." for name, n in case.strangers.items()),
    )


def _nobody_identified(case: Case) -> tuple[str, ...]:
    """One endpoint needs no name; among several, answers that nobody signed say nothing."""
    answered = [p for p in case.through if came_back(p)]
    if not answered or (case.n == 1 and not case.learned):
        return ()
    if any(p.unknown or any(e.requests for e in p.endpoints) for p in answered):
        return ()
    contradicted = [reason for reason in case.identity.rejected if contradicts(reason)]
    if contradicted:
        return (f"The endpoints are not who they were said to be: {contradicted[0]}; check the --endpoint list.",)
    if (share := _failed_of_all(case)) >= NEARLY_ALL:
        return (f"{percent(share)} of the requests failed ({_worst(case.profiles)}), and no answer says which endpoint gave it.",)
    answers = count(sum(p.unidentified for p in answered), "answer")
    place = "the answer's metadata" if case.protocol is Protocol.GRPC else "a response header"
    return (
        f"Not one of {answers} says which endpoint gave it; let the application send its Pod's name in {place} "
        "(Downward API, metadata.name), or name the place with --identity.",
    )


def _not_as_planned(case: Case) -> tuple[str, ...]:
    """Profiles that ran to their end on fewer connections than they were to open."""
    return tuple(
        f"{p.profile} opened {p.connections.opened} connections instead of {p.connections.planned}; "
        "its requests shared connections that were to be separate."
        for p in case.through
        if p.stopped is Stop.DONE
        and (p.profile is Profile.SHORT_LIVED or p.parameters.get("pool_policy") == PoolPolicy.ROUND_ROBIN)
        and p.parameters.get("max_connection_age_s") is None
        and p.connections.opened + p.connections.failed < _least_opened(p)
    )


def _least_opened(report: ProfileReport) -> float:
    """Jitter lets connections live longer as well as shorter, and the plan counts the shortest."""
    jitter = report.parameters.get("jitter")
    share = float(jitter) if isinstance(jitter, float | int) else 0.0
    return OPENED_LEAST * report.connections.planned * (1 - share) / (1 + share)


def _lacking(case: Case) -> list[str]:
    """Everything that stands between this run and an answer, the next step in it where there is one."""
    reasons: list[str] = []
    fresh = case.fresh
    failing = [
        f"{p.profile}: {percent(failed_share(p))} of the requests failed: {failures_of(p)}."
        for p in case.through
        if failed_share(p) >= FAILURES_IGNORED
    ]
    hopeless = _failed_of_all(case) >= NEARLY_ALL
    if hopeless:
        reasons += [f"Hardly any request was answered ({_worst(case.profiles)}).", *failing]
    if case.learned and case.n < 2:
        reasons.append("Only one endpoint ever answered, and there may be more; name them with --endpoint NAME=IP:PORT.")
    if case.interrupted:
        left = [p.value for p in _cut_off(case) if p is not Profile.SHORT_LIVED]
        before = f" before {listed(left)} {'was' if len(left) == 1 else 'were'} measured" if left else ""
        reasons.append(f"The run was cut short{before}.")
    if fresh is None:
        reasons.append(
            "The run ended before fresh connections were measured."
            if case.plan is not None and any(p.profile is Profile.SHORT_LIVED for p in case.plan.profiles)
            else "Fresh connections were not measured; add --profile short-lived."
        )
    elif fresh.spread is Spread.FAILED:
        reasons.append(f"Too few answers on fresh connections could be attributed ({percent(failed_share(fresh))} failed).")
    elif not fresh.evidence.enough and fresh.placement is Placement.UNKNOWN and case.n > 1:
        more = fresh.evidence.more or 0
        needed = fresh.evidence.connections + more
        reasons.append(
            f"{count(fresh.evidence.connections, 'fresh connection')} cannot tell for {case.n} endpoints; {more} more settle it "
            f"at the latest (--requests {needed}{f' --max-connections {needed + 100}' if needed > 900 else ''})."
        )
    if fresh is not None and fresh.placement in (Placement.FIXED, Placement.BIASED) and unexplained(case):
        reasons.append(f"Fresh connections are unequal, which {listed(unexplained(case))} may explain.")
    if case.direct is not None and case.direct.requests.failed and not case.direct.requests.answered:
        reasons.append(f"No endpoint could be reached directly from here ({failures_of(case.direct)}).")
    return reasons if hopeless else [*reasons, *failing]


def _answered(report: ProfileReport) -> str:
    latency = report.endpoints[0].latency_ms if report.endpoints else None
    tail = f", half of them within {millis(latency.p50)}" if latency else ""
    return f"{report.profile}: {report.requests.answered} of {count(report.requests.sent, 'request')} answered{tail}."


def _evenness(report: ProfileReport) -> str:
    busiest = f"the busiest endpoint got {times(report.busiest)} times its fair share" if report.busiest else "nothing attributed"
    tested = f"; {report.evidence.connections} connections: {odds(report.evidence.e_value)}" if report.evidence.e_value else ""
    return f"{report.profile}: {busiest}{tested}."
