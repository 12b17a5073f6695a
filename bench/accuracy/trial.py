"""One arrangement, and what one probe of it concluded."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

Probe = Callable[[int], Any]
"""From a seed to the JSON report of one run of ``kbalance probe``."""


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
    runs: int = 3
    stand: Callable[[], AbstractContextManager[Probe]]
    """Stands it up; what it gives probes it, and leaving takes it down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run."""

    scenario: str
    dataplane: str
    pods: int
    seed: int
    expected: tuple[str, ...]
    also: tuple[str, ...]
    cause: str
    confidence: str
    findings: tuple[str, ...]
    requests: int
    connections: int
    seconds: float
