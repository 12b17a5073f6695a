"""What to change, what that did in this run or would do, and what it costs; best first."""

from collections.abc import Callable

from kbalance.analysis.case import Case
from kbalance.analysis.statistics import expected_busiest
from kbalance.analysis.wording import count, listed, percent, times
from kbalance.model.report import Artifact, Diagnosis, ProfileReport, Recommendation
from kbalance.model.words import Placement, PoolPolicy, Spread, TargetKind


def recommend(case: Case, diagnosis: Diagnosis) -> tuple[Recommendation, ...]:
    """The ways out of every finding, those of the leading one first, each once."""
    unique: dict[str, Recommendation] = {}
    for finding in diagnosis.findings:
        for make in WAYS_OUT.get(finding.cause, ()):
            if make in NEED_A_FAIR_DRAW and not _draws_fairly(case):
                continue
            recommendation = make(case)
            unique.setdefault(recommendation.id, recommendation)
    return tuple(unique.values())


def client_side_balancing(case: Case) -> Recommendation:
    """The client keeps a connection to each endpoint and picks one per request."""
    direct = _measured(case.direct)
    return Recommendation(
        id="client-side-balancing",
        title="Balance in the client",
        why=(
            "A connection to each endpoint, the next one for each request: the busiest endpoint got "
            f"{times(1.0 if direct is None else direct)} times its fair share{'' if direct is not None else ' by construction'}; "
            f"{_kept(case)}."
        ),
        measured_busiest=direct,
        predicted_busiest=1.0,
        costs=(
            "a library for each language",
            f"connections are clients times endpoints ({case.n} for each client)",
            "permission to read EndpointSlices, or a headless Service",
            "slow start and ejection of bad endpoints become the client's business",
        ),
    )


def meshed_client(case: Case) -> Recommendation:
    """A proxy beside the client places each request."""
    mixed = next((p for p in case.through if p.several), None)
    return Recommendation(
        id="meshed-client",
        title="Put the client in a service mesh",
        why=f"A proxy beside the client places each request by itself, whatever connections the client keeps; {_kept(case)}.",
        measured_busiest=_measured(mixed),
        predicted_busiest=1.0,
        costs=(
            "a proxy for each client Pod: memory, latency, operation",
            "helps only where the client is meshed: a sidecar at the server changes nothing",
        ),
    )


def shorter_lifetime(case: Case) -> Recommendation:
    """Connections end after a number of requests or a time, so that the endpoint is drawn anew."""
    fresh = _measured(case.fresh)
    predicted = expected_busiest(case.fresh.evidence.connections, case.n) if case.fresh and case.n > 1 else None
    return Recommendation(
        id="shorter-lifetime",
        title="End connections earlier, with jitter",
        why=(
            f"Over {count(case.fresh.connections.opened, 'fresh connection')} the busiest endpoint got {times(fresh)} times its "
            f"fair share; {_kept(case)}."
            if case.fresh is not None and fresh is not None
            else f"Each new connection is a new draw, and many draws even out; {_kept(case)}."
        ),
        measured_busiest=fresh,
        predicted_busiest=predicted,
        costs=(
            f"a handshake for each connection{_connect_cost(case.fresh)}, and TIME_WAIT on the side that closes",
            "evens out over many lifetimes, not within one; too short is as bad as none",
            "without jitter a whole pool moves at once",
        ),
    )


