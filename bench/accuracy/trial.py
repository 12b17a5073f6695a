"""One arrangement, and what one probe of it concluded."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Probe = Callable[[int], Any]
"""From a seed to the JSON report of one run of ``kbalance probe``."""

INCONCLUSIVE = ("inconclusive", "invalid-measurement")
"""Verdicts that claim nothing; they cost time, but mislead nobody."""

NO_REPORT = "no-report"
"""Stands for the cause of a run that wrote no report."""


class NotArranged(Exception):
    """The dataplane does not do what the arrangement says, by the pods' own counts; what a probe says of it means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """Something that can be stood up and probed several times."""

    scenario: str
    dataplane: str
    """What really chooses: ``iptables``, ``nftables``, ``envoy``, ``haproxy``, ``cluster``."""
    pods: int
    expected: tuple[str, ...]
    """Causes that are right as the verdict; the first is what it should be, the others are true as well."""
    also: tuple[str, ...] = ()
    """Causes that must stand among the findings, whatever leads."""
    runs: int = 5
    fair: bool = False
    """Whether every connection is a fair draw, so that whatever says otherwise is a false alarm."""
    stand: Callable[[], AbstractContextManager[Probe]]
    """Stands it up; what it gives probes it, and leaving takes it down. Raises `NotArranged`."""


class Mark(StrEnum):
    """How a trial's verdict compares with what was arranged; the order of definition is from worst to best."""

    WRONG = "wrong"
    LACKS = "lacks"
    """The verdict is right, and a finding that should stand beside it does not."""
    INCONCLUSIVE = "inconclusive"
    RIGHT = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run."""

    scenario: str
    dataplane: str
    pods: int
    seed: int
    expected: tuple[str, ...]
    also: tuple[str, ...]
    fair: bool = False
    cause: str
    confidence: str
    severity: str = ""
    findings: tuple[str, ...]
    """Causes of all findings, the verdict's first."""
    requests: int
    """Of all profiles, as are the connections."""
    connections: int
    drawn: int = 0
    """Short-lived connections that were attributed to an endpoint: what a test of fairness has to go on."""
    seconds: float
    """From the start of the process to its end."""

    @property
    def mark(self) -> Mark:
        if self.cause not in self.expected:
            return Mark.INCONCLUSIVE if self.cause in INCONCLUSIVE else Mark.WRONG
        return Mark.RIGHT if set(self.also) <= set(self.findings) else Mark.LACKS


def trial(arrangement: Arrangement, seed: int, report: Any, seconds: float) -> Trial:
    """What a report says, beside what was arranged.

    Args:
        report: as ``kbalance probe -o json`` writes it; ``{}`` where it wrote none.
    """
    diagnosis = report.get("diagnosis") or {"cause": NO_REPORT, "confidence": "", "severity": "", "findings": []}
    profiles = report.get("profiles", [])
    fresh = [p for p in profiles if p["profile"] == "short-lived"]
    return Trial(
        scenario=arrangement.scenario,
        dataplane=arrangement.dataplane,
        pods=arrangement.pods,
        seed=seed,
        expected=arrangement.expected,
        also=arrangement.also,
        fair=arrangement.fair,
        cause=diagnosis["cause"],
        confidence=diagnosis["confidence"],
        severity=diagnosis["severity"],
        findings=tuple(finding["cause"] for finding in diagnosis["findings"]),
        requests=sum(p["requests"]["sent"] for p in profiles),
        connections=sum(p["connections"]["opened"] + p["connections"]["failed"] for p in profiles),
        drawn=sum(p["evidence"]["connections"] for p in fresh),
        seconds=round(seconds, 3),
    )
