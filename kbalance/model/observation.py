"""What happened, one connection at a time: the driver yields these, statistics fold them."""

from dataclasses import dataclass

from kbalance.model.histogram import Histogram
from kbalance.model.words import Closer, Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one endpoint answered on one connection."""

    who: str | None
    """An endpoint's name, or an identity that is no endpoint's; ``None``: could not be told."""
    requests: int
    """Complete answers, whatever their status."""
    failed: int
    """Those among them with a status of 500 or above."""
    latency: Histogram
    """From the intended start to the last byte of the answer."""
    first_s: float = 0.0
    """When the first of them was complete, since the profile's start."""
    detail: str = ""
    """What the first failed one said, where its status alone does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionObservation:
    """The whole account of one connection, made when it ended."""

    serial: int
    """Order of opening within the profile, from 0; observations are yielded in this order."""
    endpoint: str | None
    """The endpoint that was dialled directly; ``None``: the target's address was dialled."""
    opened_s: float
    """Since the profile's start."""
    connect_s: float | None
    """Until it could carry a request (TLS included); ``None``: never."""
    age_s: float
    """From dialling to the end."""
    answers: tuple[Answers, ...]
    """At most one per `who`."""
    unanswered: tuple[tuple[Failure, int], ...]
    """Requests that got no complete answer, by reason; a connection that failed to open counts the request it was for."""
    abandoned: int
    """Requests under way when the run was stopped: neither answered nor failed."""
    retried: int
    """Requests that met a connection the server had just closed and went out again elsewhere; not in `requests`."""
    closed_by: Closer
    detail: str = ""
    """The operating system's or parser's words for a failure."""
    streams: int = 1
    """Requests that were under way on it at once, at most."""
    goaway_s: float | None = None
    """Its age when the server said that it takes no more requests on it (GOAWAY); ``None``: it did not."""
    goaway: str = ""
    """The server's words with that."""

    @property
    def requests(self) -> int:
        """Requests that ended here one way or another."""
        return sum(a.requests for a in self.answers) + sum(n for _, n in self.unanswered) + self.abandoned
