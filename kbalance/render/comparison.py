"""A comparison as text, Markdown and JSON; nothing is computed here that another format would have to compute again."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from kbalance.model.comparison import Comparison, EndpointChange, Item, ProfileChange, Side, Source
from kbalance.model.words import DiffFormat, Matching, Outcome, Profile, Verdict
from kbalance.render import Style, gfm
from kbalance.render.distribution import FEW, factor, legend, percent
from kbalance.render.json import plain
from kbalance.render.names import Labels, ending, numbered, shortened
from kbalance.render.terminal import Ink, bullets, columns, field, harmless, heading, paint, spark, table, visible, wrapped

SCHEMA = "kbalance/diff/v1"
"""The contract's name; within it fields are only ever added."""

_TITLE = {
    Outcome.BETTER: "BETTER",
    Outcome.WORSE: "WORSE",
    Outcome.NO_CHANGE: "NO CHANGE that the evidence shows",
    Outcome.NOT_COMPARABLE: "NOT COMPARABLE",
}


def _title(comparison: Comparison) -> str:
    """The answer in a word; another verdict on loads that luck may have made leaves it open."""
    if comparison.outcome is Outcome.NO_CHANGE and (comparison.new or comparison.gone):
        return "UNCLEAR"
    return _TITLE[comparison.outcome]


_INK = {
    Outcome.BETTER: Ink.GREEN,
    Outcome.WORSE: Ink.RED,
    Outcome.NO_CHANGE: Ink.BOLD,
    Outcome.NOT_COMPARABLE: Ink.YELLOW,
}
_VERDICT_INK = {Verdict.BETTER: Ink.GREEN, Verdict.WORSE: Ink.RED, Verdict.SAME: Ink.DIM, Verdict.UNCLEAR: Ink.YELLOW}
_MOST_ROWS = 20
"""Endpoints that have a row each in Markdown."""
_MOST_SLOW = 4
"""Endpoints whose latency is shown; of many, the ones that are slowest on either side."""


def render(comparison: Comparison, format: DiffFormat, *, style: Style) -> str:
    """The comparison in one format, ending with a newline."""
    return _RENDERERS[format](comparison, style)


# --- for people


