"""The report for somebody who was just woken up: the answer, the picture, the reason, the cure, then how it was measured."""

from collections.abc import Iterator, Sequence
from itertools import chain

from kbalance.model.report import (
    Artifact,
    Diagnosis,
    FailureCount,
    Finding,
    ProfileReport,
    Recommendation,
    Report,
    Threshold,
    UnknownLoad,
)
from kbalance.model.target import Target
from kbalance.model.words import FactsSource, Profile, Severity, Stop, TargetKind
from kbalance.render import Style
from kbalance.render.distribution import distribution, factor, listed
from kbalance.render.forecast import forecast
from kbalance.render.method import latencies, method
from kbalance.render.terminal import Ink, bullets, columns, counted, field, harmless, heading, paint, visible, wrapped
from kbalance.render.vantages import vantages

_SEVERITY_INK = {Severity.PROBLEM: Ink.RED, Severity.RISK: Ink.YELLOW, Severity.INFO: Ink.GREEN}
_READING = (
    "busiest: what the busiest endpoint got over its fair share, 1.00x is even; by luck: the average of that when each of "
    "so many connections is a fair draw"
)

MOST_ROWS = 8
"""Rows of failures or unknown names; what is left out is counted."""
CLEARLY = 1.05
"""A predicted load over a measured one from which on the difference is not one of digits."""
MOST_ARTIFACT_LINES = 24
"""A longer artifact is named, not printed: it would bury the report."""


