"""Scenarios of the causes that API facts, the age of Pods and proxies show."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from kbalance.analysis.case import Case
from kbalance.model.report import Newcomer, ProfileReport, ScaleOut, Vantage
from kbalance.model.target import EndpointFacts, Facts
from kbalance.model.words import Closer, Confidence, FactsSource, Failure, Profile, Stop
from tests.builders import (
    PODS,
    SERVICE,
    answers,
    case,
    connection,
    direct,
    endpoint,
    facts,
    fold,
    fresh,
    leaving,
    pods,
    pooled,
    profile_plan,
    refused,
    settled,
    single,
)

CERTAIN, LIKELY, POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE

Scenario = tuple[str, Callable[[], Case], Confidence | None]

NOW = "2026-01-01T12:00:00Z"


def api(*endpoints: EndpointFacts, **service: object) -> Facts:
    return Facts(source=FactsSource.API, service=replace(SERVICE, **service), endpoints=endpoints)  # type: ignore[arg-type]


def on(*nodes: str) -> list[EndpointFacts]:
    """An endpoint on each of these nodes."""
    return [endpoint(f"web-{i}", node=node) for i, node in enumerate(nodes)]


def made(*hours: int, owner: str | None = "ReplicaSet/web-a") -> list[EndpointFacts]:
    """An endpoint made at each of these hours, all by one owner."""
    return [endpoint(f"web-{i}", created=f"2026-01-01T{h:02}:00:00Z", owner=owner) for i, h in enumerate(hours)]


OUTSIDE: dict[str, object] = {"type": "NodePort", "external_traffic_policy": "Local"}
HERE = Vantage(kind="job", node="node-a", zone="zone-a")
LOCAL = api(*on("node-a", "node-a", "node-b"), internal_traffic_policy="Local")
ONE_HERE = api(*on("node-b", "node-a", "node-b"), internal_traffic_policy="Local")
"""The one on our node is the one that refuses in `pinned_to_dead`."""
STRANDED = api(*on("node-b", "node-b", "node-c"), internal_traffic_policy="Local")


def watched(**first_s: float | None) -> ScaleOut:
    """A Pod became ready while kbalance watched, and each profile heard from it so late, or never."""
    named = {profile.replace("_", "-"): first for profile, first in first_s.items()}
    return ScaleOut(
        duration_s=60.0,
        every_s=0.5,
        before=3,
        requests=dict.fromkeys(named, 100),
        cut_short=(),
        newcomers=(Newcomer(name="web-9", ready_s=20.0, first_s=named),),
    )


def just_ready(before_the_end_s: float, *, fresh_s: float = 0.4, requests: int = 600) -> ScaleOut:
    """The same, so long before the watch ended, and a single client made so many requests in all."""
    grown = watched(single=None, short_lived=fresh_s)
    (late,) = (replace(one, ready_s=grown.duration_s - before_the_end_s) for one in grown.newcomers)
    return replace(grown, requests={"single": requests, "short-lived": 600}, newcomers=(late,))


def quiet(*profiles: ProfileReport, facts: Facts, **changes: object) -> Case:
    """A run during which nothing changed."""
    return case(*profiles, facts=facts, facts_after=facts, **changes)


def not_ready(**changes: object) -> Facts:
    """Two of three are ready."""
    return api(endpoint("web-0"), endpoint("web-1"), endpoint("web-2", ready=False, serving=False, **changes))


def versions(*names: str | None, by: str = "version") -> Facts:
    return api(*(endpoint(f"web-{i}", **{by: name}) for i, name in enumerate(names)))


def named(port_name: str | None = None, app_protocol: str | None = None) -> Facts:
    return replace(facts(), service=replace(SERVICE, port_name=port_name, app_protocol=app_protocol))


def sticky(counts: Sequence[int] = (60, 40, 20)) -> ProfileReport:
    """All of one, then all of the next."""
    opened = [connection(name) for name, n in zip(PODS, counts, strict=True) for _ in range(n)]
    return settled(opened, profile_plan(Profile.SHORT_LIVED))


def mixed(*requests: int, connections: int = 10) -> ProfileReport:
    """Connections that all were answered by every endpoint."""
    every = connection(*(answers(name, n) for name, n in zip(PODS, requests, strict=True)))
    return settled([every] * connections, profile_plan(Profile.POOLED))


def met_newcomers() -> ProfileReport:
    """Fresh connections, some of which somebody answers who was no endpoint when the run began."""
    opened = [connection(name) for name in (*PODS, "web-3") * 20]
    return fold(opened, profile_plan(Profile.SHORT_LIVED)).settle(Stop.DONE, 1.0)


def varying(share: int, ms: float = 100.0) -> ProfileReport:
    """So many of twenty answers of each endpoint take longer."""
    usual = replace(answers("", 20), latency={**answers("", 20 - share).latency, **answers("", share, ms=ms).latency})
    return settled([connection(usual, endpoint=name) for name in PODS], profile_plan(Profile.PER_ENDPOINT))


def varying_fresh() -> ProfileReport:
    """Every fifth fresh connection takes longer, whoever it meets."""
    names = Random(3).choices(PODS, k=300)
    opened = [connection(answers(name, 1, ms=1.0 if i % 5 else 100.0)) for i, name in enumerate(names)]
    return settled(opened, profile_plan(Profile.SHORT_LIVED))


def pinned_to_dead() -> tuple[ProfileReport, ...]:
    """Every request through the Service is refused, and directly one endpoint of three."""
    through = settled([refused() for _ in range(20)], profile_plan(Profile.SHORT_LIVED), stopped=Stop.FAILING)
    return through, direct(failing=["web-1"])


AFFINE = replace(facts(), service=replace(SERVICE, session_affinity="ClientIP"))
SIGNS = ("server: envoy",)
AT_ONCE = ("web-0", "web-1", "web-0", "web-2")

SCENARIOS: dict[str, tuple[Scenario, ...]] = {
    "session-affinity": (
        ("kept on one that refuses", lambda: case(*pinned_to_dead(), facts=AFFINE), CERTAIN),
        ("all refuse and nothing is set", lambda: case(*pinned_to_dead()), None),
    ),
    "traffic-policy-local": (
        ("nobody on this node", lambda: case(*pinned_to_dead(), facts=STRANDED, vantage=HERE), CERTAIN),
        ("nobody on this node, yet some answer", lambda: case(fresh(), facts=STRANDED, vantage=HERE), LIKELY),
        ("only one that fails on this node", lambda: case(*pinned_to_dead(), facts=ONE_HERE, vantage=HERE), CERTAIN),
        ("nobody on this node, node not known", lambda: case(*pinned_to_dead(), facts=STRANDED), None),
    ),
    "invalid-measurement": (
        ("given endpoints all refuse, and the target too", lambda: _all_refuse(), CERTAIN),
        ("a local policy explains the silence", lambda: quiet(*pinned_to_dead(), facts=STRANDED, vantage=HERE), None),
        ("the only one on this node fails", lambda: quiet(*pinned_to_dead(), facts=ONE_HERE, vantage=HERE), None),
        ("affinity explains the silence", lambda: quiet(*pinned_to_dead(), facts=AFFINE), None),
        ("nothing explains the silence", lambda: case(*pinned_to_dead()), CERTAIN),
    ),
    "external-traffic-policy": (
        ("one alone, two together", lambda: case(facts=api(*on("a", "b", "b", "b"), **OUTSIDE)), LIKELY),
        ("as many on each", lambda: case(facts=api(*on("a", "a", "b", "b"), **OUTSIDE)), None),
        ("within the tolerance", lambda: case(facts=api(*on("a", "b", "b"), **OUTSIDE)), None),
        ("policy Cluster", lambda: case(facts=api(*on("a", "b", "b", "b"), type="NodePort")), None),
        ("no way in from outside", lambda: case(facts=api(*on("a", "b", "b", "b"), external_traffic_policy="Local")), None),
        ("a node is not known", lambda: case(facts=api(*on("a", "b", "b"), endpoint("web-3"), **OUTSIDE)), None),
    ),
    "not-ready": (
        ("one of three", lambda: case(facts=not_ready()), CERTAIN),
        ("it may still be starting", lambda: case(facts=not_ready(created="2026-01-01T11:59:00Z"), started=NOW), POSSIBLE),
        ("it had time to start", lambda: case(facts=not_ready(created="2026-01-01T11:00:00Z"), started=NOW), CERTAIN),
        ("it is on its way out", lambda: case(facts=not_ready(terminating=True)), None),
        ("ready only in name", lambda: case(facts=api(endpoint("web-0"), endpoint("web-1", serving=False))), CERTAIN),
        ("all are about to end", lambda: case(facts=api(endpoint("web-0", ready=False, terminating=True))), CERTAIN),
        ("all are ready", lambda: case(), None),
        ("nobody is ready", lambda: case(facts=api(endpoint("web-0", ready=False, serving=False))), None),
        ("not read from the API", lambda: case(facts=replace(not_ready(), source=FactsSource.GIVEN, service=None)), None),
    ),
    "mixed-versions": (
        ("two versions", lambda: case(fresh(), facts=versions("1", "1", "2")), CERTAIN),
        ("two makers", lambda: case(facts=versions("ReplicaSet/a", "ReplicaSet/b", "ReplicaSet/b", by="owner")), CERTAIN),
        ("one version", lambda: case(facts=versions("1", "1", "1")), None),
        ("a version is not known", lambda: case(facts=versions("1", None, "2")), None),
        ("no versions", lambda: case(), None),
    ),
    "stale-membership": (
        ("joined during the run", lambda: case(single(), met_newcomers(), facts_after=facts(pods(4))), CERTAIN),
        ("joined, and nobody was met", lambda: case(single(), fresh(), facts_after=facts(pods(4))), None),
        ("strangers, and nobody joined", lambda: case(single(), met_newcomers()), None),
        ("much younger than the oldest", lambda: case(single(), facts=api(*made(1, 1, 11)), started=NOW), LIKELY),
        ("all of an age", lambda: case(single(), facts=api(*made(1, 1, 2)), started=NOW), None),
        ("a pool that is even", lambda: case(pooled((3, 3, 3)), facts=api(*made(1, 1, 11)), started=NOW), None),
        ("ages not known", lambda: case(single(), started=NOW), None),
        ("watched, met by fresh alone", lambda: case(scale_out=watched(single=None, pooled=None, short_lived=0.4)), CERTAIN),
        ("watched, met by the pool too", lambda: case(scale_out=watched(single=None, pooled=2.0, short_lived=0.4)), None),
        ("watched, fresh not among them", lambda: case(scale_out=watched(single=None, per_endpoint=0.4)), None),
        ("watched, too short", lambda: case(scale_out=just_ready(4.0)), None),
        ("watched, long enough", lambda: case(scale_out=just_ready(12.0)), CERTAIN),
        ("watched, fresh as slow", lambda: case(scale_out=just_ready(12.0, fresh_s=5.0)), None),
        ("watched, few requests", lambda: case(scale_out=just_ready(12.0, requests=90)), None),
        ("watched, held ones cut short", lambda: case(scale_out=replace(just_ready(12.0), cut_short=("single",))), None),
        ("watched, requests are placed", lambda: case(mixed(34, 33, 33), scale_out=watched(single=None, short_lived=0.4)), None),
        ("watched, the server ends them", lambda: case(leaving((9.0, 9.5)), scale_out=just_ready(12.0)), LIKELY),
        ("watched, met by nobody", lambda: case(scale_out=watched(single=None, short_lived=None)), None),
        ("watched, nothing held", lambda: case(scale_out=watched(short_lived=0.4)), None),
        ("watched, nobody joined", lambda: case(scale_out=replace(watched(single=None), newcomers=())), None),
        ("the time is not known", lambda: case(single(), facts=api(*made(1, 1, 11))), None),
    ),
    "http2-multiplexing": (
        ("named grpcs", lambda: case(single(), fresh(), facts=named("grpcs-api")), LIKELY),
        ("named grpc-web, which HTTP/1.1 carries too", lambda: case(single(), fresh(), facts=named("grpc-web")), None),
        ("appProtocol", lambda: case(single(), fresh(), facts=named("web", "kubernetes.io/h2c")), LIKELY),
        ("named http", lambda: case(single(), fresh(), facts=named("http")), None),
        ("grpc inside another name", lambda: case(single(), fresh(), facts=named("not-grpc")), None),
        ("nothing is pinned", lambda: case(pooled((3, 3, 4)), fresh(), facts=named("grpc")), None),
        ("only asked directly", lambda: case(direct(), facts=named("grpc")), None),
    ),
    "uneven-work": (
        ("a fifth takes long, everywhere", lambda: case(varying(4), varying_fresh()), LIKELY),
        ("a fifth takes long, fresh ones not measured", lambda: case(varying(4)), POSSIBLE),
        ("one moment at which all stood still", lambda: case(varying(4), fresh()), None),
        ("a long tail of little", lambda: case(varying(4, ms=8.0), varying_fresh()), None),
        ("one in twenty", lambda: case(varying(1), varying_fresh()), None),
        ("all alike", lambda: case(direct(), fresh()), None),
        ("counts are uneven too", lambda: case(varying(4), fresh((202, 51, 51))), None),
        ("nobody was asked directly", lambda: case(fresh()), None),
    ),
    "proxy-keepalive": (
        ("always one, others at once, signs", lambda: case(fresh((304, 0, 0)), at_once=AT_ONCE, proxy_signs=SIGNS), CERTAIN),
        ("always one, others at once", lambda: case(fresh((304, 0, 0)), at_once=AT_ONCE), LIKELY),
        ("one after the other, signs", lambda: case(sticky(), proxy_signs=SIGNS), LIKELY),
        ("one after the other, no signs", lambda: case(sticky()), None),
        ("always one, also at once", lambda: case(fresh((304, 0, 0)), at_once=("web-0",) * 4), None),
        ("in a row one, at a time several", lambda: case(single(), mixed(9, 6, 5), fresh((52, 40, 40))), CERTAIN),
        ("always one, signs", lambda: case(fresh((304, 0, 0)), proxy_signs=SIGNS), POSSIBLE),
        ("two of three, signs", lambda: case(fresh((150, 154, 0)), direct(), proxy_signs=SIGNS), LIKELY),
        ("two of three, the third fails", lambda: case(fresh((150, 154, 0)), direct(failing=["web-2"]), proxy_signs=SIGNS), None),
        (
            "affinity explains it",
            lambda: case(fresh((304, 0, 0)), at_once=AT_ONCE, facts=AFFINE),
            None,
        ),
        ("fair", lambda: case(fresh(), at_once=AT_ONCE, proxy_signs=SIGNS), None),
        ("fresh ones not measured", lambda: case(pooled((10, 0, 0)), at_once=AT_ONCE), None),
    ),
    "proxy-policy": (
        ("requests by weight", lambda: case(mixed(18, 1, 1)), LIKELY),
        ("fresh ones always one, also at once, signs", lambda: case(fresh((304, 0, 0)), proxy_signs=SIGNS), POSSIBLE),
        ("fresh ones by weight, signs", lambda: case(fresh((202, 51, 51)), proxy_signs=SIGNS), LIKELY),
        ("requests in turn", lambda: case(mixed(7, 7, 6)), None),
        ("few requests", lambda: case(mixed(2, 1, 0, connections=2)), None),
        ("no proxy is seen", lambda: case(fresh((202, 51, 51))), None),
        ("it keeps connections", lambda: case(fresh((304, 0, 0)), at_once=AT_ONCE, proxy_signs=SIGNS), None),
    ),
    "small-sample": (
        (
            "a local policy leaves out one",
            lambda: case(pooled((7, 3, 0)), fresh((150, 154, 0)), facts=LOCAL, vantage=HERE),
            None,
        ),
    ),
    "source-hash": (
        ("a proxy does it", lambda: case(fresh((304, 0, 0)), proxy_signs=SIGNS), None),
        ("a proxy keeps connections", lambda: case(fresh((304, 0, 0)), at_once=AT_ONCE), None),
        ("also at once", lambda: case(fresh((304, 0, 0)), at_once=("web-0",) * 4), LIKELY),
        ("one of two, or the other is never chosen", lambda: case(fresh((60, 0), PODS[:2]), facts=facts(PODS[:2])), POSSIBLE),
    ),
    "balancer-biased": (
        ("a proxy does it", lambda: case(fresh((202, 51, 51)), proxy_signs=SIGNS), None),
        ("one missing and one dead, the rest fair", lambda: _one_missing_one_dead(100), None),
        ("it avoids a slow one", lambda: case(fresh((140, 144, 4)), direct(ms={"web-2": 51.0})), None),
        ("another one is slow", lambda: case(fresh((140, 144, 4)), direct(ms={"web-0": 51.0})), CERTAIN),
        ("the same one, in a moment only", lambda: case(fresh((140, 144, 20)), direct(ms={"web-2": 51.0})), CERTAIN),
    ),
    "slow-endpoint": (
        ("it is avoided", lambda: case(fresh((140, 144, 4)), direct(ms={"web-2": 51.0})), CERTAIN),
        ("slow on fresh connections too", lambda: case(slow_fresh(), direct(ms={"web-2": 51.0})), CERTAIN),
        ("not slow on fresh connections", lambda: case(fresh(), direct(ms={"web-2": 51.0})), None),
    ),
    "missing-endpoint": (
        ("one of two, or a hash", lambda: case(fresh((60, 0), PODS[:2]), facts=facts(PODS[:2])), POSSIBLE),
        ("one of two, met at once", lambda: case(fresh((60, 0), PODS[:2]), facts=facts(PODS[:2]), at_once=PODS[:2]), None),
        ("a proxy does it", lambda: case(fresh((150, 154, 0)), direct(), proxy_signs=SIGNS), None),
        ("and another one fails", lambda: _one_missing_one_dead(100), CERTAIN),
        ("another one fails, and few connections say so", lambda: _one_missing_one_dead(20), None),
    ),
    "endpoint-failing": (
        ("it left during the run", lambda: case(fresh(), direct(failing=["web-2"]), facts_after=facts(pods(2))), None),
        ("one refuses at times", lambda: case(fresh((120, 78, 118), failed=40), direct()), LIKELY),
        ("some answers take too long", lambda: case(_timing_out(), direct()), LIKELY),
        ("a proxy does at times", lambda: case(unsigned(6), direct(), proxy_signs=SIGNS), LIKELY),
        ("a proxy does seldom", lambda: case(unsigned(3), direct(), proxy_signs=SIGNS), None),
        ("a few fresh ones fail", lambda: case(fresh((220, 218, 219), failed=6), direct()), None),
        ("another one left", lambda: case(fresh(), direct(failing=["web-1"]), facts_after=facts(pods(2))), CERTAIN),
    ),
    "topology-hints": (
        ("our node, in the one zone of all", lambda: case(fresh((150, 154, 0)), facts=SAME_NODE, vantage=HERE), CERTAIN),
        ("our node, and one of it is left out", lambda: case(fresh((304, 0, 0)), facts=SAME_NODE, vantage=HERE), None),
        (
            "a local policy does it",
            lambda: case(fresh((150, 154, 0)), facts=api(*_hinted_and_local(), internal_traffic_policy="Local"), vantage=HERE),
            None,
        ),
    ),
}


SAME_NODE: Facts = api(
    *(endpoint(f"web-{i}", node=n, zone="zone-a", hints=("zone-a", n)) for i, n in enumerate(("node-a", "node-a", "node-b")))
)
"""As PreferSameNode has it where all nodes are in one zone."""


def _all_refuse() -> Case:
    given = facts(source=FactsSource.GIVEN)
    through = settled([refused() for _ in range(20)], profile_plan(Profile.SHORT_LIVED), stopped=Stop.FAILING)
    return quiet(through, direct(failing=PODS), facts=given)


def slow_fresh() -> ProfileReport:
    """Fresh connections to the third take 50 ms longer."""
    names = Random(9).choices(PODS, k=300)
    return settled([connection(answers(n, ms=51.0 if n == PODS[2] else 1.0)) for n in names], profile_plan(Profile.SHORT_LIVED))


def unsigned(errors: int) -> ProfileReport:
    """Fresh connections, each endpoint in turn on a hundred, and so many error answers that name nobody."""
    opened = [*(connection(name) for _ in range(100) for name in PODS), *[connection(answers(None, failed=1))] * errors]
    return settled(opened, profile_plan(Profile.SHORT_LIVED))


def _timing_out() -> ProfileReport:
    """Every tenth fresh connection is opened, and its request not answered in time."""
    names = Random(5).choices(PODS, k=300)
    opened = [
        connection(name) if i % 10 else connection(unanswered=((Failure.TIMEOUT, 1),), closed_by=Closer.FAILURE)
        for i, name in enumerate(names)
    ]
    return settled(opened, profile_plan(Profile.SHORT_LIVED))


def _one_missing_one_dead(each: int) -> Case:
    """Of four, one refuses, and one is never chosen; a fair draw would have refused as many."""
    four = pods(4)
    return case(fresh((each, each, 0, 0), four, failed=each), direct(four, failing=["web-2"]), facts=facts(four))


def _hinted_and_local() -> list[EndpointFacts]:
    places = (("web-0", "a"), ("web-1", "a"), ("web-2", "b"))
    return [endpoint(n, node=f"node-{p}", zone=f"zone-{p}", hints=(f"zone-{p}",)) for n, p in places]
