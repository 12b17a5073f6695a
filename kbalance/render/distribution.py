"""The load of every profile on every endpoint, drawn for a terminal: columns for a few endpoints, a skyline for a crowd."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from kbalance.model.report import EndpointLoad, ProfileReport
from kbalance.model.words import Placement, Spread
from kbalance.render import Style
from kbalance.render.names import Labels, numbered, shortened
from kbalance.render.terminal import Ink, bar, columns, paint, spark, table, visible, wrapped

FEW = 6
"""Endpoints that get a column each."""
NAMED = 3
"""Endpoints named at either end of a crowd; more would not be read."""

_SPREAD_INK = {Spread.PINNED: Ink.YELLOW, Spread.UNEVEN: Ink.YELLOW, Spread.EVEN: Ink.GREEN, Spread.FAILED: Ink.RED}


def distribution(profiles: Sequence[ProfileReport], style: Style) -> list[str]:
    """Lines: a row per profile, and what is needed to read it."""
    names = [load.name for load in profiles[0].endpoints]
    if not names:
        return _table(profiles, [], [[] for _ in profiles], style)
    for view in _views(names, profiles, style):
        if max(map(visible, view)) <= columns(style):
            return view
    return _crowd(names, profiles, style)


def factor(value: float | None) -> str:
    """Load over its fair share, for example ``3.00x``."""
    return "-" if value is None else f"{value:.2f}x"


def percent(share: float | None) -> str:
    """A share in whole percent, in tenths where whole ones would blur it."""
    if share is None:
        return "-"
    return f"{share:.1%}" if 0 < share < 0.095 else f"{share:.0%}"


def listed(items: Sequence[str], most: int) -> str:
    """The first items of many, and how many more there are."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")


def legend(labels: Labels, style: Style) -> list[str]:
    """How to get from a label back to the name."""
    if labels.numbered:
        return [line for name, label in labels.by_name.items() for line in wrapped(name, style, first=f"  {label} is ")]
    return wrapped(f"Names begin with {labels.prefix}", style, first="  ") if labels.prefix else []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """How an endpoint's load is written into its column."""

    bar: int
    """Width of the bar."""
    share: bool = True
    """Whether the share stands behind the count."""
    below: bool = False
    """Whether the bar has a line of its own."""


# From the one that tells most to the one that takes least room.
_CELLS = (
    *(_Cell(bar=width) for width in (12, 10, 8, 6)),
    *(_Cell(bar=width, below=True) for width in (14, 12, 10, 8)),
    *(_Cell(bar=width, share=False, below=True) for width in (7, 6, 5, 4)),
)


def _views(names: Sequence[str], profiles: Sequence[ProfileReport], style: Style) -> Iterator[list[str]]:
    """The same table in every form, the best first; none for a crowd."""
    if len(names) > FEW:
        return
    for labels in (shortened(names), numbered(names)):
        for cell in _CELLS:
            yield _columns(names, profiles, labels, cell, style) + legend(labels, style)


def _columns(names: Sequence[str], profiles: Sequence[ProfileReport], labels: Labels, cell: _Cell, style: Style) -> list[str]:
    """A column per endpoint."""
    digits = max((len(str(load.requests)) for profile in profiles for load in profile.endpoints), default=1)
    rows = []
    for profile in profiles:
        loads = {load.name: load for load in profile.endpoints}
        rows.append([_cell(loads.get(name), cell, digits, style) for name in names])
    return _table(profiles, [labels[name] for name in names], rows, style)


def _cell(load: EndpointLoad | None, cell: _Cell, digits: int, style: Style) -> str:
    """A count, its share and its bar."""
    if load is None or load.share is None:
        return "-"
    number = f"{load.requests:>{digits}}" + (f" {load.share:>4.0%}" if cell.share else "")
    drawn = bar(load.share, cell.bar, style)
    return f"{number}\n{drawn}" if cell.below else f"{drawn} {number}"


def _table(profiles: Sequence[ProfileReport], heads: Sequence[str], middle: Sequence[Sequence[str]], style: Style) -> list[str]:
    """A row per profile: its name and connections, the given cells, and the verdict."""
    header = ["", "conns", *heads, "busiest", "by luck", "verdict"]
    rows = [
        [
            profile.profile.value,
            str(profile.connections.opened),
            *cells,
            factor(profile.busiest),
            factor(profile.expected_busiest),
            _verdict(profile, style),
        ]
        for profile, cells in zip(profiles, middle, strict=True)
    ]
    return table([header, *rows], ["left", *["right"] * (len(header) - 2), "left"])


