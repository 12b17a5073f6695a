"""Changes at the client: who chooses an endpoint, and when."""

from kbalance.analysis.advice.shape import all_keep, is_grpc, kept, measured, multiplexes
from kbalance.analysis.case import Case
from kbalance.analysis.checks.endpoints import middle
from kbalance.analysis.samplesize import expected_busiest
from kbalance.analysis.wording import count, exchange, millis, times
from kbalance.model.report import Recommendation
from kbalance.model.words import PoolPolicy

SLOW_WORK_MS = 100.0
"""Median time of an answer from which on waiting in a queue, some milliseconds, is small beside the work."""


def client_side_balancing(case: Case) -> Recommendation:
    """The client keeps a connection to each endpoint and picks one per request."""
    direct = measured(case.direct)
    got = f"{times(1.0 if direct is None else direct)} times its fair share{'' if direct is not None else ' by construction'}"
    grpc, http2 = is_grpc(case), multiplexes(case)
    return Recommendation(
        id="client-side-balancing",
        title="Balance in the client" + (": gRPC's round_robin over a headless Service" if grpc else ""),
        why=f"A connection to each endpoint, the next one for each {'call' if grpc else 'request'}: the busiest endpoint got "
        f"{got}; {kept(case)}.{_GRPC_NEEDS_BOTH if grpc else _HTTP2_NEEDS_ADDRESSES if http2 else ''}",
        measured_busiest=direct,
        predicted_busiest=1.0,
        costs=(
            "a line of service config for each channel, as gRPC has it built in" if grpc else "a library for each language",
            f"connections are clients times endpoints ({case.clients:,} x {case.n} = {case.clients * case.n:,})",
            "a headless Service, whose name gRPC looks up again only when a connection ends: without MAX_CONNECTION_AGE at the "
            "servers as well, new Pods are not seen until then"
            if grpc
            else "permission to read EndpointSlices, or a headless Service",
            "slow start and ejection of bad endpoints become the client's business",
        ),
    )


_GRPC_NEEDS_BOTH = (
    " It takes both: over the Service's own name there is one address to choose from, and over a headless one gRPC's default, "
    "pick_first, still stays with the first that answers."
)
_HTTP2_NEEDS_ADDRESSES = (
    " An HTTP/2 client has one connection for each name, so the endpoints must be addresses of their own to it."
)


def meshed_client(case: Case) -> Recommendation:
    """A proxy beside the client places each request; with xDS gRPC does it by itself."""
    mixed = next((p for p in case.through if p.several), None)
    grpc = is_grpc(case)
    unit = "call" if grpc else "request"
    xds = " gRPC can do the same without the proxy where a control plane tells it the endpoints (xDS, targets xds:///)."
    return Recommendation(
        id="meshed-client",
        title="Put the client in a service mesh" + (", or give it xDS" if grpc else ""),
        why=f"A proxy beside the client places each {unit} by itself, whatever connections the client keeps; {kept(case)}."
        + (xds if grpc else ""),
        measured_busiest=measured(mixed),
        predicted_busiest=1.0,
        costs=(
            f"a proxy for each client Pod ({case.clients:,}): memory, latency, operation"
            if case.clients > 1
            else "a proxy for each client Pod: memory, latency, operation",
            *(("xDS takes a control plane (Istio's, or another) and a bootstrap file beside each client",) if grpc else ()),
            "helps only where the client is meshed: a sidecar at the server changes nothing",
        ),
    )


def stream_proxy(case: Case) -> Recommendation:
    """One proxy on the way that reads HTTP/2, for clients that cannot be changed."""
    unit = exchange(case.protocol) if case.protocol.multiplexes else "stream"
    return Recommendation(
        id="stream-proxy",
        title=f"Put a proxy that reads HTTP/2 in front, and let it place each {unit}",
        why=f"It has a connection to each endpoint and sends every {unit} of a client's one connection on by itself; clients "
        f"stay as they are; {kept(case)}.",
        measured_busiest=None,
        predicted_busiest=1.0,
        costs=(
            "a hop on the way: its latency, its capacity, its operation",
            "the proxy must know the endpoints (a headless Service): with the Service's own address it would be pinned as well",
            "clients' connections to several Pods of the proxy are drawn as before: these may be uneven, the endpoints not",
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
