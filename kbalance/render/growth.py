"""When each kind of client first heard from the endpoints that joined, as a table."""

from kbalance.model.report import Report, ScaleOut
from kbalance.render import Style
from kbalance.render.names import ending
from kbalance.render.terminal import columns, counted, heading, numbers, wrapped

MOST = 12
"""Newcomers that get a row."""


def growth(report: Report, style: Style) -> list[str]:
    """A row for each newcomer; nothing where nobody watched."""
    grown = report.scale_out
    if grown is None:
        return []
    if not grown.newcomers:
        return [heading(TITLE, style), *wrapped(nobody(grown), style, first="  ")]
    header, *rows = growth_rows(grown)
    room = columns(style) - 2 - sum(2 + max(map(len, column)) for column in zip(header[1:], *(r[1:] for r in rows), strict=True))
    cut = [[ending(name, room), *cells] for name, *cells in rows]
    return [heading(TITLE, style), *numbers([header, *cut]), *wrapped(reading(grown), style, first="  ")]


TITLE = "New endpoints, seconds from ready to the first answer"


def growth_rows(grown: ScaleOut) -> list[list[str]]:
    """A header, and a row for each newcomer with the time that each profile took to hear from it; of many, the first ones."""
    profiles = list(grown.requests)
    rows = [[one.name, f"{one.ready_s:.1f} s", *(_waited(one.first_s[p]) for p in profiles)] for one in grown.newcomers[:MOST]]
    return [["", "ready at", *profiles], *rows]


def _waited(first_s: float | None) -> str:
    return "never" if first_s is None else f"{first_s:.1f}"


def nobody(grown: ScaleOut) -> str:
    return (
        f"No endpoint became ready within {grown.duration_s:.0f} s; {counted(grown.before, 'endpoint')} "
        f"{'was' if grown.before == 1 else 'were'} there before. Scale out while kbalance watches, or watch longer."
    )


def reading(grown: ScaleOut) -> str:
    """How to read the table."""
    left = len(grown.newcomers) - MOST
    more = f"and {left} more; " if left > 0 else ""
    made = ", ".join(f"{profile} {requests:,}" for profile, requests in grown.requests.items())
    cut = f"; ended early, out of connections or failing: {', '.join(grown.cut_short)}" if grown.cut_short else ""
    return (
        f"{more}never: not within the {grown.duration_s:.0f} s that were watched; {counted(grown.before, 'endpoint')} before; "
        f"endpoints looked at every {grown.every_s:g} s; requests meanwhile: {made}{cut}."
    )
