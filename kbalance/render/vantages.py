"""What each of several vantage points saw, and where they differ."""

from collections.abc import Iterator, Sequence
from itertools import chain

from kbalance.model.report import ProfileReport, Report, Vantage, VantageReport
from kbalance.model.words import Profile
from kbalance.render import Style
from kbalance.render.distribution import FEW, factor, legend, listed
from kbalance.render.names import ending, shortened
from kbalance.render.terminal import columns, counted, heading, table, visible, wrapped

LONGEST = 20
"""Characters of a node's or a zone's name in the table; their ends tell them apart."""
MOST_ROWS = 20
"""Vantage points in the table; the differences of all are told."""


def vantages(report: Report, style: Style) -> list[str]:
    """A row per vantage point: where its fresh connections went; nothing where there is only one."""
    seen = compared(report)
    if not seen:
        return []
    return [
        heading(title(seen), style),
        *_table(seen, style),
        *chain.from_iterable(wrapped(text, style, first="  ! ") for text in differences(report, seen)),
    ]


Seen = Sequence[tuple[VantageReport, ProfileReport]]
"""Vantage points, each with its profile that shows best what chooses the endpoint."""


def compared(report: Report) -> Seen:
    """The vantage points that measured something."""
    return [(one, profile) for one in report.vantages if (profile := _choosing(one)) is not None]


def title(seen: Seen) -> str:
    return f"Connections per endpoint, from each vantage point ({seen[0][1].profile.value})"


def _choosing(one: VantageReport) -> ProfileReport | None:
    """The profile that shows best what chooses the endpoint."""
    order = (Profile.SHORT_LIVED, Profile.POOLED, Profile.SINGLE, Profile.STOCK)
    return next((p for kind in order for p in one.profiles if p.profile is kind), None)


def _table(seen: Seen, style: Style) -> list[str]:
    names = [load.name for load in seen[0][1].endpoints]
    labels = shortened(names)
    few = len(names) <= FEW
    rows = table_rows(seen, [labels[name] for name in names] if few else None)
    rows = [[ending(node, LONGEST), ending(zone, LONGEST), *cells] for node, zone, *cells in rows]
    lines = table(rows, ["left", "left", *["right"] * (len(rows[0]) - 3), "left"])
    if few and max(map(visible, lines)) > columns(style):
        rows = [[*row[:3], *row[-2:]] for row in rows]
        lines = table(rows, ["left", "left", "right", "right", "left"])
    more = [f"  and {len(seen) - MOST_ROWS} more"] if len(seen) > MOST_ROWS else []
    return [*lines, *more, *(legend(labels, style) if few else [])]


def table_rows(seen: Seen, labels: Sequence[str] | None) -> list[list[str]]:
    """A header and a row per vantage point, with a column per endpoint where there are labels for them."""
    names = [load.name for load in seen[0][1].endpoints]
    rows = [["", "zone", "conns", *(["reached"] if labels is None else labels), "busiest", "placement"]]
    for one, profile in seen[:MOST_ROWS]:
        loads = {load.name: load.connections for load in profile.endpoints}
        reached = f"{sum(map(bool, loads.values()))} of {len(names)}"
        cells = [reached] if labels is None else [str(loads[name]) for name in names]
        place = [name_of(one.vantage, one.worker), one.vantage.zone or "-", str(profile.connections.opened)]
        rows.append([*place, *cells, factor(profile.busiest), profile.placement.value])
    return rows


def name_of(vantage: Vantage, worker: int) -> str:
    """The node, or the worker's index where the node is not known."""
    return vantage.node or f"worker {worker}"


def differences(report: Report, seen: Seen) -> Iterator[str]:
    """What one vantage point never sees though another does."""
    met = {one.worker: {load.name for load in profile.endpoints if load.connections} for one, profile in seen}
    anybody = set().union(*met.values())
    zones = {e.name: e.zone for e in report.facts.endpoints}
    for one, profile in seen:
        never = sorted(anybody - met[one.worker])
        if not never or not met[one.worker]:
            continue
        name, zone = name_of(one.vantage, one.worker), one.vantage.zone
        own = zone is not None and all(zones.get(endpoint) == zone for endpoint in met[one.worker])
        what = f"only endpoints of its own zone {zone}" if own else f"{counted(len(met[one.worker]), 'endpoint')} alone"
        yield (
            f"{name} reached {what} with {counted(profile.connections.opened, 'connection')}, and never {listed(never, 3)},"
            " which others reached."
        )