def _text(comparison: Comparison, style: Style) -> str:
    comparison = harmless(comparison, style)
    sections = (
        _head(comparison, style),
        _picture(comparison, style),
        _latencies(comparison, style),
        _verdicts(comparison, style),
        _lines("Not compared", comparison.obstacles, style),
        _lines("What would make it surer", comparison.surer, style),
        _method(comparison, style),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _head(comparison: Comparison, style: Style) -> list[str]:
    """The answer."""
    mark = _title(comparison)
    first, *rest = wrapped(comparison.headline, style, first=f"{mark}  ", rest="  ")
    return [paint(mark, _INK[comparison.outcome], style) + first[len(mark) :], *rest]


def _picture(comparison: Comparison, style: Style) -> list[str]:
    """Two rows for each profile, a column for each endpoint where there are few."""
    if not comparison.profiles:
        return []
    for labels, dropped in _views(comparison):
        drawn = _drawn(comparison, labels, dropped, style)
        if max(map(visible, drawn)) <= columns(style):
            break
    notes = [] if labels is None else legend(labels, style)
    if comparison.matching is Matching.RANK:
        text = "The endpoints have other names now, so they stand by rank in each row, busiest first."
        notes = wrapped(text, style, first="  ")
    return [heading("Share of requests per endpoint", style), *drawn, *notes]


def _views(comparison: Comparison) -> Iterator[tuple[Labels | None, tuple[str, ...]]]:
    """What to call the endpoints' columns (``None``: too many for a column each) and which others to leave out, best first."""
    names = _names(comparison)
    wanted = (shortened(names), numbered(names)) if comparison.matching is Matching.NAME else (shortened(names),)
    if len(names) <= FEW:
        yield from ((labels, dropped) for dropped in ((), ("by luck",), ("by luck", "idle")) for labels in wanted)
    yield from ((None, dropped) for dropped in ((), ("by luck",), ("by luck", "idle"), ("by luck", "idle", "failed")))


def _names(comparison: Comparison) -> list[str]:
    """The endpoints' names, or as many places as the profile with most has."""
    if comparison.matching is Matching.RANK:
        return [f"#{rank}" for rank in range(1, max(len(p.endpoints) for p in comparison.profiles) + 1)]
    return sorted({e.before or e.after or "" for p in comparison.profiles for e in p.endpoints})


def _drawn(comparison: Comparison, labels: Labels | None, dropped: Sequence[str], style: Style) -> list[str]:
    """The table; a skyline takes what room the other columns leave."""
    names = _names(comparison)

    def made(room: int) -> list[str]:
        heads = [labels[name] for name in names] if labels else [f"{len(names)} endpoints"]
        header = ["", "", "conns", *heads, "idle", "failed", "busiest", "by luck", "verdict"]
        rows = [row for change in comparison.profiles for row in _rows(change, labels, comparison, room, style)]
        kept = [i for i, name in enumerate(header) if name not in dropped]
        align = ["left", "left", *["right"] * (len(header) - 3), "left"]
        return table([[row[i] for i in kept] for row in (header, *rows)], [align[i] for i in kept])

    least = len(f"{len(names)} endpoints")
    return made(least + max(0, columns(style) - max(map(visible, made(least)))))


def _rows(change: ProfileChange, labels: Labels | None, comparison: Comparison, room: int, style: Style) -> Iterator[list[str]]:
    shares = [e.share_before for e in change.endpoints], [e.share_after for e in change.endpoints]
    verdict = _verdict(change, comparison, style)
    for index, (when, side) in enumerate((("before", change.before), ("after", change.after))):
        yield [
            change.profile if not index else "",
            when,
            str(side.connections),
            *_cells(shares[index], change.endpoints, labels, comparison, room, style),
            str(side.idle),
            percent(side.failed / side.requests if side.requests else None),
            factor(side.busiest),
            factor(side.by_luck),
            verdict if index else _placed(side),
        ]


def _cells(
    shares: Sequence[float | None],
    endpoints: Sequence[EndpointChange],
    labels: Labels | None,
    comparison: Comparison,
    room: int,
    style: Style,
) -> list[str]:
    if labels is None:
        return [spark(_heights([share or 0.0 for share in shares], room), style)]
    if comparison.matching is Matching.RANK:
        return [percent(share) for share in shares] + ["-"] * (len(_names(comparison)) - len(shares))
    known = {e.before or e.after: share for e, share in zip(endpoints, shares, strict=True)}
    return [percent(known.get(name)) for name in _names(comparison)]


def _heights(shares: Sequence[float], room: int) -> Sequence[float]:
    """The shares, or where there are too many the means of neighbours in rank."""
    size = -(-len(shares) // room)
    if size <= 1:
        return shares
    ranked = sorted(shares, reverse=True)
    return [sum(group) / len(group) for group in (ranked[i : i + size] for i in range(0, len(ranked), size))]


def _placed(side: Side) -> str:
    """How the connections were placed, where that was told."""
    return "" if side.placement == "unknown" else side.placement


def _verdict(change: ProfileChange, comparison: Comparison, style: Style) -> str:
    """How they are placed now, and the verdict on this profile's load."""
    placed = _placed(change.after)
    if change.obstacles:
        return f"{placed} (not compared)".strip()
    item = next((i for i in comparison.items if i.what == "load" and i.profile == change.profile), None)
    word = paint(item.verdict.value, _VERDICT_INK[item.verdict], style) if item else ""
    return ": ".join(part for part in (placed, word) if part)


def _latencies(comparison: Comparison, style: Style) -> list[str]:
    """Each endpoint's latency before and after; of many, the slowest."""
    direct = next((p for p in comparison.profiles if p.profile == Profile.PER_ENDPOINT), None)
    known = [e for e in direct.endpoints if e.latency_before or e.latency_after] if direct else []
    if not known:
        return []
    shown = sorted(known, key=_slowness)[: FEW if len(known) <= FEW else _MOST_SLOW]
    title = "Latency in ms, asked directly" + (f" (the slowest {len(shown)} of {len(known)})" if len(shown) < len(known) else "")
    rows = [
        [_endpoint_name(e, style), *(f"{_quantile(e, 'before', q)} -> {_quantile(e, 'after', q)}" for q in ("p50", "p99"))]
        for e in shown
    ]
    return [heading(title, style), *table([["", "p50", "p99"], *rows], ["left", "right", "right"])]


def _endpoint_name(e: EndpointChange, style: Style) -> str:
    """Both names where they differ, cut at the front to what fits."""
    name = e.after if e.before in (None, e.after) else f"{e.before} -> {e.after}" if e.after else e.before
    return ending(name or "", columns(style) - 40)


def _slowness(e: EndpointChange) -> tuple[float, str]:
    return -max(known.p50 for known in (e.latency_before, e.latency_after) if known), e.before or e.after or ""


def _quantile(e: EndpointChange, when: str, name: str) -> str:
    latency = e.latency_before if when == "before" else e.latency_after
    value = None if latency is None else float(getattr(latency, name))
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _verdicts(comparison: Comparison, style: Style) -> list[str]:
    """Every item with its verdict, what decided first."""
    lines = [heading("Why", style)] if comparison.items or comparison.settings else []
    lines += bullets([f"{text}." for text in map(_capital, comparison.settings)], style)
    for item in _worth_telling(comparison):
        mark = f"  {item.verdict.value:<8}"
        first, *rest = wrapped(item.summary, style, first=mark)
        lines += [first.replace(item.verdict.value, paint(item.verdict.value, _VERDICT_INK[item.verdict], style), 1), *rest]
    return lines


def _worth_telling(comparison: Comparison) -> list[Item]:
    """All but what says that nothing failed where nothing did; what decided comes first."""
    order = list(Verdict)
    told = [i for i in comparison.items if not (i.what in ("failed", "per-request") and i.verdict is Verdict.SAME)]
    return sorted(told, key=lambda i: order.index(i.verdict))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lines(title: str, sentences: Sequence[str], style: Style) -> list[str]:
    return [heading(title, style), *bullets([_capital(s) for s in sentences], style)] if sentences else []


def _method(comparison: Comparison, style: Style) -> list[str]:
    """Which reports, and how sure the words are."""
    before, after = comparison.before, comparison.after
    lines = [
        heading("How sure it is", style),
        *field("before", _source(before, comparison), style),
        *field("after", _source(after, comparison), style),
    ]
    return lines + field("alpha", _guarantee(comparison), style)


def _guarantee(comparison: Comparison) -> str:
    return (
        f"two runs of the same thing are called worse in fewer than {100 * comparison.alpha:.3g} % of comparisons, and better in "
        "fewer than as many, whenever either run stopped; connections are counted, not requests, wherever a connection stays on "
        "one endpoint"
    )


def _source(source: Source, comparison: Comparison) -> str:
    text = f"{source.target}, {source.started}, kbalance {source.kbalance}: {source.cause}"
    if source.busiest_low is not None and source.busiest_high is not None:
        text += (
            f"; {source.connections:,} draws put the busiest endpoint's chance at {factor(source.busiest_low)} to "
            f"{factor(source.busiest_high)} of the fair share ({100 * (1 - comparison.alpha):.4g} % sure)"
        )
    return text


# --- for pull requests


def _markdown(comparison: Comparison, style: Style) -> str:
    """The answer, the table, the reasons: what a CI job's summary shows."""
    comparison = harmless(comparison, Style(colour=False, width=style.width, unicode=True))
    heads = ["profile", "connections", "busiest", "idle", "failed", "placement", "load"]
    rows = [_markdown_row(change, comparison) for change in comparison.profiles]
    parts = [f"**{_title(comparison)}**: {gfm.prose(comparison.headline)}"]
    if rows:
        parts.append("\n".join(gfm.table([heads, *rows], ["left"] * len(heads))))
    why = [*map(_capital, comparison.settings), *(f"{i.verdict.value}: {i.summary}" for i in _worth_telling(comparison))]
    parts += [
        _markdown_shares(comparison),
        _markdown_list("Why", why),
        _markdown_list("Not compared", list(map(_capital, comparison.obstacles))),
        _markdown_list("What would make it surer", list(comparison.surer)),
        f"How sure it is: {_guarantee(comparison)}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_shares(comparison: Comparison) -> str:
    """Each endpoint's share in each profile, where there are not too many endpoints to be read."""
    if not 0 < len(comparison.profiles[:1] and _names(comparison)) <= _MOST_ROWS:
        return ""
    heads = ["endpoint", *(p.profile for p in comparison.profiles)]
    rows = [
        [gfm.prose(name), *(_markdown_share(p, i, name, comparison) for p in comparison.profiles)]
        for i, name in enumerate(_names(comparison))
    ]
    return "\n".join(gfm.table([heads, *rows], ["left"] * len(heads)))


def _markdown_share(change: ProfileChange, rank: int, name: str, comparison: Comparison) -> str:
    by_rank = comparison.matching is Matching.RANK
    rows = change.endpoints
    found = rows[rank : rank + 1] if by_rank else [e for e in rows if name in (e.before, e.after)]
    e = next(iter(found), None)
    return f"{percent(e.share_before)} -> {percent(e.share_after)}" if e else ""


def _markdown_row(change: ProfileChange, comparison: Comparison) -> list[str]:
    old, new = change.before, change.after
    item = next((i for i in comparison.items if i.what == "load" and i.profile == change.profile), None)
    failed = [percent(side.failed / side.requests if side.requests else None) for side in (old, new)]
    return [
        gfm.prose(change.profile),
        f"{old.connections} -> {new.connections}",
        f"{factor(old.busiest)} -> {factor(new.busiest)}",
        f"{old.idle} -> {new.idle}",
        f"{failed[0]} -> {failed[1]}",
        f"{gfm.prose(old.placement)} -> {gfm.prose(new.placement)}",
        "not compared" if change.obstacles else item.verdict.value if item else "",
    ]


def _markdown_list(title: str, sentences: Sequence[str]) -> str:
    return "\n".join([f"**{title}**", "", *gfm.bullets(sentences)]) if sentences else ""


# --- for machines


def _json(comparison: Comparison, style: Style) -> str:
    document = {"schema": SCHEMA} | cast(dict[str, object], plain(comparison))
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


_RENDERERS: Mapping[DiffFormat, Callable[[Comparison, Style], str]] = MappingProxyType(
    {DiffFormat.TEXT: _text, DiffFormat.JSON: _json, DiffFormat.MARKDOWN: _markdown}
)
