"""The rules, in order of decision, and the diagnosis that they make of a case."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kbalance.analysis.case import Case, Conclusion
from kbalance.analysis.checks.choosers import (
    balancer_biased,
    headless_first_address,
    per_request_balancing,
    session_affinity,
    source_hash,
    topology_hints,
    traffic_policy_local,
)
from kbalance.analysis.checks.clients import connection_pinning, pool_order, small_sample
from kbalance.analysis.checks.endpoints import endpoint_failing, missing_endpoint, slow_endpoint, unknown_endpoint
from kbalance.analysis.checks.measurement import healthy, inconclusive, invalid_measurement, no_endpoints, server_lifetime
from kbalance.model.report import Diagnosis, Finding
from kbalance.model.words import Confidence, Placement, Severity

__all__ = ["NOT_MEASURED", "RULES", "Case", "Role", "Rule", "diagnose", "diagnose_all"]


class Role(StrEnum):
    """What a finding does to the others."""

    NOT_MEASURED = "not-measured"
    """There is no verdict; only findings from direct connections stay beside it."""
    DIRECT = "direct"
    """Stands on direct connections, whatever became of the rest."""
    CAUSE = "cause"
    REMARK = "remark"
    """Worth knowing, but no answer: it leads only where nothing else was found."""
    FALLBACK = "fallback"
    """Asked in turn where there is no cause; the first that concludes is the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One cause: how severe it is, how it is recognised, and what to say of it."""

    id: str
    """Outlives any rewording: the word in reports, exit decisions and ``kbalance explain``."""
    severity: Severity
    title: str
    told_apart: str
    fix: str
    conclude: Callable[[Case], Conclusion | None]
    role: Role = Role.CAUSE

    def check(self, case: Case) -> Finding | None:
        """The finding, if the case shows this cause."""
        conclusion = self.conclude(case)
        if conclusion is None:
            return None
        return Finding(
            cause=self.id,
            severity=self.severity,
            confidence=conclusion.confidence,
            summary=conclusion.summary,
            evidence=conclusion.evidence,
        )


RULES: tuple[Rule, ...] = (
    Rule(
        id="no-endpoints",
        severity=Severity.PROBLEM,
        title="Nobody is ready to serve",
        told_apart="The API (or the user) names no ready endpoint; connections are refused.",
        fix="Compare the Service's selector with the Pods' labels, and see why Pods are not ready.",
        conclude=no_endpoints,
        role=Role.NOT_MEASURED,
    ),
    Rule(
        id="invalid-measurement",
        severity=Severity.PROBLEM,
        title="What was measured is not what was asked for",
        told_apart="Nobody answered or could be identified, the cluster changed, or connections were not opened as planned.",
        fix="Run again when the cluster is quiet, from inside it, with an identity that the application gives.",
        conclude=invalid_measurement,
        role=Role.NOT_MEASURED,
    ),
    Rule(
        id="endpoint-failing",
        severity=Severity.PROBLEM,
        title="A ready endpoint fails",
        told_apart="Direct connections fail on exactly that endpoint, and about 1/n of fresh connections to the target fail.",
        fix="Look at the Pod, its targetPort and NetworkPolicies, and why the readiness probe does not see it.",
        conclude=endpoint_failing,
        role=Role.DIRECT,
    ),
    Rule(
        id="missing-endpoint",
        severity=Severity.PROBLEM,
        title="A ready endpoint is never chosen",
        told_apart="Enough fresh connections to have met every endpoint leave one out that answers when asked directly.",
        fix="Look at kube-proxy on this node (stale or lagging rules), and measure from another node.",
        conclude=missing_endpoint,
    ),
    Rule(
        id="unknown-endpoint",
        severity=Severity.PROBLEM,
        title="Somebody answers who is no endpoint",
        told_apart="Answers carry an identity that the list of ready endpoints does not have.",
        fix="Let Pods drain before they leave, limit the age of connections, and check the selector.",
        conclude=unknown_endpoint,
    ),
    Rule(
        id="source-hash",
        severity=Severity.PROBLEM,
        title="The client's address decides",
        told_apart="All fresh connections from one source address reach one endpoint, and no setting of the Service says so.",
        fix="Find the scheduler or balancer that hashes the source (IPVS sh, HAProxy source, a cloud flow hash) and change it.",
        conclude=source_hash,
    ),
    Rule(
        id="balancer-biased",
        severity=Severity.PROBLEM,
        title="Fresh connections are shared out unfairly",
        told_apart="Fresh connections are significantly unequal, and no setting of the Service explains it.",
        fix="Look for weights, least-connection scheduling or stale state, and for a node, zone or age that the favoured share.",
        conclude=balancer_biased,
    ),
    Rule(
        id="slow-endpoint",
        severity=Severity.PROBLEM,
        title="One endpoint is far slower than the others",
        told_apart="Asked directly, its median latency lies beyond nearly all answers of the others.",
        fix="Look at that Pod (CPU limits, restarts, caches) and at its node.",
        conclude=slow_endpoint,
        role=Role.DIRECT,
    ),
    Rule(
        id="session-affinity",
        severity=Severity.RISK,
        title="The Service keeps each client on one endpoint",
        told_apart="The Service has sessionAffinity: ClientIP, and fresh connections all reach one endpoint.",
        fix="Set sessionAffinity to None, shorten its timeout, or use a cookie at an HTTP proxy; SNAT makes all clients one.",
        conclude=session_affinity,
    ),
    Rule(
        id="traffic-policy-local",
        severity=Severity.RISK,
        title="The Service keeps clients on their own node",
        told_apart="The Service has internalTrafficPolicy: Local, and connections reach only endpoints on the client's node.",
        fix="Set internalTrafficPolicy to Cluster, run a Pod on every node, or use trafficDistribution: PreferSameNode.",
        conclude=traffic_policy_local,
    ),
    Rule(
        id="topology-hints",
        severity=Severity.RISK,
        title="The Service keeps clients in their own zone",
        told_apart="EndpointSlices carry hints (trafficDistribution, topology-mode), and connections keep to those for here.",
        fix="Spread Pods evenly over zones, drop the preference, or accept it: it saves latency and cost between zones.",
        conclude=topology_hints,
    ),
    Rule(
        id="headless-first-address",
        severity=Severity.RISK,
        title="The client takes the first address of several",
        told_apart="The name resolves to the endpoints themselves, and whoever dials its first address stays with that endpoint.",
        fix="Use all addresses, shuffle them, or resolve anew for each connection.",
        conclude=headless_first_address,
    ),
    Rule(
        id="pool-order",
        severity=Severity.RISK,
        title="The pool uses few of its connections",
        told_apart="Fresh connections are shared out fairly, and requests per pooled connection are very unequal.",
        fix="Take pooled connections in turn; a bigger pool does not help.",
        conclude=pool_order,
    ),
    Rule(
        id="connection-pinning",
        severity=Severity.RISK,
        title="Connections stay where they were opened",
        told_apart="One connection reaches one endpoint however many requests it carries, while fresh connections spread.",
        fix="Balance in the client, put the client in a mesh, or end connections earlier, with jitter.",
        conclude=connection_pinning,
    ),
    Rule(
        id="per-request-balancing",
        severity=Severity.INFO,
        title="A proxy balances single requests",
        told_apart="One connection is answered by several endpoints.",
        fix="Nothing to do: this path is balanced at the HTTP level.",
        conclude=per_request_balancing,
    ),
    Rule(
        id="small-sample",
        severity=Severity.INFO,
        title="Few connections are uneven by luck",
        told_apart="The pool is uneven, but no more than fair draws of so few connections are.",
        fix="With many clients none is needed; with few, as for connection pinning.",
        conclude=small_sample,
        role=Role.REMARK,
    ),
    Rule(
        id="server-lifetime",
        severity=Severity.INFO,
        title="The server ends connections",
        told_apart="The server closed kept connections after a number of requests or a time.",
        fix="Nothing to do: clients already choose anew; shorten it if that happens too rarely.",
        conclude=server_lifetime,
        role=Role.REMARK,
    ),
    Rule(
        id="healthy",
        severity=Severity.INFO,
        title="Traffic is even",
        told_apart="Every profile that was run is even, and hardly a request failed.",
        fix="Nothing to do.",
        conclude=healthy,
        role=Role.FALLBACK,
    ),
    Rule(
        id="inconclusive",
        severity=Severity.INFO,
        title="The evidence does not reach",
        told_apart="No other rule concludes; the finding lists what was lacking.",
        fix="Measure what the finding says is lacking.",
        conclude=inconclusive,
        role=Role.FALLBACK,
    ),
)
"""Every cause; of equally sure and equally severe ones, the earlier leads the diagnosis."""

NOT_MEASURED = frozenset(rule.id for rule in RULES if rule.role is Role.NOT_MEASURED)
"""Causes of a diagnosis that is no verdict: the run could not measure (exit code 3)."""


def diagnose(case: Case) -> Diagnosis:
    """The findings of all rules, led by the one that explains most.

    A run that did not measure has no other verdict. Else causes lead by severity and then by order of decision; one that is
    merely possible comes after all that are likely, however severe. Where there is no cause, the fallbacks decide.
    """
    findings = _found(case, {Role.NOT_MEASURED})[:1]
    if findings:
        return _led((*findings, *_found(case, {Role.DIRECT})))
    causes = sorted(_found(case, {Role.DIRECT, Role.CAUSE}), key=_weight)
    return _led((*(causes or _found(case, {Role.FALLBACK})[:1]), *_found(case, {Role.REMARK})))


def diagnose_all(together: Case, apart: Mapping[str, Case]) -> Diagnosis:
    """The diagnosis of several vantage points.

    Where no vantage point saw connections that were not drawn fairly, all their connections count together. Else each is judged
    by itself: two clients that are each kept on one endpoint look like a biased balancer when they are thrown together.

    Args:
        together: all connections.
        apart: the case of each vantage point, by its name.
    """
    if len(apart) < 2 or not any(p.placement in _CHOSEN for case in apart.values() for p in case.through):
        return diagnose(together)
    judged = {name: diagnose(case) for name, case in apart.items()}
    measured = {name: d for name, d in judged.items() if d.cause not in NOT_MEASURED} or judged
    by_cause: dict[str, list[tuple[str, Finding]]] = {}
    for name, diagnosis in measured.items():
        for finding in diagnosis.findings:
            by_cause.setdefault(finding.cause, []).append((name, finding))
    fallbacks = {rule.id for rule in RULES if rule.role is Role.FALLBACK}
    real = [cause for cause in by_cause if cause not in fallbacks] or list(by_cause)
    return _led(tuple(sorted((_joined(by_cause[cause], len(measured)) for cause in real), key=_weight)))


_CHOSEN = (Placement.FIXED, Placement.BIASED)


def _joined(seen: Sequence[tuple[str, Finding]], vantages: int) -> Finding:
    """One finding of what several vantage points concluded, each number with where it was measured."""
    name, first = min(seen, key=lambda one: list(Confidence).index(one[1].confidence))
    where = "" if len(seen) == vantages and len({f.summary for _, f in seen}) == 1 else f"From {name}: "
    return replace(
        first,
        summary=where + first.summary,
        evidence=tuple(f"From {name}: {text}" for name, finding in seen for text in finding.evidence),
    )


def _found(case: Case, roles: set[Role]) -> tuple[Finding, ...]:
    checked = (rule.check(case) for rule in RULES if rule.role in roles)
    return tuple(finding for finding in checked if finding is not None)


def _weight(finding: Finding) -> tuple[bool, int]:
    """Smaller leads; sorting keeps the order of the table among equals."""
    return finding.confidence is Confidence.POSSIBLE, list(Severity).index(finding.severity)


def _led(findings: tuple[Finding, ...]) -> Diagnosis:
    lead = findings[0]
    return Diagnosis(
        cause=lead.cause, severity=lead.severity, confidence=lead.confidence, summary=lead.summary, findings=findings
    )
