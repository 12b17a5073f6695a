"""The scenarios of the embedded cluster: what stands where, what is wrong with it, and what a probe should conclude.

Plain values without asyncio, so that listing scenarios costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kbalance.model.words import PoolPolicy

NAMESPACE = "shop"
SERVICE = "web"
"""The one Service of every scenario."""


class Fault(StrEnum):
    """What is wrong with a pod."""

    NONE = "none"
    SLOW = "slow"
    """Waits before every answer."""
    REFUSE = "refuse"
    """Its port is closed, as if its process had died: held connections are reset, new ones refused."""
    RESET = "reset"
    """Reads the request, then sends RST; over HTTP/2, for its stream alone."""
    HANG = "hang"
    """Accepts and reads, never answers."""
    ERROR_500 = "error-500"
    """Answers with status 500; calls of gRPC end with UNAVAILABLE."""
    GARBAGE = "garbage"
    """Answers with bytes that are not HTTP, then closes."""
    DRIP = "drip"
    """Answers one byte at a time."""
    CLOSE_EARLY = "close-early"
    """Promises a body, sends half of it, then closes the connection."""


class Identity(StrEnum):
    """How a pod tells who it is."""

    HEADER = "header"
    """As `BODY`, and in an X-Pod-Name header on every answer."""
    BODY = "body"
    """As the body of /hostname (agnhost) and inside the JSON of /api/info (podinfo)."""
    NONE = "none"
    """Not at all."""
    ECHO = "echo"
    """Not at all, and every path echoes the request with its Host header."""
    TRAILER = "trailer"
    """In x-pod-name behind the body alone, which HTTP/1.1 does not show."""

    @property
    def in_body(self) -> bool:
        """Whether the paths that tell a name tell it."""
        return self in (Identity.HEADER, Identity.BODY)


class ChooserKind(StrEnum):
    """How the balancer picks a pod for a connection."""

    RANDOM = "random"
    """As kube-proxy's iptables rules do."""
    ROUND_ROBIN = "round-robin"
    WEIGHTED = "weighted"
    SOURCE_HASH = "source-hash"
    LEAST_CONNECTIONS = "least-connections"


class Front(StrEnum):
    """What listens at the Service address."""

    L4 = "l4"
    """A pod per connection."""
    L7 = "l7"
    """A proxy that picks a pod per request."""
    L7_TO_SERVICE = "l7-to-service"
    """A proxy that keeps its own connections to an L4 balancer behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """One pod."""

    fault: Fault = Fault.NONE
    identity: Identity = Identity.BODY
    delay_ms: int = 100
    """Before each answer of a slow pod."""
    drip_ms: int = 1000
    """Between two bytes of a dripping pod."""
    close_after_requests: int | None = None
    """Requests that a connection may carry."""
    close_after_s: float | None = None
    """Age at which a connection is closed, or as soon as its answer is out; ``None``: never."""
    announce_close: bool = True
    """Whether the last answer carries ``Connection: close``, or of HTTP/2 whether GOAWAY comes before it."""
    http2: bool = False
    """Whether it speaks HTTP/2 without TLS, and gRPC over it, to clients that begin with it; HTTP/1.1 to the others still."""
    max_streams: int | None = None
    """SETTINGS_MAX_CONCURRENT_STREAMS; streams beyond it are refused. ``None``: nothing is said of it, as by grpc-go."""
    max_age_s: float | None = None
    """Age at which a connection of HTTP/2 is left as gRPC servers do it: GOAWAY that names no stream, PING, and the true GOAWAY
    after its answer; streams under way are finished. ``None``: never."""
    max_age_jitter: float = 0.1
    """By how much of itself that age differs at most; 0.1 in gRPC."""
    refuse_every: int | None = None
    """Each so manieth stream of the pod is refused unseen (REFUSED_STREAM); ``None``: none is."""
    ready: bool = True
    """As its endpoint says; kube-proxy sends nothing to one that is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOut:
    """Pods that are added while traffic flows."""

    pods: int
    """How many there are then."""
    after_connections: int | None = None
    """Once so many were accepted at the Service address; the next one already sees the new pods."""
    after_s: float | None = None
    """So long after the first connection to the Service address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One arrangement of the testbed; its name is what users type after ``kbalance demo``."""

    name: str
    title: str
    """One sentence."""
    expected_cause: str
    """The cause that a probe with these options leads with."""
    pods: tuple[PodSpec, ...] = (PodSpec(),) * 3
    front: Front = Front.L4
    chooser: ChooserKind = ChooserKind.RANDOM
    weights: tuple[int, ...] = ()
    """Of the pods in turn, for `ChooserKind.WEIGHTED`; pods beyond the last one weigh 1."""
    affinity_s: int | None = None
    """Time-out of ``sessionAffinity: ClientIP``; ``None``: no affinity."""
    scale_out: ScaleOut | None = None
    port_name: str = "http"
    """Of the Service's port."""
    app_protocol: str | None = None
    """Of the Service's port, as its ``appProtocol``."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Fields of `kbalance.model.plan.Options` that the scenario needs to be different."""
    seed: int = 1
    """Of everything random here."""


def _one_of_three(odd: PodSpec) -> tuple[PodSpec, ...]:
    # The last one: with the usual seed the first connection goes elsewhere, so that the single profile shows a healthy pod.
    return (PodSpec(), PodSpec(), odd)


