from collections.abc import Callable
from dataclasses import replace

import pytest

from kbalance.analysis.case import Case
from kbalance.analysis.rules import NOT_MEASURED, RULES, Role, Rule, diagnose, diagnose_all
from kbalance.model.report import Finding, IdentityReport, ProfileReport, Vantage
from kbalance.model.target import Address, Facts, ServiceFacts, Target
from kbalance.model.words import Closer, Confidence, FactsSource, Failure, Profile, Severity, Stop, TargetKind
from tests.analysis import scenarios
from tests.builders import (
    PODS,
    SERVICE,
    TARGET,
    answers,
    case,
    connection,
    dialling,
    direct,
    endpoint,
    facts,
    fold,
    fresh,
    lifo,
    pods,
    pooled,
    profile_plan,
    refused,
    settled,
    single,
)

CERTAIN, LIKELY, POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE


def rule(cause: str) -> Rule:
    (found,) = (r for r in RULES if r.id == cause)
    return found


def sureness(cause: str, of: Case) -> Confidence | None:
    """How sure the rule is; ``None``: it is quiet."""
    finding = rule(cause).check(of)
    return finding.confidence if finding else None


def causes(of: Case) -> list[str]:
    return [f.cause for f in diagnose(of).findings]


def uneven_pool() -> ProfileReport:
    return pooled((7, 2, 1))


def through_proxy(even: bool = True) -> ProfileReport:
    """Connections that all endpoints answer."""
    shares = (7, 7, 6) if even else (18, 1, 1)
    mixed = connection(*(answers(name, n) for name, n in zip(PODS, shares, strict=True)))
    return settled([mixed] * 10, profile_plan(Profile.POOLED))


def closing_server(requests: int = 2) -> ProfileReport:
    """One client, one connection at a time, each closed by the server."""
    opened = [connection(answers(PODS[i % 3], requests), closed_by=Closer.SERVER, age_s=0.1 * (1 + i % 5)) for i in range(50)]
    return settled(opened, profile_plan(Profile.SINGLE))


def silent(profile: Profile) -> ProfileReport:
    return settled([refused() for _ in range(20)], profile_plan(profile), stopped=Stop.FAILING)


def nameless(profile: Profile) -> ProfileReport:
    return settled([connection(answers(None, 20)) for _ in range(10)], profile_plan(profile, requests=200))


def affine(n: int = 3) -> Facts:
    return facts(pods(n), service=replace(SERVICE, session_affinity="ClientIP"))


GIVEN = facts(source=FactsSource.GIVEN)
NAMED = facts(source=FactsSource.DNS)
HEADLESS = facts(service=replace(SERVICE, cluster_ip="None"))
LEARNED = Facts(source=FactsSource.ANSWERS)
LOCAL = facts(service=replace(SERVICE, internal_traffic_policy="Local"))
HINTED = Facts(source=FactsSource.API, service=SERVICE, endpoints=tuple(endpoint(name, hints=("zone-a",)) for name in PODS))
NOBODY_READY = Facts(source=FactsSource.API, service=SERVICE, endpoints=(endpoint("web-0", ready=False),))
ONE = facts(("web-0",))
STRANGERS = settled([connection(name) for name in (*PODS, "old-0")] * 30, profile_plan(Profile.SHORT_LIVED, requests=120))
UNCALIBRATED = IdentityReport(source="body", calibrated=False, unidentified=0)

API_PROXY = "/api/v1/namespaces/shop/services/web/proxy/"
LOOPBACK = replace(
    GIVEN, endpoints=tuple(replace(e, address=Address("127.0.1.1", 8080 + i)) for i, e in enumerate(GIVEN.endpoints))
)


def _placed(service: ServiceFacts = SERVICE, *, hints: bool = False) -> Facts:
    """The first two Pods on one node and zone, the third on others."""
    places = (("web-0", "a"), ("web-1", "a"), ("web-2", "b"))
    placed = (endpoint(n, node=f"node-{p}", zone=f"zone-{p}", hints=(f"zone-{p}",) if hints else ()) for n, p in places)
    return Facts(source=FactsSource.API, service=service, endpoints=tuple(placed))


HERE = Vantage(kind="job", node="node-a", zone="zone-a")
LOCAL_HERE = _placed(replace(SERVICE, internal_traffic_policy="Local"))

