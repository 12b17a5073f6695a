"""How much traffic each profile will make, and how."""

from dataclasses import dataclass

from kbalance.model.target import Address
from kbalance.model.words import USUAL_PROFILES, Comparison, FailOn, PoolPolicy, Profile, Protocol, ProtocolChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSpec:
    """The one request that every profile repeats."""

    method: str
    authority: str
    """Value of the Host header, the same on every connection so that an echoed host cannot look like identity."""
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    """The user's own; they replace kbalance's headers of the same name."""
    body: bytes = b""
    nonce: str = ""
    """Sent in a header of its own; whatever answers with it echoes the request."""
    protocol: Protocol = Protocol.HTTP1
    scheme: str = "http"
    """Of the target; HTTP/2 says it with each request."""
    timeout_s: float | None = None
    """What a gRPC server is told of the caller's patience; ``None``: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """When a client gives up a connection on purpose; ``None`` means no limit."""

    requests: int | None = None
    age_s: float | None = None
    jitter: float = 0.0
    """Share by which each connection's limits vary, drawn evenly from [1 - jitter, 1 + jitter]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePlan:
    """The traffic of one profile."""

    profile: Profile
    requests: int
    """Requests to make in all, at most."""
    slots: int
    """Connections held at once, at most: 1 for single, the pool's size, the concurrency of short-lived, n endpoints."""
    concurrency: int
    """Requests under way at once, at most."""
    rate: float | None
    """Requests per second over all (open loop); ``None``: as fast as answers come (closed loop)."""
    lifetime: Lifetime
    pool_policy: PoolPolicy
    addresses: tuple[Address, ...]
    """The target's address, or for per-endpoint one address per slot."""
    endpoints: tuple[str, ...] = ()
    """The endpoint's name at each address, where the address is an endpoint's own and not a balancer's."""
    enough_connections: int = 0
    """Connections after which a fair draw can be told from an unfair one; 0 where the question does not arise."""
    streams: int = 1
    """Requests under way at once on one connection, at most; more than one where the protocol multiplexes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPlan:
    """All profiles of a run and the limits they share."""

    request: RequestSpec
    profiles: tuple[ProfilePlan, ...]
    timeout_s: float
    """Per request, from its sending to the end of the answer, connecting included; not from when it was due, for a stall would
    time out its whole backlog on sight."""
    deadline_s: float | None
    """For the whole run."""
    max_connections: int
    """New connections that the whole run may open."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What the user demands of one number of the report."""

    expression: str
    """As it was written, for example ``short-lived.busiest<=1.3``."""
    profile: Profile | None
    """Whose number it is; ``None``: the whole run's."""
    metric: str
    """A name of the tables in `kbalance.analysis.thresholds`."""
    comparison: Comparison
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for, beyond the target; the defaults are safe on production."""

    profiles: tuple[Profile, ...] = USUAL_PROFILES
    connections: int = 10
    """Size of the pool in `pooled`."""
    pool_policy: PoolPolicy = PoolPolicy.ROUND_ROBIN
    requests: int | None = None
    """Per profile; ``None``: planned from the number of endpoints."""
    early_stop: bool = True
    rate: float | None = 200.0
    """Requests per second; ``None``: as fast as answers come."""
    concurrency: int = 4
    lifetime: Lifetime = Lifetime(requests=1)
    """Of connections in `short-lived`."""
    timeout_s: float = 5.0
    deadline_s: float | None = 120.0
    max_connections: int = 1000
    """Tells a fair draw up to about a dozen endpoints; far from the 28,000 ephemeral ports of one client."""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    protocol: ProtocolChoice = ProtocolChoice.AUTO
    grpc_method: str | None = None
    """``PACKAGE.SERVICE/METHOD``; ``None``: the health check, or one that tells who answers."""
    grpc_data: str | None = None
    """The message, as JSON or as ``hex:``; ``None``: an empty one."""
    host: str | None = None
    """Value of the Host header; ``None``: the target's own."""
    identity: str = "auto"
    tolerance: float = 1.5
    """Busiest endpoint's load over its fair share that is still called even."""
    alpha: float = 0.01
    """Chance of a false alarm per run."""
    clients: int = 1
    """Client processes that the forecast and the advice count with; each keeps `connections`."""
    window_s: float = 900.0
    """Over which load should even out. Kubernetes' autoscaler looks back 5 minutes before it scales down, alerts on error budgets
    commonly an hour; this lies between."""
    watch_s: float | None = None
    """How long to watch for endpoints that join, once all is measured; ``None``: not at all."""
    seed: int = 0
    thresholds: tuple[Limit, ...] = ()
    fail_on: FailOn = FailOn.PROBLEM
