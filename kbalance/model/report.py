"""The report: one value, many renderings; field names and order are those of the JSON form (``kbalance/report/v1``)."""

from collections.abc import Mapping
from dataclasses import dataclass

from kbalance.model.target import Facts, Target
from kbalance.model.words import Confidence, FailOn, Failure, Placement, Profile, Protocol, Severity, Spread, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Vantage:
    """Where the traffic started."""

    kind: str
    """``local`` or ``job``."""
    node: str | None = None
    zone: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityReport:
    """How kbalance knew who answered."""

    source: str | None
    """For example ``header X-Pod-Name``, ``body``, ``json /hostname``; ``None``: no identity was found."""
    calibrated: bool
    """Whether it was checked on direct connections to endpoints, where the truth is known."""
    unidentified: int
    """Answers in the whole run that could not be attributed."""
    path: str | None = None
    """The path that was asked, where it is another than the user's."""
    requests: int = 0
    """Made to find that out, beside those of the profiles."""
    connections: int = 0
    """Opened for them."""
    rejected: tuple[str, ...] = ()
    """Why other places of the answers were not believed, one clause each; empty where one was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """Requests of a profile; sent = answered + failed + abandoned."""

    sent: int
    answered: int
    """Complete answers with a status below 500."""
    failed: int
    """Everything else that ended: not answered, or a status of 500 and above."""
    abandoned: int = 0
    """Under way when the run was stopped."""
    retried: int = 0
    """Sent again because the server closed the connection just before; counted once in `sent`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCounts:
    """Connections really opened by a profile."""

    planned: int
    """The most that the plan called for."""
    opened: int
    failed: int
    """Never opened."""
    closed_by_server: int
    """Among those opened."""
    requests_min: int
    requests_median: float
    requests_max: int
    """Requests per opened connection."""
    streams_max: int = 1
    """Requests under way at once on one of them, at most."""
    closed_by_failure: int = 0
    """Among those opened: a request on it failed, and took it along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds from the intended start to the last byte."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointLoad:
    """What one endpoint got in one profile."""

    name: str
    requests: int
    """Answered by it, whatever the status, and (per-endpoint) requests sent to it that it did not answer."""
    connections: int
    """Connections on which it answered at least once, or (per-endpoint) that were dialled to it."""
    failed: int
    share: float | None
    """Of all requests attributed to endpoints; ``None``: there were none."""
    latency_ms: Latency | None
    expected_share: float | None = None
    """Of the connections from here, by what the API says: 1/n, or 0 where a local policy or a hint keeps them away."""
    chance_low: float | None = None
    chance_high: float | None = None
    """Bounds of the chance with which a connection is led to it, right for all endpoints at once and at every look with
    probability `Evidence.coverage`; ``None``: nothing was drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownLoad:
    """Answers from somebody who is no endpoint."""

    name: str
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """Failed requests of one kind."""

    kind: Failure
    endpoint: str | None
    """Who failed, where that is known."""
    requests: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLifetime:
    """How long the server lets a connection live, as seen from the ones that it closed."""

    connections: int
    """Connections that the server closed after at least one answer."""
    requests_min: int
    requests_max: int
    age_min_s: float
    age_max_s: float
    goaways: int = 0
    """Those among them on which the server said beforehand that it takes no more requests (GOAWAY)."""
    goaway_min_s: float | None = None
    goaway_max_s: float | None = None
    """Their ages when it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the inference about placement stands on."""

    e_value: float | None
    """Against a fair draw per connection (see `kbalance.analysis.statistics`); ``None``: not tested."""
    connections: int
    """Draws, that is connections that were attributed to one endpoint."""
    enough: bool
    """Whether so many draws would have shown a bias of the size that the plan looks for."""
    against_uneven: float | None = None
    """E-value against "some endpoint has double the weight of the others or more, or a quarter or less"."""
    more: int | None = None
    """Connections that would still have to be drawn to settle it at most; 0: it is settled, ``None``: there is no question."""
    alpha: float | None = None
    """This profile's part of the run's chance of a false alarm."""
    coverage: float | None = None
    """Of the bounds `chance_low` and `chance_high`."""
    sticking: float | None = None
    """Standard deviations by which connections met the endpoint of the one before more often than independent draws do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileReport:
    """One row of the distribution."""

    profile: Profile
    protocol: str
    parameters: Mapping[str, str | int | float | None]
    stopped: Stop
    duration_s: float
    requests: RequestCounts
    connections: ConnectionCounts
    endpoints: tuple[EndpointLoad, ...]
    """Every known endpoint, idle ones too, in the order of the facts."""
    unknown: tuple[UnknownLoad, ...]
    unidentified: int
    """Answers of this profile that could not be attributed."""
    busiest: float | None
    """Busiest endpoint's requests over the fair share: 1.0 is even, n is all on one of n."""
    expected_busiest: float | None
    """What fair random placement of this many connections would give on average."""
    idle: int
    """Endpoints that got nothing."""
    spread: Spread
    placement: Placement
    evidence: Evidence
    several: int
    """Connections answered by two or more endpoints."""
    connect_ms: Latency | None
    failures: tuple[FailureCount, ...]
    server_lifetime: ServerLifetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule concluded."""

    cause: str
    severity: Severity
    confidence: Confidence
    summary: str
    """One sentence for somebody who was just woken up."""
    evidence: tuple[str, ...]
    """The numbers that it stands on, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledOut:
    """A cause that was looked for and is not there."""

    cause: str
    because: str
    """The fact or number that speaks against it, one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The finding that explains most, and all of them."""

    cause: str
    severity: Severity
    confidence: Confidence
    summary: str
    findings: tuple[Finding, ...]
    ruled_out: tuple[RuledOut, ...] = ()
    """Causes that the evidence excludes; one in neither list could not be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Text that makes the change."""

    name: str
    kind: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to change, and what that did or would do."""

    id: str
    title: str
    why: str
    measured_busiest: float | None
    """Busiest over fair share in the profile of this run that behaves like the fix."""
    predicted_busiest: float | None
    costs: tuple[str, ...]
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How clients that keep connections would load the endpoints, if each connection is a fair draw."""

    what: str
    """For example ``now``, ``scaled out``, ``merged``."""
    clients: int
    connections: int
    """Per client."""
    endpoints: int
    expected_busiest: float
    """Busiest endpoint's load over its fair share, on average."""
    expected_idle: float
    """Endpoints that get nothing, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A checked expression."""

    expression: str
    value: float | None
    """What was compared, to six digits as it stands in the JSON report; ``None``: it was not measured, and the check fails."""
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """An endpoint that became ready while kbalance watched."""

    name: str
    ready_s: float
    """Since the watch began."""
    first_s: Mapping[str, float | None]
    """By profile: seconds from then to its first answer; ``None``: it answered nothing until the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOut:
    """What endpoints that joined got, and when."""

    duration_s: float
    every_s: float
    """Seconds between two looks at the endpoints: what is known of when one became ready."""
    before: int
    """Endpoints that were ready at the start."""
    requests: Mapping[str, int]
    """By profile: made meanwhile."""
    cut_short: tuple[str, ...]
    """Profiles that ended before the watch did, for want of connections or for failures: what they never met may be for that."""
    newcomers: tuple[Newcomer, ...]
    """In the order in which they became ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VantageReport:
    """What was seen from one of several vantage points."""

    worker: int
    """Index in the Job, from 0."""
    vantage: Vantage
    profiles: tuple[ProfileReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a run found out."""

    kbalance: str
    """Version."""
    started: str
    """RFC 3339, UTC."""
    duration_s: float
    partial: bool
    """Whether the run was cut short by Ctrl-C or the deadline."""
    target: Target
    vantage: Vantage
    facts: Facts
    identity: IdentityReport
    profiles: tuple[ProfileReport, ...]
    diagnosis: Diagnosis
    recommendations: tuple[Recommendation, ...]
    seed: int = 0
    """Repeats kbalance's own random choices when given as ``--seed``."""
    thresholds: tuple[Threshold, ...] = ()
    notices: tuple[str, ...] = ()
    proxy_signs: tuple[str, ...] = ()
    """What answers by way of the target's address carry that direct ones do not, for example ``via: 1.1 proxy``."""
    forecasts: tuple[Forecast, ...] = ()
    """Load per endpoint for the user's number of clients; the first is the present state."""
    vantages: tuple[VantageReport, ...] = ()
    """What each of several vantage points saw; `profiles` then holds all their connections together. Empty for one alone."""
    fail_on: FailOn = FailOn.PROBLEM
    """The mildest severity of a finding that the user does not accept."""
    protocol: Protocol = Protocol.HTTP1
    protocol_because: str = ""
    """Why this protocol was spoken, a clause; empty: it is the default."""
    scale_out: ScaleOut | None = None
    """``None``: nobody asked to watch for new endpoints, or it did not come to that."""
