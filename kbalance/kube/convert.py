"""API objects as JSON values to facts: pure, and deaf to fields that it does not know.

Source: kubernetes/api `discovery/v1/types.go` (EndpointSlice, Endpoint, EndpointConditions) and `core/v1/types.go` (ServiceSpec).
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kbalance.errors import DiscoveryError
from kbalance.model.target import Address, EndpointFacts, Facts, ServiceFacts
from kbalance.model.words import FactsSource

Object = Mapping[str, Any]

ZONE_LABEL = "topology.kubernetes.io/zone"
VERSION_LABELS = ("app.kubernetes.io/version", "version")
"""The recommended one (kubernetes.io/docs/concepts/overview/working-with-objects/common-labels), and the one of Istio."""
TOPOLOGY_ANNOTATIONS = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
"""Newest first; they came before ``spec.trafficDistribution``."""


def facts(service: Object, slices: Sequence[Object], port: int | str | None = None) -> Facts:
    """What the API says of a Service and of the endpoints behind one of its ports.

    Args:
        service: the Service object.
        slices: all of its EndpointSlices, in any order; an endpoint may stand in several of them.
        port: number or name of a Service port; ``None``: the only one.

    Raises:
        DiscoveryError: when the Service has no such port, or several and none was named.
    """
    probed = service_port(service, port)
    used = _used(service, slices)
    found = _behind(used, probed["port"] if _portless(service) else probed.get("name") or "")
    endpoints = sorted(_named_apart(found), key=lambda endpoint: endpoint.name)
    return Facts(
        source=FactsSource.API,
        service=_service_facts(service, probed),
        endpoints=tuple(endpoints),
        revision=_revision(service, used),
    )


def usable(slices: Sequence[Object], port: str | int, service: Object | None = None) -> tuple[EndpointFacts, ...]:
    """The endpoints that are to get traffic, sorted by name: the ready ones, or else those that still serve while they end.

    Args:
        slices: all EndpointSlices of a Service, in any order; an endpoint may stand in several of them.
        port: the port's name, or its number where it has no name because the Service lists no ports.
        service: the Service object; without it IPv4 is preferred where there are both families.

    Source: KEP-1669 (ProxyTerminatingEndpoints); a headless Service is treated alike.
    """
    found = sorted(_behind(_used(service or {}, slices), port), key=lambda endpoint: endpoint.name)
    ready = tuple(endpoint for endpoint in found if endpoint.ready)
    return ready or tuple(endpoint for endpoint in found if endpoint.serving and endpoint.terminating)


def tcp_ports(slices: Iterable[Object]) -> dict[str, list[int]]:
    """The names of all ports, and the number that each slice has for it; no port has the empty name beside others."""
    numbers: dict[str, list[int]] = {}
    for one in slices:
        for name in {port.get("name") or "" for port in _list(one, "ports")}:
            for number in _port_numbers(one, name):
                numbers.setdefault(name, []).append(number)
    return numbers


def headless(service: Object) -> bool:
    """Whether its name leads to the endpoints themselves."""
    return bool(_in(service, "spec", "clusterIP") == "None")


def _used(service: Object, slices: Sequence[Object]) -> list[Object]:
    family = _family(service, slices)
    return [one for one in slices if one.get("addressType", family) == family]


def _behind(slices: Iterable[Object], port: str | int) -> list[EndpointFacts]:
    """The endpoints behind the port of that name, or behind that number whatever the slices say."""
    return _merged(
        endpoint
        for one in sorted(slices, key=lambda one: str(_in(one, "metadata", "name")))
        for number in ([port] if isinstance(port, int) else _port_numbers(one, port))
        for endpoint in _endpoints(one, number)
    )


def _revision(service: Object, slices: Iterable[Object]) -> str:
    """As in `Facts.revision`; a generation grows with every change of endpoints, ports or labels.

    Source: kubernetes/kubernetes `pkg/registry/discovery/endpointslice/strategy.go` (PrepareForUpdate).
    """
    words = sorted(
        f"{_in(one, 'metadata', 'name')}:{_in(one, 'metadata', 'generation') or 0}:{_digest(_in(one, 'metadata', 'labels'))}"
        for one in slices
    )
    return " ".join((_digest(service.get("spec")), *words))


def _digest(value: Any) -> str:
    return f"{zlib.crc32(json.dumps(value or {}, sort_keys=True).encode()):08x}"


def service_port(service: Object, port: int | str | None = None) -> Object:
    """The entry of ``spec.ports`` that the user means.

    Args:
        service: the Service object.
        port: number or name; a string of digits is a number, as port names hold at least one letter. A headless Service may
            leave out its ports, and then any number is one.

    Raises:
        DiscoveryError: when there is no such port, or several and none was named.
    """
    ports: list[Object] = [one for one in _list(service, "spec", "ports") if one.get("protocol", "TCP") == "TCP"]
    if port is None:
        if len(ports) == 1:
            return ports[0]
        raise DiscoveryError(_which_port(service, ports))
    wanted = int(port) if isinstance(port, str) and port.isdecimal() else port
    for one in ports:
        if wanted in (one.get("port"), one.get("name")):
            return one
    if _portless(service) and isinstance(wanted, int):
        return {"port": wanted}
    raise DiscoveryError(f"Service {_full_name(service)} has no TCP port {port}; it has {_port_list(ports) or 'none at all'}")


def _portless(service: Object) -> bool:
    return headless(service) and not _list(service, "spec", "ports")


def _which_port(service: Object, ports: Sequence[Object]) -> str:
    if _portless(service):
        name = _in(service, "metadata", "name")
        return f"Headless Service {_full_name(service)} names no port; name the Pods' own, for example svc/{name}:8080"
    if not ports:
        return f"Service {_full_name(service)} has no TCP port, so there is nothing to connect to"
    example = ports[0].get("name") or ports[0].get("port")
    several = f"Service {_full_name(service)} has several ports: {_port_list(ports)}"
    return f"{several}; name one, for example svc/{_in(service, 'metadata', 'name')}:{example}"


def _port_list(ports: Iterable[Object]) -> str:
    return ", ".join(f"{one.get('port')} ({one['name']})" if one.get("name") else str(one.get("port")) for one in ports)


def _full_name(service: Object) -> str:
    return f"{_in(service, 'metadata', 'namespace')}/{_in(service, 'metadata', 'name')}"


def _service_facts(service: Object, port: Object) -> ServiceFacts:
    spec: Object = service.get("spec") or {}
    annotation = _topology_annotation(service)
    balancers = _list(service, "status", "loadBalancer", "ingress")
    target_port = port.get("targetPort")
    return ServiceFacts(
        type=spec.get("type") or "ClusterIP",
        cluster_ip=spec.get("clusterIP") or None,
        session_affinity=spec.get("sessionAffinity") or "None",
        internal_traffic_policy=spec.get("internalTrafficPolicy") or "Cluster",
        external_traffic_policy=spec.get("externalTrafficPolicy") or None,
        traffic_distribution=spec.get("trafficDistribution") or ("topology-mode: Auto" if annotation else None),
        affinity_timeout_s=_in(service, "spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"),
        publish_not_ready_addresses=bool(spec.get("publishNotReadyAddresses")),
        has_selector=bool(spec.get("selector")),
        selector=tuple(sorted((str(key), str(value)) for key, value in (spec.get("selector") or {}).items())),
        topology_annotation=annotation,
        port_name=port.get("name") or None,
        app_protocol=port.get("appProtocol") or None,
        target_port=None if target_port is None else str(target_port),
        node_port=port.get("nodePort") or None,
        load_balancer=tuple(str(one.get("ip") or one.get("hostname")) for one in balancers),
    )


def _topology_annotation(service: Object) -> str | None:
    """The annotation that says Auto, if the newest one that is there does."""
    annotations: Object = _in(service, "metadata", "annotations") or {}
    newest = next((key for key in TOPOLOGY_ANNOTATIONS if key in annotations), None)
    return newest if newest is not None and str(annotations[newest]).lower() == "auto" else None


def _family(service: Object, slices: Sequence[Object]) -> str:
    """The address type of the Service's first address.

    A dual-stack Service has slices of both types, which name every pod twice. Slices of type FQDN are nobody's: kube-proxy
    skips them.
    """
    families = _list(service, "spec", "ipFamilies")
    if families:
        return str(families[0])
    types = {str(one.get("addressType", "IPv4")) for one in slices} & {"IPv4", "IPv6"}
    preferred = "IPv6" if ":" in str(_in(service, "spec", "clusterIP") or "") else "IPv4"
    return preferred if preferred in types or not types else min(types)


def _port_numbers(one: Object, name: str) -> list[int]:
    """The slice's number of the named port, at most one; slices of one Service may disagree when targetPort is a name."""
    return [
        port["port"]
        for port in _list(one, "ports")
        if (port.get("name") or "") == name and (port.get("protocol") or "TCP") == "TCP" and port.get("port") is not None
    ][:1]


