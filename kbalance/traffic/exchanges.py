"""The requests of one run: sent when they are due, and counted once each; what is between, subclasses know for each protocol."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from kbalance.errors import ExchangeError
from kbalance.model.plan import ProfilePlan, RequestSpec
from kbalance.model.words import Closer, Failure, Profile, Stop
from kbalance.traffic.answers import Answer
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.connections import Connections
from kbalance.traffic.failing import Patience
from kbalance.traffic.identify import Identify
from kbalance.traffic.pace import Pace, pause_s
from kbalance.traffic.slots import Slots
from kbalance.traffic.stopping import Stopping

Tap = Callable[[Answer, Carrier], None]
"""Called with each complete answer, before it is counted; for calibration."""

C = TypeVar("C", bound=Carrier)


class Exchanges(ABC, Generic[C]):
    """What goes out and what comes in; the driver calls ``fill`` and ``serve`` in turn, and now and then ``check``."""

    __slots__ = (
        "_by_body",
        "_clock",
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
        "_slots",
        "_stopping",
        "_tap",
        "_timeout_s",
        "ended",
    )

    def __init__(
        self,
        plan: ProfilePlan,
        request: RequestSpec,
        slots: Slots[C],
        connections: Connections[C],
        stopping: Stopping,
        *,
        timeout_s: float,
        identify: Identify | None,
        tap: Tap | None,
        clock: Callable[[], float],
    ) -> None:
        self.ended = 0
        """Requests that were answered or failed."""
        self._method = request.method
        self._slots = slots
        self._connections = connections
        self._stopping = stopping
        self._timeout_s = timeout_s
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
        self._prepare(request)

    @abstractmethod
    def _prepare(self, request: RequestSpec) -> None:
        """Encodes the request, once for all."""

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

    @abstractmethod
    def _send(self, carrier: C, due: float, now: float) -> None:
        """Sends a request that was due then, as its turn has come now."""

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

    def _open(self, slot: int, *, ahead: bool = False) -> C | None:
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
            (self._slots.offer if ahead else self._slots.release)(slot)
            return None
        return carrier

    def _advance(self, carrier: C) -> None:
        """Goes on opening."""
        conn = carrier.conn
        if conn.advance():
            conn.flush()
            if not carrier.under_way:
                self._settled(carrier.slot)
        self._watch(carrier)

    def _watch(self, carrier: C) -> None:
        """Notes when it opened, and tells the poller what it waits for."""
        if carrier.connect_s is None and carrier.conn.is_open:
            carrier.connect_s = self._clock() - carrier.opened
        self._connections.watch(carrier)

    def _settled(self, slot: int) -> None:
        """A connection that was opened ahead is open, or never will be."""
        self._opening -= 1
        if not self._issued:
            # A held connection is open before its client's first request: the schedule starts with the first one ready.
            self.start_pace()
        self._slots.offer(slot)

    def start_pace(self) -> None:
        if self._pace is not None:
            self._pace.start(self._clock())

    # Receiving

    @abstractmethod
    def serve(self, ready: list[tuple[int, int]]) -> None:
        """Takes what came; no event ends another one's connection, whose descriptor could be a new one's by its turn."""

    @abstractmethod
    def check(self, carrier: C, now: float) -> None:
        """Looks at the deadlines of a connection that does not linger."""

    @abstractmethod
    def linger(self, carrier: C) -> None:
        """Something came on a connection that only waits for the server's close."""

    def finish(self, carrier: C) -> None:
        """The run is over: ends a connection, whatever is under way on it."""
        self._connections.end(carrier, Closer.CLIENT, abandoned=carrier.under_way)

    # Failing

    @abstractmethod
    def failed(self, carrier: C, error: ExchangeError) -> None:
        """A connection broke: opening, idle, or with requests under way."""

    def _failed_idle(self, carrier: C, error: ExchangeError) -> None:
        opened = carrier.connect_s is not None
        by_server = opened and error.failure in (Failure.CLOSED, Failure.RESET)
        expected = opened and error.failure is Failure.CLOSED
        self._connections.end(carrier, Closer.SERVER if by_server else Closer.FAILURE, detail="" if expected else str(error))
        if not opened:
            self._slot_failed(carrier.slot)
            self._settled(carrier.slot)

    def _end_request(self, carrier: C, failure: Failure, *, counts: bool = True) -> None:
        """A request failed.

        Args:
            counts: as one failure more, of those after which an endpoint or a profile is given up.
        """
        carrier.unanswered[failure] = carrier.unanswered.get(failure, 0) + 1
        self.ended += 1
        self._in_flight -= 1
        self._count_failure(carrier.slot, failure, counts=counts)

    def _count_failure(self, slot: int, failure: Failure, *, counts: bool = True) -> None:
        if not self._direct:
            if self._patience.ends_with_profile(failure, self.ended, counts=counts):
                self._stopping.stop(Stop.FAILING)
        elif counts:
            self._slot_failed(slot)

    def _slot_failed(self, slot: int) -> None:
        """A request failed, or the opening ahead, which says as much of an endpoint and costs as much time."""
        if self._direct and self._patience.ends_with_slot(slot):
            self._goal -= self._slots.withdraw(slot)
