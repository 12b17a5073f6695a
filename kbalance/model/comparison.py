"""Two reports side by side; field names and order are those of the JSON form (``kbalance/diff/v1``)."""

from dataclasses import dataclass

from kbalance.model.report import Latency
from kbalance.model.words import Matching, Outcome, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that was compared, and what became of it."""

    what: str
    """``busiest``, ``quietest``, ``per-request``, ``failed``, ``direct-failed``, ``p50`` or ``p99``."""
    profile: str | None
    """``None``: connections of every profile that goes through the target's address, together."""
    endpoint: str | None
    before: float | None
    after: float | None
    verdict: Verdict
    evidence: float | None
    """E-value of the change that is claimed, or else of the likelier one; ``None``: a p-value speaks, or nothing was tested."""
    p_value: float | None
    alpha: float
    """This question's part of the comparison's chance of a false "worse", and of a false "better"."""
    summary: str
    """One sentence with the numbers and their unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChange:
    """One endpoint in both reports; ``None``: in one of them it is not there."""

    before: str | None
    after: str | None
    share_before: float | None
    share_after: float | None
    requests_before: int | None
    requests_after: int | None
    failed_before: int | None
    failed_after: int | None
    latency_before: Latency | None
    latency_after: Latency | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one report says of one profile."""

    connections: int
    requests: int
    failed: int
    busiest: float | None
    by_luck: float | None
    """What fair draws of so many connections give on average."""
    idle: int
    spread: str
    placement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChange:
    """One profile in both reports."""

    profile: str
    before: Side
    after: Side
    endpoints: tuple[EndpointChange, ...]
    obstacles: tuple[str, ...]
    """Why it was not compared; empty where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which report was read."""

    target: str
    started: str
    kbalance: str
    cause: str
    busiest_low: float | None
    """Bounds of the largest chance of a connection over its fair share, right at every look with probability 1 - alpha."""
    busiest_high: float | None
    connections: int
    """Draws through the target's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Did the fix work?"""

    outcome: Outcome
    headline: str
    alpha: float
    before: Source
    after: Source
    matching: Matching
    profiles: tuple[ProfileChange, ...]
    items: tuple[Item, ...]
    gone: tuple[str, ...]
    """Causes that only the first report names."""
    new: tuple[str, ...]
    settings: tuple[str, ...]
    """What is known to be different, from the API: a clause each."""
    obstacles: tuple[str, ...]
    """What could not be compared, and why."""
    surer: tuple[str, ...]
    """What to do for a surer answer."""
