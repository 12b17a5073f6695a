"""``kbalance diff``"""

from __future__ import annotations

import os
import sys

import click

from kbalance.cli.exits import Exit
from kbalance.cli.types import Number, Output
from kbalance.model.words import DiffFormat, Outcome

_CODES = {
    Outcome.BETTER: Exit.OK,
    Outcome.NO_CHANGE: Exit.OK,
    Outcome.WORSE: Exit.FINDINGS,
    Outcome.NOT_COMPARABLE: Exit.NOT_MEASURED,
}


@click.command(short_help="Did the fix work? Compare two reports.")
@click.argument("before")
@click.argument("after")
@click.option(
    "--alpha",
    type=Number(0, 0.5, min_open=True),
    default=0.01,
    show_default=True,
    metavar="P",
    help="Chance that two runs of the same thing are called worse, and that they are called better.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=Output(tuple(f.value for f in DiffFormat)),
    metavar="FORMAT[=FILE]",
    help="Format, text, json or markdown; FORMAT=FILE writes a file; repeatable.  [default: text]",
)
def diff(before: str, after: str, alpha: float, outputs: tuple[tuple[str, str | None], ...]) -> int:
    """Compare the reports BEFORE and AFTER, which -o json=FILE wrote: did it become better?

    Loads, placement, failures and latencies are compared profile by profile and endpoint by endpoint, and luck is told from
    change. One of the two may be -, which is standard input.

    \b
    Examples:
      kbalance diff before.json after.json
      kbalance diff before.json after.json -o text -o markdown=summary.md
      kbalance diff last-week.json today.json --alpha 0.001 -o json

    \b
    Exit codes:
      0  better, or no change that the evidence shows
      1  worse
      2  wrong usage, or a file that is no report
      3  the reports cannot be compared
    """
    from kbalance.analysis.comparison import compare
    from kbalance.cli.run import Wanted, check_outputs, style_for, write
    from kbalance.errors import TargetError
    from kbalance.render.comparison import render
    from kbalance.render.reading import read

    check_outputs(Wanted(outputs))
    if spoiled := next((file for _, file in outputs if file is not None and _is_one_of(file, (before, after))), None):
        raise TargetError(f"{spoiled} is one of the reports that are compared; write the answer to another file.")
    if before == after == "-":
        raise TargetError("Only one of the reports can come from standard input; name a file for the other.")
    old, new = (read(_content(name), _called(name)) for name in (before, after))
    comparison = compare(old, new, alpha)
    for name, file in outputs or ((DiffFormat.TEXT.value, None),):
        write(render(comparison, DiffFormat(name), style=style_for(file)), file)
    return _CODES[comparison.outcome]


def _is_one_of(file: str, names: tuple[str, str]) -> bool:
    """Whether it is there already, as one of these, by whatever name."""
    return os.path.exists(file) and any(os.path.exists(name) and os.path.samefile(file, name) for name in names)


def _called(name: str) -> str:
    return "Standard input" if name == "-" else name


def _content(name: str) -> bytes:
    from kbalance.errors import TargetError

    try:
        if name == "-":
            if sys.stdin is None:
                raise TargetError("The report cannot be read from standard input: it is closed.")
            return sys.stdin.buffer.read()
        with open(name, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TargetError(f"The report {_called(name)} cannot be read: {reason}.") from error
