"""docs/grpc.md: its reports are such as this version makes, its tables complete; its commands are tested with the README's."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kbalance.analysis.rules import RULES
from kbalance.cli import cli
from kbalance.model.words import Placement, Profile, ProtocolChoice, Spread
from tests.test_readme import words

PAGE = Path(__file__).parent.parent / "docs" / "grpc.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
REPORTS = [block for block in BLOCKS if "Requests per endpoint" in block]
PROBE = re.compile(r"^kbalance probe svc/cart:grpc -n shop (.*)$", re.MULTILINE)
NAMES = re.compile(r"\b(?:cart|web)-[0-9a-f]{8,10}-(?:\w{5})?|\bsvc/\w+")
POD = re.compile(r"[a-z0-9]{5}")
VERDICTS = {word.value for word in (*Spread, *Placement)} | {"in turn"}


def told(report: str) -> list[str]:
    """The words of a report without names."""
    return words(NAMES.sub("", report))


def rows(report: str) -> list[list[str]]:
    """The lines of the table: profile, connections, then the loads, and the verdict at last."""
    named = "|".join(profile.value for profile in Profile)
    table = report.partition("Requests per endpoint\n")[2].partition("Names begin")[0]
    return [re.split(r"  +", line.strip()) for line in table.splitlines() if re.match(rf"  (?:{named}) ", line)]


def test_the_run_before_is_one_that_this_version_makes() -> None:
    """Word by word, as far as it is shown; the demo has other names."""
    command = PROBE.findall(TEXT)[0].split()
    demo = subprocess.run(
        [sys.executable, "-m", "kbalance", "demo", "grpc", "--seed", "3", *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    pods = set(REPORTS[0].partition("conns")[2].partition("busiest")[0].split())

    surplus = Counter(told(REPORTS[0].replace("[...]", ""))) - Counter(told(demo.stdout))

    assert all(map(POD.fullmatch, pods))
    assert set(surplus) <= {part for pod in pods for part in words(pod)}


@pytest.mark.parametrize("report", REPORTS, ids=range(len(REPORTS)))
def test_a_report_has_the_shape_of_one(report: str) -> None:
    severity, cause = re.findall(r"^([A-Z]+) +([-a-z0-9]+) \((?:certain|likely|possible)\): ", report)[0]
    also = re.findall(r"^  ([-a-z0-9]+) \((\w+), (?:certain|likely|possible)\): ", report, re.MULTILINE)
    known = {rule.id: rule.severity.value for rule in RULES}

    assert known[cause] == severity.lower()
    assert all(known[other] == its for other, its in also)
    assert rows(report)
    for row in rows(report):
        assert set(row[-1].split(", ")) <= VERDICTS
        assert row[-3].endswith("x")


@pytest.mark.parametrize("report", REPORTS, ids=range(len(REPORTS)))
def test_the_loads_of_a_report_add_up(report: str) -> None:
    sent = int(re.findall(r"; ([\d,]+) requests on", " ".join(report.split()))[0].replace(",", ""))
    loads = [[int(part) for part in re.findall(r" (\d+) +\d+%", "  ".join(row))] for row in rows(report)]

    assert [len(row) for row in loads] == [3] * len(loads)
    assert sum(map(sum, loads)) == sent


def test_every_option_there_is_one_of_a_command() -> None:
    options = {option for command in cli.commands.values() for parameter in command.params for option in parameter.opts}

    assert set(re.findall(r"(?<![-\w])--[a-z][-a-z0-9]+", TEXT)) <= options


def test_the_table_has_every_protocol() -> None:
    table = TEXT.partition("| `--protocol` |")[2].partition("\n\n")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [choice.value for choice in ProtocolChoice]


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)

    assert [link for link in links if not (PAGE.parent / link).exists()] == []
