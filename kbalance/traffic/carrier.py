"""A connection together with the account of it that becomes an observation when it ends."""

from collections import defaultdict

from kbalance.model.observation import Answers, ConnectionObservation
from kbalance.model.words import Closer, Failure
from kbalance.wire.connection import Connection
from kbalance.wire.http1 import Head

MOST_NAMES = 10_000
"""On one connection. More than a Service has endpoints: what differs with every answer is not told apart any further, for memory
must not grow with requests."""


class Carrier:
    """One slot's connection: what it was opened for, what is under way on it, what came back on it so far.

    Written to once a request, so its fields are plain and public; times are the driver's clock, in seconds.
    """

    __slots__ = (
        "bad",
        "conn",
        "connect_s",
        "due",
        "endpoint",
        "expires",
        "failed",
        "fd",
        "head",
        "histogram",
        "histograms",
        "last",
        "left",
        "lingering",
        "mask",
        "opened",
        "retried",
        "sent",
        "serial",
        "slot",
        "unanswered",
        "who",
    )

    conn: Connection

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
        self.last = False
        """The request under way asked the server to close."""
        self.due = 0.0
        self.sent = 0.0
        self.head: Head | None = None
        """Of the answer before: the same object again means the same status and, unless the body tells, the same Pod."""
        self.bad = False
        """Whether that answer's status was 500 or above."""
        self.who: str | None = None
        """Who gave that answer."""
        self.histogram: defaultdict[int, int] = defaultdict(int)
        """The one of ``who``."""
        self.histograms: dict[str | None, defaultdict[int, int]] = {}
        self.failed: dict[str | None, int] = {}
        self.unanswered: dict[Failure, int] = {}
        self.retried = 0

    @property
    def busy(self) -> bool:
        """Whether a request is under way on it."""
        return self.conn.awaiting

    def answered_by(self, who: str | None) -> None:
        """From now on ``histogram`` is this one's."""
        self.who = who
        histogram = self.histograms.get(who)
        if histogram is None and len(self.histograms) >= MOST_NAMES:
            self.who = who = None
            histogram = self.histograms.get(None)
        if histogram is None:
            histogram = self.histograms[who] = defaultdict(int)
        self.histogram = histogram

    def observation(
        self, *, now: float, started: float, closed_by: Closer, detail: str, abandoned: bool
    ) -> ConnectionObservation:
        """The finished account."""
        return ConnectionObservation(
            serial=self.serial,
            endpoint=self.endpoint,
            opened_s=self.opened - started,
            connect_s=self.connect_s,
            age_s=now - self.opened,
            answers=tuple(
                Answers(who=who, requests=sum(h.values()), failed=self.failed.get(who, 0), latency=h)
                for who, h in self.histograms.items()
            ),
            unanswered=tuple(self.unanswered.items()),
            abandoned=int(abandoned),
            retried=self.retried,
            closed_by=closed_by,
            detail=detail,
        )
