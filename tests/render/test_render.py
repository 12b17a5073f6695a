import subprocess
import sys

import pytest

from kbalance.model.report import Report
from kbalance.model.words import OutputFormat
from kbalance.render import Style, render


@pytest.mark.parametrize("format", OutputFormat)
def test_every_format_renders_every_sample(report: Report, format: OutputFormat, style: Style) -> None:
    text = render(report, format, style=style)

    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_importing_the_room_costs_no_format() -> None:
    """What a run does not print it should not load."""
    code = "import sys, kbalance.render; print(sorted({'json', 'tabulate', 'kbalance.render.text'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
