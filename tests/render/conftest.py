"""The sample reports that every renderer is tested with; a new renderer takes the fixture `report` and meets them all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from statistics import median
from typing import Any

import pytest

from kbalance.model.report import (
    Artifact,
    ConnectionCounts,
    Diagnosis,
    EndpointLoad,
    Evidence,
    FailureCount,
    Finding,
    Forecast,
    IdentityReport,
    Latency,
    Newcomer,
    ProfileReport,
    Recommendation,
    Report,
    RequestCounts,
    RuledOut,
    ScaleOut,
    ServerLifetime,
    Threshold,
    UnknownLoad,
    Vantage,
    VantageReport,
)
from kbalance.model.target import Address, EndpointFacts, Facts, ServiceFacts, Target
from kbalance.model.words import (
    Confidence,
    FactsSource,
    FailOn,
    Failure,
    Placement,
    Profile,
    Protocol,
    Severity,
    Spread,
    Stop,
    TargetKind,
)
from kbalance.render import Style

PODS = ("web-7d4b9c6f5-9k4lq", "web-7d4b9c6f5-lw8ds", "web-7d4b9c6f5-x2x2p")


@pytest.fixture
def style() -> Style:
    """What a ticket can show."""
    return Style(colour=False, width=100, unicode=True)


@pytest.fixture
def samples() -> Mapping[str, Report]:
    """Every sample by name."""
    return {name: make() for name, make in SAMPLES.items()}


@pytest.fixture
def classic() -> Report:
    """One Service, three pods, and clients that keep their connections."""
    return _classic()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `report` runs once per sample."""
    if "report" in metafunc.fixturenames:
        metafunc.parametrize("report", [make() for make in SAMPLES.values()], ids=list(SAMPLES))


def _latency(p50: float) -> Latency:
    return Latency(p50=p50, p90=round(p50 * 1.3, 3), p99=round(p50 * 2.1, 3), max=round(p50 * 4.2, 3))


def _profile(profile: Profile, counts: Mapping[str, int], each: Sequence[int], **changed: Any) -> ProfileReport:
    """A profile from requests per endpoint and requests per connection; everything else follows, or is given."""
    total = sum(counts.values())
    direct = profile is Profile.PER_ENDPOINT
    busiest = max(counts.values()) * len(counts) / total if total else None
    idle = sum(1 for n in counts.values() if not n)
    spread = Spread.PINNED if idle == len(counts) - 1 else Spread.UNEVEN if busiest and busiest > 1.5 else Spread.EVEN
    whole = ProfileReport(
        profile=profile,
        protocol="http1",
        parameters={"requests": sum(each), "rate": 200.0, "concurrency": 4},
        stopped=Stop.DONE,
        duration_s=1.5,
        requests=RequestCounts(sent=total, answered=total, failed=0),
        connections=ConnectionCounts(
            planned=len(each),
            opened=len(each),
            failed=0,
            closed_by_server=0,
            requests_min=min(each),
            requests_median=median(each),
            requests_max=max(each),
        ),
        endpoints=tuple(
            EndpointLoad(
                name=name,
                requests=n,
                connections=min(n, 1 if direct else max(1, round(len(each) * n / total))) if n else 0,
                failed=0,
                share=n / total if total else None,
                latency_ms=_latency(1.2 + index / 10) if n else None,
            )
            for index, (name, n) in enumerate(counts.items())
        ),
        unknown=(),
        unidentified=0,
        busiest=busiest,
        expected_busiest=None,
        idle=idle,
        spread=spread,
        placement=Placement.UNKNOWN,
        evidence=Evidence(e_value=None, connections=len(each), enough=False),
        several=0,
        connect_ms=_latency(0.31),
        failures=(),
        server_lifetime=None,
    )
    return replace(whole, **changed)


