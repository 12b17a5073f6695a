"""What a user of the library may choose, and what it is when nobody chooses."""

from dataclasses import dataclass, field
from random import Random

from kbalance.model.words import EndpointPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a connection is used; the request under way is always finished first."""

    age_s: float | None = None
    """``None``: for ever."""
    requests: int | None = None
    """``None``: as many as one likes."""
    jitter: float = 0.1
    """Each connection's own limits lie within this share of the ones above, so that a pool does not move all at once."""

    def __post_init__(self) -> None:
        if (self.age_s is not None and self.age_s <= 0) or (self.requests is not None and self.requests < 1):
            raise ValueError("a connection lives for more than 0 s, and for at least 1 request")
        if not 0 <= self.jitter < 1:
            raise ValueError("jitter is a share of at least 0 and less than 1")

    def drawn_age_s(self, random: Random) -> float:
        """The age at which one connection ends; infinite without a limit."""
        return float("inf") if self.age_s is None else self.age_s * self._factor(random)

    def drawn_requests(self, random: Random) -> int:
        """The number of requests after which one connection ends; negative without a limit."""
        return -1 if self.requests is None else max(1, round(self.requests * self._factor(random)))

    def _factor(self, random: Random) -> float:
        return 1 + self.jitter * (2 * random.random() - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejection:
    """When an endpoint that fails is left alone for a while, although the source still lists it."""

    after: int = 5
    """Failures in a row: no connection, one that broke before an answer, a time-out, or one of `statuses`. 0: never."""
    for_s: float = 10.0
    """The first time; the second time twice as long, and so on. The first failure after its return ejects it again."""
    longest_s: float = 300.0
    share: float = 0.5
    """Of the endpoints, at most, rounded down: where everybody fails the cause is elsewhere."""
    statuses: frozenset[int] = frozenset({502, 503, 504})
    """Answers that count as failures: a Pod that refuses quickly would otherwise draw the traffic of two choices."""

    def __post_init__(self) -> None:
        if self.after < 0 or self.for_s <= 0 or self.longest_s < self.for_s or not 0 <= self.share <= 1:
            raise ValueError("an ejection is after 0 or more failures, for more than 0 s, of a share between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When a request is sent again, to another endpoint: where no connection opened, whatever its method; where the connection
    broke before a byte of the answer, if the method is idempotent (RFC 9110, 9.2.2) and the body is at hand."""

    attempts: int = 3
    """Of sending one request, the first included; up to ten connections that did not open are not counted, unless it is 1."""
    share: float = 0.2
    """Of the requests, in the long run, so that a failing Service is not hit even harder. A connection that did not open has
    cost it nothing."""
    least_per_s: float = 10.0
    """So many are allowed however few requests there are."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.share < 0 or self.least_per_s < 0:
            raise ValueError("a request has 1 attempt or more, and a budget of retries 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Which endpoints are near, and when the others help out."""

    name: str
    """Of the client, as in the label topology.kubernetes.io/zone of its node."""
    least_share: float = 0.5
    """While fewer than this share of the near endpoints are available, requests go to all."""
    most_busy: float | None = None
    """Requests under way per near endpoint, on average, from which on requests go to all; ``None``: no limit."""

    def __post_init__(self) -> None:
        if not 0 <= self.least_share <= 1 or (self.most_busy is not None and self.most_busy <= 0):
            raise ValueError("least_share is between 0 and 1, and most_busy more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How requests are shared out among endpoints."""

    policy: EndpointPolicy = EndpointPolicy.ROUND_ROBIN
    per_endpoint: int | None = None
    """Requests under way at one endpoint, at most, each on a connection of its own; ``None``: no limit."""
    zone: Zone | None = None
    slow_start_s: float = 0.0
    """An endpoint that joins later gets a tenth of its share at first, and all of it after so long."""
    ejection: Ejection = field(default_factory=Ejection)
    retries: Retries = field(default_factory=Retries)

    def __post_init__(self) -> None:
        if self.policy not in list(EndpointPolicy):
            raise ValueError(f"policy={self.policy!r}: give one of {', '.join(EndpointPolicy)}")
        object.__setattr__(self, "policy", EndpointPolicy(self.policy))
        if self.slow_start_s < 0:
            raise ValueError("slow_start_s is 0 or more")
        if self.per_endpoint is not None and self.per_endpoint < 1:
            raise ValueError("per_endpoint is at least 1")