def _verdict(profile: ProfileReport, style: Style) -> str:
    spread = profile.spread.value
    return verdict(profile).replace(spread, paint(spread, _SPREAD_INK[profile.spread], style), 1)


def verdict(profile: ProfileReport) -> str:
    """How the load lay and, where that could be told, what chose the endpoint."""
    spread = profile.spread.value
    match profile.placement:
        case Placement.UNKNOWN:
            return spread
        case Placement.EVEN:
            return f"{spread}, in turn"
    return f"{spread}, {profile.placement.value}"


def _crowd(names: Sequence[str], profiles: Sequence[ProfileReport], style: Style) -> list[str]:
    """A skyline per profile, then who stands out in it."""
    head = f"{len(names)} endpoints"
    room = len(head) + columns(style) - max(map(visible, _skylines(profiles, head, [head] * len(profiles), style)))
    per_bar = -(-len(names) // room)
    skylines = [spark(_heights(profile, per_bar), style) for profile in profiles]
    order = "one bar per endpoint in the order of names" if per_bar == 1 else f"{per_bar} endpoints to a bar, busiest first"
    labels = shortened(names)
    return [
        *_skylines(profiles, head, skylines, style),
        *wrapped(f"{order}; heights are relative to the highest in the row", style, first="  "),
        "",
        *(line for profile in profiles for line in wrapped(_standing_out(profile, labels), style, first=_label(profile))),
        *legend(labels, style),
    ]


def _skylines(profiles: Sequence[ProfileReport], head: str, skylines: Sequence[str], style: Style) -> list[str]:
    idle = [str(profile.idle) if profile.busiest is not None else "-" for profile in profiles]
    return _table(profiles, [head, "idle"], list(zip(skylines, idle, strict=True)), style)


def _label(profile: ProfileReport) -> str:
    return f"  {profile.profile.value:<14}"


def _heights(profile: ProfileReport, per_bar: int) -> list[float]:
    """What each bar of a skyline stands for: one endpoint's requests, or the mean of several neighbours in rank."""
    counts: list[float] = [load.requests for load in profile.endpoints]
    if per_bar == 1:
        return counts
    ranked = iter(sorted(counts, reverse=True))
    return [sum(group) / len(group) for group in iter(lambda: list(islice(ranked, per_bar)), [])]


def _standing_out(profile: ProfileReport, labels: Labels) -> str:
    """The busiest, the quietest and the idle of many endpoints."""
    ends = extremes(profile)
    if not ends.most:
        return "nothing could be attributed to an endpoint"
    if ends.level:
        return f"{ends.most[0].requests} requests each"
    parts = ["most " + ", ".join(_named(load, labels) for load in ends.most)]
    if ends.idle:
        idle = [labels[name] for name in ends.idle]
        parts.append(f"nothing for {len(idle)} of {len(profile.endpoints)}: {listed(idle, 2 * NAMED)}")
    elif ends.least:
        parts.append("least " + ", ".join(_named(load, labels) for load in ends.least))
    return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extremes:
    """Who stands out among many endpoints."""

    most: tuple[EndpointLoad, ...]
    """The busiest few, the busiest first; empty: nothing could be attributed."""
    least: tuple[EndpointLoad, ...]
    """The quietest few of the others that got anything, the quietest first."""
    idle: tuple[str, ...]
    level: bool
    """Whether everybody got the same."""


def extremes(profile: ProfileReport) -> Extremes:
    """The busiest, the quietest and the idle."""
    ranked = sorted(profile.endpoints, key=lambda load: (-load.requests, load.name))
    served = [load for load in ranked if load.requests]
    idle = tuple(load.name for load in ranked if not load.requests)
    return Extremes(
        most=tuple(served[:NAMED]),
        least=tuple(served[: NAMED - 1 : -1][:NAMED]) if len(served) > NAMED else (),
        idle=idle,
        level=bool(served) and not idle and served[0].requests == served[-1].requests,
    )


def _named(load: EndpointLoad, labels: Labels) -> str:
    return f"{labels[load.name]} {load.requests} ({percent(load.share)})"
