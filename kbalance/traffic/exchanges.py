"""The requests of one run: sent when they are due, answered or failed on their connections, and counted once each."""

from collections.abc import Callable

from kbalance.errors import ExchangeError
from kbalance.model.histogram import bucket
from kbalance.model.plan import ProfilePlan, RequestSpec
from kbalance.model.words import Closer, Failure, Profile, Stop
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.connections import Connections
from kbalance.traffic.failing import Patience, may_retry
from kbalance.traffic.identify import Identify
from kbalance.traffic.pace import Pace, pause_s
from kbalance.traffic.poller import READ, WRITE
from kbalance.traffic.slots import Slots
from kbalance.traffic.stopping import Stopping
from kbalance.wire.connection import Connection
from kbalance.wire.http1 import encode

Tap = Callable[[Connection, Carrier], None]
"""Called with each complete response, before it is counted; for calibration."""


class Exchanges:
    """What goes out and what comes in; the driver calls ``fill`` and ``serve`` in turn, and ``failed`` at a missed deadline."""

    __slots__ = (
        "_by_body",
        "_clock",
        "_closing",
        "_concurrency",
        "_connections",
        "_direct",
        "_goal",
        "_identify",
        "_in_flight",
        "_issued",
        "_method",
        "_opening",
        "_pace",
        "_patience",
        "_request",
        "_slots",
        "_stopping",
        "_tap",
        "ended",
    )

    def __init__(
        self,
        plan: ProfilePlan,
        request: RequestSpec,
        slots: Slots,
        connections: Connections,
        stopping: Stopping,
        *,
        identify: Identify | None,
        tap: Tap | None,
        clock: Callable[[], float],
    ) -> None:
        self.ended = 0
        """Requests that were answered or failed."""
        self._method = request.method
        self._request = encode(request)
        self._closing = encode(request, close=True)
        self._slots = slots
        self._connections = connections
        self._stopping = stopping
        self._identify = identify
        self._by_body = identify is not None and not identify.from_head
        self._tap = tap
        self._clock = clock
        self._pace = Pace(plan.rate) if plan.rate else None
        self._patience = Patience(plan.slots)
        self._direct = plan.profile is Profile.PER_ENDPOINT
        self._concurrency = plan.concurrency
        self._goal = plan.requests
        self._issued = 0
        self._in_flight = 0
        self._opening = 0
        """Connections opened ahead of which it is not yet decided whether they open."""

    @property
    def under_way(self) -> bool:
        """Whether an answer is awaited."""
        return self._in_flight > 0

    @property
    def to_come(self) -> bool:
        """Whether there is anything to wait for: an answer, an opening, or a request that is yet to go out."""
        return self._in_flight > 0 or self._opening > 0 or (self._stopping.why is None and self._issued < self._goal)

    # Sending

    def fill(self, longest_s: float) -> float:
        """Sends what is due, as far as the concurrency and the slots allow; returns how long to wait, at most so long.

        Requests that fell behind their schedule go out as fast as the concurrency allows, and their latency counts from when
        they were due: a server that stalls is seen by all the requests that it kept waiting (no coordinated omission).
        """
        clock, slots, pace = self._clock, self._slots, self._pace
        while self._in_flight < self._concurrency and self._issued < self._goal and self._stopping.why is None:
            due = now = clock()
            if pace is not None:
                due = pace.due(self._issued)
                if due > now:
                    return min(longest_s, pause_s(due - now))
            slot = slots.take()
            if slot is None:
                break
            carrier = slots.carrier[slot]
            if carrier is None and self._connections.exhausted:
                self._stopping.stop(Stop.CONNECTION_CAP)
                break
            self._issued += 1
            self._in_flight += 1
            carrier = carrier or self._open(slot)
            if carrier is not None:
                self._send(carrier, due, now)
        return longest_s

    def _send(self, carrier: Carrier, due: float, now: float) -> None:
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
            if carrier.connect_s is None and conn.is_open:
                carrier.connect_s = self._clock() - carrier.opened
            self._connections.watch(carrier)

    # Opening

    def open_ahead(self) -> None:
        """Opens the connections that the profile holds from the start."""
        for slot in self._slots.held_from_start():
            if self._stopping.why is None and self._connections.exhausted:
                self._stopping.stop(Stop.CONNECTION_CAP)
            if self._stopping.why is not None:
                return
            carrier = self._open(slot, ahead=True)
            if carrier is not None:
                self._opening += 1
                self._connections.watch(carrier)

    def _open(self, slot: int, *, ahead: bool = False) -> Carrier | None:
        """Starts a connection for this slot, ahead or for a request, which then fails with it.

        ``None`` when the operating system refused at once; everything is then accounted for.
        """
        carrier = self._connections.new(slot, ahead=ahead)
        try:
            self._connections.open(carrier)
        except ExchangeError as error:
            if ahead:
                self._slot_failed(slot)
            else:
                self._end_request(carrier, error.failure)
            self._connections.account(carrier, Closer.FAILURE, detail=str(error))
            self._slots.release(slot)
            return None
        return carrier

    def _advance(self, carrier: Carrier) -> None:
        conn = carrier.conn
        if conn.advance():
            carrier.connect_s = self._clock() - carrier.opened
            if carrier.busy:
                conn.flush()
            else:
                self._settled(carrier.slot)
        self._connections.watch(carrier)

    def _settled(self, slot: int) -> None:
        """A connection that was opened ahead is open, or never will be."""
        self._opening -= 1
        if not self._issued:
            # A held connection is open before its client's first request: the schedule starts with the first one ready.
            self.start_pace()
        self._slots.release(slot)

    def start_pace(self) -> None:
        if self._pace is not None:
            self._pace.start(self._clock())

    # Receiving

    def serve(self, ready: list[tuple[int, int]]) -> None:
        """Takes what came; no event ends another one's connection, whose descriptor could be a new one's by its turn."""
        carriers = self._connections.by_fd
        for fd, mask in ready:
            carrier = carriers[fd]
            conn = carrier.conn
            try:
                if carrier.lingering:
                    self._connections.drop(carrier)
                elif not conn.is_open:
                    self._advance(carrier)
                elif mask != WRITE and conn.receive():
                    self._answered(carrier)
                elif conn.wants_write:
                    conn.flush()
                    self._connections.watch(carrier)
            except ExchangeError as error:
                self.failed(carrier, error)

    def _answered(self, carrier: Carrier) -> None:
        us = int((self._clock() - carrier.due) * 1e6)
        conn = carrier.conn
        if self._tap is not None:
            self._tap(conn, carrier)
        if conn.head is not carrier.head or self._by_body:
            self._look(carrier)
        carrier.histogram[bucket(us)] += 1
        self.ended += 1
        self._in_flight -= 1
        if carrier.bad:
            carrier.failed[carrier.who] = carrier.failed.get(carrier.who, 0) + 1
            self._count_failure(carrier.slot, Failure.STATUS)
        if carrier.last or not conn.reusable:
            self._connections.end(carrier, Closer.CLIENT if carrier.last else Closer.SERVER, linger=True)
        self._slots.release(carrier.slot)

    def _look(self, carrier: Carrier) -> None:
        """Reads from the response who gave it and whether it is a good one."""
        conn = carrier.conn
        who = carrier.endpoint
        if who is None and self._identify is not None:
            who = self._identify(conn)
        carrier.answered_by(who)
        carrier.head = conn.head
        carrier.bad = conn.head is not None and conn.head.status >= 500
        if not carrier.bad:
            self._patience.succeeded(carrier.slot)

    # Failing

    def failed(self, carrier: Carrier, error: ExchangeError) -> None:
        """A connection broke: opening, idle, or with a request under way."""
        if not carrier.busy:
            self._failed_idle(carrier, error)
        elif may_retry(carrier, error, self._method):
            self._retry(carrier)
        else:
            self._end_request(carrier, error.failure)
            self._connections.end(carrier, Closer.FAILURE, detail=str(error))
            self._slots.release(carrier.slot)

    def _failed_idle(self, carrier: Carrier, error: ExchangeError) -> None:
        opened = carrier.connect_s is not None
        by_server = opened and error.failure in (Failure.CLOSED, Failure.RESET)
        expected = opened and error.failure is Failure.CLOSED
        self._connections.end(carrier, Closer.SERVER if by_server else Closer.FAILURE, detail="" if expected else str(error))
        if not opened:
            self._slot_failed(carrier.slot)
            self._settled(carrier.slot)

    def _retry(self, carrier: Carrier) -> None:
        if self._connections.exhausted:
            self._stopping.stop(Stop.CONNECTION_CAP)
        if self._stopping.why is not None:
            self._in_flight -= 1
            return self._connections.end(carrier, Closer.SERVER, abandoned=True)
        carrier.retried += 1
        self._connections.end(carrier, Closer.SERVER)
        fresh = self._open(carrier.slot)
        if fresh is not None:
            self._send(fresh, carrier.due, self._clock())

    def _end_request(self, carrier: Carrier, failure: Failure) -> None:
        carrier.unanswered[failure] = carrier.unanswered.get(failure, 0) + 1
        self.ended += 1
        self._in_flight -= 1
        self._count_failure(carrier.slot, failure)

    def _count_failure(self, slot: int, failure: Failure) -> None:
        if self._direct:
            self._slot_failed(slot)
        elif self._patience.ends_with_profile(failure, self.ended):
            self._stopping.stop(Stop.FAILING)

    def _slot_failed(self, slot: int) -> None:
        """A request failed, or the opening ahead, which says as much of an endpoint and costs as much time."""
        if self._direct and self._patience.ends_with_slot(slot):
            self._goal -= self._slots.withdraw(slot)
