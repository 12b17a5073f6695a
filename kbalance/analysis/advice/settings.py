"""What the texts to paste are filled in with."""

import re
from collections.abc import Sequence

from kbalance.analysis.advice.lifetimes import renewal, requests_in
from kbalance.analysis.advice.shape import is_grpc, multiplexes
from kbalance.analysis.artifacts import Setting
from kbalance.analysis.case import Case, came_back
from kbalance.analysis.lifetime import JITTER
from kbalance.model.target import EndpointFacts
from kbalance.model.words import FactsSource, TargetKind

_REPLICA_SET = re.compile(r"ReplicaSet/(.+)-[bcdfghjklmnpqrstvwxz2456789]{5,10}")

REQUESTS = 1000
"""Per connection, where the run set no pace: nginx's own default, which a lifetime by age stands beside in any case."""


def setting_of(case: Case) -> Setting:
    """The names, ports and advised values of a case."""
    target, service = case.target, case.facts.service
    named = target.kind is TargetKind.SERVICE and target.name is not None
    advised = renewal(case)
    paced = requests_in(advised.lifetime_s, case)
    ports = {e.address.port for e in case.facts.ready if e.address is not None}
    return Setting(
        service=target.name if named and target.name is not None else target.host,
        namespace=target.namespace if named else None,
        port=target.port,
        port_name=service.port_name if service is not None else None,
        target_port=service.target_port if service is not None else None,
        endpoint_port=ports.pop() if len(ports) == 1 else None,
        scheme=target.scheme,
        grpc=_grpc(case),
        http2=multiplexes(case),
        http1=not case.protocol.multiplexes or target.scheme == "https",
        endpoints_named=named or case.facts.source is FactsSource.DNS,
        selector=service.selector if service is not None else (),
        headless=service is not None and service.headless,
        connections=case.connections,
        lifetime_s=advised.lifetime_s,
        lifetime_requests=REQUESTS if paced is None else _human(paced[1]),
        jitter=JITTER,
        owner=_deployment(case.facts.ready),
        node=case.vantage.node if case.vantage is not None else None,
        internal_traffic_policy_local=service is not None and service.internal_traffic_policy == "Local",
        traffic_distribution=service.traffic_distribution if service is not None and not service.topology_annotation else None,
        topology_annotation=service.topology_annotation if service is not None else None,
    )


def _grpc(case: Case) -> bool | None:
    if is_grpc(case):
        return True
    if case.protocol.multiplexes and case.identity.source is not None:
        # Requests that were no calls were answered over HTTP/2, by somebody who said who it is.
        return False
    # HTTP/2 may be gRPC, and what answers over HTTP/1.1 is not gRPC alone.
    if multiplexes(case) or (case.facts.service is None and not any(map(came_back, case.profiles))):
        return None
    return False


def _deployment(ready: Sequence[EndpointFacts]) -> str | None:
    """The Deployment of all Pods, told by the name of their ReplicaSet, which ends in a hash of the Pod's template.

    Source: kubernetes/kubernetes `pkg/controller/deployment/sync.go` (getNewReplicaSet); letters by `SafeEncodeString`.
    """
    owners = {e.owner for e in ready}
    owner = owners.pop() if len(owners) == 1 else None
    made = _REPLICA_SET.fullmatch(owner) if owner is not None else None
    return made[1] if made else None


def _human(number: float) -> int:
    """Rounded down to a digit and zeros, at least 1."""
    whole = max(1, int(number))
    power = int(10 ** (len(str(whole)) - 1))
    return whole // power * power
