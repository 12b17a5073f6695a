"""What all traffic of one run shares: its time, its connections, its randomness, and the hand that may stop it."""

import math
from collections.abc import Callable
from random import Random
from time import perf_counter, sleep

from kbalance.model.plan import ProfilePlan, RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Protocol, Stop
from kbalance.traffic.driver import Budget, Driver, Tap
from kbalance.traffic.handshake import Wait, chosen_protocol, speaks_tls
from kbalance.traffic.identify import Identify
from kbalance.wire.dialled import Tls

LOOK_S = 2.0
"""For an answer that tells something of the server and is not owed, at most."""


class Session:
    """Makes the drivers of a run; ``interrupt()`` may be called from a signal handler at any time."""

    def __init__(
        self,
        *,
        timeout_s: float,
        deadline_s: float | None,
        max_connections: int,
        seed: int,
        tls: Tls | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.clock = clock
        self.interrupted = False
        self.beside = 0
        """Connections that were opened beside those of the drivers."""
        self._started = clock()
        self._deadline = math.inf if deadline_s is None else self._started + deadline_s
        self.timeout_s = timeout_s
        self._budget = Budget(max_connections)
        self._seed = seed
        self._tls = tls
        self._drivers: list[Driver] = []
        """All that there were; several run side by side while endpoints may join, so that none may be lost here."""

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self._started

    @property
    def over(self) -> Stop | None:
        """Why no more traffic may start, if so."""
        if self.interrupted:
            return Stop.INTERRUPTED
        return Stop.DEADLINE if self.clock() >= self._deadline else None

    def interrupt(self) -> None:
        """Ends the traffic under way within a tenth of a second, and allows no more."""
        self.interrupted = True
        for driver in tuple(self._drivers):
            driver.stop(Stop.INTERRUPTED)

    @property
    def connections_left(self) -> int:
        """New connections that may still be opened."""
        return self._budget.left

    def pause(self, seconds: float) -> None:
        """Sleeps, unless somebody ends the session meanwhile."""
        until = self.clock() + seconds
        while (left_s := until - self.clock()) > 0 and self.over is None:
            sleep(min(left_s, 0.1))

    def negotiate(self, address: Address, *, wanted: Protocol | None) -> Protocol:
        """What is spoken from now on: what is wanted, or what the server chooses where nothing is."""
        spoken = wanted or Protocol.HTTP1
        if self._tls is not None:
            if wanted is None and chosen_protocol(address, self._tls, self._patience()) == "h2":
                spoken = Protocol.H2
            self._tls.offer(("h2",) if spoken.multiplexes else ("http/1.1",))
        return spoken

    def recognised(self, plain: RequestSpec, call: RequestSpec, address: Address) -> str | None:
        """What the server did that only one of gRPC does, as `kbalance.traffic.recognising.shown`."""
        from kbalance.traffic.recognising import shown

        return shown(plain, call, address, self._tls, self._patience)

    def speaks_tls(self, address: Address, name: str) -> bool:
        """Whether the server does, and was not asked so."""
        return self._tls is None and speaks_tls(address, name, self._patience(LOOK_S))

    def message(self, text: str, request: RequestSpec, address: Address) -> bytes:
        """The message of a gRPC call from the user's text; asks the server where it takes that.

        Raises:
            TargetError, TrafficError: as `kbalance.traffic.reflection.encoded`.
        """
        from kbalance.traffic.reflection import encoded

        return encoded(text, request, address, self._tls, self._patience)

    def check_unary(self, call: RequestSpec, address: Address) -> None:
        """Refuses a method that streams.

        Raises:
            TargetError: as `kbalance.traffic.unary.check_unary`.
        """
        from kbalance.traffic.unary import check_unary

        check_unary(call, address, self._tls, lambda: self._patience(LOOK_S))

    def _patience(self, longest_s: float = math.inf) -> Wait:
        """For one exchange beside those of the profiles: its own connection, and no longer than the session itself."""
        self._budget.left -= 1
        self.beside += 1
        until = min(self.clock() + min(longest_s, self.timeout_s), self._deadline)
        return Wait(lambda: 0.0 if self.interrupted else until - self.clock())

    def drive(
        self,
        plan: ProfilePlan,
        request: RequestSpec,
        *,
        identify: Identify | None = None,
        tap: Tap | None = None,
        timeout_s: float | None = None,
        part: float = 1.0,
        longest_s: float = math.inf,
        on_progress: Callable[[int], None] = lambda ended: None,
    ) -> Driver:
        """The driver of one profile; it is stopped before it starts where the session is over.

        Args:
            timeout_s: per request; ``None``: the session's own.
            part: share of the time left that it may take, so that a slow target leaves some to what comes after.
            longest_s: that it may take in any case.
            on_progress: called about ten times a second with the number of requests that ended.
        """
        now = self.clock()
        driver = Driver(
            plan,
            request,
            timeout_s=self.timeout_s if timeout_s is None else timeout_s,
            deadline=min(now + longest_s, self._deadline if part == 1.0 else now + part * (self._deadline - now)),
            budget=self._budget,
            random=Random(f"{self._seed} {plan.profile}"),
            identify=identify,
            tls=self._tls,
            tap=tap,
            on_sweep=lambda: on_progress(driver.ended),
            clock=self.clock,
        )
        self._drivers.append(driver)
        if self.over is not None:
            driver.stop(self.over)
        return driver
