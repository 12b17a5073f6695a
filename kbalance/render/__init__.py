"""Report to text, one module per format in a table. Nothing is computed here that another format would have to compute again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

from kbalance.model.report import Report
from kbalance.model.words import OutputFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What the place that shows the report can do; formats made for machines do not look at it."""

    colour: bool
    """Whether ANSI colours may be used."""
    width: int
    """Columns; text is laid out for at least 80 and at most 100."""
    unicode: bool
    """Whether bars and signs beyond ASCII can be shown; without it every character is ASCII."""


Renderer = Callable[[Report, Style], str]
"""What each module of the table offers as ``render``; the text ends with a newline."""

# Names rather than functions: a run that prints text should not pay for the imports of the other formats.
_MODULES: Mapping[OutputFormat, str] = MappingProxyType(
    {
        OutputFormat.TEXT: "kbalance.render.text",
        OutputFormat.JSON: "kbalance.render.json",
        OutputFormat.MARKDOWN: "kbalance.render.markdown",
        OutputFormat.JUNIT: "kbalance.render.junit",
    }
)


def render(report: Report, format: OutputFormat, *, style: Style) -> str:
    """The report in one format, ending with a newline."""
    renderer: Renderer = import_module(_MODULES[format]).render
    return renderer(report, style)
