"""The table of causes: how severe each is, how it is recognised and excluded, and what to say of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from kbalance.analysis.case import Case, Conclusion
from kbalance.analysis.checks import exclusions
from kbalance.analysis.checks.balancers import balancer_biased, source_hash
from kbalance.analysis.checks.clients import connection_pinning, http2_multiplexing, pool_order, small_sample
from kbalance.analysis.checks.endpoints import endpoint_failing, missing_endpoint, slow_endpoint, uneven_work, unknown_endpoint
from kbalance.analysis.checks.measurement import healthy, inconclusive, invalid_measurement, no_endpoints, server_lifetime
from kbalance.analysis.checks.membership import mixed_versions, not_ready, stale_membership
from kbalance.analysis.checks.proxied import per_request_balancing, proxy_keepalive, proxy_policy
from kbalance.analysis.checks.settings import (
    external_traffic_policy,
    headless_first_address,
    session_affinity,
    topology_hints,
    traffic_policy_local,
)
from kbalance.model.report import Finding
from kbalance.model.words import Severity


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
    excluded: Callable[[Case], str | None] = lambda case: None
    """What speaks against it, in a sentence; ``None``: nothing does, as far as the run went."""

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
        excluded=exclusions.nobody_fails,
    ),
    Rule(
        id="missing-endpoint",
        severity=Severity.PROBLEM,
        title="A ready endpoint is never chosen",
        told_apart="Enough fresh connections to have met every endpoint leave one out that answers when asked directly.",
        fix="Look at kube-proxy on this node (stale or lagging rules), and measure from another node.",
        conclude=missing_endpoint,
        excluded=exclusions.all_are_chosen,
    ),
    Rule(
        id="unknown-endpoint",
        severity=Severity.PROBLEM,
        title="Somebody answers who is no endpoint",
        told_apart="Answers carry an identity that the list of ready endpoints does not have.",
        fix="Let Pods drain before they leave, limit the age of connections, and check the selector.",
        conclude=unknown_endpoint,
        excluded=exclusions.no_strangers,
    ),
    Rule(
        id="source-hash",
        severity=Severity.PROBLEM,
        title="The client's address decides",
        told_apart="All fresh connections from one source address reach one endpoint, and no setting of the Service says so.",
        fix="Find the scheduler or balancer that hashes the source (IPVS sh, HAProxy source, a cloud flow hash) and change it.",
        conclude=source_hash,
        excluded=exclusions.address_does_not_decide,
    ),
    Rule(
        id="balancer-biased",
        severity=Severity.PROBLEM,
        title="Fresh connections are shared out unfairly",
        told_apart="Fresh connections are significantly unequal, and no setting of the Service explains it.",
        fix="Look for weights, least-connection scheduling or stale state, and for a node, zone or age that the favoured share.",
        conclude=balancer_biased,
        excluded=exclusions.fairly_drawn,
    ),
    Rule(
        id="proxy-keepalive",
        severity=Severity.PROBLEM,
        title="A proxy keeps its own connections to the Service",
        told_apart="Fresh connections meet few endpoints, though no address decides: requests at the same time meet several.",
        fix="Point the proxy at the endpoints (headless Service) instead of the Service, or keep fewer idle connections.",
        conclude=proxy_keepalive,
        excluded=exclusions.fairly_drawn,
    ),
    Rule(
        id="not-ready",
        severity=Severity.PROBLEM,
        title="Some endpoints are not ready",
        told_apart="EndpointSlices list endpoints that are neither ready nor on their way out.",
        fix="See why their readiness probes fail; until then the others carry their load.",
        conclude=not_ready,
        role=Role.DIRECT,
        excluded=exclusions.all_ready,
    ),
    Rule(
        id="slow-endpoint",
        severity=Severity.PROBLEM,
        title="One endpoint is far slower than the others",
        told_apart="Asked directly, its median latency lies beyond nearly all answers of the others.",
        fix="Look at that Pod (CPU limits, restarts, caches) and at its node.",
        conclude=slow_endpoint,
        role=Role.DIRECT,
        excluded=exclusions.nobody_is_slow,
    ),
    Rule(
        id="session-affinity",
        severity=Severity.RISK,
        title="The Service keeps each client on one endpoint",
        told_apart="The Service has sessionAffinity: ClientIP, and fresh connections all reach one endpoint.",
        fix="Set sessionAffinity to None, shorten its timeout, or use a cookie at an HTTP proxy; SNAT makes all clients one.",
        conclude=session_affinity,
        excluded=exclusions.no_session_affinity,
    ),
    Rule(
        id="traffic-policy-local",
        severity=Severity.RISK,
        title="The Service keeps clients on their own node",
        told_apart="The Service has internalTrafficPolicy: Local, and connections reach only endpoints on the client's node.",
        fix="Set internalTrafficPolicy to Cluster, run a Pod on every node, or use trafficDistribution: PreferSameNode.",
        conclude=traffic_policy_local,
        excluded=exclusions.no_local_policy,
    ),
    Rule(
        id="topology-hints",
        severity=Severity.RISK,
        title="The Service keeps clients in their own zone",
        told_apart="EndpointSlices carry hints (trafficDistribution, topology-mode), and connections keep to those for here.",
        fix="Spread Pods evenly over zones, drop the preference, or accept it: it saves latency and cost between zones.",
        conclude=topology_hints,
        excluded=exclusions.no_hints,
    ),
    Rule(
        id="headless-first-address",
        severity=Severity.RISK,
        title="The client takes the first address of several",
        told_apart="The name resolves to the endpoints themselves, and whoever dials its first address stays with that endpoint.",
        fix="Use all addresses, shuffle them, or resolve anew for each connection.",
        conclude=headless_first_address,
        excluded=exclusions.not_headless,
    ),
    Rule(
        id="pool-order",
        severity=Severity.RISK,
        title="The pool uses few of its connections",
        told_apart="Fresh connections are shared out fairly, and requests per pooled connection are very unequal.",
        fix="Take pooled connections in turn; a bigger pool does not help.",
        conclude=pool_order,
        excluded=exclusions.in_turn,
    ),
    Rule(
        id="http2-multiplexing",
        severity=Severity.RISK,
        title="HTTP/2 puts all requests on one connection",
        told_apart="As connection-pinning, over HTTP/2 or gRPC (spoken, or named by the port): an ordinary client's pool stays "
        "at one connection while the server takes more streams on it.",
        fix="Choose an endpoint per call in the client (gRPC: round_robin over a headless Service, or xDS) or at a proxy that "
        "reads HTTP/2, and end connections at an age with jitter (MAX_CONNECTION_AGE), or new Pods are not seen.",
        conclude=http2_multiplexing,
        excluded=exclusions.not_http2,
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
        id="external-traffic-policy",
        severity=Severity.RISK,
        title="Clients outside the cluster load nodes alike, whatever stands on them",
        told_apart="The Service has externalTrafficPolicy: Local, and nodes have different numbers of endpoints (API facts).",
        fix="Spread the Pods evenly over nodes, let the load balancer know Pods instead of nodes, or set the policy to Cluster.",
        conclude=external_traffic_policy,
        role=Role.DIRECT,
        excluded=exclusions.no_external_policy,
    ),
    Rule(
        id="stale-membership",
        severity=Severity.RISK,
        title="Connections are older than endpoints",
        told_apart="Endpoints joined that held connections never meet: seen during the run, or by the age of Pods.",
        fix="End connections at an age, with jitter, or watch endpoints in the client; until then scaling out does not help.",
        conclude=stale_membership,
        role=Role.DIRECT,
    ),
    Rule(
        id="proxy-policy",
        severity=Severity.INFO,
        title="A proxy shares requests out by a policy of its own",
        told_apart="A proxy is on the way, and what it shares out is significantly unequal: weights, a hash, least requests.",
        fix="Nothing, if that is meant; else choose round robin or least requests at the proxy.",
        conclude=proxy_policy,
        excluded=exclusions.held_to_one,
    ),
    Rule(
        id="per-request-balancing",
        severity=Severity.INFO,
        title="A proxy balances single requests",
        told_apart="One connection is answered by several endpoints: its requests, or its HTTP/2 streams, are placed one by one.",
        fix="Nothing to do: this path is balanced at the HTTP level.",
        conclude=per_request_balancing,
        excluded=exclusions.held_to_one,
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
        id="mixed-versions",
        severity=Severity.INFO,
        title="Several versions serve side by side",
        told_apart="Pods under the selector have different versions or makers; each gets traffic by its number of Pods.",
        fix="Nothing, if that is meant; a share of requests that differs from the share of Pods needs weights at an HTTP proxy.",
        conclude=mixed_versions,
        role=Role.REMARK,
        excluded=exclusions.one_version,
    ),
    Rule(
        id="uneven-work",
        severity=Severity.INFO,
        title="Requests cost different amounts of work",
        told_apart="Counts are even, and the same request takes very different times at most endpoints.",
        fix="Split heavy requests, balance by least requests, or put them into a queue.",
        conclude=uneven_work,
        role=Role.REMARK,
    ),
    Rule(
        id="server-lifetime",
        severity=Severity.INFO,
        title="The server ends connections",
        told_apart="The server closed kept connections after a number of requests or a time; with HTTP/2 the age at which it "
        "said so (GOAWAY) tells whether ages vary.",
        fix="Nothing where ages vary and new Pods get their share soon enough; a shorter age where clients choose anew too "
        "rarely, jitter where all ages are the same.",
        conclude=server_lifetime,
        role=Role.REMARK,
        excluded=exclusions.server_keeps_connections,
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
