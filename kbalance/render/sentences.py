"""What every report for people says, however it is laid out: the scope, what a table leaves out, failures, effects of fixes."""

from collections.abc import Iterator, Sequence

from kbalance.model.report import (
    Artifact,
    FailureCount,
    Finding,
    ProfileReport,
    Recommendation,
    Report,
    Threshold,
    UnknownLoad,
)
from kbalance.model.target import Target
from kbalance.model.words import FactsSource, Profile, Stop, TargetKind
from kbalance.render.distribution import factor, listed
from kbalance.render.terminal import counted

READING = (
    "busiest: what the busiest endpoint got over its fair share, 1.00x is even; by luck: the average of that when each of "
    "so many connections is a fair draw"
)

MOST_ROWS = 8
"""Rows of failures or unknown names; what is left out is counted."""


# --- the answer


def verdict(report: Report) -> str:
    """The cause, and how sure it is."""
    sure = report.diagnosis.confidence.value + (", partial run" if report.partial else "")
    return f"{report.diagnosis.cause} ({sure})"


def cut_short(report: Report) -> str | None:
    """That the run was ended before its time, and by what."""
    if not report.partial:
        return None
    why = sorted({p.stopped.value for p in report.profiles if p.stopped in (Stop.DEADLINE, Stop.INTERRUPTED)})
    reason = f" ({', '.join(why)})" if why else ""
    return f"The run was cut short{reason}: what follows was measured until then."


def scope(report: Report) -> str:
    """What the verdict was reached on."""
    ready, known = len(report.facts.ready), len(report.facts.endpoints)
    learned = max((len(p.endpoints) for p in report.profiles), default=0)
    endpoints = f"{ready} of {counted(known, 'endpoint')} ready"
    if report.facts.source is FactsSource.ANSWERS:
        endpoints = f"{counted(learned, 'endpoint')} learned from answers"
    requests = sum(p.requests.sent for p in report.profiles)
    connections = sum(p.connections.opened for p in report.profiles)
    return (
        f"{named(report.target)}: {endpoints}; "
        f"{counted(requests, 'request')} on {counted(connections, 'connection')} in {report.duration_s:.1f} s"
    )


def named(target: Target) -> str:
    """The target as the user would type it."""
    if target.kind is TargetKind.SERVICE:
        return f"svc/{target.name}:{target.port} in namespace {target.namespace}"
    return target.url


def measured(threshold: Threshold) -> str:
    """The value that a threshold was compared with."""
    return "no value" if threshold.value is None else f"{threshold.value:.6g}"


# --- the picture


def asides(report: Report) -> Iterator[str]:
    """What the counts per endpoint leave out."""
    out = [e.name for e in report.facts.endpoints if not e.ready]
    if out:
        yield f"not ready: {listed(out, MOST_ROWS)}"
    for profile in report.profiles:
        name = profile.profile.value
        failing = [f"{load.name} failed {load.failed} of {load.requests}" for load in profile.endpoints if load.failed]
        if failing:
            yield f"{name}: {listed(failing, MOST_ROWS)}"
        if profile.unknown:
            unknown = [f"{one.name} ({counted(one.requests, 'request')})" for one in sorted(profile.unknown, key=_largest)]
            yield f"{name}: answers from what was no endpoint when the run began: {listed(unknown, MOST_ROWS)}"
        if profile.unidentified:
            yield f"{name}: {counted(profile.unidentified, 'answer')} could not be attributed"


def failures(report: Report) -> list[tuple[Profile, str]]:
    """Who failed, how, how often, for each profile the most frequent first."""
    return [
        (profile.profile, _failure(profile, failure))
        for profile in report.profiles
        for failure in sorted(profile.failures, key=_largest)
    ]


def _failure(profile: ProfileReport, failure: FailureCount) -> str:
    who = f"endpoint {failure.endpoint}" if failure.endpoint else "endpoint not known"
    detail = f" ({failure.detail})" if failure.detail else ""
    return f"{failure.requests} of {profile.requests.sent}: {failure.kind.value}, {who}{detail}"


def _largest(load: UnknownLoad | FailureCount) -> int:
    return -load.requests


# --- the reason


def leading(report: Report) -> Finding | None:
    """The finding that the diagnosis was made from."""
    return next((f for f in report.diagnosis.findings if f.cause == report.diagnosis.cause), None)


def others(report: Report) -> list[Finding]:
    """The findings beside it."""
    first = leading(report)
    return [f for f in report.diagnosis.findings if f is not first]


def concluded(finding: Finding) -> str:
    """What one of the other findings says, with its weight."""
    return f"{finding.cause} ({finding.severity.value}, {finding.confidence.value}): {finding.summary}"


# --- the cure


def _before(one: Recommendation, profiles: Sequence[ProfileReport]) -> float | None:
    """What a fix is compared with: the busiest endpoint of the worst profile that goes through the target's address.

    What changes a pool alone is compared with the pool.
    """
    loads = {p.profile: p.busiest for p in profiles if p.busiest is not None and p.profile is not Profile.PER_ENDPOINT}
    if one.id == "round-robin-pool" and Profile.POOLED in loads:
        return loads[Profile.POOLED]
    return max(loads.values(), default=None)


CLEARLY = 1.05
"""A predicted load over a measured one from which on the difference is not one of digits."""


def effect(one: Recommendation, profiles: Sequence[ProfileReport]) -> str:
    """The busiest endpoint with the fix beside without; nothing where that is not known.

    What was measured leads, unless the advised value is predicted to do clearly worse: short-lived connections are the limit of a
    shorter lifetime, and no longer one promises as much.
    """
    measured, predicted, without = one.measured_busiest, one.predicted_busiest, _before(one, profiles)
    value = measured if measured is not None else predicted
    if value is None:
        return ""
    word, limit = "measured" if measured is not None else "predicted", ""
    if measured is not None and predicted is not None and predicted > CLEARLY * measured:
        word, value, limit = "predicted", predicted, f" (measured at its limit: {factor(measured)})"
    if without is None:
        beside = ""
    else:
        beside = f" instead of {factor(without)}" if value < without else f", no better than {factor(without)}"
    return f": {word} {factor(value)}{beside}{limit}"


def elsewhere(artifacts: Sequence[Artifact]) -> str:
    """Where to get artifacts that are too long to be shown."""
    return f"{', '.join(artifact.name for artifact in artifacts)} (--artifacts DIR writes them, -o json has them)"
