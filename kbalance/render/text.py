"""The report for somebody who was just woken up: the answer, the picture, the reason, the cure, then how it was measured."""

from collections.abc import Sequence
from itertools import chain

from kbalance.model.report import Artifact, Diagnosis, ProfileReport, Recommendation, Report, Threshold
from kbalance.model.words import Severity
from kbalance.render import Style
from kbalance.render.distribution import distribution, listed
from kbalance.render.forecast import forecast
from kbalance.render.growth import growth
from kbalance.render.method import latencies, method
from kbalance.render.sentences import (
    MOST_ROWS,
    READING,
    asides,
    concluded,
    cut_short,
    effect,
    elsewhere,
    failures,
    leading,
    measured,
    others,
    scope,
    verdict,
)
from kbalance.render.terminal import Ink, bullets, columns, counted, field, harmless, heading, paint, visible, wrapped
from kbalance.render.vantages import vantages

_SEVERITY_INK = {Severity.PROBLEM: Ink.RED, Severity.RISK: Ink.YELLOW, Severity.INFO: Ink.GREEN}
MOST_ARTIFACT_LINES = 24
"""A longer artifact is named, not printed: it would bury the report."""


def render(report: Report, style: Style) -> str:
    """The report in plain words, at most 100 columns wide."""
    report = harmless(report, style)
    sections = (
        _head(report, style),
        _picture(report, style),
        vantages(report, style),
        growth(report, style),
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
    severity = report.diagnosis.severity
    return [
        *_marked(severity.value.upper(), _SEVERITY_INK[severity], f"{verdict(report)}: {report.diagnosis.summary}", style),
        *_cut_short(report, style),
        *_broken(report.thresholds, style),
        "",
        *wrapped(scope(report), style),
    ]


def _cut_short(report: Report, style: Style) -> list[str]:
    text = cut_short(report)
    return [] if text is None else _marked("PARTIAL", Ink.YELLOW, text, style)


def _broken(thresholds: Sequence[Threshold], style: Style) -> list[str]:
    """The thresholds that failed, since they decide the exit code as much as the verdict does."""
    broken = [t.expression for t in thresholds if not t.passed]
    text = f"{len(broken)} of {counted(len(thresholds), 'threshold')}: {listed(broken, 3)}"
    return _marked("FAILED", Ink.RED, text, style) if broken else []


# --- the picture


def _picture(report: Report, style: Style) -> list[str]:
    """The distribution, and what does not fit into its columns."""
    if not report.profiles:
        return ["No traffic was sent."]
    return [
        heading("Requests per endpoint", style),
        *distribution(report.profiles, style),
        *chain.from_iterable(wrapped(aside, style, first="  ! ") for aside in asides(report)),
        *(paint(line, Ink.DIM, style) for line in wrapped(READING, style, first="  ")),
    ]


def _failures(report: Report, style: Style) -> list[str]:
    """Who failed, how, how often."""
    rows = failures(report)
    if not rows:
        return []
    lines = [line for profile, text in rows[:MOST_ROWS] for line in field(profile.value, text, style)]
    more = [f"  and {len(rows) - MOST_ROWS} more kinds"] if len(rows) > MOST_ROWS else []
    return [heading("Failed requests", style), *lines, *more]


def _thresholds(thresholds: Sequence[Threshold], style: Style) -> list[str]:
    """Every checked expression with its value."""
    if not thresholds:
        return []
    lines = [heading("Thresholds", style)]
    for one in thresholds:
        word, ink = ("ok", Ink.GREEN) if one.passed else ("FAILED", Ink.RED)
        first, *rest = wrapped(f"{one.expression}  (measured: {measured(one)})", style, first=f"  {word:<8}")
        lines += [first.replace(word, paint(word, ink, style), 1), *rest]
    return lines


# --- the reason


def _why(report: Report, style: Style) -> list[str]:
    """The evidence of the diagnosis."""
    first = leading(report)
    if first is None or not first.evidence:
        return []
    return [heading("Why", style), *bullets(first.evidence, style)]


def _also(report: Report, style: Style) -> list[str]:
    """The other findings, each with its evidence."""
    lines = [heading("Also found", style)] if others(report) else []
    for one in others(report):
        lines += [*wrapped(concluded(one), style, first="  ", rest="    "), *bullets(one.evidence, style, indent="    ")]
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
    for number, one in enumerate(report.recommendations, 1):
        lines += _fix(number, one, report.profiles, style)
    return lines


def _fix(number: int, one: Recommendation, profiles: Sequence[ProfileReport], style: Style) -> list[str]:
    start = f"  {number}. "
    indent = " " * len(start)
    gain = effect(one, profiles)
    lines = [line.replace(gain, paint(gain, Ink.BOLD, style)) for line in wrapped(f"{one.title}{gain}", style, first=start)]
    lines += wrapped(one.why, style, first=indent)
    lines += wrapped(f"costs: {'; '.join(one.costs)}", style, first=indent, rest=indent + "  ") if one.costs else []
    return lines + _artifacts(one.artifacts, number, indent, style)


def _artifacts(artifacts: Sequence[Artifact], number: int, indent: str, style: Style) -> list[str]:
    """The texts to apply: the first of the best fix, where it can be copied as it stands, and the names of the others."""
    shown = artifacts[:1] if number == 1 and artifacts and _fits(artifacts[0], indent, style) else ()
    lines = []
    for artifact in shown:
        lines += [*wrapped(f"{artifact.name} ({artifact.kind}):", style, first=indent), *_copied(artifact, indent)]
    rest = artifacts[len(shown) :]
    return lines + (wrapped(f"to paste: {elsewhere(rest)}", style, first=indent, rest=indent + "  ") if rest else [])


def _fits(artifact: Artifact, indent: str, style: Style) -> bool:
    content = _copied(artifact, indent)
    return len(content) <= MOST_ARTIFACT_LINES and all(visible(line) <= columns(style) for line in content)


def _copied(artifact: Artifact, indent: str) -> list[str]:
    return [f"{indent}  {line}".rstrip() for line in artifact.content.splitlines()]


def _notices(report: Report, style: Style) -> list[str]:
    return [heading("Notices", style), *bullets(report.notices, style)] if report.notices else []
