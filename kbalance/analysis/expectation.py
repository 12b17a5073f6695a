"""Which endpoints connections from one place are to reach, and with which share, by what the API says."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kbalance.model.report import Vantage
from kbalance.model.target import EndpointFacts, Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """The endpoints that a client at some place is led to, each as often as any other of them."""

    among: tuple[str, ...]
    """Names, in the order of the facts."""
    because: str | None = None
    """The setting that leaves out the others, in the API's words; ``None``: all endpoints are meant."""


def expectation(facts: Facts, vantage: Vantage | None) -> Expectation:
    """What kube-proxy of the client's node makes of the Service's settings.

    Where the node or its zone is not known, and where a setting leaves nobody, all ready endpoints are expected.

    Source: kubernetes/kubernetes `pkg/proxy/topology.go` (CategorizeEndpoints): a local policy keeps to the node's own; hints
    count only if every ready endpoint has one and some endpoint is hinted for here, for the node before the zone.
    """
    service, everyone = facts.service, Expectation(among=tuple(e.name for e in facts.ready))
    if service is None or service.headless or vantage is None or vantage.node is None:
        return everyone
    if service.internal_traffic_policy == "Local":
        own = [e for e in facts.ready if e.node == vantage.node]
        return _only(own, f"internalTrafficPolicy: Local on {vantage.node}") or everyone
    return _hinted(facts.ready, vantage) or everyone


def _hinted(ready: Sequence[EndpointFacts], vantage: Vantage) -> Expectation | None:
    if not ready or not all(e.hints for e in ready):
        return None
    nodes = {e.node for e in ready if e.node is not None}
    if vantage.node is not None and all(nodes & set(e.hints) for e in ready):
        on_node = _only([e for e in ready if vantage.node in e.hints], f"topology hints for node {vantage.node}")
        if on_node is not None:
            return on_node
    return _only([e for e in ready if vantage.zone in e.hints], f"topology hints for zone {vantage.zone}")


def _only(endpoints: Sequence[EndpointFacts], because: str) -> Expectation | None:
    return Expectation(among=tuple(e.name for e in endpoints), because=because) if endpoints else None


def from_outside(endpoints: Collection[EndpointFacts]) -> dict[str, float] | None:
    """Shares of connections that arrive at every node alike and stay on it (``externalTrafficPolicy: Local``).

    A load balancer sends to nodes that have an endpoint, and each shares out to its own: 1 / (nodes x endpoints on the node).
    ``None``: some endpoint's node is not known.

    Source: kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer (preserving the client source IP).
    """
    on_node = Counter(e.node for e in endpoints)
    if not endpoints or None in on_node:
        return None
    return {e.name: 1 / (len(on_node) * on_node[e.node]) for e in endpoints}