def many_clients(case: Case) -> Recommendation:
    """More connections than endpoints: more clients, or fewer and bigger pods."""
    size = max(1, case.pooled.evidence.connections) if case.pooled is not None else 1
    one, ten = expected_busiest(size, case.n), expected_busiest(10 * size, case.n)
    half = max(2, case.n // 2)
    merged = expected_busiest(10 * size, half)
    return Recommendation(
        id="fewer-bigger-pods",
        title="Run more clients, or fewer and bigger Pods",
        why=f"One client with {count(size, 'connection')} loads the busiest of {case.n} endpoints {times(one)} times its fair "
        f"share on average, ten such clients {times(ten)} times"
        + (f", and over {half} endpoints {times(merged)} times." if half < case.n else "."),
        measured_busiest=None,
        predicted_busiest=merged if half < case.n else ten,
        costs=(
            "a bigger Pod is harder to place and takes more with it when it fails",
            "few clients over many Pods never average out",
        ),
    )


def queue(case: Case) -> Recommendation:
    """Consumers pull at their own pace."""
    return Recommendation(
        id="event-driven",
        title="Put a queue between",
        why="Where answers may come later, consumers pull at their own pace and nobody chooses an endpoint.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("another system to run", "asynchronous semantics for clients"),
    )


def round_robin_pool(case: Case) -> Recommendation:
    """The pool's connections take turns."""
    pooled = case.pooled
    slots = pooled.parameters.get("connections") if pooled is not None else None
    size = slots if isinstance(slots, int) else 1
    predicted = expected_busiest(size, case.n)
    in_turn = pooled is not None and pooled.parameters.get("pool_policy") == PoolPolicy.ROUND_ROBIN
    return Recommendation(
        id="round-robin-pool",
        title="Take pooled connections in turn",
        why=f"In turn, {count(size, 'connection')} over {case.n} endpoints give {times(predicted)} times the fair share on "
        f"average; the pool as it is gave {times((pooled.busiest if pooled else None) or 0)}.",
        measured_busiest=_measured(pooled) if in_turn else None,
        predicted_busiest=predicted,
        costs=("all connections stay open, also when idle", "still a draw per connection: small pools stay uneven"),
    )


def drop_affinity(case: Case) -> Recommendation:
    """The Service stops remembering clients."""
    draws = case.fresh.connections.opened if case.fresh is not None else 1
    return Recommendation(
        id="affinity-none",
        title="Set sessionAffinity to None",
        why=f"Then each fresh connection is drawn anew: {count(draws, 'connection')} over {case.n} endpoints give "
        f"{times(expected_busiest(draws, case.n))} times the fair share on average; now it is {case.n}.",
        measured_busiest=None,
        predicted_busiest=expected_busiest(draws, case.n),
        costs=("sessions kept in a Pod's memory are lost: they need a shared store, or a cookie at an HTTP proxy",),
        artifacts=_affinity_patch(case),
    )


def widen_traffic(case: Case) -> Recommendation:
    """The Service sends connections to every endpoint again."""
    service = case.facts.service
    local = service is not None and service.internal_traffic_policy == "Local"
    setting = "internalTrafficPolicy to Cluster" if local else "no trafficDistribution and no topology-mode"
    draws = case.fresh.connections.opened if case.fresh is not None else 1
    return Recommendation(
        id="widen-traffic",
        title=f"Set {setting}",
        why=f"Then each fresh connection is drawn among all {case.n} endpoints, wherever the client is.",
        measured_busiest=None,
        predicted_busiest=expected_busiest(draws, case.n),
        costs=("latency and traffic between nodes and zones, which some providers charge for",),
    )


def spread_pods(case: Case) -> Recommendation:
    """The preference stays, and every node or zone gets its share of Pods."""
    return Recommendation(
        id="spread-pods",
        title="Keep the preference and spread the Pods as the clients are",
        why="Where each zone or node has the Pods that its clients need, staying near costs nothing (topologySpreadConstraints).",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("a zone that loses its Pods sends everything elsewhere at once, or nowhere with a Local policy",),
    )


def repair_endpoint(case: Case) -> Recommendation:
    """The failing endpoint is repaired or stops being ready."""
    share = case.fresh.requests.failed / case.fresh.requests.sent if case.fresh and case.fresh.requests.sent else None
    failing = [e.name for e in case.direct.endpoints if e.failed] if case.direct is not None else []
    return Recommendation(
        id="repair-endpoint",
        title=f"Repair {listed(failing) if failing else 'the failing endpoint'}, or let its readiness probe fail",
        why=f"{percent(share)} of the requests on fresh connections failed." if share else "It is ready and gets traffic.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("taking it out loads the others with its part",),
    )


def repair_rules(case: Case) -> Recommendation:
    """The node's rules are compared with the API's endpoints."""
    return Recommendation(
        id="check-kube-proxy",
        title="Check kube-proxy on the node where this ran, then measure from another node",
        why="An endpoint that answers when asked directly is never chosen on the way from here.",
        measured_busiest=None,
        predicted_busiest=_fair(case),
        costs=("none for looking; restarting kube-proxy keeps established connections",),
    )


def check_chooser(case: Case) -> Recommendation:
    """The scheduler that does not draw fairly is found and changed."""
    return Recommendation(
        id="change-scheduler",
        title="Find what balances connections on the way, and have it choose at random or in turn",
        why=f"A fair draw of as many connections loads the busiest endpoint {times(_fair(case) or 1.0)} times its fair share."
        + ("" if case.facts.service else " See first whether the Service has sessionAffinity: ClientIP."),
        measured_busiest=None,
        predicted_busiest=_fair(case),
        costs=("whatever relied on the present choice (caches, sessions) loses it",),
    )


def drain(case: Case) -> Recommendation:
    """Pods that leave finish with their clients first."""
    return Recommendation(
        id="drain-and-limit-age",
        title="Let Pods close their connections before they leave, and check the Service's selector",
        why="A kept connection goes on to a Pod after it stopped being an endpoint.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("a preStop delay makes rollouts slower",),
    )


def inspect_slow(case: Case) -> Recommendation:
    """The slow Pod and its node are looked at."""
    return Recommendation(
        id="inspect-slow-endpoint",
        title="Look at the slow Pod (CPU limit, restarts, caches) and its node; replace it to see whether the slowness moves",
        why="Clients pinned to it see its latency on every request, not on some.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("a replaced Pod starts cold",),
    )


def next_step(case: Case) -> Recommendation:
    """What the run lacked."""
    if case.identity.source is None and any(p.unidentified for p in case.profiles):
        return _tell_who_answers(case)
    return Recommendation(
        id="measure-again",
        title="Measure again, with what was lacking",
        why="What that is stands in the finding.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("another run",),
    )


def _tell_who_answers(case: Case) -> Recommendation:
    """The application names its Pod."""
    return Recommendation(
        id="tell-who-answers",
        title="Let every answer say which Pod gave it",
        why="One response header with the Pod's name is enough, for example X-Pod-Name from the variable below.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("a line of configuration or code in the application", "the name becomes visible to clients"),
        artifacts=(Artifact(name="container-env.yaml", kind="kubernetes", content=POD_NAME),),
    )


POD_NAME = """\
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
"""
"""For the container; the Downward API fills it in."""

NEED_A_FAIR_DRAW = (shorter_lifetime, many_clients)
"""More draws even out only what is drawn fairly, from endpoints that all answer."""

WAYS_OUT: dict[str, tuple[Callable[[Case], Recommendation], ...]] = {
    "no-endpoints": (),
    "invalid-measurement": (next_step,),
    "endpoint-failing": (repair_endpoint,),
    "missing-endpoint": (repair_rules,),
    "unknown-endpoint": (drain,),
    "source-hash": (check_chooser, client_side_balancing),
    "balancer-biased": (check_chooser, client_side_balancing),
    "slow-endpoint": (inspect_slow,),
    "session-affinity": (drop_affinity, client_side_balancing),
    "traffic-policy-local": (widen_traffic, spread_pods),
    "topology-hints": (spread_pods, widen_traffic),
    "headless-first-address": (client_side_balancing,),
    "pool-order": (round_robin_pool, client_side_balancing, meshed_client, shorter_lifetime),
    "connection-pinning": (client_side_balancing, meshed_client, shorter_lifetime, many_clients, queue),
    "per-request-balancing": (),
    "small-sample": (client_side_balancing, many_clients),
    "server-lifetime": (),
    "healthy": (),
    "inconclusive": (next_step,),
}
"""By cause, best first."""


def _draws_fairly(case: Case) -> bool:
    return not case.dead and (case.fresh is None or case.fresh.placement not in (Placement.BIASED, Placement.FIXED))


def _measured(report: ProfileReport | None) -> float | None:
    """The busiest endpoint's load over its fair share, where the profile could say."""
    return report.busiest if report is not None and report.spread is not Spread.FAILED else None


def _kept(case: Case) -> str:
    """What clients that keep connections saw, for comparison."""
    kept = [
        f"{times(p.busiest)} with {count(p.connections.opened, 'kept connection')}"
        for p in (case.single, case.pooled)
        if p is not None and p.busiest is not None
    ]
    return f"it was {' and '.join(kept)}" if kept else "clients that keep connections were not measured"


def _fair(case: Case) -> float | None:
    """What a fair draw of this run's fresh connections would have given."""
    if case.fresh is None or not case.fresh.evidence.connections:
        return None
    return expected_busiest(case.fresh.evidence.connections, case.n)


def _connect_cost(fresh: ProfileReport | None) -> str:
    if fresh is None or fresh.connect_ms is None:
        return ""
    return f" (measured: {fresh.connect_ms.p50:.1f} ms)"


def _affinity_patch(case: Case) -> tuple[Artifact, ...]:
    """Takes the time-out away with the setting that it belongs to; accepted by a real API server (v1.34)."""
    if case.target.kind is not TargetKind.SERVICE or case.target.name is None:
        return ()
    namespace = f" --namespace {case.target.namespace}" if case.target.namespace else ""
    patch = '{"spec":{"sessionAffinity":"None","sessionAffinityConfig":null}}'
    return (
        Artifact(
            name="affinity-none.sh",
            kind="shell",
            content=f"kubectl patch service {case.target.name}{namespace} --type merge --patch '{patch}'\n",
        ),
    )
