"""A connection together with the account of it that becomes an observation when it ends."""

from abc import ABC, abstractmethod
from collections import defaultdict

from kbalance.model.observation import Answers, ConnectionObservation
from kbalance.model.target import Address
from kbalance.model.words import Closer, Failure
from kbalance.wire.dialled import NO_HTTP2, NOT_TLS, UNTRUSTED, Dialled, Tls
from kbalance.wire.http1 import A_FRAME, NOT_HTTP2

MOST_NAMES = 10_000
"""On one connection. More than a Service has endpoints: what differs with every answer is not told apart any further, for memory
must not grow with requests."""


ADVICE = {
    A_FRAME: "--protocol grpc, or h2c",
    f"{NOT_HTTP2}: 'HTTP/1": "--protocol http1",
    f"{NOT_HTTP2}: '<": "--protocol http1",
    NO_HTTP2: "--protocol http1",
    NOT_TLS: "http:// where it is meant to be without",
    UNTRUSTED: "--cacert FILE, or -k",
}
"""How the words for a server begin that speaks another protocol, or is not who it should be, and what to give then."""


class Carrier(ABC):
    """One slot's connection: what it was opened for, and what came back on it so far; what is under way, subclasses know.

    Written to once a request, so its fields are plain and public; times are the driver's clock, in seconds.
    """

    __slots__ = (
        "bad",
        "connect_s",
        "details",
        "endpoint",
        "expires",
        "failed",
        "fd",
        "firsts",
        "goaway",
        "goaway_s",
        "histogram",
        "histograms",
        "left",
        "lingering",
        "mask",
        "opened",
        "retried",
        "sent",
        "serial",
        "slot",
        "streams",
        "unanswered",
        "who",
    )

    conn: Dialled

    def __init__(self, *, serial: int, slot: int, endpoint: str | None, opened: float, left: float, expires: float) -> None:
        self.serial = serial
        self.slot = slot
        self.endpoint = endpoint
        self.opened = opened
        self.left = left
        """Requests that it may still carry; infinite when nobody knows."""
        self.expires = expires
        """When it is to be given up on purpose."""
        self.fd = -1
        """Its descriptor, also after the socket is gone: what the driver and the poller know it by."""
        self.connect_s: float | None = None
        self.mask = 0
        """What the poller watches for."""
        self.lingering = False
        """Its account is closed; only the server's close is awaited."""
        self.sent = 0.0
        """When the request under way went out, or the connection began to linger."""
        self.bad = False
        """Whether the status of the answer before was 500 or above."""
        self.who: str | None = None
        """Who gave that answer."""
        self.histogram: defaultdict[int, int] = defaultdict(int)
        """The one of ``who``."""
        self.histograms: dict[str | None, defaultdict[int, int]] = {}
        self.firsts: dict[str | None, float] = {}
        """When each answered first."""
        self.failed: dict[str | None, int] = {}
        self.details: dict[str | None, str] = {}
        """What each one's first failed answer said."""
        self.unanswered: dict[Failure, int] = {}
        self.retried = 0
        self.streams = 1
        """Requests under way at once, at most so far."""
        self.goaway_s: float | None = None
        """Its age when the server said that it takes no more requests on it."""
        self.goaway = ""

    @abstractmethod
    def dial(self, address: Address, tls: Tls | None) -> None:
        """Starts to open the connection.

        Raises:
            ExchangeError: as `Dialled`.
        """

    @property
    @abstractmethod
    def under_way(self) -> int:
        """Requests on it that are not answered yet."""

    def answered_by(self, who: str | None, now: float) -> None:
        """From now on ``histogram`` is this one's."""
        self.who = who
        histogram = self.histograms.get(who)
        if histogram is None and len(self.histograms) >= MOST_NAMES:
            self.who = who = None
            histogram = self.histograms.get(None)
        if histogram is None:
            histogram = self.histograms[who] = defaultdict(int)
            self.firsts[who] = now
        self.histogram = histogram

    def observation(self, *, now: float, started: float, closed_by: Closer, detail: str, abandoned: int) -> ConnectionObservation:
        """The finished account."""
        return ConnectionObservation(
            serial=self.serial,
            endpoint=self.endpoint,
            opened_s=self.opened - started,
            connect_s=self.connect_s,
            age_s=now - self.opened,
            answers=tuple(
                Answers(
                    who=who,
                    requests=sum(h.values()),
                    failed=self.failed.get(who, 0),
                    latency=h,
                    first_s=self.firsts[who] - started,
                    detail=self.details.get(who, ""),
                )
                for who, h in self.histograms.items()
            ),
            unanswered=tuple(self.unanswered.items()),
            abandoned=abandoned,
            retried=self.retried,
            closed_by=closed_by,
            detail=detail and _advised(detail),
            streams=self.streams,
            goaway_s=self.goaway_s,
            goaway=self.goaway,
        )


def _advised(detail: str) -> str:
    return next((f"{detail}; give {option}" for start, option in ADVICE.items() if detail.startswith(start)), detail)
