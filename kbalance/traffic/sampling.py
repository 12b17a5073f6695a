"""A few answers kept whole, so that identity can be found in them before the profiles count anything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kbalance.analysis.identity import Sample
from kbalance.model.plan import Lifetime, ProfilePlan, RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Failure, PoolPolicy, Profile, Stop
from kbalance.traffic.answers import Answer
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.session import Session

ROUNDS = 2
"""Connections to each endpoint: what differs between two connections to one endpoint is no identity."""
PER_CONNECTION = 2
BLIND_CONNECTIONS = 8
"""Connections to the target's address when no endpoint is known; with three pods the chance that all meet one is 0.05 %."""
SAMPLED_ENDPOINTS = 20
"""Endpoints that are asked, at most; a place that names so many names the others too."""
HOPELESS = 3
"""Failures of the target before any answer, after which it is not asked again."""
TIME_SHARE = 0.2
"""Of the time that is left, for one round."""
PATIENCE_S = 2.0
"""For one answer, at most: an endpoint that takes longer is measured later, and who it is shows on the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Answers kept whole, and in words why others failed."""

    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    failures: frozenset[Failure]
    """Theirs."""
    largest: int
    """Of the bodies whose length was announced, in bytes."""


class Sampler:
    """Asks each endpoint directly, or the target's address where no endpoint is known.

    An endpoint that fails once is not asked again, on whatever path: that it fails is for the profiles to find.
    """

    def __init__(
        self, session: Session, endpoints: Sequence[tuple[str, Address]], target: Address, *, rate: float | None, concurrency: int
    ) -> None:
        self._session = session
        self._endpoints = list(endpoints[:SAMPLED_ENDPOINTS])
        self._through = target
        self._target = None if endpoints else target
        self._rate = rate
        self._concurrency = concurrency
        self._largest = 0
        self._failures: set[Failure] = set()
        self.requests = 0
        """Made so far."""
        self.opened = 0
        """Connections opened so far."""

    @property
    def connections(self) -> int:
        """New connections that asking once takes."""
        return BLIND_CONNECTIONS if self._target else ROUNDS * len(self._endpoints)

    @property
    def burst(self) -> int:
        """New connections that `at_once` takes; none where the target was asked already."""
        return 0 if self._target else self._concurrency

    def at_once(self, request: RequestSpec) -> tuple[Sample, ...]:
        """What the target answers to as many requests at the same time as are allowed, each on a connection of its own; twice.

        A balancer that goes by the client's address leads them all to one endpoint. A proxy that keeps connections of its own
        needs several of them now, though it makes do with one for requests that come one by one. The second time all connections
        are open, and nothing stands between the requests.
        """
        samples: list[Sample] = []
        if self.burst:
            plan = self._profile(Profile.POOLED, 2 * self.burst, [self._through], Lifetime())
            plan = replace(plan, slots=self.burst, concurrency=self.burst, rate=None, endpoints=())
            self._run(plan, request, 0, samples, [])
        return tuple(samples)

    def ask(self, request: RequestSpec) -> Sampling:
        """A few answers from everybody."""
        samples: list[Sample] = []
        problems: list[str] = []
        self._largest = 0
        self._failures.clear()
        for turn in range(1 if self._target else ROUNDS):
            plan = self._plan()
            if plan is not None:
                self._run(plan, request, turn, samples, problems)
        return Sampling(
            samples=tuple(samples),
            problems=tuple(dict.fromkeys(problems)),
            failures=frozenset(self._failures),
            largest=self._largest,
        )

    def _plan(self) -> ProfilePlan | None:
        if self._target:
            blind = BLIND_CONNECTIONS * PER_CONNECTION
            return self._profile(Profile.SHORT_LIVED, blind, [self._target], Lifetime(requests=PER_CONNECTION))
        if not self._endpoints:
            return None
        requests = PER_CONNECTION * len(self._endpoints)
        return self._profile(Profile.PER_ENDPOINT, requests, [address for _, address in self._endpoints], Lifetime())

    def _profile(self, profile: Profile, requests: int, addresses: Sequence[Address], lifetime: Lifetime) -> ProfilePlan:
        return ProfilePlan(
            profile=profile,
            requests=requests,
            slots=len(addresses),
            concurrency=min(self._concurrency, len(addresses)),
            rate=self._rate,
            lifetime=lifetime,
            pool_policy=PoolPolicy.ROUND_ROBIN,
            addresses=tuple(addresses),
            endpoints=tuple(name for name, _ in self._endpoints),
        )

    def _run(self, plan: ProfilePlan, request: RequestSpec, turn: int, samples: list[Sample], problems: list[str]) -> None:
        def keep(answer: Answer, carrier: Carrier) -> None:
            samples.append(_kept(answer, carrier, connection=carrier.serial * ROUNDS + turn))
            self._largest = max(self._largest, answer.length)

        driver = self._session.drive(plan, request, tap=keep, timeout_s=min(PATIENCE_S, self._session.timeout_s), part=TIME_SHARE)
        for observation in driver.run():
            self.requests += observation.requests
            self.opened += observation.connect_s is not None
            for failure, _ in observation.unanswered:
                self._failures.add(failure)
                where = observation.endpoint or str(plan.addresses[0])
                problems.append(f"{where}: {failure}{f' ({observation.detail})' if observation.detail else ''}")
                self._endpoints = [e for e in self._endpoints if e[0] != observation.endpoint]
            if self._target and not samples and len(problems) >= HOPELESS:
                driver.stop(Stop.FAILING)


def _kept(answer: Answer, carrier: Carrier, *, connection: int) -> Sample:
    local = carrier.conn.local_address()
    return Sample(
        endpoint=carrier.endpoint,
        connection=connection,
        status=answer.status,
        head=answer.head,
        body=answer.body,
        local=local.ip,
        local_port=local.port,
        trouble=answer.trouble,
    )
