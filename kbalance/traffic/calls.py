"""A connection that carries many requests at once, and the requests on it."""

from collections import deque

from kbalance.model.observation import ConnectionObservation
from kbalance.model.target import Address
from kbalance.model.words import Closer
from kbalance.traffic.carrier import Carrier
from kbalance.wire.connection import KEPT_BODY
from kbalance.wire.dialled import Tls
from kbalance.wire.http2_events import Pairs
from kbalance.wire.streams import StreamConnection


class Call:
    """A request under way."""

    __slots__ = ("body", "due", "fields", "given", "out", "rest", "sent", "size", "status", "tries")

    def __init__(self, due: float, now: float) -> None:
        self.due = due
        self.sent = now
        """When it was first given to a connection, which may have had to open, or to let others finish, before it went out."""
        self.given = now
        """The same of the connection where it is now."""
        self.out = False
        """Whether it went out on the connection where it is."""
        self.rest = b""
        """Of its body, which waits for the server's window."""
        self.status = 0
        """Of the answer; 0: nothing came yet."""
        self.fields: Pairs = ()
        self.body = b""
        self.size = 0
        self.tries = 0
        """Times that it was sent again, drains that left it out aside."""

    def take(self, data: bytes) -> None:
        """A part of the body came."""
        self.size += len(data)
        if len(self.body) < KEPT_BODY:
            self.body += data

    def forget(self) -> None:
        """What came."""
        self.status = self.size = 0
        self.fields, self.body, self.rest = (), b"", b""


class ManyAtOnce(Carrier):
    """A connection that carries streams."""

    __slots__ = (
        "abandoned",
        "again",
        "body",
        "calls",
        "conn",
        "cut",
        "dead",
        "detail",
        "draining",
        "fields",
        "heard",
        "leaving",
        "most",
        "status",
        "trailers",
        "waiting",
    )

    conn: StreamConnection

    def __init__(self, *, serial: int, slot: int, endpoint: str | None, opened: float, left: float, expires: float) -> None:
        super().__init__(serial=serial, slot=slot, endpoint=endpoint, opened=opened, left=left, expires=expires)
        self.calls: dict[int, Call] = {}
        """By stream, oldest first."""
        self.waiting: deque[Call] = deque()
        """Not sent yet, for want of room."""
        self.again: list[Call] = []
        """To be sent again elsewhere; empty except within one turn."""
        self.abandoned = 0
        """Those of them that nothing may be opened for any more."""
        self.leaving = False
        """The server goes away without an error and has taken some requests: that it left others out is no one's fault."""
        self.most = 1
        """Streams at once; one, until the server has said how many it takes."""
        self.draining = False
        """It takes no more; those under way are waited for."""
        self.heard = 0.0
        """When a part of an answer came last; a server that only acknowledges settings and pings answers nobody."""
        self.detail = ""
        """What the first failure of a stream said."""
        self.cut = False
        """A request failed because the connection was lost."""
        self.dead = False
        """Nothing came on it for as long as a request may take: that is one failure, of however many requests."""
        self.status = 0
        self.fields: Pairs | None = None
        """Of the answer before, as are status, trailers and body: the same ones mean the same verdict and the same Pod."""
        self.trailers: Pairs | None = None
        self.body = b""

    def dial(self, address: Address, tls: Tls | None) -> None:
        self.conn = StreamConnection(address, tls)

    @property
    def under_way(self) -> int:
        return len(self.calls) + len(self.waiting)

    def observation(self, *, now: float, started: float, closed_by: Closer, detail: str, abandoned: int) -> ConnectionObservation:
        abandoned += self.abandoned
        return super().observation(
            now=now, started=started, closed_by=closed_by, detail=self.detail or detail, abandoned=abandoned
        )
