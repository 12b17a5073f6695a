"""One profile's observations become one row of the distribution; memory does not grow with connections or requests."""

import math
from collections import Counter
from dataclasses import replace

from kbalance.analysis.draws import Draws
from kbalance.analysis.planning import planned_connections
from kbalance.analysis.samplesize import expected_busiest
from kbalance.model.histogram import Histogram, bucket, quantile_us, upper_us
from kbalance.model.observation import Answers, ConnectionObservation
from kbalance.model.plan import ProfilePlan
from kbalance.model.report import (
    ConnectionCounts,
    EndpointLoad,
    Evidence,
    FailureCount,
    Latency,
    ProfileReport,
    RequestCounts,
    ServerLifetime,
    UnknownLoad,
)
from kbalance.model.words import Closer, Failure, Placement, Profile, Protocol, Spread, Stop

LEAST_ATTRIBUTED = 1 / 3
"""Share of the requests that must be attributed to endpoints for a word on the spread: with one endpoint of two failing, half of
them still are."""


class ProfileFold:
    """Adds up the observations of one profile and settles them into its report.

    A connection that was answered by exactly one endpoint is a draw (see `Draws`). Connections that failed or gave no identity
    are lost draws. Connections that were cut off when the run stopped are neither: they are the last ones opened, whoever they
    went to.

    Args:
        endpoints: Names of the endpoints that should get traffic. Empty: learned from the answers, how many there are is unknown.
        among: those that are to be reached from here; ``None``: all.
        tolerance: Busiest load over the fair share that is still called even.
        alpha: Chance of a false alarm left to this profile.
        learned: Whether `endpoints` itself was only learned from answers, so that there may be more.
    """

    def __init__(
        self,
        plan: ProfilePlan,
        endpoints: tuple[str, ...],
        *,
        tolerance: float,
        alpha: float,
        among: tuple[str, ...] | None = None,
        learned: bool = False,
        protocol: Protocol = Protocol.HTTP1,
    ) -> None:
        self._plan = plan
        self._protocol = protocol
        self._tolerance = tolerance
        self._learned = learned or not endpoints
        self._direct = plan.profile is Profile.PER_ENDPOINT
        self._loads = {name: _Load() for name in endpoints}
        self._unknown: Counter[str] = Counter()
        self._unidentified = 0
        self._draws = Draws(endpoints, among, tolerance=tolerance, alpha=alpha)
        self._opened = self._not_opened = self._closed_by_server = self._closed_by_failure = 0
        self._answered = self._errors = self._unanswered = self._abandoned = self._retried = 0
        self._per_connection: Counter[int] = Counter()
        self._streams = 1
        self._connects: dict[int, int] = {}
        self._failures: Counter[tuple[Failure, str | None]] = Counter()
        self._details: dict[tuple[Failure, str | None], str] = {}
        self._lifetimes = _Lifetimes()

    def add(self, observation: ConnectionObservation) -> None:
        """Counts one connection."""
        self._retried += observation.retried
        self._abandoned += observation.abandoned
        if observation.connect_s is None:
            self._not_opened += 1
        else:
            self._opened += 1
            _count(self._connects, bucket(int(observation.connect_s * 1e6)), 1)
            self._per_connection[observation.requests] += 1
            self._streams = max(self._streams, observation.streams)
            self._closed_by_failure += observation.closed_by is Closer.FAILURE
        if observation.unanswered:
            self._add_unanswered(observation)
        if self._direct and observation.endpoint is not None:
            self._add_direct(observation, observation.endpoint)
        else:
            self._add_drawn(observation)
        if observation.closed_by is Closer.SERVER:
            self._closed_by_server += 1
            self._lifetimes.add(observation)

    @property
    def certain(self) -> bool:
        """Whether more fresh connections would not change the answer."""
        asked = self._plan.profile is Profile.SHORT_LIVED and self._plan.enough_connections > 0
        return asked and self._draws.settled

    @property
    def seen(self) -> tuple[str, ...]:
        """Who answered and is counted as an endpoint, sorted: what there is to learn where nobody named the endpoints."""
        return tuple(sorted(name for name, load in self._loads.items() if load.requests))

    def settle(self, stopped: Stop, duration_s: float, endpoints: tuple[str, ...] = ()) -> ProfileReport:
        """The report of what was added so far.

        Args:
            stopped: Why the profile ended.
            duration_s: How long it took.
            endpoints: Names learned from all profiles, where this one began without; those that it never met count as idle.
        """
        for name in endpoints if self._learned else ():
            self._load(name)
        loads = self._settled_loads()
        placement, evidence = self._inferred()
        return ProfileReport(
            profile=self._plan.profile,
            protocol=self._protocol.value,
            parameters=_parameters(self._plan),
            stopped=stopped,
            duration_s=duration_s,
            requests=self._request_counts(),
            connections=self._connection_counts(),
            endpoints=loads,
            unknown=tuple(UnknownLoad(name=name, requests=n) for name, n in sorted(self._unknown.items())),
            unidentified=self._unidentified,
            busiest=self._busiest(loads),
            expected_busiest=self._expected_busiest(placement, loads),
            idle=sum(not load.requests for load in loads),
            spread=self._spread(loads),
            placement=placement,
            evidence=evidence,
            several=self._draws.several,
            connect_ms=_latency(self._connects),
            failures=self._settled_failures(),
            server_lifetime=self._lifetimes.settle(),
        )

    def _add_unanswered(self, observation: ConnectionObservation) -> None:
        for failure, requests in observation.unanswered:
            self._unanswered += requests
            self._fail(failure, observation.endpoint, requests, observation.detail)

    def _add_direct(self, observation: ConnectionObservation, name: str) -> None:
        """Whoever the answer says it is: the endpoint that was dialled gets it, for there the truth is known."""
        load = self._load(name)
        load.connections += 1
        for answers in observation.answers:
            self._add_answers(load, name, answers)
        for _, requests in observation.unanswered:
            load.requests += requests
            load.failed += requests

    def _add_drawn(self, observation: ConnectionObservation) -> None:
        known = strangers = 0
        name = ""
        for answers in observation.answers:
            if answers.who is None:
                self._unidentified += answers.requests
                self._add_statuses(None, answers)
            elif answers.who in self._loads or self._learned:
                known += 1
                name = answers.who
                load = self._load(name)
                load.connections += 1
                self._add_answers(load, name, answers)
            else:
                strangers += 1
                self._unknown[answers.who] += answers.requests
                self._add_statuses(answers.who, answers)
        if known == 1 and not strangers:
            self._draws.add(name)
        elif known + strangers == 0:
            self._draws.lost += bool(observation.unanswered or observation.answers)
        elif known + strangers > 1:
            self._draws.several += 1

    def _add_answers(self, load: "_Load", name: str, answers: Answers) -> None:
        load.requests += answers.requests
        load.failed += answers.failed
        for index, count in answers.latency.items():
            _count(load.latency, index, count)
        self._add_statuses(name, answers)

    def _add_statuses(self, name: str | None, answers: Answers) -> None:
        self._answered += answers.requests - answers.failed
        if answers.failed:
            self._errors += answers.failed
            self._fail(Failure.STATUS, name, answers.failed, answers.detail)

    def _fail(self, failure: Failure, name: str | None, requests: int, detail: str) -> None:
        """Counts failed requests and keeps the first words for each kind."""
        key = (failure, name)
        self._failures[key] += requests
        if detail:
            self._details.setdefault(key, detail)

    def _load(self, name: str) -> "_Load":
        """The load of an endpoint; a new one belongs to the tests from now on."""
        load = self._loads.get(name)
        if load is None:
            load = self._loads[name] = _Load()
            self._draws.learn(name)
        return load

    def _settled_loads(self) -> tuple[EndpointLoad, ...]:
        """One load per endpoint, in the order of the facts, or sorted by name where they were learned."""
        total = sum(load.requests for load in self._loads.values())
        names = sorted(self._loads) if self._learned else list(self._loads)
        bounds = {} if self._direct else self._draws.bounds()
        return tuple(
            replace(
                self._loads[name].settle(name, total),
                expected_share=None if self._direct else self._draws.expected_share(name),
                chance_low=bounds[name][0] if bounds else None,
                chance_high=bounds[name][1] if bounds else None,
            )
            for name in names
        )

    def _settled_failures(self) -> tuple[FailureCount, ...]:
        """Most frequent first."""
        order = sorted(self._failures.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
        return tuple(
            FailureCount(kind=key[0], endpoint=key[1], requests=n, detail=self._details.get(key, "")) for key, n in order
        )

    def _request_counts(self) -> RequestCounts:
        failed = self._errors + self._unanswered
        return RequestCounts(
            sent=self._answered + failed + self._abandoned,
            answered=self._answered,
            failed=failed,
            abandoned=self._abandoned,
            retried=self._retried,
        )

    def _connection_counts(self) -> ConnectionCounts:
        return ConnectionCounts(
            planned=planned_connections(self._plan),
            opened=self._opened,
            failed=self._not_opened,
            closed_by_server=self._closed_by_server,
            requests_min=min(self._per_connection, default=0),
            requests_median=_median(self._per_connection),
            requests_max=max(self._per_connection, default=0),
            streams_max=self._streams,
            closed_by_failure=self._closed_by_failure,
        )

    def _inferred(self) -> tuple[Placement, Evidence]:
        """What chose the endpoint, and what that stands on; nothing is inferred from connections that we directed ourselves."""
        if self._direct:
            return Placement.UNKNOWN, Evidence(e_value=None, connections=0, enough=False)
        return self._draws.inferred(strangers=bool(self._unknown))

    def _busiest(self, loads: tuple[EndpointLoad, ...]) -> float | None:
        total = sum(load.requests for load in loads)
        if not total or (self._learned and len(loads) == 1):
            return None
        return max(load.requests for load in loads) * len(loads) / total

    def _expected_busiest(self, placement: Placement, loads: tuple[EndpointLoad, ...]) -> float | None:
        if self._direct or not loads or (self._learned and len(loads) == 1):
            return None
        requests = sum(load.requests for load in loads)
        draws = requests if placement is Placement.PER_REQUEST else self._draws.total
        among = len(loads) if self._learned else self._draws.among
        return expected_busiest(draws, among) * len(loads) / among if draws else None

    def _spread(self, loads: tuple[EndpointLoad, ...]) -> Spread:
        busiest = self._busiest(loads)
        attributed = sum(load.requests for load in loads)
        ended = self._answered + self._errors + self._unanswered
        dead = self._direct and any(load.requests == load.failed > 0 for load in loads)
        if busiest is None or attributed < LEAST_ATTRIBUTED * ended or dead:
            return Spread.FAILED
        if len(loads) > 1 and attributed == max(load.requests for load in loads):
            return Spread.PINNED
        idle = any(not load.requests for load in loads)
        return Spread.UNEVEN if busiest > self._tolerance or idle else Spread.EVEN


class _Load:
    """The counters of one endpoint."""

    __slots__ = ("connections", "failed", "latency", "requests")

    def __init__(self) -> None:
        self.requests = self.connections = self.failed = 0
        self.latency: dict[int, int] = {}

    def settle(self, name: str, total: int) -> EndpointLoad:
        return EndpointLoad(
            name=name,
            requests=self.requests,
            connections=self.connections,
            failed=self.failed,
            share=self.requests / total if total else None,
            latency_ms=_latency(self.latency),
        )


class _Lifetimes:
    """The extremes of the connections that the server closed after an answer."""

    __slots__ = ("_ages", "_connections", "_goaways", "_leave", "_requests")

    def __init__(self) -> None:
        self._connections = 0
        self._requests: tuple[float, float] = (math.inf, 0)
        self._ages: tuple[float, float] = (math.inf, 0.0)
        self._goaways = 0
        self._leave: tuple[float, float] = (math.inf, 0.0)

    def add(self, observation: ConnectionObservation) -> None:
        answered = sum(answers.requests for answers in observation.answers)
        if answered:
            self._connections += 1
            self._requests = (min(self._requests[0], answered), max(self._requests[1], answered))
            self._ages = (min(self._ages[0], observation.age_s), max(self._ages[1], observation.age_s))
            if (left_s := observation.goaway_s) is not None:
                self._goaways += 1
                self._leave = (min(self._leave[0], left_s), max(self._leave[1], left_s))

    def settle(self) -> ServerLifetime | None:
        if not self._connections:
            return None
        return ServerLifetime(
            connections=self._connections,
            requests_min=int(self._requests[0]),
            requests_max=int(self._requests[1]),
            age_min_s=self._ages[0],
            age_max_s=self._ages[1],
            goaways=self._goaways,
            goaway_min_s=self._leave[0] if self._goaways else None,
            goaway_max_s=self._leave[1] if self._goaways else None,
        )


def _count(histogram: dict[int, int], index: int, count: int) -> None:
    histogram[index] = histogram.get(index, 0) + count


def _latency(histogram: Histogram) -> Latency | None:
    """Quantiles in milliseconds; ``None`` for an empty histogram."""
    if not histogram:
        return None
    p50, p90, p99 = ((quantile_us(histogram, q) or 0) / 1000 for q in (0.5, 0.9, 0.99))
    return Latency(p50=p50, p90=p90, p99=p99, max=upper_us(max(histogram)) / 1000)


def _median(counts: Counter[int]) -> float:
    """The median of counted values; 0.0 when there are none."""
    total = sum(counts.values())
    lower = upper = None
    passed = 0
    for value in sorted(counts):
        passed += counts[value]
        if lower is None and passed * 2 >= total:
            lower = value
        if passed * 2 > total:
            upper = value
            break
    return ((lower or 0) + (upper or 0)) / 2


def _parameters(plan: ProfilePlan) -> dict[str, str | int | float | None]:
    """The plan in the words of the options."""
    return {
        "requests": plan.requests,
        "connections": plan.slots,
        "concurrency": plan.concurrency,
        "rate": plan.rate,
        "pool_policy": plan.pool_policy.value if plan.profile is Profile.POOLED else None,
        "max_requests_per_connection": plan.lifetime.requests,
        "max_connection_age_s": plan.lifetime.age_s,
        "jitter": plan.lifetime.jitter,
    }