SCENARIOS: dict[str, tuple[tuple[str, Callable[[], Case], Confidence | None], ...]] = {
    "no-endpoints": (
        ("nobody is ready", lambda: case(facts=NOBODY_READY), CERTAIN),
        ("the selector matches nothing", lambda: case(facts=Facts(source=FactsSource.API, service=SERVICE)), CERTAIN),
        ("three are ready", lambda: case(fresh()), None),
        ("nobody was named", lambda: case(facts=LEARNED), None),
    ),
    "invalid-measurement": (
        ("nobody answers", lambda: case(silent(Profile.SINGLE), silent(Profile.SHORT_LIVED)), CERTAIN),
        ("only the endpoints answer", lambda: case(silent(Profile.SINGLE), direct()), CERTAIN),
        ("nothing was run", lambda: case(interrupted=True), CERTAIN),
        ("the target is an endpoint", lambda: case(fresh((304, 0, 0)), facts=GIVEN, plan=dialling()), CERTAIN),
        ("a pod came", lambda: case(fresh(), facts_after=facts(pods(4))), CERTAIN),
        ("a pod went", lambda: case(fresh(), facts_after=facts(pods(2))), CERTAIN),
        ("hints came", lambda: case(fresh(), facts_after=HINTED), CERTAIN),
        ("affinity was set", lambda: case(fresh(), facts_after=affine()), CERTAIN),
        ("a pod is no longer ready", lambda: case(fresh(), facts_after=_with_last(ready=False, serving=False)), CERTAIN),
        ("a pod terminates", lambda: case(fresh(), facts_after=_with_last(ready=False, terminating=True)), CERTAIN),
        ("changed and changed back", lambda: case(fresh(), facts=_revised(1), facts_after=_revised(3)), CERTAIN),
        ("a label was written", lambda: case(fresh(), facts=_revised(1), facts_after=_revised(2, "b")), None),
        ("a pod begins beside them", lambda: case(fresh(), facts_after=_beside()), None),
        ("through the API server", lambda: case(fresh(), target=_url(path=API_PROXY)), CERTAIN),
        ("through a known tunnel", lambda: case(fresh(), tunnel="kubectl port-forward svc/web"), CERTAIN),
        ("as if through a tunnel", lambda: case(fresh((304, 0, 0)), facts=GIVEN, target=_url("127.0.0.1")), CERTAIN),
        ("the same, by name and learned", lambda: case(_through_tunnel(), facts=LEARNED, target=_url("localhost")), CERTAIN),
        ("this machine's own server", lambda: case(_through_tunnel("laptop"), facts=LEARNED, target=_url("localhost")), None),
        ("endpoints of this machine", lambda: case(fresh((304, 0, 0)), facts=LOOPBACK, target=_url("127.0.0.1")), None),
        ("too few connections", lambda: case(_through_tunnel(n=7), facts=LEARNED, target=_url("127.0.0.1")), None),
        ("several answer at loopback", lambda: case(fresh(), facts=GIVEN, target=_url("127.0.0.1")), None),
        ("a name that begins like loopback", lambda: case(fresh((304, 0, 0)), facts=GIVEN, target=_url("127.example")), None),
        ("a path that ends like a proxy's", lambda: case(fresh(), target=_url(path=f"/?{API_PROXY}")), None),
        ("nobody is identified", lambda: case(nameless(Profile.POOLED), direct()), CERTAIN),
        ("fewer connections than planned", lambda: case(pooled((1, 1, 0), slots=10)), CERTAIN),
        ("all is as planned", lambda: case(single(), pooled(), fresh(), direct()), None),
        ("one endpoint needs no name", lambda: case(nameless(Profile.POOLED), facts=ONE, facts_after=ONE), None),
        ("the facts were not read again", lambda: case(fresh(), facts_after=None), None),
        ("endpoints were given, not read", lambda: case(fresh(), facts=GIVEN, facts_after=facts(pods(2))), None),
        ("the run was cut short", lambda: case(_cut_short(), interrupted=True), None),
        ("nobody asked through the target", lambda: case(direct()), None),
    ),
    "endpoint-failing": (
        ("one refuses", lambda: case(fresh((50, 52, 0), failed=48), direct(failing=["web-2"])), CERTAIN),
        ("all refuse, also at the target", lambda: case(_errors(), direct(failing=PODS)), LIKELY),
        ("a third of fresh ones fails, one is idle", lambda: case(fresh((100, 104, 0), failed=100)), LIKELY),
        ("some fresh ones fail", lambda: case(fresh((90, 92, 72), failed=60)), POSSIBLE),
        ("one status in twenty", lambda: case(fresh(), _one_error()), None),
        ("none fails", lambda: case(fresh(), direct()), None),
        ("the direct way is closed from here", lambda: case(fresh(), direct(failing=PODS)), None),
        ("two fresh ones fail", lambda: case(fresh(failed=2)), None),
    ),
    "slow-endpoint": (
        ("one takes 50 ms longer", lambda: case(direct(ms={"web-2": 51.0})), CERTAIN),
        ("two of five", lambda: case(direct(pods(5), ms={"web-1": 51.0, "web-2": 60.0}), facts=facts(pods(5))), LIKELY),
        ("a large ratio of little", lambda: case(direct(ms={"web-2": 5.0})), None),
        ("a small ratio of much", lambda: case(direct(ms={"web-0": 100.0, "web-1": 100.0, "web-2": 200.0})), None),
        ("too few answers", lambda: case(direct(ms={"web-2": 51.0}, requests=4)), None),
        ("within the others' tail", lambda: case(_noisy()), None),
        ("nobody was asked directly", lambda: case(fresh()), None),
        ("nobody to compare with", lambda: case(direct(["web-0"], ms={"web-0": 500.0}), facts=ONE), None),
    ),
    "missing-endpoint": (
        ("never chosen, answers directly", lambda: case(fresh((150, 154, 0)), direct()), CERTAIN),
        ("never chosen, not asked directly", lambda: case(fresh((150, 154, 0))), LIKELY),
        ("never chosen, endpoints given", lambda: case(fresh((150, 154, 0)), direct(), facts=GIVEN), LIKELY),
        ("all but one never chosen, or a hash", lambda: case(fresh((304, 0, 0)), direct()), POSSIBLE),
        ("all chosen", lambda: case(fresh(), direct()), None),
        ("too few draws", lambda: case(fresh((4, 5, 0)), direct()), None),
        ("it fails", lambda: case(fresh((150, 154, 0)), direct(failing=["web-2"])), None),
        ("local policy leaves it out", lambda: case(fresh((150, 154, 0)), direct(), facts=LOCAL), None),
        ("hints leave it out", lambda: case(fresh((150, 154, 0)), direct(), facts=HINTED), None),
    ),
    "unknown-endpoint": (
        ("a name outside the list", lambda: case(STRANGERS), CERTAIN),
        ("not calibrated", lambda: case(STRANGERS, identity=UNCALIBRATED), LIKELY),
        ("the list was typed in", lambda: case(STRANGERS, facts=GIVEN), POSSIBLE),
        ("all are endpoints", lambda: case(fresh()), None),
        ("nobody is known", lambda: case(nameless(Profile.POOLED)), None),
    ),
    "source-hash": (
        ("always one", lambda: case(fresh((304, 0, 0)), direct()), LIKELY),
        ("always one, settings unknown", lambda: case(fresh((304, 0, 0)), facts=GIVEN), LIKELY),
        ("the pool alone", lambda: case(pooled((10, 0, 0))), POSSIBLE),
        ("affinity is set", lambda: case(fresh((304, 0, 0)), facts=affine()), None),
        ("three fresh connections", lambda: case(fresh((3, 0, 0))), None),
        ("several are chosen", lambda: case(fresh()), None),
    ),
    "headless-first-address": (
        ("the first of the name's addresses", lambda: case(fresh((304, 0, 0)), facts=NAMED, plan=dialling()), CERTAIN),
        ("the Service is headless", lambda: case(fresh((304, 0, 0)), facts=HEADLESS, plan=dialling()), CERTAIN),
        ("something on the way chooses", lambda: case(fresh((304, 0, 0)), facts=NAMED), None),
        ("the target is an endpoint", lambda: case(fresh((304, 0, 0)), facts=GIVEN, plan=dialling()), None),
        ("it leads to several", lambda: case(fresh(), facts=NAMED, plan=dialling()), None),
        ("nothing went there", lambda: case(facts=NAMED, plan=dialling()), None),
    ),
    "balancer-biased": (
        ("one gets four times as much", lambda: case(fresh((202, 51, 51))), CERTAIN),
        ("settings unknown", lambda: case(fresh((202, 51, 51)), facts=GIVEN), LIKELY),
        ("one missing and the rest unequal", lambda: case(fresh((240, 64, 0)), direct()), CERTAIN),
        ("one missing and the rest fair", lambda: case(fresh((150, 154, 0)), direct()), None),
        ("significant but slight", lambda: case(fresh((10800, 9600, 9600))), None),
        ("few draws", lambda: case(fresh((8, 2, 2))), None),
        ("hints explain it", lambda: case(fresh((202, 51, 51)), facts=HINTED), None),
    ),
    "session-affinity": (
        ("set, and always one", lambda: case(fresh((304, 0, 0)), facts=affine()), CERTAIN),
        ("set, and few draws", lambda: case(fresh((4, 0, 0)), facts=affine()), LIKELY),
        ("set, single alone", lambda: case(single(), facts=affine()), POSSIBLE),
        ("not set", lambda: case(fresh((304, 0, 0))), None),
        ("set, yet all are chosen", lambda: case(fresh(), facts=affine()), None),
        ("set, one endpoint", lambda: case(single(names=["web-0"]), facts=affine(1)), None),
        ("settings unknown", lambda: case(fresh((304, 0, 0)), facts=GIVEN), None),
    ),
    "traffic-policy-local": (
        ("this node's alone", lambda: case(fresh((150, 154, 0)), facts=LOCAL_HERE, vantage=HERE), CERTAIN),
        ("one node's alone, ours unknown", lambda: case(fresh((150, 154, 0)), facts=LOCAL_HERE), LIKELY),
        ("another node's alone", lambda: case(fresh((0, 0, 304)), facts=LOCAL_HERE, vantage=HERE), None),
        ("those of two nodes", lambda: case(fresh((150, 0, 154)), facts=LOCAL_HERE, vantage=HERE), None),
        ("all are chosen", lambda: case(fresh(), facts=LOCAL_HERE, vantage=HERE), None),
        ("nodes unknown", lambda: case(fresh((150, 154, 0)), facts=LOCAL), None),
        ("not set", lambda: case(fresh((150, 154, 0)), facts=_placed(), vantage=HERE), None),
    ),
    "topology-hints": (
        ("our zone's alone", lambda: case(fresh((150, 154, 0)), facts=_placed(hints=True), vantage=HERE), CERTAIN),
        ("one zone's alone, ours unknown", lambda: case(fresh((150, 154, 0)), facts=_placed(hints=True)), LIKELY),
        ("another zone's alone", lambda: case(fresh((0, 0, 304)), facts=_placed(hints=True), vantage=HERE), None),
        ("one of our zone's is left out", lambda: case(fresh((304, 0, 0)), facts=_placed(hints=True), vantage=HERE), None),
        ("all are chosen", lambda: case(fresh(), facts=_placed(hints=True), vantage=HERE), None),
        ("no hints", lambda: case(fresh((150, 154, 0)), facts=_placed(), vantage=HERE), None),
    ),
    "pool-order": (
        ("last used first", lambda: case(lifo(), fresh()), CERTAIN),
        ("opens only one connection", lambda: case(lifo(1), fresh()), CERTAIN),
        ("fresh ones not measured", lambda: case(lifo()), LIKELY),
        ("in turn", lambda: case(uneven_pool(), fresh()), None),
        ("fresh ones always one", lambda: case(lifo(), fresh((304, 0, 0))), None),
        ("no pool", lambda: case(fresh()), None),
    ),
    "connection-pinning": (
        ("single pinned, fresh random", lambda: case(single(), fresh()), CERTAIN),
        ("pool uneven, fresh random", lambda: case(uneven_pool(), fresh()), CERTAIN),
        ("fresh not enough", lambda: case(single(), fresh((20, 22, 18))), LIKELY),
        ("single alone", lambda: case(single()), LIKELY),
        ("single alone, affinity set", lambda: case(single(), facts=affine()), POSSIBLE),
        ("fresh always one", lambda: case(single(), fresh((304, 0, 0))), None),
        ("pool even", lambda: case(pooled((3, 3, 4)), fresh()), None),
        ("proxy", lambda: case(through_proxy(), fresh()), None),
        ("one endpoint", lambda: case(single(names=["web-0"]), facts=ONE), None),
        ("one request shows nothing", lambda: case(single(requests=1)), None),
    ),
    "per-request-balancing": (
        ("every connection answered by all", lambda: case(through_proxy()), CERTAIN),
        ("uneven", lambda: case(through_proxy(even=False)), CERTAIN),
        ("each by one", lambda: case(pooled(), fresh()), None),
        ("direct connections only", lambda: case(direct()), None),
    ),
    "small-sample": (
        ("luck", lambda: case(single(), uneven_pool(), fresh()), CERTAIN),
        ("fresh not enough", lambda: case(uneven_pool(), fresh((20, 22, 18))), LIKELY),
        ("an even pool", lambda: case(pooled((3, 3, 4)), fresh()), None),
        ("fresh not measured", lambda: case(uneven_pool()), None),
        ("more than luck", lambda: case(pooled((40, 3, 3)), fresh()), None),
        ("the pool's order", lambda: case(lifo(), fresh()), None),
    ),
    "server-lifetime": (
        ("after two requests", lambda: case(closing_server()), CERTAIN),
        ("kept open", lambda: case(single()), None),
        ("closed once", lambda: case(_closed_once()), None),
        ("asked to close", lambda: case(fresh()), None),
    ),
    "healthy": (
        ("all even", lambda: case(closing_server(), pooled((3, 3, 4)), fresh(), direct()), CERTAIN),
        ("fresh and even, kept ones not measured", lambda: case(fresh(), direct()), LIKELY),
        ("fresh, not enough", lambda: case(fresh((20, 22, 18))), LIKELY),
        ("one endpoint", lambda: case(single(names=["web-0"]), direct(["web-0"]), facts=ONE), CERTAIN),
        ("single pinned", lambda: case(single(), fresh()), None),
        ("some fail", lambda: case(fresh(failed=10)), None),
        ("only asked directly", lambda: case(direct()), None),
    ),
    "inconclusive": (
        ("only asked directly", lambda: case(direct()), POSSIBLE),
        ("too few", lambda: case(fresh((8, 2, 2))), POSSIBLE),
        ("a setting may explain it", lambda: case(fresh((202, 51, 51)), facts=HINTED), POSSIBLE),
    ),
}
"""By cause: what is the case, and how sure the rule then is."""