def _four(
    names: Sequence[str], pooled: Sequence[int], fresh: Sequence[int], luck: tuple[float, ...]
) -> tuple[ProfileReport, ...]:
    """The four profiles of a Service that draws an endpoint per connection."""
    n, total = len(names), sum(fresh)
    fair = Evidence(e_value=0.021, connections=total, enough=True)
    return (
        _profile(Profile.SINGLE, dict.fromkeys(names, 0) | {names[-1]: total}, [total], expected_busiest=luck[0]),
        _profile(Profile.POOLED, dict(zip(names, pooled, strict=True)), [sum(pooled) // 10] * 10, expected_busiest=luck[1]),
        _profile(
            Profile.SHORT_LIVED,
            dict(zip(names, fresh, strict=True)),
            [1] * total,
            expected_busiest=luck[2],
            placement=Placement.RANDOM,
            evidence=fair,
        ),
        _profile(Profile.PER_ENDPOINT, dict.fromkeys(names, total // n), [total // n] * n),
    )


def _facts(names: Sequence[str]) -> Facts:
    endpoints = tuple(
        EndpointFacts(
            name=name, address=Address(f"198.18.{i % 3}.{i + 5}", 8080), node=f"node-{i % 3}", zone=f"eu-1{'abc'[i % 3]}"
        )
        for i, name in enumerate(names)
    )
    return Facts(source=FactsSource.API, service=ServiceFacts(type="ClusterIP", cluster_ip="198.18.1.7"), endpoints=endpoints)


def _found(cause: str, severity: Severity, confidence: Confidence, summary: str, *evidence: str) -> Finding:
    return Finding(cause=cause, severity=severity, confidence=confidence, summary=summary, evidence=evidence)


def _diagnosed(*findings: Finding) -> Diagnosis:
    first = findings[0]
    return Diagnosis(
        cause=first.cause, severity=first.severity, confidence=first.confidence, summary=first.summary, findings=findings
    )


PINNING = _found(
    "connection-pinning",
    Severity.RISK,
    Confidence.CERTAIN,
    "Every connection stays on the pod that was drawn when it opened, so clients that keep their connections load few pods "
    "and new pods get nothing.",
    "single: 300 of 300 requests went to web-7d4b9c6f5-x2x2p, on one connection",
    "pooled: 10 of 10 connections were answered by one pod each, and landed 3, 1 and 6",
    "short-lived: 300 fresh connections landed 95, 90 and 115, as fair draws do (e-value 0.021, an unfair draw is called at 400)",
    "the Service has no session affinity, internal traffic policy Cluster and no hints",
)
HEALTHY = _found(
    "healthy",
    Severity.INFO,
    Confidence.CERTAIN,
    "All profiles load every endpoint evenly.",
    "the busiest endpoint is at 1.01x of its fair share",
)

DESTINATION_RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: web
  namespace: shop
spec:
  host: web.shop.svc.cluster.local
  trafficPolicy:
    loadBalancer:
      simple: LEAST_REQUEST
"""

FIXES = (
    Recommendation(
        id="client-side-balancing",
        title="Balance in the client",
        why="A connection to every endpoint and a choice per request: no pod depends on where a connection landed.",
        measured_busiest=1.0,
        predicted_busiest=None,
        costs=(
            "a library per language",
            "connections = clients x pods",
            "permission to list EndpointSlices, or a headless Service",
        ),
        artifacts=(
            Artifact(name="client.py", kind="python", content="client = httpx.Client(transport=Balanced('web.shop:80'))\n"),
        ),
    ),
    Recommendation(
        id="connection-lifetime",
        title="Give connections a shorter life, with jitter",
        why="Each new connection is a new draw; over 5 minutes, 30 s per connection are 100 draws for 10 connections.",
        measured_busiest=1.15,
        predicted_busiest=1.16,
        costs=("0.3 handshakes per second at 0.31 ms each", "TIME_WAIT sockets"),
    ),
    Recommendation(
        id="mesh",
        title="Put the client into a mesh",
        why="Its sidecar balances requests, not connections; it helps only if the client itself is meshed.",
        measured_busiest=None,
        predicted_busiest=1.0,
        costs=("a proxy per pod", "latency", "operations"),
        artifacts=(Artifact(name="destination-rule.yaml", kind="istio", content=DESTINATION_RULE),),
    ),
    Recommendation(
        id="queue",
        title="Put a queue between",
        why="Consumers pull at their own pace.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("another system", "asynchronous semantics"),
    ),
)


def _classic() -> Report:
    return Report(
        kbalance="0.1.0",
        started="2025-11-03T02:58:41Z",
        duration_s=6.204,
        partial=False,
        target=Target(
            kind=TargetKind.SERVICE,
            scheme="http",
            host="198.18.1.7",
            port=80,
            path="/",
            path_given=False,
            namespace="shop",
            name="web",
        ),
        vantage=Vantage(kind="local", node="node-1", zone="eu-1b", address="198.18.0.12"),
        facts=_facts(PODS),
        identity=IdentityReport(source="body", calibrated=True, unidentified=0, path="/hostname"),
        profiles=_four(PODS, (90, 30, 180), (95, 90, 115), (3.0, 1.48, 1.08)),
        diagnosis=_diagnosed(PINNING),
        recommendations=FIXES,
        seed=7,
    )


def _healthy() -> Report:
    """A Service behind a proxy that balances requests; nothing to do."""
    even = dict(zip(PODS, (100, 101, 99), strict=True))
    evidence = Evidence(e_value=0.00034, connections=300, enough=True)
    profiles = (
        _profile(Profile.SINGLE, even, [300], several=1, placement=Placement.PER_REQUEST, evidence=evidence),
        _profile(Profile.POOLED, even, [30] * 10, several=10, placement=Placement.PER_REQUEST, evidence=evidence),
        _profile(Profile.SHORT_LIVED, even, [1] * 300, placement=Placement.EVEN, evidence=evidence),
        _profile(Profile.PER_ENDPOINT, dict.fromkeys(PODS, 100), [100] * 3),
    )
    return replace(
        _classic(),
        profiles=profiles,
        diagnosis=_diagnosed(HEALTHY),
        recommendations=(),
        thresholds=(
            Threshold(expression="short-lived.busiest<=1.3", value=1.01, passed=True),
            Threshold(expression="pooled.idle==0", value=0.0, passed=True),
        ),
    )


def _failing() -> Report:
    """One endpoint refuses, a pod that is gone still answers, and not every answer could be attributed."""
    report = _classic()
    single, pooled, fresh, direct = report.profiles
    refused = FailureCount(
        kind=Failure.REFUSED, endpoint=PODS[1], requests=100, detail="connect to 198.18.1.6:8080: Connection refused"
    )
    gone = (UnknownLoad(name="web-5f6d8b7c9-old12", requests=21), UnknownLoad(name="evil\x1b[31m\nRISK  forged", requests=2))
    fresh = replace(
        fresh,
        requests=RequestCounts(sent=300, answered=200, failed=98, abandoned=2, retried=1),
        connections=replace(fresh.connections, failed=97, opened=203),
        unknown=gone,
        unidentified=4,
        failures=(
            FailureCount(kind=Failure.TIMEOUT, endpoint=None, requests=1),
            FailureCount(kind=Failure.REFUSED, endpoint=None, requests=97, detail="connect to 198.18.1.7:80: Connection refused"),
        ),
        spread=Spread.UNEVEN,
        placement=Placement.BIASED,
    )
    direct = replace(
        direct,
        requests=RequestCounts(sent=300, answered=200, failed=100),
        endpoints=tuple(
            replace(load, failed=100, latency_ms=None) if load.name == PODS[1] else load for load in direct.endpoints
        ),
        failures=(refused,),
        connect_ms=None,
    )
    lifetime = ServerLifetime(connections=3, requests_min=100, requests_max=100, age_min_s=0.4981, age_max_s=0.5127)
    pooled = replace(pooled, server_lifetime=lifetime)
    failing = _found(
        "endpoint-failing",
        Severity.PROBLEM,
        Confidence.CERTAIN,
        "web-7d4b9c6f5-lw8ds refuses connections although the API calls it ready.",
        "per-endpoint: 100 of 100 requests to web-7d4b9c6f5-lw8ds failed (refused), 0 of 200 to the others",
        "short-lived: 97 of 300 connections were refused, 100 are expected of one dead endpoint of three",
    )
    unknown = _found(
        "unknown-endpoint",
        Severity.PROBLEM,
        Confidence.LIKELY,
        "Answers came from a pod that is no endpoint.",
        "web-5f6d8b7c9-old12 answered 21 requests",
    )
    facts = replace(report.facts, endpoints=(*report.facts.endpoints[:2], replace(report.facts.endpoints[2], ready=False)))
    return replace(
        report,
        facts=facts,
        profiles=(single, pooled, fresh, direct),
        identity=replace(report.identity, unidentified=4),
        diagnosis=_diagnosed(failing, unknown, PINNING),
        recommendations=FIXES[:1],
        thresholds=(
            Threshold(expression="failed_share<0.01", value=0.165, passed=False),
            Threshold(expression="pooled.idle==0", value=0.0, passed=True),
            Threshold(expression="single.p99_ms<50", value=None, passed=False),
        ),
        notices=("endpoints changed during the run: web-7d4b9c6f5-x2x2p is no longer ready",),
    )


def _unidentified() -> Report:
    """A URL whose answers do not tell who gave them; only what was dialled directly is known."""
    report = _classic()
    nobody = dict.fromkeys(PODS, 0)
    blind = [
        replace(
            _profile(profile, nobody, each, unidentified=300, spread=Spread.FAILED, idle=0),
            requests=RequestCounts(sent=300, answered=300, failed=0),
        )
        for profile, each in ((Profile.SINGLE, [300]), (Profile.POOLED, [30] * 10), (Profile.SHORT_LIVED, [1] * 300))
    ]
    invalid = _found(
        "invalid-measurement",
        Severity.INFO,
        Confidence.CERTAIN,
        "No answer told which pod gave it, so nothing can be said about balance.",
        "0 of 900 answers through the target's address could be attributed",
    )
    return replace(
        report,
        target=replace(report.target, kind=TargetKind.URL, namespace=None, name=None, host="fd00::7", port=8080, path_given=True),
        facts=replace(report.facts, source=FactsSource.GIVEN, service=None),
        identity=IdentityReport(source=None, calibrated=False, unidentified=900),
        profiles=(*blind, report.profiles[3]),
        diagnosis=_diagnosed(invalid),
        recommendations=(),
        vantage=Vantage(kind="job", node="node-2"),
    )


def _crowded(count: int) -> Report:
    """Many pods of two ReplicaSets, fair draws from a fixed seed."""
    draw = Random(count)
    letters = "bcdfghjklmnpqrstvwxz2456789"
    names = sorted(f"web-{'7d4b9c6f5' if i % 4 else '5f6d8b7c9'}-{''.join(draw.choices(letters, k=5))}" for i in range(count))
    pooled, fresh = [0] * count, [0] * count
    for _ in range(10):
        pooled[draw.randrange(count)] += 30
    for _ in range(20 * count):
        fresh[draw.randrange(count)] += 1
    report = _classic()
    profiles = _four(names, pooled, fresh, (float(count), count / 4, 1.48))
    single = replace(PINNING, evidence=(f"single: all requests went to {names[-1]}, on one connection", *PINNING.evidence[3:]))
    return replace(report, facts=_facts(names), profiles=profiles, diagnosis=_diagnosed(single))


def _partial() -> Report:
    """Ctrl-C in the second profile."""
    report = _classic()
    single, pooled, *_ = report.profiles
    profiles = (single, replace(pooled, stopped=Stop.INTERRUPTED))
    likely = replace(PINNING, confidence=Confidence.POSSIBLE, evidence=PINNING.evidence[:2])
    return replace(
        report,
        partial=True,
        profiles=profiles,
        diagnosis=_diagnosed(likely),
        recommendations=(),
        notices=("interrupted: short-lived and per-endpoint were not run",),
    )


def _long_names() -> Report:
    """Names of 63 characters that differ early on, as two Helm releases under one selector give."""
    names = tuple(
        f"{word}-{'very-long-release-name-of-the-shop-frontend-deployment-abcdefghij'}"[:57] + f"-{word}"
        for word in ("alpha", "bravo", "delta", "gamma")
    )
    report = _classic()
    worded = replace(PINNING, evidence=(f"single: 300 of 300 requests went to {names[-1]}", "x" * 150))
    return replace(
        report,
        facts=_facts(names),
        profiles=_four(names, (120, 60, 0, 120), (80, 70, 75, 75), (4.0, 1.68, 1.1)),
        diagnosis=_diagnosed(worded),
        recommendations=(replace(FIXES[2], artifacts=(Artifact(name="wide.yaml", kind="istio", content="x" * 200),)),),
    )


def _empty() -> Report:
    """Stopped before the first request."""
    invalid = _found("invalid-measurement", Severity.INFO, Confidence.CERTAIN, "Nothing was measured.")
    report = _classic()
    return replace(
        report,
        partial=True,
        facts=Facts(source=FactsSource.ANSWERS),
        profiles=(),
        diagnosis=_diagnosed(invalid),
        recommendations=(),
        identity=IdentityReport(source=None, calibrated=False, unidentified=0),
    )


def _many_clients() -> Report:
    """The user said how many clients there are."""
    rows = (
        ("now", 20, 3, 1.101, 0.0),
        ("scaled out", 20, 6, 1.218, 0.0),
        ("merged", 20, 2, 1.056, 0.0),
        ("more clients", 2000, 3, 1.01, 0.0),
    )
    foretold = tuple(
        Forecast(what=what, clients=clients, connections=10, endpoints=n, expected_busiest=busiest, expected_idle=idle)
        for what, clients, n, busiest, idle in rows
    )
    return replace(_classic(), forecasts=foretold)


def _bounded(profile: ProfileReport, more: int) -> ProfileReport:
    """With bounds around every endpoint's share, and connections still to draw."""
    loads = tuple(
        replace(load, expected_share=1 / 3, chance_low=max(0.0, load.share - 0.09), chance_high=load.share + 0.09)
        for load in profile.endpoints
        if load.share is not None
    )
    evidence = replace(profile.evidence, against_uneven=7.5, more=more, alpha=0.005, coverage=0.995)
    return replace(profile, endpoints=loads, evidence=evidence)


def _in_full() -> Report:
    """Every part of a report: seen from two nodes, bounded, forecast, with what was ruled out and thresholds of both kinds."""
    report = _classic()
    single, pooled, fresh, direct = report.profiles
    fresh = _bounded(fresh, 0)
    profiles = (single, _bounded(pooled, 42), fresh, direct)
    ruled_out = (
        RuledOut(cause="session-affinity", because="The Service has sessionAffinity None."),
        RuledOut(cause="balancer-biased", because="300 fresh connections landed as fair draws do."),
    )
    blind = replace(fresh, endpoints=(*fresh.endpoints[:2], replace(fresh.endpoints[2], requests=0, connections=0, share=0.0)))
    return replace(
        report,
        profiles=profiles,
        diagnosis=replace(report.diagnosis, ruled_out=ruled_out),
        thresholds=(
            Threshold(expression="short-lived.busiest<=1.3", value=1.15, passed=True),
            Threshold(expression="single.idle==0", value=2.0, passed=False),
        ),
        fail_on=FailOn.RISK,
        notices=("Worker 1 started late.",),
        proxy_signs=("via: 1.1 proxy",),
        forecasts=(
            Forecast(what="now", clients=4, connections=10, endpoints=3, expected_busiest=1.23, expected_idle=0.0),
            Forecast(what="scaled out", clients=4, connections=10, endpoints=6, expected_busiest=1.42, expected_idle=0.1),
        ),
        vantages=(
            VantageReport(worker=0, vantage=Vantage(kind="job", node="node-1", zone="eu-1b"), profiles=(fresh,)),
            VantageReport(worker=1, vantage=Vantage(kind="job", node="node-2", zone="eu-1c"), profiles=(blind,)),
        ),
    )


def _grpc() -> Report:
    """gRPC with an ordinary client beside the four, and a server that ends connections at an age."""
    report = _classic()
    aged = ServerLifetime(
        connections=4,
        requests_min=98,
        requests_max=103,
        age_min_s=30.011,
        age_max_s=30.061,
        goaways=4,
        goaway_min_s=30.01,
        goaway_max_s=30.05,
    )
    counts = dict(zip(PODS, (0, 200, 0), strict=True))
    stock = _profile(Profile.STOCK, counts, [200], expected_busiest=3.0)
    single = replace(report.profiles[0], server_lifetime=aged)
    profiles = (single, *report.profiles[1:], stock)
    return replace(
        report,
        protocol=Protocol.GRPC,
        protocol_because="the port has appProtocol grpc",
        scale_out=_grown("web-6d4cf56db6-new1"),
        profiles=tuple(
            replace(p, protocol="grpc", connections=replace(p.connections, streams_max=4 if p in (single, stock) else 1))
            for p in profiles
        ),
    )


def _grown(*names: str) -> ScaleOut:
    """These joined while kbalance watched, and held connections never met them."""
    first_s = {"single": None, "pooled": None, "short-lived": 0.42, "per-endpoint": 1.1}
    newcomers = tuple(Newcomer(name=name, ready_s=20.3, first_s=first_s) for name in names)
    return ScaleOut(
        duration_s=60.0, every_s=0.5, before=3, requests=dict.fromkeys(first_s, 1500), cut_short=("pooled",), newcomers=newcomers
    )


HOSTILE = (
    "a|b\\|c`d``e</td></table></details><script>alert(1)</script>",
    "# h\n```\n~~~\n- x\r\n\r\n<!-- [x](http://evil.example) ![y](z) @octocat #1 GH-7 :100:",
    "]]></system-out>&amp;\x00\x1b[31m\ud800\ufffe*_$x$_*",
)
"""Names that would break out of Markdown, of HTML, of XML and of a terminal."""


def _hostile() -> Report:
    """Strangers chose every word that strangers can choose."""
    first, second, third = HOSTILE
    report = _classic()
    spoken = " ".join(HOSTILE)
    finding = _found("connection-pinning", Severity.PROBLEM, Confidence.CERTAIN, spoken, *HOSTILE)
    artifact = Artifact(name=f"{first}.yaml", kind=second, content=f"```\n{second}\n{third}\n````\n</details>\n")
    profiles = _four(HOSTILE, (90, 30, 180), (95, 90, 115), (3.0, 1.48, 1.08))
    failed = FailureCount(kind=Failure.STATUS, endpoint=first, requests=3, detail=second)
    blind = replace(profiles[2], endpoints=(*profiles[2].endpoints[:2], replace(profiles[2].endpoints[2], connections=0)))
    return replace(
        report,
        started="2025-11-03T02:58:41Z",
        target=replace(report.target, kind=TargetKind.URL, host=first, path=f"/{second}"),
        vantage=Vantage(kind="local", node=first, zone=second, address=third),
        facts=_facts(HOSTILE),
        identity=replace(report.identity, source=f"header {first}", path=f"/{third}"),
        profiles=(replace(profiles[0], unknown=(UnknownLoad(name=second, requests=1),), failures=(failed,)), *profiles[1:]),
        diagnosis=replace(
            _diagnosed(finding, replace(PINNING, cause="other", evidence=HOSTILE)),
            ruled_out=(RuledOut(cause="x", because=first),),
        ),
        recommendations=(replace(FIXES[0], title=first, why=second, costs=HOSTILE, artifacts=(artifact,)),),
        thresholds=(Threshold(expression=first, value=None, passed=False),),
        notices=HOSTILE,
        protocol_because=second,
        scale_out=_grown(*HOSTILE),
        vantages=(
            VantageReport(worker=0, vantage=Vantage(kind="job", node=first, zone=second), profiles=(profiles[2],)),
            VantageReport(worker=1, vantage=Vantage(kind="job", node=third, zone=second), profiles=(blind,)),
        ),
    )


SAMPLES: Mapping[str, Callable[[], Report]] = {
    "classic": _classic,
    "healthy": _healthy,
    "failing": _failing,
    "unidentified": _unidentified,
    "20-endpoints": lambda: _crowded(20),
    "200-endpoints": lambda: _crowded(200),
    "many-clients": _many_clients,
    "partial": _partial,
    "long-names": _long_names,
    "empty": _empty,
    "in-full": _in_full,
    "grpc": _grpc,
    "hostile": _hostile,
}
