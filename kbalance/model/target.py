"""What the user named, and what is known of what stands behind it."""

from dataclasses import dataclass
from typing import NamedTuple

from kbalance.model.words import FactsSource, TargetKind


class Address(NamedTuple):
    """An IP address and a TCP port."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def is_ip(host: str) -> bool:
    """Whether this is an address rather than a name."""
    import socket

    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError, TypeError):
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the user named."""

    kind: TargetKind
    scheme: str
    """``http`` or ``https``."""
    host: str
    """Name or address as written in the URL, without brackets; for a Service its cluster address."""
    port: int
    path: str
    """Path and query, starting with a slash."""
    path_given: bool
    """Whether the user chose the path; if not, the identity whitelist may choose one that tells the pod's name."""
    namespace: str | None = None
    name: str | None = None

    @property
    def authority(self) -> str:
        """``host[:port]`` as it stands in a Host header: the default port of the scheme is left out (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """What the API says of the Service; the words are the API's own."""

    type: str
    cluster_ip: str | None
    session_affinity: str = "None"
    internal_traffic_policy: str = "Cluster"
    external_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    affinity_timeout_s: int | None = None
    publish_not_ready_addresses: bool = False
    has_selector: bool = True
    """Without one, somebody else writes the EndpointSlices."""
    selector: tuple[tuple[str, str], ...] = ()
    """Labels of its Pods, sorted."""
    topology_annotation: str | None = None
    """The annotation that asks for topology hints, where one does."""
    port_name: str | None = None
    """Of the port that is probed, as are the next three."""
    app_protocol: str | None = None
    target_port: str | None = None
    """A number, or a name that each Pod gives a number of its own."""
    node_port: int | None = None
    load_balancer: tuple[str, ...] = ()
    """Addresses and names at which a load balancer outside the cluster answers."""

    @property
    def headless(self) -> bool:
        """Whether the Service has no address, and its name leads to the endpoints themselves."""
        return self.cluster_ip == "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """One address and port serving the Service, and what is known of it."""

    name: str
    """Unique in the report: the Pod's name, or the name the user gave, or ``ip:port``."""
    address: Address | None
    """``None`` when it was learned from answers alone."""
    node: str | None = None
    zone: str | None = None
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    hints: tuple[str, ...] = ()
    """Zones and nodes that the EndpointSlice names for it."""
    aliases: tuple[str, ...] = ()
    """Other strings that mean this endpoint when they come back as an identity: hostname, targetRef name."""
    owner: str | None = None
    """What made the Pod, for example ``ReplicaSet/web-6d4cf56db6``."""
    created: str | None = None
    """When the Pod was made, RFC 3339."""
    host_network: bool = False
    """Whether the Pod has its node's address and name."""
    version: str | None = None
    """Of the Pod's label ``app.kubernetes.io/version``, or else ``version``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known before traffic starts; endpoints sorted by name."""

    source: FactsSource
    service: ServiceFacts | None = None
    endpoints: tuple[EndpointFacts, ...] = ()
    revision: str = ""
    """A digest of the Service's spec, then a word for each EndpointSlice: ``NAME:GENERATION:DIGEST-OF-ITS-LABELS``. It tells of
    changes between two readings that were taken back; empty where the facts are not the API's."""
    notices: tuple[str, ...] = ()
    """What could not be read or is out of the ordinary, in sentences."""

    @property
    def ready(self) -> tuple[EndpointFacts, ...]:
        """The endpoints that should get traffic: the ready ones; where there is none, those that still serve while they end.

        The latter are kube-proxy's doing; the name of a headless Service leads to ready endpoints only.

        Source: KEP-1669 (ProxyTerminatingEndpoints, stable since 1.28); kubernetes/kubernetes `pkg/proxy/topology.go`
        (CategorizeEndpoints); coredns/coredns `plugin/kubernetes/object/endpoint.go` (EndpointSliceToEndpoints).
        """
        ready = tuple(e for e in self.endpoints if e.ready)
        if ready or (self.service is not None and self.service.headless):
            return ready
        return tuple(e for e in self.endpoints if e.serving and e.terminating)