def render(report: Report, style: Style) -> str:
    """The report in plain words, at most 100 columns wide."""
    report = harmless(report, style)
    sections = (
        _head(report, style),
        _picture(report, style),
        vantages(report, style),
        _failures(report, style),
        _thresholds(report.thresholds, style),
        _why(report, style),
        _also(report, style),
        _fixes(report, style),
        forecast(report, style),
        latencies(report, style),
        _ruled_out(report.diagnosis, style),
        method(report, style),
        _notices(report, style),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _marked(mark: str, ink: Ink, text: str, style: Style) -> list[str]:
    """A paragraph that hangs from a coloured word."""
    first, *rest = wrapped(text, style, first=f"{mark}  ")
    return [paint(mark, ink, style) + first[len(mark) :], *rest]


# --- the answer


def _head(report: Report, style: Style) -> list[str]:
    """The verdict, and what it was reached on."""
    diagnosis = report.diagnosis
    sure = diagnosis.confidence.value + (", partial run" if report.partial else "")
    verdict = f"{diagnosis.cause} ({sure}): {diagnosis.summary}"
    return [
        *_marked(diagnosis.severity.value.upper(), _SEVERITY_INK[diagnosis.severity], verdict, style),
        *_cut_short(report, style),
        *_broken(report.thresholds, style),
        "",
        *wrapped(_scope(report), style),
    ]


def _cut_short(report: Report, style: Style) -> list[str]:
    if not report.partial:
        return []
    why = sorted({p.stopped.value for p in report.profiles if p.stopped in (Stop.DEADLINE, Stop.INTERRUPTED)})
    reason = f" ({', '.join(why)})" if why else ""
    return _marked("PARTIAL", Ink.YELLOW, f"The run was cut short{reason}: what follows was measured until then.", style)


def _broken(thresholds: Sequence[Threshold], style: Style) -> list[str]:
    """The thresholds that failed, since they decide the exit code as much as the verdict does."""
    broken = [t.expression for t in thresholds if not t.passed]
    text = f"{len(broken)} of {counted(len(thresholds), 'threshold')}: {listed(broken, 3)}"
    return _marked("FAILED", Ink.RED, text, style) if broken else []


def _scope(report: Report) -> str:
    ready, known = len(report.facts.ready), len(report.facts.endpoints)
    learned = max((len(p.endpoints) for p in report.profiles), default=0)
    endpoints = f"{ready} of {counted(known, 'endpoint')} ready"
    if report.facts.source is FactsSource.ANSWERS:
        endpoints = f"{counted(learned, 'endpoint')} learned from answers"
    requests = sum(p.requests.sent for p in report.profiles)
    connections = sum(p.connections.opened for p in report.profiles)
    return (
        f"{_named(report.target)}: {endpoints}; "
        f"{counted(requests, 'request')} on {counted(connections, 'connection')} in {report.duration_s:.1f} s"
    )


def _named(target: Target) -> str:
    """The target as the user would type it."""
    if target.kind is TargetKind.SERVICE:
        return f"svc/{target.name}:{target.port} in namespace {target.namespace}"
    return target.url


# --- the picture


def _picture(report: Report, style: Style) -> list[str]:
    """The distribution, and what does not fit into its columns."""
    if not report.profiles:
        return ["No traffic was sent."]
    return [
        heading("Requests per endpoint", style),
        *distribution(report.profiles, style),
        *chain.from_iterable(wrapped(aside, style, first="  ! ") for aside in _asides(report)),
        *(paint(line, Ink.DIM, style) for line in wrapped(_READING, style, first="  ")),
    ]


def _asides(report: Report) -> Iterator[str]:
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


def _largest(load: UnknownLoad | FailureCount) -> int:
    return -load.requests


def _failures(report: Report, style: Style) -> list[str]:
    """Who failed, how, how often."""
    rows = [(profile, failure) for profile in report.profiles for failure in sorted(profile.failures, key=_largest)]
    if not rows:
        return []
    lines = [line for profile, failure in rows[:MOST_ROWS] for line in _failure(profile, failure, style)]
    more = [f"  and {len(rows) - MOST_ROWS} more kinds"] if len(rows) > MOST_ROWS else []
    return [heading("Failed requests", style), *lines, *more]


def _failure(profile: ProfileReport, failure: FailureCount, style: Style) -> list[str]:
    who = f"endpoint {failure.endpoint}" if failure.endpoint else "endpoint not known"
    detail = f" ({failure.detail})" if failure.detail else ""
    text = f"{failure.requests} of {profile.requests.sent}: {failure.kind.value}, {who}{detail}"
    return field(profile.profile.value, text, style)


def _thresholds(thresholds: Sequence[Threshold], style: Style) -> list[str]:
    """Every checked expression with its value."""
    if not thresholds:
        return []
    lines = [heading("Thresholds", style)]
    for one in thresholds:
        word, ink = ("ok", Ink.GREEN) if one.passed else ("FAILED", Ink.RED)
        value = "no value" if one.value is None else f"{one.value:.6g}"
        first, *rest = wrapped(f"{one.expression}  (measured: {value})", style, first=f"  {word:<8}")
        lines += [first.replace(word, paint(word, ink, style), 1), *rest]
    return lines


# --- the reason


def _leading(report: Report) -> Finding | None:
    """The finding that the diagnosis was made from."""
    return next((f for f in report.diagnosis.findings if f.cause == report.diagnosis.cause), None)


def _why(report: Report, style: Style) -> list[str]:
    """The evidence of the diagnosis."""
    leading = _leading(report)
    if leading is None or not leading.evidence:
        return []
    return [heading("Why", style), *bullets(leading.evidence, style)]


def _also(report: Report, style: Style) -> list[str]:
    """The other findings, each with its evidence."""
    others = [f for f in report.diagnosis.findings if f is not _leading(report)]
    lines = [heading("Also found", style)] if others else []
    for one in others:
        head = f"{one.cause} ({one.severity.value}, {one.confidence.value}): {one.summary}"
        lines += [*wrapped(head, style, first="  ", rest="    "), *bullets(one.evidence, style, indent="    ")]
    return lines


def _ruled_out(diagnosis: Diagnosis, style: Style) -> list[str]:
    """What was looked for and is not there; causes with the same reason share a line."""
    causes: dict[str, list[str]] = {}
    for one in diagnosis.ruled_out:
        causes.setdefault(one.because, []).append(one.cause)
    lines = [f"{', '.join(names)}: {because}" for because, names in causes.items()]
    return [heading("Ruled out", style), *bullets(lines, style)] if lines else []


# --- the cure


def _fixes(report: Report, style: Style) -> list[str]:
    """What to change, best first, each with what it did or would do."""
    if not report.recommendations:
        return []
    lines = [heading("What to change, best first", style)]
    worst = _worst(report.profiles)
    for number, one in enumerate(report.recommendations, 1):
        lines += _fix(number, one, worst, style)
    return lines


def _worst(profiles: Sequence[ProfileReport]) -> float | None:
    """What a fix is compared with: the busiest endpoint of the worst profile that goes through the target's address."""
    return max((p.busiest for p in profiles if p.busiest is not None and p.profile is not Profile.PER_ENDPOINT), default=None)


def _fix(number: int, one: Recommendation, worst: float | None, style: Style) -> list[str]:
    start = f"  {number}. "
    indent = " " * len(start)
    effect = _effect(one, worst)
    lines = [line.replace(effect, paint(effect, Ink.BOLD, style)) for line in wrapped(f"{one.title}{effect}", style, first=start)]
    lines += wrapped(one.why, style, first=indent)
    lines += wrapped(f"costs: {'; '.join(one.costs)}", style, first=indent, rest=indent + "  ") if one.costs else []
    return lines + [line for artifact in one.artifacts for line in _artifact(artifact, number, indent, style)]


def _effect(one: Recommendation, worst: float | None) -> str:
    """The busiest endpoint with the fix beside without; nothing where that is not known.

    What was measured leads, unless the advised value is predicted to do clearly worse: short-lived connections are the limit of a
    shorter lifetime, and no longer one promises as much.
    """
    measured, predicted = one.measured_busiest, one.predicted_busiest
    value = measured if measured is not None else predicted
    if value is None:
        return ""
    word, limit = "measured" if measured is not None else "predicted", ""
    if measured is not None and predicted is not None and predicted > CLEARLY * measured:
        word, value, limit = "predicted", predicted, f" (measured at its limit: {factor(measured)})"
    beside = "" if worst is None else f" instead of {factor(worst)}" if value < worst else f", no better than {factor(worst)}"
    return f": {word} {factor(value)}{beside}{limit}"


def _artifact(artifact: Artifact, number: int, indent: str, style: Style) -> list[str]:
    """The text to apply, printed for the best fix where it can be copied as it stands."""
    content = [f"{indent}  {line}".rstrip() for line in artifact.content.splitlines()]
    fits = len(content) <= MOST_ARTIFACT_LINES and all(visible(line) <= columns(style) for line in content)
    if number == 1 and fits:
        return [*wrapped(f"{artifact.name} ({artifact.kind}):", style, first=indent), *content]
    return wrapped(f"{artifact.name} ({artifact.kind}) is in the JSON report (-o json)", style, first=indent)


def _notices(report: Report, style: Style) -> list[str]:
    return [heading("Notices", style), *bullets(report.notices, style)] if report.notices else []