def _endpoints(one: Object, port: int) -> list[EndpointFacts]:
    return [_endpoint(endpoint, port) for endpoint in _list(one, "endpoints") if endpoint.get("addresses")]


def _endpoint(endpoint: Object, port: int) -> EndpointFacts:
    """One endpoint's facts.

    Only its first address counts, as for kube-proxy. An absent `ready` counts as ready, an absent `serving` follows `ready`,
    an absent `terminating` counts as false (`discovery/v1/types.go`, EndpointConditions). The present text of the API reads an
    absent `serving` as true, earlier ones deferred to `ready`; they differ only where somebody writes ``ready: false`` alone.
    """
    address = Address(endpoint["addresses"][0], port)
    conditions: Object = endpoint.get("conditions") or {}
    ready = _or(conditions.get("ready"), True)
    target = _in(endpoint, "targetRef", "name")
    name = str(target or address)
    return EndpointFacts(
        name=name,
        address=address,
        node=endpoint.get("nodeName") or None,
        zone=endpoint.get("zone") or None,
        ready=ready,
        serving=_or(conditions.get("serving"), ready),
        terminating=_or(conditions.get("terminating"), False),
        hints=_hints(endpoint),
        aliases=tuple(alias for alias in (endpoint.get("hostname"),) if alias and alias != name),
    )