EVERY = {cause: (*SCENARIOS.get(cause, ()), *scenarios.SCENARIOS.get(cause, ())) for cause in SCENARIOS | scenarios.SCENARIOS}


def _url(host: str = "198.18.1.10", path: str = "/") -> Target:
    return replace(TARGET, kind=TargetKind.URL, host=host, path=path)


def _with_last(**changes: object) -> Facts:
    known = facts()
    return replace(known, endpoints=(*known.endpoints[:2], endpoint(PODS[2], **changes)))


def _beside() -> Facts:
    known = facts()
    return replace(known, endpoints=(*known.endpoints, endpoint("web-3", ready=False, serving=False)))


def _revised(generation: int, labels: str = "a") -> Facts:
    return replace(facts(), revision=f"1f3d web:{generation}:{labels}")


def _through_tunnel(who: str = "web-0", n: int = 8) -> ProfileReport:
    """So many fresh connections that one endpoint answered, which was not known before."""
    plan = profile_plan(Profile.SHORT_LIVED, requests=n)
    return fold([connection(who) for _ in range(n)], plan, (), learned=True).settle(Stop.DONE, 1.0, (who,))


def _errors() -> ProfileReport:
    return settled([connection(answers(name, 1, failed=1)) for name in PODS * 10], profile_plan(Profile.SHORT_LIVED, requests=30))


