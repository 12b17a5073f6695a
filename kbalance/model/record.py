"""What one vantage point tells while it measures: a stream of records, from the first word to the last.

A local run hands them on as values, a Job as lines of its log; whoever adds them up sees no difference.
"""

from dataclasses import dataclass

from kbalance.model.observation import ConnectionObservation
from kbalance.model.plan import TrafficPlan
from kbalance.model.report import IdentityReport, Vantage
from kbalance.model.words import Profile, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The first record."""

    vantage: Vantage


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Who answers can be told, or cannot; the traffic of the profiles comes next."""

    plan: TrafficPlan
    """Asks on the path that tells who answers."""
    identity: IdentityReport
    statuses: tuple[int, ...]
    """Of the answers it was looked for in, each once, sorted."""
    local: str | None
    """This side's address."""
    protocol_because: str = ""
    """As in `Report`."""
    troubles: tuple[str, ...] = ()
    """What gRPC servers said among the answers, where they did not do what they were asked: each sentence once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileBegan:
    """Connections of this profile follow."""

    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileEnded:
    """No more connections of the profile that began last."""

    stopped: Stop
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """What the target answered to requests at the same time, once the profiles had run."""

    who: tuple[str | None, ...]
    """Who answered, in no order; ``None``: could not be told."""
    requests: int
    """Made for it."""
    connections: int
    """Opened for them."""
    proxy_signs: tuple[str, ...]
    """As in `Report`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchBegan:
    """All is measured; now all profiles run side by side while endpoints may join. `FirstAnswers` follow, one for each."""

    at_s: float
    """Seconds since 1970 by the clock of the vantage point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswers:
    """When everybody answered a profile first, while endpoints could join."""

    profile: Profile
    requests: int
    connections: int
    """Opened."""
    stopped: Stop
    firsts: tuple[tuple[str, float], ...]
    """A name, or ``ip:port`` where no name was known, and seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEnded:
    """The side-by-side run is over."""

    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far it has come; of no account for the result."""

    what: str
    """A profile, or ``identity``."""
    done: int
    """Requests that ended."""
    planned: int
    """0: not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp:
    """Nothing could be measured from here."""

    kind: str
    """The error's class, a name in `kbalance.errors`."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The last record of a vantage point that did not break off."""

    duration_s: float


Record = (
    Started
    | Calibrated
    | ProfileBegan
    | ConnectionObservation
    | ProfileEnded
    | AtOnce
    | WatchBegan
    | FirstAnswers
    | WatchEnded
    | Progressed
    | GaveUp
    | Ended
)