_LIST = (
    Scenario(
        name="default",
        title="Three healthy pods behind a Service: connections are spread at random and stay where they land.",
        expected_cause="connection-pinning",
    ),
    Scenario(
        name="ten-pods",
        title="Ten healthy pods: a pool of ten connections leaves some of them idle.",
        expected_cause="connection-pinning",
        pods=(PodSpec(),) * 10,
    ),
    Scenario(
        name="lifo-pool",
        title="Ten connections in a pool that takes the one used last: most of them idle, and so do their pods.",
        expected_cause="pool-order",
        options={"pool_policy": PoolPolicy.LIFO, "concurrency": 2},
    ),
    Scenario(
        name="session-affinity",
        title="The Service asks for ClientIP affinity: one client address, one pod.",
        expected_cause="session-affinity",
        affinity_s=10800,
    ),
    Scenario(
        name="source-hash",
        title="The balancer hashes the source address, though the Service asks for no affinity.",
        expected_cause="source-hash",
        chooser=ChooserKind.SOURCE_HASH,
    ),
    Scenario(
        name="weighted",
        title="The balancer gives one pod of three six times the connections of each other one.",
        expected_cause="balancer-biased",
        chooser=ChooserKind.WEIGHTED,
        weights=(6, 1, 1),
    ),
    Scenario(
        name="missing-endpoint",
        title="The balancer's rules lag behind: one ready pod never gets a connection.",
        expected_cause="missing-endpoint",
        chooser=ChooserKind.WEIGHTED,
        weights=(1, 1, 0),
    ),
    Scenario(
        name="slow-pod",
        title="One pod of three takes 50 ms longer for every answer.",
        expected_cause="slow-endpoint",
        pods=_one_of_three(PodSpec(fault=Fault.SLOW, delay_ms=50)),
    ),
    Scenario(
        name="failing-pod",
        title="One pod of three refuses connections, though its endpoint is ready.",
        expected_cause="endpoint-failing",
        pods=_one_of_three(PodSpec(fault=Fault.REFUSE)),
    ),
    Scenario(
        name="error-pod",
        title="One pod of three answers every request with status 500.",
        expected_cause="endpoint-failing",
        pods=_one_of_three(PodSpec(fault=Fault.ERROR_500)),
    ),
    Scenario(
        name="hanging-pod",
        title="One pod of three accepts connections and never answers.",
        expected_cause="endpoint-failing",
        pods=_one_of_three(PodSpec(fault=Fault.HANG)),
        options={"timeout_s": 0.5},
    ),
    Scenario(
        name="per-request-proxy",
        title="A proxy at the Service address picks a pod for every request.",
        expected_cause="per-request-balancing",
        front=Front.L7,
    ),
    Scenario(
        name="proxy-keepalive",
        title="A proxy at the Service address keeps its own connections to the Service behind it.",
        expected_cause="proxy-keepalive",
        front=Front.L7_TO_SERVICE,
    ),
    Scenario(
        name="not-ready",
        title="One pod of four is not ready: the other three carry its load.",
        expected_cause="not-ready",
        pods=(PodSpec(), PodSpec(), PodSpec(), PodSpec(ready=False)),
    ),
    Scenario(
        name="scale-out",
        title="Three pods become six once the pool is full: held connections never reach the new ones.",
        expected_cause="invalid-measurement",
        # One connection of the single profile and ten of the pool come first, in this order.
        scale_out=ScaleOut(pods=6, after_connections=11),
        options={"connections": 10},
    ),
    Scenario(
        name="new-pods",
        title="Three pods become six while kbalance watches: held connections never meet the new ones.",
        expected_cause="connection-pinning",
        scale_out=ScaleOut(pods=6, after_s=2.5),
        options={"watch_s": 9.0},
    ),
    Scenario(
        name="server-lifetime",
        title="The pods close every connection after 2 requests, so that even a single client reaches all of them.",
        expected_cause="healthy",
        pods=(PodSpec(close_after_requests=2),) * 3,
    ),
    Scenario(
        name="no-identity",
        title="Nothing in the answers tells which pod gave them.",
        expected_cause="invalid-measurement",
        pods=(PodSpec(identity=Identity.ECHO),) * 3,
    ),
    Scenario(
        name="no-endpoints",
        title="The Service selects no pod: connections to it are refused.",
        expected_cause="no-endpoints",
        pods=(),
    ),
    Scenario(
        name="grpc",
        title="Three healthy pods that speak gRPC: a client's calls share one connection, and so one pod.",
        expected_cause="http2-multiplexing",
        pods=(PodSpec(http2=True, identity=Identity.HEADER),) * 3,
        port_name="grpc",
        app_protocol="grpc",
    ),
    Scenario(
        name="grpc-max-age",
        title="The gRPC servers ask clients to leave after a second: calls share one connection, not for long.",
        expected_cause="http2-multiplexing",
        pods=(PodSpec(http2=True, identity=Identity.HEADER, max_age_s=1.0),) * 3,
        port_name="grpc",
        app_protocol="grpc",
        # As fast as these pods answer, all would be over before their second is.
        options={"rate": 150.0},
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _LIST}
"""By name, in the order in which they are best shown."""
