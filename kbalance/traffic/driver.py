"""Runs one profile: a plan in, observations out, one per connection, in the order in which the connections were opened.

One thread, one poller, no task and no timer per request: the loop sends what is due, reads what came, and every tenth of a
second one sweep looks at all deadlines.
"""

import math
from collections.abc import Callable, Generator
from random import Random
from time import perf_counter
from typing import Any

from kbalance.model.observation import ConnectionObservation
from kbalance.model.plan import ProfilePlan, RequestSpec
from kbalance.model.words import Protocol, Stop
from kbalance.traffic.connections import Budget, Connections
from kbalance.traffic.exchanges import Exchanges, Tap
from kbalance.traffic.identify import Identify
from kbalance.traffic.poller import Poller, make_poller
from kbalance.traffic.sequential import OneAtATime, Sequential
from kbalance.traffic.slots import SharedSlots, Slots
from kbalance.traffic.stopping import Stopping
from kbalance.wire.dialled import Tls

__all__ = ["Budget", "Driver", "Tap"]

SWEEP_S = 0.1
LINGER_S = 0.5
"""How long a server that was asked to close may take before this side closes."""


class Driver:
    """The run of one profile.

    Iterate over ``run()``, once; at any time, from any thread or signal handler, ``stop()`` ends it: ``run()`` then comes to its
    end, and ``stopped`` says why.
    """

    def __init__(
        self,
        plan: ProfilePlan,
        request: RequestSpec,
        *,
        timeout_s: float,
        deadline: float = math.inf,
        budget: Budget,
        random: Random,
        identify: Identify | None = None,
        tls: Tls | None = None,
        tap: Tap | None = None,
        on_sweep: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = perf_counter,
        poller: Callable[[], Poller] = make_poller,
    ) -> None:
        """
        Args:
            timeout_s: for opening a connection that no request waits for, and for a request from when it is first possible to
                send it to the end of its answer, connecting included.
            deadline: on the clock, when requests under way are abandoned.
            identify: names who answered on connections to the target's address; ``None``: nobody is identified.
            on_sweep: called about ten times a second, for progress.
        """
        self.plan = plan
        self._deadline = deadline
        self._on_sweep = on_sweep
        self._clock = clock
        self._make_poller = poller
        self._sweep_s = min(SWEEP_S, timeout_s / 10)
        self._next_sweep = 0.0
        self._stopping = Stopping()
        slots_of, carrier, exchanges = _kind(request.protocol)
        slots = slots_of(plan, random)
        self._connections = Connections(plan, slots, carrier, budget=budget, random=random, tls=tls, clock=clock)
        self._exchanges = exchanges(
            plan,
            request,
            slots,
            self._connections,
            self._stopping,
            timeout_s=timeout_s,
            identify=identify,
            tap=tap,
            clock=clock,
        )

    @property
    def ended(self) -> int:
        """Requests that were answered or failed."""
        return self._exchanges.ended

    @property
    def stopped(self) -> Stop | None:
        """Why nothing more is sent; ``None`` as long as something may be."""
        return self._stopping.why

    def stop(self, why: Stop) -> None:
        """Sends nothing more; requests under way are waited for unless the reason is urgent.

        The first reason is the one that stands, but an urgent one hurries whatever came before it.
        """
        self._stopping.stop(why)

    def run(self) -> Generator[ConnectionObservation, None, None]:
        """Makes the traffic; a run that comes to its end has accounted for every connection, one that is closed early has not."""
        connections, exchanges, stopping = self._connections, self._exchanges, self._stopping
        connections.start(self._make_poller())
        try:
            exchanges.start_pace()
            self._sweep()
            exchanges.open_ahead()
            wait_s = exchanges.fill(self._sweep_s)
            while exchanges.to_come and not stopping.urgent:
                exchanges.serve(connections.wait(wait_s, eager=exchanges.under_way))
                connections.trim()
                # Filled first: a connection that is past its age and wanted can then ask the server to close.
                wait_s = exchanges.fill(self._sweep_s)
                if self._clock() >= self._next_sweep:
                    self._sweep()
                    wait_s = 0.0
                if connections.ledger:
                    yield from connections.ledger.in_order()
            self._wind_up()
            yield from connections.ledger.in_order()
        finally:
            connections.close()

    def _sweep(self) -> None:
        """Looks at every deadline there is."""
        now = self._clock()
        self._next_sweep = now + self._sweep_s
        for carrier in list(self._connections.by_fd.values()):
            if not carrier.lingering:
                self._exchanges.check(carrier, now)
            elif now - carrier.sent > LINGER_S:
                self._connections.drop(carrier)
        if now >= self._deadline:
            self.stop(Stop.DEADLINE)
        self._on_sweep()

    def _wind_up(self) -> None:
        """Ends every connection; waits a moment for servers that were asked to close."""
        connections = self._connections
        self.stop(Stop.DONE)
        for carrier in list(connections.by_fd.values()):
            if not carrier.lingering:
                self._exchanges.finish(carrier)
        until = self._clock() + LINGER_S
        while connections.by_fd and not self._stopping.urgent and self._clock() < until:
            for fd, _ in connections.poll(SWEEP_S):
                self._exchanges.linger(connections.by_fd[fd])


def _kind(protocol: Protocol) -> tuple[type[Slots[Any]], type[Any], type[Exchanges[Any]]]:
    """Slots, their connections, and what happens on these."""
    if protocol.multiplexes:
        from kbalance.traffic.calls import ManyAtOnce
        from kbalance.traffic.multiplexed import Multiplexed

        return SharedSlots, ManyAtOnce, Multiplexed
    return Slots, OneAtATime, Sequential
