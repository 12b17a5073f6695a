"""Writes what is generated into the README and the documentation: ``python -m tests.refresh_readme``."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kbalance.analysis.rules import RULES
from kbalance.analysis.thresholds import PROFILE_METRICS, RUN_METRICS, Metric
from kbalance.model.report import ProfileReport, Report

README = Path(__file__).parent.parent / "README.md"
THRESHOLDS = README.parent / "docs" / "thresholds.md"
RUN = "<!-- run: kbalance demo --seed 3 -->\n```text\n"


def demo() -> str:
    """The text report of the run that the README shows."""
    command = [sys.executable, "-m", "kbalance", "demo", "--seed", "3"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def causes() -> str:
    """The rule table as Markdown."""
    rows = [f"| `{rule.id}` | {rule.severity} | {rule.title} | {rule.told_apart} |" for rule in RULES]
    return "\n".join(["| cause | severity | what | how it is told apart |", "|---|---|---|---|", *rows]) + "\n"


def metrics(table: Sequence[Metric[ProfileReport]] | Sequence[Metric[Report]]) -> str:
    """What thresholds can be set on, as Markdown."""
    rows = [f"| `{metric.name}` | {metric.text} |" for metric in table]
    return "\n".join(["| metric | what |", "|---|---|", *rows]) + "\n"


def thresholds(text: str) -> str:
    """The page on thresholds with its tables."""
    for kind, table in (("profile", metrics(PROFILE_METRICS)), ("run", metrics(RUN_METRICS))):
        text = replaced(text, f"<!-- {kind} metrics -->\n", f"<!-- end of {kind} metrics -->", table)
    return text


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
    THRESHOLDS.write_text(thresholds(THRESHOLDS.read_text(encoding="utf-8")), encoding="utf-8")
