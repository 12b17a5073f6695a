"""From causes to ways out: the table, and the door that reads it."""

from collections.abc import Callable
from dataclasses import replace

from kbalance.analysis.advice.capacity import many_clients
from kbalance.analysis.advice.clients import (
    client_side_balancing,
    meshed_client,
    queue,
    queue_for_uneven_work,
    round_robin_pool,
    split_work,
    stream_proxy,
)
from kbalance.analysis.advice.endpoints import check_chooser, check_selector, drain, inspect_slow, repair_endpoint, repair_rules
from kbalance.analysis.advice.lifetimes import shorter_lifetime
from kbalance.analysis.advice.measuring import complete_list, next_step
from kbalance.analysis.advice.proxies import proxy_least_request, proxy_retries, proxy_to_endpoints
from kbalance.analysis.advice.ranking import ranked
from kbalance.analysis.advice.services import (
    drop_affinity,
    external_spread,
    repair_readiness,
    spread_pods,
    weight_versions,
    widen_traffic,
)
from kbalance.analysis.advice.settings import setting_of
from kbalance.analysis.advice.shape import draws_fairly
from kbalance.analysis.artifacts import artifacts
from kbalance.analysis.case import Case
from kbalance.model.report import Diagnosis, Recommendation

Maker = Callable[[Case], Recommendation | None]
"""``None``: it does not fit this case."""

NEED_A_FAIR_DRAW: tuple[Maker, ...] = (shorter_lifetime, many_clients)
"""More draws even out only what is drawn fairly, from endpoints that all answer."""

WAYS_OUT: dict[str, tuple[Maker, ...]] = {
    "no-endpoints": (check_selector,),
    "invalid-measurement": (next_step,),
    "endpoint-failing": (repair_endpoint, proxy_retries),
    "missing-endpoint": (repair_rules,),
    "unknown-endpoint": (complete_list, drain),
    "not-ready": (repair_readiness,),
    "source-hash": (check_chooser, client_side_balancing),
    "balancer-biased": (check_chooser, client_side_balancing),
    "slow-endpoint": (inspect_slow,),
    "session-affinity": (drop_affinity, client_side_balancing),
    "traffic-policy-local": (widen_traffic, spread_pods),
    "topology-hints": (spread_pods, widen_traffic),
    "external-traffic-policy": (external_spread,),
    "headless-first-address": (client_side_balancing,),
    "proxy-keepalive": (proxy_to_endpoints,),
    "stale-membership": (shorter_lifetime, client_side_balancing),
    "pool-order": (round_robin_pool, client_side_balancing, shorter_lifetime, meshed_client),
    "http2-multiplexing": (client_side_balancing, meshed_client, shorter_lifetime, stream_proxy),
    "connection-pinning": (client_side_balancing, shorter_lifetime, meshed_client, many_clients, queue),
    "per-request-balancing": (),
    "proxy-policy": (proxy_least_request,),
    "mixed-versions": (weight_versions,),
    "uneven-work": (split_work, queue_for_uneven_work),
    "small-sample": (client_side_balancing, shorter_lifetime, many_clients),
    "server-lifetime": (),
    "healthy": (),
    "inconclusive": (next_step,),
}
"""By cause; the order counts among equals (see `kbalance.analysis.advice.ranking`)."""


def recommend(case: Case, diagnosis: Diagnosis) -> tuple[Recommendation, ...]:
    """The ways out of every finding, those of the leading one first, each once, with the texts that make the change."""
    unique: dict[str, Recommendation] = {}
    for finding in diagnosis.findings:
        fitting = (m for m in WAYS_OUT.get(finding.cause, ()) if m not in NEED_A_FAIR_DRAW or draws_fairly(case))
        made = [one for make in fitting if (one := make(case)) is not None]
        for one in ranked(finding.cause, made, case):
            unique.setdefault(one.id, one)
    setting = setting_of(case)
    # A queue changes what clients are promised, so it comes after whatever changes only who answers them.
    ordered = sorted(unique.values(), key=lambda one: one.id == "event-driven")
    return tuple(replace(one, artifacts=artifacts(one.id, setting)) for one in ordered)
