"""Filling in: templates, and names that cannot break out of where they stand."""

import re

_TOKEN = re.compile(r"\{\{(\w+)\}\}")
_SAFE = re.compile(r"[\w./:=,-]+", re.ASCII)
_PROSE = re.compile(r"(\s*(?:#|//) )(\S.*)")
_ODD = re.compile(r"[^\w.:%-]")


def fill(template: str, **values: object) -> str:
    """The template with each ``{{name}}`` replaced by its value; values are not looked at again.

    Raises:
        KeyError: a name has no value.
    """
    return _TOKEN.sub(lambda found: str(values[found[1]]), template)


def wrapped(content: str, width: int = 94) -> str:
    """The text with paragraphs of comments broken anew where one has a longer line; indented comments are code, and stay."""
    lines = content.splitlines()
    out: list[str] = []
    while lines:
        found = _PROSE.fullmatch(lines[0])
        if found is None:
            out.append(lines.pop(0))
            continue
        prefix, paragraph = found[1], []
        while lines and (more := _PROSE.fullmatch(lines[0])) is not None and more[1] == prefix:
            paragraph.append(lines.pop(0))
        out += paragraph if max(map(len, paragraph)) <= width else _broken(prefix, paragraph, width)
    return "\n".join(out) + "\n"


def _broken(prefix: str, paragraph: list[str], width: int) -> list[str]:
    out: list[str] = []
    for word in " ".join(line.removeprefix(prefix) for line in paragraph).split():
        if out and len(out[-1]) + 1 + len(word) <= width:
            out[-1] += f" {word}"
        else:
            out.append(prefix + word)
    return out


def plain(text: str) -> str:
    """A name as it may stand anywhere: in a comment, bare in a configuration, in a URL. Odd characters become ``_``."""
    return _ODD.sub("_", text)


def quoted(text: str) -> str:
    """A string literal, the same in YAML, JSON, Go, Java, JavaScript, Python and C#; what cannot be printed becomes ``?``."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else "?" for c in escaped) + '"'


def shell(text: str) -> str:
    """One word for a shell."""
    if _SAFE.fullmatch(text):
        return text
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return "'" + printable.replace("'", "'\"'\"'") + "'"


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, one at least."""
    return max(1, round(seconds * 1000))


def span(seconds: float, whole: str, part: str) -> str:
    """A length of time as a language writes it: whole seconds by one pattern, milliseconds by the other."""
    ms = milliseconds(seconds)
    return whole.format(ms // 1000) if ms % 1000 == 0 else part.format(ms)


def told(seconds: float) -> str:
    """A length of time for a sentence: ``300 s``, ``0.5 s``."""
    return f"{seconds:g} s"


def share(part: float) -> str:
    """A share for a sentence: ``10 %``."""
    return f"{part * 100:g} %"