def _one_error() -> ProfileReport:
    asked = [connection(answers(name, 20, failed=int(name == "web-2")), endpoint=name) for name in PODS]
    return settled(asked, profile_plan(Profile.PER_ENDPOINT))


def _noisy() -> ProfileReport:
    """A fifth of everybody's answers take as long as the slow one's."""
    usual = replace(answers("", 20), latency={**answers("", 16, ms=20.0).latency, **answers("", 4, ms=80.0).latency})
    asked = [connection(usual, endpoint=name) for name in PODS[:2]]
    return settled([*asked, connection(answers("", 20, ms=70.0), endpoint="web-2")], profile_plan(Profile.PER_ENDPOINT))


def _cut_short() -> ProfileReport:
    opened = [connection(answers(name, 2)) for name in ("web-0", "web-1")]
    return settled(opened, profile_plan(Profile.POOLED), stopped=Stop.INTERRUPTED)


def _closed_once() -> ProfileReport:
    return settled([connection("web-0", closed_by=Closer.SERVER)], profile_plan(Profile.SINGLE))


@pytest.mark.parametrize(
    ("cause", "make", "expected"),
    [pytest.param(cause, make, sure, id=f"{cause}: {what}") for cause, rows in EVERY.items() for what, make, sure in rows],
)
def test_rule(cause: str, make: Callable[[], Case], expected: Confidence | None) -> None:
    assert sureness(cause, make()) == expected


