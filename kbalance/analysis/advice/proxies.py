"""Changes at an HTTP proxy on the way."""

from kbalance.analysis.advice.shape import measured
from kbalance.analysis.case import Case
from kbalance.analysis.checks.endpoints import proxys_own_errors
from kbalance.analysis.wording import count, millis, times
from kbalance.model.report import Recommendation

UNLIKE = 2.0
"""Slowest endpoint's median time over the fastest's from which on it pays to look at how busy an endpoint is."""

UNLIKE_MS = 1.0
"""And so much more: below, it is noise of the machine that measures."""


def proxy_to_endpoints(case: Case) -> Recommendation:
    """The proxy's upstream is the list of endpoints, no longer the Service's one address."""
    fresh = measured(case.fresh)
    seen = "" if case.fresh is None or fresh is None else (
        f": through it, {count(case.fresh.connections.opened, 'fresh connection')} of clients loaded the busiest endpoint "
        f"{times(fresh)} times its fair share"
    )  # fmt: skip
    return Recommendation(
        id="proxy-to-endpoints",
        title="Point the proxy at the endpoints (headless Service, EndpointSlices), or end its upstream connections earlier",
        why=f"The proxy keeps its own connections to the Service's address, and they stay where they were drawn{seen}; with the "
        "endpoints as its upstream it can place each request.",
        measured_busiest=None,
        predicted_busiest=1.0,
        costs=(
            "the proxy must follow changes of the endpoints: permission to read EndpointSlices, or DNS with a short time to live",
            "a lower upstream keep-alive costs a handshake for each new connection, and evens out over many",
        ),
    )


def proxy_least_request(case: Case) -> Recommendation | None:
    """A policy that follows load, where endpoints are unlike; a proxy's shares need no cure where they are alike."""
    asked = case.direct.endpoints if case.direct is not None else ()
    times_ms = [e.latency_ms.p50 for e in asked if e.latency_ms is not None]
    if len(times_ms) < 2 or max(times_ms) < max(UNLIKE * min(times_ms), min(times_ms) + UNLIKE_MS):
        return None
    return Recommendation(
        id="proxy-least-request",
        title="Let the proxy choose by requests under way (LEAST_REQUEST), not in turn",
        why=f"Asked directly, the slowest endpoint takes {millis(max(times_ms))} and the fastest {millis(min(times_ms))} "
        "(medians): in turn, requests pile up at the slow one.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("counts of requests become uneven on purpose", "each proxy sees its own requests only"),
    )


def proxy_retries(case: Case) -> Recommendation | None:
    """A proxy that has errors of its own sends elsewhere what no endpoint took."""
    errors = proxys_own_errors(case)
    if not errors or case.direct is None:
        return None
    asked = count(case.direct.requests.answered, "direct request")
    return Recommendation(
        id="proxy-retries",
        title="Let the proxy send again what no endpoint took, and read in its access log why it fails (Envoy: %RESPONSE_FLAGS%)",
        why=f"{count(errors, 'error answer')} had no endpoint's name, and of {asked} none failed. A proxy answers so for an "
        "endpoint that is gone (Envoy: UF), or that ends its connection with requests on their way (UR).",
        measured_busiest=None,
        predicted_busiest=None,
        costs=(
            "what is sent again takes longer",
            "where an endpoint had taken the request (UC), only what may be done twice can go again",
        ),
    )
