"""The report for GitHub: a job summary or a ticket. The answer and the picture are in sight, the rest is folded."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from kbalance.model.report import Artifact, EndpointLoad, Forecast, ProfileReport, Recommendation, Report, RuledOut, ScaleOut
from kbalance.model.words import Severity
from kbalance.render import Style
from kbalance.render.distribution import FEW, Extremes, extremes, factor, percent, verdict
from kbalance.render.gfm import bullets, code, details, fenced, indented, prose, table
from kbalance.render.growth import TITLE, growth_rows, nobody, reading
from kbalance.render.method import PERCENTILES, circumstances, incidents, latency_rows, traffic
from kbalance.render.names import Labels, numbered, shortened
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
)
from kbalance.render.sentences import verdict as verdict_of
from kbalance.render.terminal import bar, counted, harmless
from kbalance.render.vantages import compared, differences, table_rows, title

_SIGNS = {
    Severity.PROBLEM: "\N{LARGE RED CIRCLE}",
    Severity.RISK: "\N{LARGE YELLOW CIRCLE}",
    Severity.INFO: "\N{LARGE GREEN CIRCLE}",
}
_BARS = 24
"""Characters of the bars of a row together; more would push the verdict out of sight."""
LABEL = 20
"""Longest label that heads a column."""
MOST_ARTIFACT_CHARACTERS = 30_000
"""Of all artifacts together: GitHub takes 65,536 characters in a ticket. Further ones are named, not shown."""

_LANGUAGES = {
    ".cfg": "ini",
    ".conf": "nginx",
    ".cs": "csharp",
    ".go": "go",
    ".java": "java",
    ".js": "javascript",
    ".json": "json",
    ".kt": "kotlin",
    ".mjs": "javascript",
    ".properties": "properties",
    ".py": "python",
    ".rb": "ruby",
    ".rs": "rust",
    ".sh": "sh",
    ".toml": "toml",
    ".ts": "typescript",
    ".xml": "xml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
"""By the end of an artifact's name, as GitHub's highlighter calls them; an artifact of another kind is shown plain."""


def render(report: Report, style: Style) -> str:
    """The report in GitHub Flavored Markdown."""
    style = replace(style, colour=False)
    report = harmless(report, style)
    sections = (
        _head(report, style),
        _picture(report, style),
        _vantages(report),
        _growth(report.scale_out),
        _failures(report),
        _thresholds(report, style),
        _why(report),
        _also(report),
        _fixes(report),
        _forecasts(report.forecasts),
        _latencies(report),
        _bounds(report.profiles),
        _method(report),
        _notices(report),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


# --- the answer


def _head(report: Report, style: Style) -> list[str]:
    diagnosis = report.diagnosis
    sign = f"{_SIGNS[diagnosis.severity]} " if style.unicode else ""
    lines = [
        f"## {sign}{diagnosis.severity.value.upper()}: {prose(verdict_of(report))}",
        "",
        f"**{prose(diagnosis.summary)}**",
        "",
    ]
    cut = cut_short(report)
    if cut:
        lines += [f"**PARTIAL**: {prose(cut)}", ""]
    broken = [t for t in report.thresholds if not t.passed]
    if broken:
        told = ", ".join(f"{code(t.expression)} (measured: {measured(t)})" for t in broken)
        lines += [f"**FAILED** {len(broken)} of {counted(len(report.thresholds), 'threshold')}: {told}", ""]
    return [*lines, prose(scope(report))]


# --- the picture


def _picture(report: Report, style: Style) -> list[str]:
    if not report.profiles:
        return ["No traffic was sent."]
    names = [load.name for load in report.profiles[0].endpoints]
    labels = _labels(names)
    distribution = _columns(report.profiles, names, labels, style) if 0 < len(names) <= FEW else _crowd(report.profiles, labels)
    left_out = bullets(asides(report))
    return [
        "### Requests per endpoint",
        "",
        *distribution,
        "",
        *_legend(labels),
        *([*left_out, ""] if left_out else []),
        f"<sub>{prose(READING)}</sub>",
    ]


def _labels(names: Sequence[str]) -> Labels:
    """What heads a column for each name: as narrow as the others allow."""
    labels = shortened(names)
    if len(names) <= FEW and max((len(labels[name]) for name in names), default=0) > LABEL:
        return numbered(names)
    return labels


def _legend(labels: Labels) -> list[str]:
    if labels.numbered:
        return ["<br/>".join(f"{code(label)} is {code(name)}" for name, label in labels.by_name.items()), ""]
    return [f"Names begin with {code(labels.prefix)}", ""] if labels.prefix else []


def _columns(profiles: Sequence[ProfileReport], names: Sequence[str], labels: Labels, style: Style) -> list[str]:
    """A row per profile, a column per endpoint."""
    rows = []
    for profile in profiles:
        loads = {load.name: load for load in profile.endpoints}
        rows.append(_row(profile, [_cell(loads.get(name), min(10, _BARS // len(names)), style) for name in names]))
    return _table([code(labels[name]) for name in names], rows)


def _cell(load: EndpointLoad | None, width: int, style: Style) -> str:
    """A bar, with count and share below it."""
    if load is None or load.share is None:
        return "-"
    return f"`{bar(load.share, width, style)}`<br/>{load.requests} ({load.share:.0%})"


def _crowd(profiles: Sequence[ProfileReport], labels: Labels) -> list[str]:
    """A row per profile: who got most, who got least, and how many got nothing."""
    rows = [_row(profile, _ends(extremes(profile), labels)) for profile in profiles]
    return _table(["most", "least", "idle"], rows) if profiles[0].endpoints else _table([], [_row(p, []) for p in profiles])


def _ends(ends: Extremes, labels: Labels) -> list[str]:
    if not ends.most:
        return ["-", "-", "-"]
    if ends.level:
        return [f"{ends.most[0].requests} each", "-", "0"]
    most, least = ("<br/>".join(_named(load, labels) for load in loads) for loads in (ends.most, ends.least))
    return [most, least or "-", str(len(ends.idle))]


def _named(load: EndpointLoad, labels: Labels) -> str:
    return f"{code(labels[load.name])} {load.requests}&nbsp;({percent(load.share)})"


def _row(profile: ProfileReport, cells: Sequence[str]) -> list[str]:
    return [
        f"**{profile.profile.value}**",
        str(profile.connections.opened),
        *cells,
        f"**{factor(profile.busiest)}**",
        factor(profile.expected_busiest),
        verdict(profile),
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    header = ["", "conns", *heads, "busiest", "by luck", "verdict"]
    return table([header, *rows], ["left", *["right"] * (len(header) - 2), "left"])


def _vantages(report: Report) -> list[str]:
    """A row per vantage point, where there are several."""
    seen = compared(report)
    if not seen:
        return []
    names = [load.name for load in seen[0][1].endpoints]
    labels = _labels(names)
    rows = table_rows(seen, [labels[name] for name in names] if len(names) <= FEW else None)
    more = [f"and {len(seen) - len(rows) + 1} more", ""] if len(seen) >= len(rows) else []
    told = bullets(differences(report, seen))
    return [
        f"### {title(seen)}",
        "",
        *table([[prose(cell) for cell in row] for row in rows], ["left", "left", *["right"] * (len(rows[0]) - 3), "left"]),
        *["", *more, *told][: None if more or told else 0],
    ]


def _failures(report: Report) -> list[str]:
    rows = failures(report)
    if not rows:
        return []
    more = [f"- and {len(rows) - MOST_ROWS} more kinds"] if len(rows) > MOST_ROWS else []
    return ["### Failed requests", "", *(f"- {profile.value}: {prose(text)}" for profile, text in rows[:MOST_ROWS]), *more]


def _thresholds(report: Report, style: Style) -> list[str]:
    if not report.thresholds:
        return []
    words = ("\N{WHITE HEAVY CHECK MARK} ok", "\N{CROSS MARK} **FAILED**") if style.unicode else ("ok", "**FAILED**")
    rows = [[code(one.expression), measured(one), words[0] if one.passed else words[1]] for one in report.thresholds]
    return ["### Thresholds", "", *table([["threshold", "measured", "result"], *rows], ["left", "right", "left"])]


# --- the reason


def _why(report: Report) -> list[str]:
    """The evidence of the diagnosis, and what it excludes."""
    first = leading(report)
    evidence = bullets(first.evidence) if first else []
    excluded = _ruled_out(report.diagnosis.ruled_out)
    if not evidence and not excluded:
        return []
    return ["### Why", "", *evidence, *([""] if evidence and excluded else []), *excluded]


def _ruled_out(causes: Sequence[RuledOut]) -> list[str]:
    if not causes:
        return []
    told = (f"- {code(one.cause)}: {prose(one.because)}" for one in causes)
    return details(f"Ruled out: {counted(len(causes), 'other cause')}", told)


def _also(report: Report) -> list[str]:
    """The other findings, each with its evidence."""
    lines = []
    for one in others(report):
        lines += [f"- {prose(concluded(one))}", *indented(bullets(one.evidence), 2)]
    return ["### Also found", "", *lines] if lines else []


# --- the cure


def _fixes(report: Report) -> list[str]:
    """What to change, best first, each with what it did or would do."""
    if not report.recommendations:
        return []
    room = MOST_ARTIFACT_CHARACTERS
    lines = []
    for number, one in enumerate(report.recommendations, 1):
        start = f"{number}. "
        lines += ["", f"{start}**{prose(one.title)}**{effect(one, report.profiles)}", *indented(_fix(one), len(start))]
        for artifact in one.artifacts:
            room -= len(artifact.content)
            lines += ["", *indented(_artifact(artifact, shown=room >= 0), len(start))]
    return ["### What to change, best first", *lines]


def _fix(one: Recommendation) -> Iterator[str]:
    yield ""
    yield prose(one.why)
    if one.costs:
        yield ""
        yield f"*Costs:* {prose('; '.join(one.costs))}"


def _artifact(artifact: Artifact, *, shown: bool) -> list[str]:
    """The text to apply, to be copied as it stands."""
    if not shown:
        return [prose(elsewhere([artifact]))]
    language = _LANGUAGES.get(PurePosixPath(artifact.name).suffix, "")
    return details(f"{artifact.name} ({artifact.kind})", fenced(artifact.content, language))


def _growth(grown: ScaleOut | None) -> list[str]:
    """When each profile first heard from the endpoints that joined."""
    if grown is None:
        return []
    if not grown.newcomers:
        return [f"### {TITLE}", "", prose(nobody(grown))]
    header, *rows = growth_rows(grown)
    cells = [[code(name), *values] for name, *values in rows]
    return [f"### {TITLE}", "", *table([header, *cells], ["left", *["right"] * (len(header) - 1)]), "", prose(reading(grown))]


def _forecasts(forecasts: Sequence[Forecast]) -> list[str]:
    """What clients that keep connections would do to the endpoints."""
    if not forecasts:
        return []
    rows = [
        [
            prose(one.what),
            f"{one.clients:,}",
            f"{one.connections:,}",
            f"{one.endpoints:,}",
            factor(one.expected_busiest),
            f"{one.expected_idle:.1f}",
        ]
        for one in forecasts
    ]
    header = ["", "clients", "connections each", "endpoints", "busiest", "idle"]
    return ["### Expected load on average", "", *table([header, *rows], ["left", *["right"] * 5])]


# --- the small print


def _latencies(report: Report) -> list[str]:
    heading, rows = latency_rows(report)
    if not rows:
        return []
    cells = [[code(name), *values] for name, *values in rows]
    return details(heading, table([["", *PERCENTILES], *cells], ["left", *["right"] * len(PERCENTILES)]))


def _bounds(profiles: Sequence[ProfileReport]) -> list[str]:
    """Between what the chances of the endpoints lie, by the connections that were drawn, and what is still open."""
    drawn = [p for p in profiles if any(load.chance_low is not None for load in p.endpoints)]
    open_ = [p for p in profiles if p.evidence.more]
    if not drawn and not open_:
        return []
    lines = []
    for profile in drawn:
        rows = [[code(one.name), percent(one.chance_low), percent(one.chance_high)] for one in _bounded(profile)]
        sure = "" if profile.evidence.coverage is None else f", all at once with {profile.evidence.coverage * 100:.4g}% certainty"
        lines += [
            f"**{profile.profile.value}**{sure}",
            "",
            *table([["", "at least", "at most"], *rows], ["left", "right", "right"]),
            "",
        ]
    lines += bullets(
        f"{p.profile.value}: at most {counted(p.evidence.more or 0, 'more connection')} would settle it" for p in open_
    )
    return details("Chance of each endpoint to be given a connection", lines)


def _bounded(profile: ProfileReport) -> list[EndpointLoad]:
    """The endpoints with bounds; of many, the most and the least likely."""
    known = sorted(
        (one for one in profile.endpoints if one.chance_low is not None), key=lambda one: (-(one.chance_low or 0), one.name)
    )
    return known if len(known) <= FEW else [*known[: FEW // 2], *known[-FEW // 2 :]]


def _method(report: Report) -> list[str]:
    """How it was measured, so that somebody else can do it again."""
    rows = traffic(report.profiles)
    lines = [f"- **{name}**: {prose(text)}" for name, text in circumstances(report)]
    happened = [f"- {p.profile.value}: {prose(text)}" for p in report.profiles for text in incidents(p)]
    if rows:
        lines += ["", *table(rows, ["left", *["right"] * (len(rows[0]) - 1)])]
    return details("How it was measured", [*lines, *(["", *happened] if happened else [])])


def _notices(report: Report) -> list[str]:
    return ["### Notices", "", *bullets(report.notices)] if report.notices else []