def test_every_rule_has_at_least_three_scenarios() -> None:
    assert {r.id for r in RULES} == set(EVERY)
    assert [cause for cause, rows in EVERY.items() if len(rows) < 3] == []


def test_ids_are_unique_and_texts_are_there() -> None:
    assert len({r.id for r in RULES}) == len(RULES)
    assert all(r.title and r.told_apart.endswith(".") and r.fix.endswith(".") for r in RULES)
    assert {"invalid-measurement", "no-endpoints"} == NOT_MEASURED
    assert [r.id for r in RULES if r.role is Role.FALLBACK][-1] == "inconclusive"


@pytest.mark.parametrize("make", [row[1] for rows in EVERY.values() for row in rows])
def test_every_finding_is_a_sentence_with_evidence(make: Callable[[], Case]) -> None:
    diagnosis = diagnose(make())

    for finding in diagnosis.findings:
        assert finding.summary.endswith("."), finding
        assert finding.evidence, finding
        assert all(line.endswith(".") for line in finding.evidence), finding
        assert "None" not in finding.summary.replace("affinity: None", ""), finding
    assert diagnosis.cause == diagnosis.findings[0].cause


DIAGNOSES: dict[str, tuple[Callable[[], Case], list[str]]] = {
    "kube-proxy as it comes": (lambda: case(single(), pooled(), fresh(), direct()), ["connection-pinning"]),
    "an unlucky pool": (lambda: case(single(), uneven_pool(), fresh(), direct()), ["connection-pinning", "small-sample"]),
    "lifo": (lambda: case(single(), lifo(), fresh(), direct()), ["pool-order", "connection-pinning"]),
    "affinity": (
        lambda: case(single(), pooled((10, 0, 0)), fresh((304, 0, 0)), direct(), facts=affine(), facts_after=affine()),
        ["session-affinity"],
    ),
    "source hash": (
        lambda: case(single(), pooled((10, 0, 0)), fresh((304, 0, 0)), direct()),
        ["source-hash", "missing-endpoint"],
    ),
    "a dead pod": (
        lambda: case(single(), pooled((5, 5, 0)), fresh((102, 98, 0), failed=104), direct(failing=["web-2"])),
        ["endpoint-failing", "connection-pinning"],
    ),
    "a slow pod": (
        lambda: case(single(), scenarios.slow_fresh(), direct(ms={"web-2": 60.0})),
        ["slow-endpoint", "connection-pinning"],
    ),
    "stale rules": (lambda: case(single(), fresh((150, 154, 0)), direct()), ["missing-endpoint", "connection-pinning"]),
    "weights": (lambda: case(single(), fresh((202, 51, 51)), direct()), ["balancer-biased", "connection-pinning"]),
    "a mesh": (lambda: case(through_proxy(), fresh(), direct()), ["per-request-balancing"]),
    "a server that closes": (lambda: case(closing_server(), fresh(), direct()), ["healthy", "server-lifetime"]),
    "one pod": (lambda: case(single(names=["web-0"]), facts=ONE, facts_after=ONE), ["healthy"]),
    "no pod": (lambda: case(facts=NOBODY_READY), ["no-endpoints"]),
    "a rollout": (lambda: case(single(), fresh(), direct(), facts_after=facts(pods(4))), ["invalid-measurement"]),
    "nobody signs, one is dead": (
        lambda: case(nameless(Profile.POOLED), direct(failing=["web-2"])),
        ["invalid-measurement", "endpoint-failing"],
    ),
    "a stranger in a typed list": (lambda: case(single(), STRANGERS, facts=GIVEN), ["connection-pinning", "unknown-endpoint"]),
    "only direct": (lambda: case(direct()), ["inconclusive"]),
    "single alone": (lambda: case(single()), ["connection-pinning"]),
    "learned, one seen": (lambda: case(_learned(), facts=LEARNED, facts_after=LEARNED), ["inconclusive"]),
}