def _hints(endpoint: Object) -> tuple[str, ...]:
    named = [*_list(endpoint, "hints", "forZones"), *_list(endpoint, "hints", "forNodes")]
    return tuple(hint["name"] for hint in named)


def _merged(endpoints: Iterable[EndpointFacts]) -> list[EndpointFacts]:
    """One for each address.

    While the controller moves an endpoint between slices, it stands in both, and one of them may be behind: the one that would
    get traffic is kept.
    """
    merged: dict[Address | None, EndpointFacts] = {}
    for endpoint in endpoints:
        known = merged.get(endpoint.address)
        if known is None or _usable(endpoint) > _usable(known):
            merged[endpoint.address] = endpoint
    return list(merged.values())


def _usable(endpoint: EndpointFacts) -> tuple[bool, bool, bool]:
    return endpoint.ready, endpoint.serving, not endpoint.terminating


def _named_apart(endpoints: Sequence[EndpointFacts]) -> list[EndpointFacts]:
    """The same with unique names: targets that share one are called by their address, with the name as an alias."""
    bearers = Counter(endpoint.name for endpoint in endpoints)
    return [
        replace(endpoint, name=str(endpoint.address), aliases=(endpoint.name, *endpoint.aliases))
        if bearers[endpoint.name] > 1
        else endpoint
        for endpoint in endpoints
    ]


def names_a_pod(one: Object) -> bool:
    """Whether an EndpointSlice says which Pod is behind one of its endpoints."""
    return any(_in(endpoint, "targetRef", "kind") == "Pod" for endpoint in _list(one, "endpoints"))


def with_pods(endpoints: Iterable[EndpointFacts], pods: Iterable[Object]) -> tuple[EndpointFacts, ...]:
    """The endpoints with what their Pods tell: owner, age, names under which the Pod knows itself."""
    known = {str(_in(pod, "metadata", "name")): pod for pod in pods}
    # An endpoint that shares its Pod with another port is called by its address, and the Pod's name is its first alias.
    named = ((e, next((name for name in (e.name, *e.aliases[:1]) if name in known), None)) for e in endpoints)
    return tuple(_with_pod(e, known[name]) if name is not None else e for e, name in named)


def _with_pod(endpoint: EndpointFacts, pod: Object) -> EndpointFacts:
    owners = [o for o in _list(pod, "metadata", "ownerReferences") if o.get("controller")]
    labels: Object = _in(pod, "metadata", "labels") or {}
    shared = bool(_in(pod, "spec", "hostNetwork"))
    node = endpoint.node or _in(pod, "spec", "nodeName")
    own = (_in(pod, "spec", "hostname"), node if shared else None)
    aliases = dict.fromkeys((*endpoint.aliases, *(name for name in own if name and name != endpoint.name)))
    return replace(
        endpoint,
        owner=f"{owners[0].get('kind')}/{owners[0].get('name')}" if owners else None,
        created=_in(pod, "metadata", "creationTimestamp"),
        version=next((str(labels[key]) for key in VERSION_LABELS if key in labels), None),
        host_network=shared,
        node=node,
        aliases=tuple(aliases),
    )


def zones_of(nodes: Iterable[Object]) -> dict[str, str]:
    """Node to zone, from the nodes' labels."""
    found = {str(_in(node, "metadata", "name")): _in(node, "metadata", "labels", ZONE_LABEL) for node in nodes}
    return {name: str(zone) for name, zone in found.items() if zone}


def _or(value: bool | None, otherwise: bool) -> bool:
    return otherwise if value is None else value


def _in(value: Object, *path: str) -> Any:
    """The value at a path; ``None`` where a part of it is absent or null."""
    found: Any = value
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _list(value: Object, *path: str) -> list[Any]:
    """The list at a path; absent and null lists are empty."""
    return _in(value, *path) or []
