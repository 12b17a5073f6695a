"""Repairs of single endpoints, and of what chooses among them."""

from kbalance.analysis.advice.shape import fair
from kbalance.analysis.case import Case
from kbalance.analysis.checks.endpoints import failing_at_times, failing_directly, proxys_own_errors
from kbalance.analysis.wording import count, listed, percent, times
from kbalance.model.report import Recommendation
from kbalance.model.words import FactsSource


def repair_endpoint(case: Case) -> Recommendation | None:
    """The failing endpoint is repaired or stops being ready."""
    if proxys_own_errors(case):
        return None
    share = case.fresh.requests.failed / case.fresh.requests.sent if case.fresh and case.fresh.requests.sent else None
    failing = [e.name for e in failing_directly(case)] or failing_at_times(case)
    probe = "their readiness probes" if len(failing) > 1 else "its readiness probe"
    return Recommendation(
        id="repair-endpoint",
        title=f"Repair {listed(failing) if failing else 'the failing endpoint'}, or let {probe} fail",
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
        predicted_busiest=fair(case),
        costs=("none for looking; restarting kube-proxy keeps established connections",),
    )


def check_chooser(case: Case) -> Recommendation:
    """The scheduler that does not draw fairly is found and changed."""
    return Recommendation(
        id="change-scheduler",
        title="Find what balances connections on the way, and have it choose at random or in turn",
        why=f"A fair draw of as many connections loads the busiest endpoint {times(fair(case) or 1.0)} times its fair share."
        + ("" if case.facts.service else " See first whether the Service has sessionAffinity: ClientIP."),
        measured_busiest=None,
        predicted_busiest=fair(case),
        costs=("whatever relied on the present choice (caches, sessions) loses it",),
    )


def check_selector(case: Case) -> Recommendation:
    """Nobody is behind the Service."""
    known = len(case.facts.endpoints)
    return Recommendation(
        id="check-selector",
        title="See why Pods are not ready" if known else "Compare the Service's selector with the Pods' labels",
        why=f"{count(known, 'endpoint')} known, and none of them is ready.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("none for looking",),
    )


def drain(case: Case) -> Recommendation | None:
    """Pods that leave finish with their clients first."""
    if case.facts.source is FactsSource.GIVEN:
        return None
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
