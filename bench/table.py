"""Rows as one table, on the screen and in a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from bench.race import RATE, Row

HEADERS = (
    "row",
    "kbalance",
    "against",
    "unit",
    "kbalance's",
    "theirs",
    "ratio",
    "lowest..highest",
    "target",
    "met",
    "server busy",
)


def table(rows: Sequence[Row], style: str) -> str:
    """The table in one of tabulate's styles, and below it why some rows have no numbers."""
    text = tabulate([_cells(row) for row in rows], HEADERS, tablefmt=style, disable_numparse=True)
    reasons = dict.fromkeys(f"{row.race}: not measured, {row.problem}" for row in rows if row.problem)
    return "\n\n".join((text, *reasons))


def write(path: Path, rows: Sequence[Row], machine: Mapping[str, str], how: str) -> None:
    """The results as a page of Markdown, with the machine that they come from."""
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    intro = f"# Results\n\nWritten by `{how}`; README.md beside this file says how to read it."
    path.write_text(f"{intro}\n\n{facts}\n\n{table(rows, 'github')}\n", encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.race,
        row.ours_name,
        row.peer_name,
        row.unit,
        _amount(row.ours),
        _amount(row.peer),
        "not measured" if row.ratio is None else f"{row.ratio:.2f}",
        f"{min(row.ratios):.2f}..{max(row.ratios):.2f}" if row.ratios else "",
        str(row.target) if row.target else "",
        {True: "yes", False: "no", None: ""}[row.met],
        f"{row.ours_busy:.0%}, {row.peer_busy:.0%}" if row.unit == RATE else "",
    )


def _amount(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"
