"""GitHub Flavored Markdown, and words from strangers made harmless in it.

A name or an answer may hold anything that one line can hold: it must not end a table cell, open a tag, start a list, link,
mention somebody or refer to an issue. What GitHub's parser would read as markup becomes a character reference, which never is.
What GitHub looks for afterwards in the finished text (mentions, references, emoji, bare links) is cut in two by an empty comment:
references are resolved by then, and a backslash is gone.

Source: GitHub Flavored Markdown Spec, 2.5 (character references), 4.10 (tables), 6.9 (autolinks, extension); cmark-gfm issue 181.
"""

import html
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

_MARKUP = str.maketrans({c: f"&#{ord(c)};" for c in "&<>|`\\$*_[]~"})
_LOOKED_FOR = re.compile(r"@|#(?=\d)|\bGH-(?=\d)|:(?=//)|\bwww(?=\.)|:(?=[\w+-]+:)", re.IGNORECASE)
_CUT = "<!-- -->"
_BEGINS_A_BLOCK = re.compile(r"(\d{0,9})([-+=#.)])")
_PLAIN = re.compile(r"[A-Za-z0-9._/=<>!%-]+")
_FENCE = re.compile(r"`{3,}")


def prose(text: str) -> str:
    """One line of text that reads as it stands, wherever inline text may stand."""
    escaped = _cut(" ".join(text.split()), lambda part: part.translate(_MARKUP))
    begins = _BEGINS_A_BLOCK.match(escaped)
    return f"{begins[1]}&#{ord(begins[2])};{escaped[begins.end() :]}" if begins else escaped


def _cut(text: str, escape: Callable[[str], str]) -> str:
    """The text with what GitHub looks for cut in two, and each part escaped."""
    ends = [0, *(match.end() for match in _LOOKED_FOR.finditer(text)), len(text)]
    return _CUT.join(escape(text[start:end]) for start, end in pairwise(ends))


def code(text: str) -> str:
    """A name or an expression; with backticks where that is safe, so that the source reads well too."""
    return f"`{text}`" if _PLAIN.fullmatch(text) else f"<code>{prose(text)}</code>"


def fenced(content: str, language: str) -> list[str]:
    """A block of text to copy; no line of the content ends it."""
    longest = max((len(run) for run in _FENCE.findall(content)), default=2)
    fence = "`" * (longest + 1)
    return [fence + language, *content.splitlines(), fence]


def table(rows: Sequence[Sequence[str]], align: Sequence[str]) -> list[str]:
    """A table of cells that are already Markdown; the first row is the header, `align` has ``left`` or ``right`` for each."""
    rule = ["---:" if side == "right" else "---" for side in align]
    return [f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *rows[1:])]


def details(summary: str, body: Iterable[str]) -> list[str]:
    """Lines folded under a line of plain text."""
    # Inside a line of raw HTML there is no Markdown, so only HTML has to be kept out.
    return ["<details>", f"<summary>{_cut(summary, html.escape)}</summary>", "", *body, "", "</details>"]


def bullets(sentences: Iterable[str]) -> list[str]:
    return [f"- {prose(text)}" for text in sentences]


def indented(lines: Iterable[str], width: int) -> list[str]:
    """The lines as part of a list item."""
    return [f"{' ' * width}{line}" if line else "" for line in lines]
