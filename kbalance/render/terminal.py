"""Signs on a terminal: colour, bars, wrapped paragraphs, and words from strangers made harmless."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum, StrEnum
from typing import Any, TypeVar

from tabulate import tabulate

from kbalance.model.report import Artifact
from kbalance.model.target import Address
from kbalance.render import Style

T = TypeVar("T")

LONGEST = 500
"""Characters of one name or sentence; a server may answer with a page where a name was looked for."""

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_DIGITS = "123456789"
_IN_ASCII = str.maketrans(
    {
        "\N{HORIZONTAL ELLIPSIS}": "...",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{MINUS SIGN}": "-",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{LESS-THAN OR EQUAL TO}": "<=",
        "\N{GREATER-THAN OR EQUAL TO}": ">=",
        "\N{RIGHTWARDS ARROW}": "->",
    }
)


class Ink(StrEnum):
    """The few colours in use, as parameters of ANSI's Select Graphic Rendition."""

    BOLD = "1"
    DIM = "2"
    RED = "1;31"
    YELLOW = "1;33"
    GREEN = "1;32"


def paint(text: str, ink: Ink, style: Style) -> str:
    """The text in a colour, where colours are wanted."""
    return f"\x1b[{ink}m{text}\x1b[0m" if style.colour and text else text


def visible(line: str) -> int:
    """Columns that a line takes, colours not counted."""
    return len(_ESCAPE.sub("", line))


def columns(style: Style) -> int:
    """Columns to lay out for: tables make no sense below 80, and prose reads badly above 100."""
    return min(max(style.width, 80), 100)


def wrapped(text: str, style: Style, *, first: str = "", rest: str | None = None) -> list[str]:
    """A paragraph in lines that fit; `first` stands before the first line and `rest` (its width in spaces) before the others."""
    rest = " " * len(first) if rest is None else rest
    lines = textwrap.wrap(
        text, columns(style), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=True
    )
    return lines or [first.rstrip()]


def bar(share: float, width: int, style: Style) -> str:
    """A horizontal bar on a track of `width` columns; whatever is more than nothing shows."""
    if style.unicode:
        full, eighths = divmod(_at_least_one(share * width * 8), 8)
        drawn, track = "█" * full + _EIGHTHS[eighths].strip(), "·"
    else:
        drawn, track = "#" * _at_least_one(share * width), "."
    return drawn + paint(track * (width - len(drawn)), Ink.DIM, style)


def _at_least_one(length: float) -> int:
    return max(1, round(length)) if length > 0 else 0


def spark(values: Sequence[float], style: Style) -> str:
    """One upright bar per value against the largest of them, a dot for nothing; digits 1 to 9 where blocks cannot be shown."""
    steps, nothing = (_HEIGHTS, "·") if style.unicode else (_DIGITS, ".")
    top = max(values, default=0)
    return "".join(steps[min(int(v / top * len(steps)), len(steps) - 1)] if v > 0 else nothing for v in values)


def harmless(value: T, style: Style) -> T:
    """The value with every string fit to be shown.

    Names, reasons and answers come from servers: an escape sequence in one of them must not reach the terminal, nor a line
    break forge a line of the report.
    """
    cleaned: T = _harmless(value, style)
    return cleaned


def _harmless(value: Any, style: Style) -> Any:
    match value:
        case Enum():
            return value
        case str():
            return _printable(value, style)
        case Address():
            return Address(_printable(value.ip, style), value.port)
        case Artifact():
            # To be copied, so nothing is cut; spaces for tabs, which would be escaped like any other control character.
            content = "\n".join(_clean(line, style) for line in value.content.expandtabs(4).splitlines())
            return replace(value, name=_printable(value.name, style), kind=_printable(value.kind, style), content=content)
        case tuple():
            return tuple(_harmless(item, style) for item in value)
        case Mapping():
            return {_harmless(key, style): _harmless(item, style) for key, item in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{f.name: _harmless(getattr(value, f.name), style) for f in fields(value)})
    return value


def _printable(text: str, style: Style) -> str:
    return _clean(text if len(text) <= LONGEST else f"{text[:LONGEST]}...", style)


def _clean(text: str, style: Style) -> str:
    """The text without control characters; in ASCII, typographic signs by their look and anything else by its number."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if style.unicode else text.translate(_IN_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def table(rows: Sequence[Sequence[str]], align: Sequence[str]) -> list[str]:
    """Indented lines of a table; the first row is the header."""
    # As a row of its own: tabulate makes each column two wider than its header.
    text = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align)
    return [f"  {line}".rstrip() for line in text.splitlines()]


def heading(text: str, style: Style) -> str:
    return paint(text, Ink.BOLD, style)


def field(name: str, text: str, style: Style) -> list[str]:
    """A named line of the small print."""
    return wrapped(text, style, first=f"  {name:<14}")


def counted(number: int, noun: str) -> str:
    """``1 request``, ``2,000 requests``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def bullets(sentences: Sequence[str], style: Style, indent: str = "  ") -> list[str]:
    return [line for text in sentences for line in wrapped(text, style, first=f"{indent}- ")]


def numbers(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of names and numbers; the first row is the header."""
    return table(rows, ["left", *["right"] * (len(rows[0]) - 1)])
