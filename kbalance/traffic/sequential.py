"""One exchange at a time on a connection: HTTP/1.1."""

from kbalance.errors import ExchangeError
from kbalance.model.histogram import bucket
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Closer, Failure, Stop
from kbalance.traffic.answers import Answer
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.exchanges import Exchanges
from kbalance.traffic.failing import stale, timed_out
from kbalance.traffic.poller import READ, WRITE
from kbalance.wire.connection import Connection
from kbalance.wire.dialled import Tls
from kbalance.wire.http1 import Head, encode


class OneAtATime(Carrier):
    """A connection that carries one request, or none."""

    __slots__ = ("conn", "due", "head", "last")

    conn: Connection

    def __init__(self, *, serial: int, slot: int, endpoint: str | None, opened: float, left: float, expires: float) -> None:
        super().__init__(serial=serial, slot=slot, endpoint=endpoint, opened=opened, left=left, expires=expires)
        self.last = False
        """The request under way asked the server to close."""
        self.due = 0.0
        self.head: Head | None = None
        """Of the answer before: the same object again means the same status and, unless the body tells, the same Pod."""

    def dial(self, address: Address, tls: Tls | None) -> None:
        self.conn = Connection(address, tls)

    @property
    def under_way(self) -> int:
        return int(self.conn.awaiting)


class Sequential(Exchanges[OneAtATime]):
    """Requests that wait for the answer before on their connection."""

    __slots__ = ("_closing", "_request")

    def _prepare(self, request: RequestSpec) -> None:
        self._request = encode(request)
        self._closing = encode(request, close=True)

    def _send(self, carrier: OneAtATime, due: float, now: float) -> None:
        conn = carrier.conn
        carrier.due = due
        carrier.sent = now
        carrier.left -= 1
        carrier.last = carrier.left <= 0 or now >= carrier.expires
        try:
            conn.send(self._closing if carrier.last else self._request, self._method)
        except ExchangeError as error:
            return self.failed(carrier, error)
        if carrier.mask != READ or conn.wants_write:
            self._watch(carrier)

    # Receiving

    def serve(self, ready: list[tuple[int, int]]) -> None:
        carriers = self._connections.by_fd
        for fd, mask in ready:
            carrier = carriers[fd]
            conn = carrier.conn
            try:
                if carrier.lingering:
                    self.linger(carrier)
                elif not conn.is_open:
                    self._advance(carrier)
                elif mask != WRITE and conn.receive():
                    self._answered(carrier)
                elif conn.wants_write:
                    conn.flush()
                    self._connections.watch(carrier)
            except ExchangeError as error:
                self.failed(carrier, error)

    def _answered(self, carrier: OneAtATime) -> None:
        now = self._clock()
        us = int((now - carrier.due) * 1e6)
        conn = carrier.conn
        if self._tap is not None and conn.head is not None:
            self._tap(Answer(conn.head.status, conn.head.raw, conn.body, conn.head.length), carrier)
        if conn.head is not carrier.head or self._by_body:
            self._look(carrier, now)
        carrier.histogram[bucket(us)] += 1
        self.ended += 1
        self._in_flight -= 1
        if carrier.bad:
            carrier.failed[carrier.who] = carrier.failed.get(carrier.who, 0) + 1
            self._count_failure(carrier.slot, Failure.STATUS)
        if carrier.last or not conn.reusable:
            self._connections.end(carrier, Closer.CLIENT if carrier.last else Closer.SERVER, linger=True)
        self._slots.release(carrier.slot)

    def _look(self, carrier: OneAtATime, now: float) -> None:
        """Reads from the response who gave it and whether it is a good one."""
        head = carrier.conn.head
        assert head is not None
        who = carrier.endpoint
        if who is None and self._identify is not None:
            who = self._identify(carrier.conn.body if self._by_body else head.raw)
        carrier.answered_by(who, now)
        carrier.head = head
        carrier.bad = head.status >= 500
        if not carrier.bad:
            self._patience.succeeded(carrier.slot)

    def check(self, carrier: OneAtATime, now: float) -> None:
        awaiting = carrier.conn.awaiting
        if awaiting or not carrier.conn.is_open:
            if now - (carrier.sent if awaiting else carrier.opened) > self._timeout_s:
                self.failed(carrier, timed_out(carrier, self._timeout_s))
        elif now >= carrier.expires:
            self._connections.end(carrier, Closer.CLIENT)

    def linger(self, carrier: OneAtATime) -> None:
        self._connections.drop(carrier)

    # Failing

    def failed(self, carrier: OneAtATime, error: ExchangeError) -> None:
        if not carrier.conn.awaiting:
            self._failed_idle(carrier, error)
        elif self._may_retry(carrier, error):
            self._retry(carrier)
        else:
            self._end_request(carrier, error.failure)
            self._connections.end(carrier, Closer.FAILURE, detail=str(error))
            self._slots.release(carrier.slot)

    def _may_retry(self, carrier: OneAtATime, error: ExchangeError) -> bool:
        """Whether the server closed an idle connection just as this request went out on it (RFC 9112, 9.3.1).

        A request is sent again once at most: the connection that it then gets is new, and has answered nothing.
        """
        return carrier.conn.answered > 0 and carrier.conn.untouched and stale(error, self._method)

    def _retry(self, carrier: OneAtATime) -> None:
        if self._connections.exhausted:
            self._stopping.stop(Stop.CONNECTION_CAP)
        if self._stopping.why is not None:
            self._in_flight -= 1
            return self._connections.end(carrier, Closer.SERVER, abandoned=1)
        carrier.retried += 1
        self._connections.end(carrier, Closer.SERVER)
        fresh = self._open(carrier.slot)
        if fresh is not None:
            self._send(fresh, carrier.due, self._clock())
