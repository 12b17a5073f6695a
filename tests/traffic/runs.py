"""A driver run to its end, and what came out of it."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from time import perf_counter

from kbalance.model.observation import ConnectionObservation
from kbalance.model.plan import Lifetime, ProfilePlan, RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Failure, PoolPolicy, Profile, Protocol
from kbalance.traffic.driver import Budget, Driver, Tap
from kbalance.traffic.identify import Identify
from kbalance.traffic.poller import Poller, make_poller
from kbalance.wire.dialled import Tls

ENDLESS = Lifetime()
ONE_REQUEST = Lifetime(requests=1)


class Ticking:
    """A clock that moves only when it is told to: nothing is late but what a test makes late, however slow the machine is.

    While it stands, the driver does not sweep, and waits for every server that it asked to close.
    """

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def tick(self, *_: object) -> None:
        """One second passes."""
        self.now += 1.0


def plan(
    profile: Profile,
    addresses: Address | Sequence[Address],
    requests: int,
    *,
    slots: int = 1,
    concurrency: int | None = None,
    rate: float | None = None,
    lifetime: Lifetime | None = None,
    policy: PoolPolicy = PoolPolicy.ROUND_ROBIN,
    streams: int = 1,
) -> ProfilePlan:
    """A plan with as many requests at once as its slots have streams, and endpoints named e0, e1, ... ."""
    where = (addresses,) if isinstance(addresses, Address) else tuple(addresses)
    return ProfilePlan(
        profile=profile,
        requests=requests,
        slots=slots,
        concurrency=slots * streams if concurrency is None else concurrency,
        rate=rate,
        lifetime=lifetime or (ONE_REQUEST if profile is Profile.SHORT_LIVED else ENDLESS),
        pool_policy=policy,
        addresses=where,
        endpoints=tuple(f"e{i}" for i in range(slots)) if profile is Profile.PER_ENDPOINT else (),
        streams=streams,
    )


def make_driver(
    plan: ProfilePlan,
    *,
    method: str = "GET",
    body: bytes = b"",
    protocol: Protocol = Protocol.HTTP1,
    path: str = "/",
    headers: Sequence[tuple[str, str]] = (),
    timeout_s: float = 5.0,
    deadline: float = math.inf,
    budget: Budget | None = None,
    identify: Identify | None = None,
    tls: Tls | None = None,
    tap: Tap | None = None,
    on_sweep: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = perf_counter,
    poller: Callable[[], Poller] = make_poller,
) -> Driver:
    """A driver with everything that a test does not care about; of gRPC, calls are POST and know the time-out."""
    grpc = protocol is Protocol.GRPC
    request = RequestSpec(
        method="POST" if grpc else method,
        authority="test.invalid",
        path=path,
        headers=tuple(headers),
        body=body,
        protocol=protocol,
        scheme="http" if tls is None else "https",
        timeout_s=timeout_s if grpc else None,
    )
    return Driver(
        plan,
        request,
        timeout_s=timeout_s,
        deadline=deadline,
        budget=budget or Budget(1000),
        random=Random(7),
        identify=identify,
        tls=tls,
        tap=tap,
        on_sweep=on_sweep,
        clock=clock,
        poller=poller,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """All observations of a run, added up."""

    answered: int
    bad: int
    """Answers with a status of 500 or above."""
    unanswered: dict[Failure, int]
    abandoned: int
    retried: int
    opened: int
    """Connections that could carry a request."""
    serials: list[int]
    """In the order in which they were yielded."""

    @property
    def requests(self) -> int:
        return self.answered + sum(self.unanswered.values()) + self.abandoned


def total(observations: Sequence[ConnectionObservation]) -> Total:
    unanswered: Counter[Failure] = Counter()
    for observation in observations:
        unanswered.update(dict(observation.unanswered))
    answers = [a for o in observations for a in o.answers]
    assert all(sum(a.latency.values()) == a.requests for a in answers)
    return Total(
        answered=sum(a.requests for a in answers),
        bad=sum(a.failed for a in answers),
        unanswered=dict(unanswered),
        abandoned=sum(o.abandoned for o in observations),
        retried=sum(o.retried for o in observations),
        opened=sum(o.connect_s is not None for o in observations),
        serials=[o.serial for o in observations],
    )


def finish(driver: Driver) -> tuple[list[ConnectionObservation], Total]:
    """Runs it, and checks what is true of every run: order, and that all requests are accounted for."""
    observations = list(driver.run())
    sums = total(observations)
    assert sums.serials == list(range(len(observations)))
    assert driver.ended == sums.answered + sum(sums.unanswered.values())
    assert driver.stopped is not None
    return observations, sums