def _learned() -> ProfileReport:
    return settled([connection(answers("web-0", 100))], profile_plan(Profile.SINGLE), ())


@pytest.mark.parametrize(("make", "expected"), DIAGNOSES.values(), ids=DIAGNOSES)
def test_diagnosis_lists_all_findings_and_leads_with_what_explains_most(make: Callable[[], Case], expected: list[str]) -> None:
    assert causes(make()) == expected


def test_the_lead_is_repeated_in_the_diagnosis() -> None:
    diagnosis = diagnose(case(single(), fresh(), direct()))

    assert diagnosis.findings == (
        Finding(
            cause="connection-pinning",
            severity=Severity.RISK,
            confidence=Confidence.CERTAIN,
            summary="Each connection stays on one endpoint, so clients that keep connections load endpoints unevenly.",
            evidence=(
                "single: 100 requests on 1 connection, all answered by web-0 of 3 endpoints.",
                "short-lived: 304 fresh connections reached 3 of 3 endpoints; nothing speaks against a fair draw, and none has "
                "double the weight of the others or a quarter.",
            ),
        ),
    )
    assert (diagnosis.cause, diagnosis.severity, diagnosis.confidence, diagnosis.summary) == (
        "connection-pinning",
        Severity.RISK,
        Confidence.CERTAIN,
        diagnosis.findings[0].summary,
    )


