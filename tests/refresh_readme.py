"""Writes what is generated into the README: ``python -m tests.refresh_readme``."""

import subprocess
import sys
from pathlib import Path

from kbalance.analysis.rules import RULES

README = Path(__file__).parent.parent / "README.md"
RUN = "<!-- run: kbalance demo --seed 3 -->\n```text\n"


def demo() -> str:
    """The text report of the run that the README shows."""
    command = [sys.executable, "-m", "kbalance", "demo", "--seed", "3"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def causes() -> str:
    """The rule table as Markdown."""
    rows = [f"| `{rule.id}` | {rule.severity} | {rule.title} | {rule.told_apart} |" for rule in RULES]
    return "\n".join(["| cause | severity | what | how it is told apart |", "|---|---|---|---|", *rows]) + "\n"


def replaced(text: str, start: str, end: str, new: str) -> str:
    """The text with what stands between two marks replaced."""
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return before + start + new + end + after


if __name__ == "__main__":
    readme = README.read_text(encoding="utf-8")
    readme = replaced(readme, RUN, "```\n", demo())
    readme = replaced(readme, "<!-- causes -->\n", "<!-- end of causes -->", causes())
    README.write_text(readme, encoding="utf-8")
