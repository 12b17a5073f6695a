"""Sample values for tests that need whole ones: what is not named is what a healthy run of three pods would have."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random

from kbalance.analysis.case import Case
from kbalance.analysis.fold import ProfileFold
from kbalance.analysis.planning import plan, request
from kbalance.model.histogram import bucket
from kbalance.model.observation import Answers, ConnectionObservation
from kbalance.model.plan import Lifetime, Options, ProfilePlan, TrafficPlan
from kbalance.model.report import IdentityReport, Latency, ProfileReport
from kbalance.model.target import Address, EndpointFacts, Facts, ServiceFacts, Target
from kbalance.model.words import Closer, FactsSource, Failure, PoolPolicy, Profile, Protocol, Stop, TargetKind

PODS = ("web-0", "web-1", "web-2")
TARGET = Target(
    kind=TargetKind.SERVICE,
    scheme="http",
    host="198.18.1.10",
    port=80,
    path="/hostname",
    path_given=True,
    namespace="shop",
    name="web",
)
ADDRESS = Address("198.18.1.10", 80)
SERVICE = ServiceFacts(type="ClusterIP", cluster_ip="198.18.1.10")
IDENTITY = IdentityReport(source="body", calibrated=True, unidentified=0)
ALPHA = 0.005


def pods(n: int) -> tuple[str, ...]:
    return tuple(f"web-{i}" for i in range(n))


def endpoint(name: str, **changes: object) -> EndpointFacts:
    """A ready endpoint whose address follows from its name."""
    address = Address(f"198.18.10.{int(name.rpartition('-')[2]) % 250 + 2}", 8080)
    return replace(EndpointFacts(name=name, address=address), **changes)  # type: ignore[arg-type]


def facts(names: Sequence[str] = PODS, source: FactsSource = FactsSource.API, service: ServiceFacts | None = SERVICE) -> Facts:
    """Ready endpoints; only the API knows a Service."""
    known = service if source is FactsSource.API else None
    return Facts(source=source, service=known, endpoints=tuple(endpoint(name) for name in names))


def traffic_plan(known: Facts | None = None, options: Options | None = None) -> TrafficPlan:
    """The plan of a run at its defaults, but never more than 500 connections."""
    options = options or Options(max_connections=500)
    asked = request(TARGET, options, path="/hostname", nonce="n0nce")
    return plan(known if known is not None else facts(), ADDRESS, options, asked)


def profile_plan(profile: Profile, **changes: object) -> ProfilePlan:
    """A small plan; three slots are the three pods, and a pool of ten is the default."""
    slots = {Profile.SINGLE: 1, Profile.POOLED: 10, Profile.SHORT_LIVED: 4, Profile.PER_ENDPOINT: 3, Profile.STOCK: 10}[profile]
    requests = {Profile.SINGLE: 100, Profile.SHORT_LIVED: 304, Profile.PER_ENDPOINT: 60}.get(profile, 200)
    base = ProfilePlan(
        profile=profile,
        requests=requests,
        slots=slots,
        concurrency=1,
        rate=200.0,
        lifetime=Lifetime(requests=1) if profile is Profile.SHORT_LIVED else Lifetime(),
        pool_policy=PoolPolicy.ROUND_ROBIN,
        addresses=(ADDRESS,),
        endpoints=PODS if profile is Profile.PER_ENDPOINT else (),
        enough_connections=289 if profile is Profile.SHORT_LIVED else 0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def answers(who: str | None, requests: int = 1, *, failed: int = 0, ms: float = 1.0) -> Answers:
    """Answers that all took equally long."""
    return Answers(who=who, requests=requests, failed=failed, latency={bucket(int(ms * 1000)): requests})


def connection(*given: Answers | str | None, **changes: object) -> ConnectionObservation:
    """A connection that was opened and closed by the client; a bare name stands for one answer."""
    base = ConnectionObservation(
        serial=0,
        endpoint=None,
        opened_s=0.0,
        connect_s=0.0005,
        age_s=0.01,
        answers=tuple(g if isinstance(g, Answers) else answers(g) for g in given),
        unanswered=(),
        abandoned=0,
        retried=0,
        closed_by=Closer.CLIENT,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def refused(name: str | None = None, requests: int = 1) -> ConnectionObservation:
    """A connection that never opened, dialled to an endpoint or to the target."""
    unanswered = ((Failure.REFUSED, requests),)
    return connection(endpoint=name, connect_s=None, unanswered=unanswered, closed_by=Closer.FAILURE, detail="Connection refused")


def fold(
    observations: Iterable[ConnectionObservation],
    plan: ProfilePlan,
    names: Sequence[str] = PODS,
    *,
    among: Sequence[str] | None = None,
    learned: bool = False,
) -> ProfileFold:
    """A fold with the observations added."""
    expected = None if among is None else tuple(among)
    folded = ProfileFold(plan, tuple(names), tolerance=1.5, alpha=ALPHA, among=expected, learned=learned)
    for observation in observations:
        folded.add(observation)
    return folded


def settled(
    observations: Iterable[ConnectionObservation],
    plan: ProfilePlan,
    names: Sequence[str] = PODS,
    *,
    stopped: Stop = Stop.DONE,
) -> ProfileReport:
    """The report of these observations."""
    return fold(observations, plan, names).settle(stopped, 1.0)


def single(who: str | None = "web-0", requests: int = 100, names: Sequence[str] = PODS) -> ProfileReport:
    """One connection that one endpoint answered."""
    return settled([connection(answers(who, requests))], profile_plan(Profile.SINGLE), names)


def stock(who: str = "web-0", requests: int = 200, *, streams: int = 4, **changes: object) -> ProfileReport:
    """An ordinary client: a pool of ten that stays at one connection."""
    opened = [connection(answers(who, requests), streams=streams)]
    return settled(opened, profile_plan(Profile.STOCK, concurrency=4, streams=4, **changes))


def speaking(protocol: Protocol, *profiles: ProfileReport, **changes: object) -> Case:
    """A run by this protocol, which all of its profiles spoke."""
    planned = traffic_plan()
    planned = replace(planned, request=replace(planned.request, protocol=protocol))
    return case(*(replace(p, protocol=protocol.value) for p in profiles), plan=planned, **changes)


def leaving(ages_s: Sequence[float], *, requests: Sequence[int] = (100, 103, 98), said: bool = True) -> ProfileReport:
    """One client, one connection at a time, each ended by the server at such an age, with GOAWAY where it is `said`."""
    opened = [
        connection(
            answers(PODS[i % 3], requests[i % len(requests)]),
            closed_by=Closer.SERVER,
            age_s=age_s + 0.01,
            goaway_s=age_s if said else None,
        )
        for i, age_s in enumerate(ages_s)
    ]
    return settled(opened, profile_plan(Profile.SINGLE))


def pooled(counts: Sequence[int] = (2, 5, 3), names: Sequence[str] = PODS, each: int = 20, **changes: object) -> ProfileReport:
    """A pool taken in turn, so many of its connections on each endpoint."""
    opened = [connection(answers(name, each)) for name, n in zip(names, counts, strict=True) for _ in range(n)]
    changes = {"slots": sum(counts), "requests": each * sum(counts)} | changes
    return settled(opened, profile_plan(Profile.POOLED, **changes), names)


def lifo(opened: int = 10) -> ProfileReport:
    """A pool that takes the connection used last: of 200 requests, the first of so many carries nearly all."""
    rest = [connection(answers(PODS[i % 3], 2)) for i in range(opened - 1)]
    plan = profile_plan(Profile.POOLED, pool_policy=PoolPolicy.LIFO)
    return settled([connection(answers("web-0", 200 - 2 * (opened - 1))), *rest], plan)


def fresh(
    counts: Sequence[int] = (100, 105, 99), names: Sequence[str] = PODS, failed: int = 0, **changes: object
) -> ProfileReport:
    """Fresh connections in an order in which nobody takes turns: so many for each endpoint, and so many refused."""
    opened = [connection(name) for name, n in zip(names, counts, strict=True) for _ in range(n)]
    changes = {"requests": sum(counts) + failed} | changes
    mixed = _mixed([*opened, *(refused() for _ in range(failed))])
    return settled(mixed, profile_plan(Profile.SHORT_LIVED, **changes), names)


def direct(
    names: Sequence[str] = PODS,
    *,
    failing: Sequence[str] = (),
    ms: Mapping[str, float] | None = None,
    requests: int = 20,
) -> ProfileReport:
    """Each endpoint asked directly; some refuse, some take longer."""
    took = ms or {}
    asked = [
        refused(name, requests) if name in failing else connection(answers(name, requests, ms=took.get(name, 1.0)), endpoint=name)
        for name in names
    ]
    plan = profile_plan(Profile.PER_ENDPOINT, slots=len(names), endpoints=tuple(names), requests=requests * len(names))
    return settled(asked, plan, names)


def case(*profiles: ProfileReport, **changes: object) -> Case:
    """A run on a Service of three pods, whose facts did not change."""
    known = facts()
    base = Case(target=TARGET, facts=known, facts_after=known, plan=traffic_plan(), identity=IDENTITY, profiles=profiles)
    return replace(base, **changes)  # type: ignore[arg-type]


def dialling(name: str = PODS[0]) -> TrafficPlan:
    """The plan of a run whose target's address is that endpoint's own."""
    whole = traffic_plan()
    direct = Profile.PER_ENDPOINT
    return replace(whole, profiles=tuple(p if p.profile is direct else replace(p, endpoints=(name,)) for p in whole.profiles))


def latency(p50: float, p90: float | None = None) -> Latency:
    """Milliseconds."""
    tail = p90 if p90 is not None else p50
    return Latency(p50=p50, p90=tail, p99=tail, max=tail)


def _mixed(observations: list[ConnectionObservation]) -> list[ConnectionObservation]:
    """A fixed shuffle, so that neither runs nor turns remain."""
    return Random(7).sample(observations, len(observations))