def test_a_failing_endpoint_is_named_with_its_failures_and_its_shadow() -> None:
    finding = rule("endpoint-failing").check(case(fresh((100, 104, 0), failed=100), direct(failing=["web-2"])))

    assert finding is not None
    assert finding.summary == "Ready but failing when asked directly: web-2 (connection refused)."
    assert finding.evidence == (
        "web-2: 20 of 20 direct requests failed: connection refused (20).",
        "100 of 304 requests on fresh connections failed (33 %); 1 of 3 endpoints failing would make it 33 %.",
    )


def test_a_change_during_the_run_is_named_and_so_is_who_answered_beside_the_endpoints() -> None:
    after = replace(facts(), endpoints=(*facts().endpoints[:2], endpoint("old-0")))

    finding = rule("invalid-measurement").check(case(STRANGERS, facts_after=after))

    assert finding is not None
    change = "the cluster changed while it was measured (old-0 joined and web-2 left); run again when it is quiet."
    assert finding.summary == f"This run gives no verdict: {change}"
    assert finding.evidence == (f"T{change[1:]}", "old-0: 30 answers, joined during the run.")


@pytest.mark.parametrize(
    ("known", "standing"),
    [
        (_beside(), "not in the list"),
        (replace(facts(), endpoints=(endpoint("old-0", ready=False, terminating=True), *facts().endpoints)), "terminating"),
        (replace(facts(), endpoints=(endpoint("old-0", ready=False), *facts().endpoints)), "listed but not ready"),
    ],
)
def test_whoever_is_no_endpoint_is_told_by_its_standing(known: Facts, standing: str) -> None:
    finding = rule("unknown-endpoint").check(case(STRANGERS, facts=known, facts_after=known))

    assert finding is not None
    assert finding.evidence == (f"old-0: 30 answers, {standing}.",)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (
            "/api/v1/namespaces/shop/services/web/proxy/hostname?a=b",
            "the API server's proxy chooses a Pod of Service web by itself, not as traffic in the cluster does; "
            "measure in the cluster: kbalance probe svc/web -n shop.",
        ),
        (
            "/k8s/clusters/c-1/api/v1/namespaces/shop/services/https%3Aweb%3Aadmin/proxy",
            "the API server's proxy chooses a Pod of Service web by itself, not as traffic in the cluster does; "
            "measure in the cluster: kbalance probe svc/web:admin -n shop.",
        ),
        (
            "/api/v1/namespaces/shop/pods/http:web-0:8080/proxy/",
            "the API server's proxy leads to Pod web-0 alone, past any Service; measure in the cluster: kbalance probe svc/NAME.",
        ),
    ],
)
def test_the_way_through_the_api_server_names_the_way_to_measure(path: str, reason: str) -> None:
    diagnosis = diagnose(case(fresh(), target=_url(path=path)))

    assert (diagnosis.cause, diagnosis.summary) == ("invalid-measurement", f"This run gives no verdict: {reason}")


