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


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known before traffic starts; endpoints sorted by name."""

    source: FactsSource
    service: ServiceFacts | None = None
    endpoints: tuple[EndpointFacts, ...] = ()

    @property
    def ready(self) -> tuple[EndpointFacts, ...]:
        """The endpoints that should get traffic."""
        return tuple(e for e in self.endpoints if e.ready)
