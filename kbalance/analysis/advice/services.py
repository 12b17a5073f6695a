"""Changes of the Service's settings, and of the Pods behind it as a whole."""

from kbalance.analysis.case import Case
from kbalance.analysis.checks.membership import out_of_service, versions
from kbalance.analysis.expectation import from_outside
from kbalance.analysis.samplesize import expected_busiest
from kbalance.analysis.wording import count, listed, percent, times
from kbalance.model.report import Recommendation


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


def external_spread(case: Case) -> Recommendation:
    """Nodes get equal shares from outside, so they should have equally many Pods."""
    shares = from_outside(case.facts.ready)
    share = None if shares is None else max(shares.values()) * case.n
    return Recommendation(
        id="external-spread",
        title="Spread the Pods evenly over nodes, or set externalTrafficPolicy to Cluster",
        why=(
            "With Local, the outside balancer shares out by node, whatever Pods a node has"
            + (
                "."
                if share is None
                else f": the busiest Pod gets {times(share)} times its fair share, 1 / (nodes x Pods on its node)."
            )
        ),
        measured_busiest=None,
        predicted_busiest=1.0 if share is not None else None,
        costs=(
            "topologySpreadConstraints hold when Pods are scheduled, not after one was lost",
            "Cluster adds a hop between nodes and hides the client's address",
        ),
    )


def weight_versions(case: Case) -> Recommendation:
    """The split between versions is told to something that can count requests."""
    _, groups = versions(case.facts.ready)
    shares = [f"{name} {percent(len(members) / case.n)}" for name, members in groups]
    return Recommendation(
        id="weight-versions",
        title="Split versions by weights at an HTTP proxy, not by the number of Pods",
        why="Each Pod gets the same share, so a version gets that of its Pods"
        + (f": {listed(shares, 4)}." if len(shares) > 1 else "."),
        measured_busiest=None,
        predicted_busiest=None,
        costs=("a proxy or mesh that knows versions as routes (HTTPRoute weights)", "none where the split by Pods is meant"),
    )


def repair_readiness(case: Case) -> Recommendation:
    """Pods that are there become ready, and stay so."""
    out, n = out_of_service(case), case.n
    idle = [e for e in out if e not in case.facts.ready]
    known = n + len(idle)
    who = f"{listed(e.name for e in out)} {'is' if len(out) == 1 else 'are'}" if out else "Pods are"
    published = case.facts.service is not None and case.facts.service.publish_not_ready_addresses
    return Recommendation(
        id="repair-readiness",
        title=f"See why {who} not ready",
        why=(
            f"The ready ones carry {times(known / n)} times what each would if all {known} were"
            if idle and n
            else "Only ready endpoints get traffic"
        )
        + ("; publishNotReadyAddresses sends clients of DNS to the others too." if published else "."),
        measured_busiest=None,
        predicted_busiest=None,
        costs=("a readiness probe that passes too early sends requests to a Pod that cannot serve",),
    )