@pytest.mark.parametrize(
    ("tunnel", "words"),
    [
        ("kubectl port-forward svc/web", "leads every connection to the same Pod, past the Service"),
        ("oc port-forward web-0", "leads every connection to the same Pod, past the Service"),
        ("kubectl proxy", "leads to the API server, past any Service"),
    ],
)
def test_a_tunnel_is_named_with_where_it_listens(tunnel: str, words: str) -> None:
    finding = rule("invalid-measurement").check(case(fresh(), tunnel=tunnel, target=_url("::1")))

    named = "svc/web" if tunnel.endswith("svc/web") else "svc/NAME"
    assert finding is not None
    assert finding.evidence == (f"`{tunnel}` listens at [::1]:80 and {words}; measure in the cluster: kbalance probe {named}.",)


def test_what_behaves_like_a_tunnel_is_called_one() -> None:
    finding = rule("invalid-measurement").check(case(single(), fresh((304, 0, 0)), facts=GIVEN, target=_url("localhost")))

    assert finding is not None
    assert finding.evidence == (
        "All 305 connections to localhost:80, this machine, met web-0, as through a tunnel such as kubectl port-forward, "
        "which leads to one Pod, past the Service; measure in the cluster: kbalance probe svc/NAME.",
    )


def test_a_tunnel_that_answers_nothing_is_still_named_first() -> None:
    finding = rule("invalid-measurement").check(case(silent(Profile.SINGLE), tunnel="kubectl port-forward svc/web"))

    assert finding is not None
    assert [line.partition(" ")[0] for line in finding.evidence] == ["`kubectl", "http://198.18.1.10/hostname", "single:"]


def test_what_could_not_be_ruled_out_is_said() -> None:
    finding = rule("source-hash").check(case(fresh((304, 0, 0)), facts=GIVEN))

    assert finding is not None
    assert "could not be ruled out" in finding.evidence[1]


def test_failures_are_told_in_words() -> None:
    reset = connection(answers("web-0", 2), endpoint="web-0", unanswered=((Failure.RESET, 18),), closed_by=Closer.FAILURE)
    report = settled([reset, *(connection(answers(n, 20), endpoint=n) for n in PODS[1:])], profile_plan(Profile.PER_ENDPOINT))

    assert diagnose(case(report)).summary == "Ready but failing when asked directly: web-0 (connection reset)."


@pytest.mark.parametrize("make", [row[1] for rows in EVERY.values() for row in rows])
def test_nothing_speaks_against_what_is_found(make: Callable[[], Case]) -> None:
    made = make()

    both = [r.id for r in RULES if r.check(made) is not None and r.excluded(made) is not None]

    assert both == []
    assert all(one.because.endswith(".") for one in diagnose(made).ruled_out)


def test_vantage_points_rule_out_together_what_none_of_them_saw() -> None:
    """Each is kept on one endpoint, and the numbers of one are not those of the other."""
    apart = {"here": case(single(), fresh((304, 0, 0))), "there": case(single(), fresh((0, 310, 0)))}

    told = {one.cause: one.because for one in diagnose_all(case(single(), fresh((304, 310, 0))), apart).ruled_out}

    assert told["session-affinity"] == "sessionAffinity is None."
    assert told["unknown-endpoint"] == (
        "From here: 404 answers, all from ready endpoints. From there: 410 answers, all from ready endpoints."
    )
    assert "source-hash" not in told


def test_a_whole_run_rules_out_what_was_looked_for() -> None:
    diagnosis = diagnose(case(single(), pooled(), fresh(), direct()))

    assert {one.cause: one.because for one in diagnosis.ruled_out}["session-affinity"] == "sessionAffinity is None."
    assert {r.id for r in RULES} - {one.cause for one in diagnosis.ruled_out} == {
        "connection-pinning",
        "healthy",
        "inconclusive",
        "invalid-measurement",
        "mixed-versions",
        "no-endpoints",
        "small-sample",
        "stale-membership",
        "uneven-work",
    }
