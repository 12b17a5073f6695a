"""The connections of one run, each through its life: opened within the budget, watched, ended, and accounted for once."""

import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

from kbalance.model.plan import ProfilePlan
from kbalance.model.words import Closer
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.ledger import Ledger
from kbalance.traffic.poller import READ, WRITE, Poller
from kbalance.traffic.slots import Slots
from kbalance.wire.dialled import Tls

MOST_LINGERING = 100
"""Connections that wait for the server to close; the longest are closed from here, before descriptors run out."""
LOOKS = 100
"""Before sleeping, some 50 us in all: on loopback that made 2.5 times the sequential requests; a slower answer costs it once."""


class Budget:
    """New connections that a run may still open, shared by its profiles."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


C = TypeVar("C", bound=Carrier)


class Connections(Generic[C]):
    """Carriers from the slot that they fill to the ledger and the closed socket; when to do which, the driver says."""

    __slots__ = (
        "_budget",
        "_clock",
        "_lifetime",
        "_lingering",
        "_make",
        "_poller",
        "_random",
        "_slots",
        "_started",
        "_tls",
        "by_fd",
        "ledger",
        "poll",
    )

    _poller: Poller
    poll: Callable[[float], list[tuple[int, int]]]
    """The poller's own; every descriptor that it names is in ``by_fd``."""

    def __init__(
        self,
        plan: ProfilePlan,
        slots: Slots[C],
        make: type[C],
        *,
        budget: Budget,
        random: Random,
        tls: Tls | None,
        clock: Callable[[], float],
    ) -> None:
        self._make = make
        self._lifetime = plan.lifetime
        self._slots = slots
        self._budget = budget
        self._random = random
        self._tls = tls
        self._clock = clock
        self._started = 0.0
        self._lingering: deque[C] = deque()
        self.ledger = Ledger()
        self.by_fd: dict[int, C] = {}
        """All whose sockets are not closed yet, also those that linger."""

    def start(self, poller: Poller) -> None:
        """Times in the observations count from now on."""
        self._started = self._clock()
        self._poller = poller
        self.poll = poller.poll

    def close(self) -> None:
        """Closes every socket, whatever became of the accounts."""
        for carrier in self.by_fd.values():
            carrier.conn.close()
        self._poller.close()

    def wait(self, longest_s: float, *, eager: bool) -> list[tuple[int, int]]:
        """What is ready, after so long at most.

        Args:
            eager: an answer is awaited; it is looked for a moment before sleeping, because waking up takes longer than a near
                server, and would be counted as its latency.
        """
        if eager:
            for _ in range(LOOKS):
                if ready := self.poll(0):
                    return ready
        return self.poll(longest_s)

    # Opening

    @property
    def exhausted(self) -> bool:
        """Whether the budget allows no more."""
        return self._budget.left <= 0

    def new(self, slot: int, *, ahead: bool) -> C:
        """A carrier that is yet to be opened, taken from the budget.

        It has limits of its own: the profile's lifetime, varied, and the requests that the slot will get at all.
        A connection that knows its last request asks the server to close after it, which leaves TIME_WAIT there. A
        policy that picks freely does not know which request of a connection is its last.

        Args:
            ahead: no request waits for it, which the slot would no longer count.
        """
        self._budget.left -= 1
        now = self._clock()
        lifetime = self._lifetime
        jitter = 1.0 + lifetime.jitter * (2.0 * self._random.random() - 1.0) if lifetime.jitter else 1.0
        requests = self._slots.to_come(slot) + (not ahead)
        return self._make(
            serial=self.ledger.open(),
            slot=slot,
            endpoint=self._slots.endpoint(slot),
            opened=now,
            left=min(requests, max(1, round(lifetime.requests * jitter)) if lifetime.requests else math.inf),
            expires=now + lifetime.age_s * jitter if lifetime.age_s else math.inf,
        )

    def open(self, carrier: C) -> None:
        """Starts to open, and fills the slot.

        Raises:
            ExchangeError: the operating system refused at once; the account is still to be closed.
        """
        carrier.dial(self._slots.address(carrier.slot), self._tls)
        carrier.fd = carrier.conn.fileno()
        self._slots.carrier[carrier.slot] = self.by_fd[carrier.fd] = carrier

    # Watching

    def watch(self, carrier: C) -> None:
        """Tells the poller what the connection waits for now."""
        conn = carrier.conn
        mask = (READ | WRITE if conn.is_open else WRITE) if conn.wants_write else READ
        if mask == carrier.mask:
            return
        if carrier.mask:
            self._poller.modify(carrier.fd, mask)
        else:
            self._poller.register(carrier.fd, mask)
        carrier.mask = mask

    # Ending

    def end(self, carrier: C, closed_by: Closer, *, linger: bool = False, abandoned: int = 0, detail: str = "") -> None:
        """Frees the slot and closes the account, and the socket too unless it is to linger until the server closes."""
        self._slots.vacate(carrier)
        self.account(carrier, closed_by, abandoned=abandoned, detail=detail)
        if linger:
            carrier.lingering = True
            carrier.sent = self._clock()
            self._lingering.append(carrier)
        else:
            self.drop(carrier)

    def trim(self) -> None:
        """Closes those that linger beyond what is allowed; not while events are served, one of which may be for them."""
        while len(self._lingering) > MOST_LINGERING:
            oldest = self._lingering.popleft()
            if self.by_fd.get(oldest.fd) is oldest:
                self.drop(oldest)

    def account(self, carrier: C, closed_by: Closer, *, abandoned: int = 0, detail: str) -> None:
        """Closes the account."""
        observation = carrier.observation(
            now=self._clock(), started=self._started, closed_by=closed_by, abandoned=abandoned, detail=detail
        )
        self.ledger.close(observation)

    def drop(self, carrier: C) -> None:
        """Closes the socket."""
        if carrier.mask:
            self._poller.forget(carrier.fd)
        del self.by_fd[carrier.fd]
        carrier.conn.close()
