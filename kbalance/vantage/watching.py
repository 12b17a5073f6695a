"""All profiles side by side while endpoints join: when does each first hear from whom?"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue

from kbalance.model.plan import Lifetime, ProfilePlan, RequestSpec
from kbalance.model.record import FirstAnswers, Progressed, Record, WatchBegan, WatchEnded
from kbalance.model.target import Address
from kbalance.model.words import PoolPolicy, Profile, Stop
from kbalance.traffic.driver import Driver
from kbalance.traffic.identify import Identify
from kbalance.traffic.session import Session

RATE = 50.0
"""Requests per second of all profiles together, where the user sets no pace: this is a watch, not a load."""
LOOK_UP_S = 1.0
"""How often the client that dials endpoints itself looks them up."""
PROGRESS_S = 0.25

LookUp = Callable[[], Sequence[tuple[str, Address]]]
"""The endpoints that are ready now, with their addresses."""


class Watching:
    """Makes the same requests through every profile for a while, and tells who answered each of them first when.

    Held connections are opened at the start, before anybody joins: that is what a client has when a Service is scaled out.

    Args:
        plans: of the profiles, as they were measured.
        look_up: what a client that dials endpoints itself would know; ``None``: nothing, and that profile is left out.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        plans: Sequence[ProfilePlan],
        request: RequestSpec,
        identify: Callable[[], Identify | None],
        session: Session,
        tell: Callable[[Record], None],
        *,
        watch_s: float,
        look_up: LookUp | None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._plans = [p for p in plans if p.profile is not Profile.PER_ENDPOINT or look_up is not None]
        self._request = request
        self._identify = identify
        self._session = session
        self._tell = tell
        self._watch_s = watch_s
        self._look_up = look_up
        self._wall = wall
        self._said: SimpleQueue[FirstAnswers | BaseException] = SimpleQueue()

    def run(self) -> None:
        """Ends after its time, or when the session does; whatever goes wrong, no thread is left behind."""
        began_s = self._wall()
        threads = [threading.Thread(target=self._follow, args=(plan,), name=f"kbalance-{plan.profile}") for plan in self._plans]
        try:
            self._tell(WatchBegan(at_s=began_s))
            for thread in threads:
                thread.start()
            self._gather(len(threads), began_s)
            self._tell(WatchEnded(at_s=self._wall()))
        except BaseException:
            self._session.interrupt()
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    def _gather(self, left: int, began_s: float) -> None:
        """Hands on what the threads say, until all have."""
        while left:
            try:
                said = self._said.get(timeout=PROGRESS_S)
            except Empty:
                passed = min(self._watch_s, self._wall() - began_s)
                self._tell(Progressed(what="scale-out", done=int(passed), planned=math.ceil(self._watch_s)))
                continue
            if isinstance(said, BaseException):
                raise said
            left -= 1
            self._tell(said)

    def _follow(self, plan: ProfilePlan) -> None:
        try:
            self._said.put(self._directly(plan) if plan.profile is Profile.PER_ENDPOINT else self._through(plan))
        except BaseException as error:  # whatever it is, the thread that tells must know
            self._said.put(error)

    @property
    def _rate(self) -> float:
        """Of one profile; shared evenly."""
        given = self._plans[0].rate
        return (RATE if given is None else given) / len(self._plans)

    def _through(self, plan: ProfilePlan) -> FirstAnswers:
        rate = self._rate
        if plan.profile is Profile.SHORT_LIVED:
            # Half of the connections that are left; the others are for those that break.
            rate = min(rate, max(1.0, self._session.connections_left / 2 / self._watch_s))
        requests = max(plan.slots, math.ceil(rate * self._watch_s))
        return self._heard(self._driver(replace(plan, requests=requests, rate=rate), self._watch_s))

    def _directly(self, plan: ProfilePlan) -> FirstAnswers:
        """A client that keeps a connection to each endpoint, and looks every second whether there are others."""
        assert self._look_up is not None
        until = self._session.clock() + self._watch_s
        heard = FirstAnswers(profile=plan.profile, requests=0, connections=0, stopped=Stop.DONE, firsts=())
        while (left_s := until - self._session.clock()) > 0 and self._session.over is None:
            began, known = self._session.clock(), self._look_up()
            if len(known) > self._session.connections_left:
                return replace(heard, stopped=Stop.CONNECTION_CAP)
            if known:
                heard = _together(heard, self._heard(self._to_each(plan, known, left_s)))
            # A round that ended early, as nobody was there or all failed, is no reason to ask more often.
            self._session.pause(min(began + LOOK_UP_S, until) - self._session.clock())
        return heard

    def _to_each(self, plan: ProfilePlan, known: Sequence[tuple[str, Address]], longest_s: float) -> Driver:
        """The traffic to these endpoints, which ends when others are known."""
        assert self._look_up is not None
        look_up, clock = self._look_up, self._session.clock
        due_s = clock() + LOOK_UP_S

        def look(ended: int) -> None:
            nonlocal due_s
            if clock() >= due_s:
                due_s = clock() + LOOK_UP_S
                if set(look_up()) != set(known):
                    driver.stop(Stop.DONE)

        once = replace(
            plan,
            requests=max(len(known), math.ceil(self._rate * longest_s)),
            rate=self._rate,
            slots=len(known),
            concurrency=min(plan.concurrency, len(known)),
            lifetime=Lifetime(),
            pool_policy=PoolPolicy.ROUND_ROBIN,
            addresses=tuple(address for _, address in known),
            endpoints=tuple(name for name, _ in known),
        )
        driver = self._driver(once, longest_s, look)
        return driver

    def _driver(self, plan: ProfilePlan, longest_s: float, on_progress: Callable[[int], None] = lambda ended: None) -> Driver:
        return self._session.drive(plan, self._request, identify=self._identify(), longest_s=longest_s, on_progress=on_progress)

    def _heard(self, driver: Driver) -> FirstAnswers:
        firsts: dict[str, float] = {}
        requests = connections = 0
        began_s = self._wall()
        for observation in driver.run():
            requests += observation.requests
            connections += observation.connect_s is not None
            for answers in observation.answers:
                who = observation.endpoint or answers.who
                if who is not None and answers.requests > answers.failed:
                    at_s = began_s + answers.first_s
                    firsts[who] = min(at_s, firsts.get(who, at_s))
        return FirstAnswers(
            profile=driver.plan.profile,
            requests=requests,
            connections=connections,
            stopped=driver.stopped or Stop.DONE,
            firsts=tuple(sorted(firsts.items())),
        )


def _together(before: FirstAnswers, after: FirstAnswers) -> FirstAnswers:
    """Two rounds of one profile."""
    return replace(
        after,
        requests=before.requests + after.requests,
        connections=before.connections + after.connections,
        firsts=tuple((dict(after.firsts) | dict(before.firsts)).items()),
    )
