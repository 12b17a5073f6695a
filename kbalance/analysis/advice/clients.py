"""Changes at the client: who chooses an endpoint, and when."""

from kbalance.analysis.advice.shape import all_keep, is_grpc, kept, measured
from kbalance.analysis.case import Case
from kbalance.analysis.checks.endpoints import middle
from kbalance.analysis.samplesize import expected_busiest
from kbalance.analysis.wording import count, millis, times
from kbalance.model.report import Recommendation
from kbalance.model.words import PoolPolicy

SLOW_WORK_MS = 100.0
"""Median time of an answer from which on waiting in a queue, some milliseconds, is small beside the work."""


def client_side_balancing(case: Case) -> Recommendation:
    """The client keeps a connection to each endpoint and picks one per request."""
    direct = measured(case.direct)
    grpc = is_grpc(case)
    return Recommendation(
        id="client-side-balancing",
        title="Balance in the client" + (": gRPC's round_robin over a headless Service" if grpc else ""),
        why=(
            "A connection to each endpoint, the next one for each request: the busiest endpoint got "
            f"{times(1.0 if direct is None else direct)} times its fair share{'' if direct is not None else ' by construction'}; "
            f"{kept(case)}."
        ),
        measured_busiest=direct,
        predicted_busiest=1.0,
        costs=(
            "a line of service config for each channel; gRPC has it built in" if grpc else "a library for each language",
            f"connections are clients times endpoints ({case.clients:,} x {case.n} = {case.clients * case.n:,})",
            "a headless Service: new Pods are seen when a connection ends or the name is looked up again"
            if grpc
            else "permission to read EndpointSlices, or a headless Service",
            "slow start and ejection of bad endpoints become the client's business",
        ),
    )


def meshed_client(case: Case) -> Recommendation:
    """A proxy beside the client places each request."""
    mixed = next((p for p in case.through if p.several), None)
    return Recommendation(
        id="meshed-client",
        title="Put the client in a service mesh",
        why=f"A proxy beside the client places each request by itself, whatever connections the client keeps; {kept(case)}.",
        measured_busiest=measured(mixed),
        predicted_busiest=1.0,
        costs=(
            f"a proxy for each client Pod ({case.clients:,}): memory, latency, operation"
            if case.clients > 1
            else "a proxy for each client Pod: memory, latency, operation",
            "helps only where the client is meshed: a sidecar at the server changes nothing",
        ),
    )


def round_robin_pool(case: Case) -> Recommendation | None:
    """The pool's connections take turns."""
    pooled = case.pooled
    if pooled is None or pooled.parameters.get("pool_policy") == PoolPolicy.ROUND_ROBIN:
        return None
    size = case.clients * case.connections
    predicted = expected_busiest(size, case.n)
    return Recommendation(
        id="round-robin-pool",
        title="Take pooled connections in turn",
        why=f"In turn, {count(size, 'connection')} over {case.n} endpoints give {times(predicted)} times the fair share on "
        f"average; the pool as it is gave {times(pooled.busiest or 0)}.",
        measured_busiest=None,
        predicted_busiest=predicted,
        costs=("all connections stay open, also when idle", "still a draw per connection: small pools stay uneven"),
    )


def queue(case: Case) -> Recommendation | None:
    """Consumers pull at their own pace; worth another system only where the work takes long."""
    took = _median_ms(case)
    if took is None or took < SLOW_WORK_MS:
        return None
    return _queue(f"an answer takes {millis(took)} (median), so a wait of some milliseconds in a queue is little beside it")


def queue_for_uneven_work(case: Case) -> Recommendation:
    """The same where requests differ in weight, so that no even count of them is an even load."""
    return _queue("requests differ in weight, so that no even count of them is an even load")


def _queue(because: str) -> Recommendation:
    return Recommendation(
        id="event-driven",
        title="Put a queue between, where answers may come later",
        why=f"Consumers pull at their own pace and nobody chooses an endpoint; {because}.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("another system to run", "asynchronous semantics for clients"),
    )


def split_work(case: Case) -> Recommendation:
    """Heavy requests are made smaller, or placed by how busy an endpoint is."""
    return Recommendation(
        id="split-work",
        title="Balance by requests under way (least request), and split the heavy ones",
        why="Counts are even and load is not: requests differ in weight, and only who looks at what an endpoint still has to do "
        f"can even that out; {count(all_keep(case), 'connection')} drawn blindly cannot.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=(
            "least request needs a proxy or client that places single requests, and sees only its own",
            "splitting changes the application's interface",
        ),
    )


def _median_ms(case: Case) -> float | None:
    """The median over the endpoints of their median time to answer when asked directly."""
    took = [e.latency_ms.p50 for e in case.direct.endpoints if e.latency_ms is not None] if case.direct is not None else []
    return middle(took)
