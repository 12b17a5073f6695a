"""What the texts are filled in with, and the names that follow from it."""

from dataclasses import dataclass

from kbalance.analysis.artifacts.text import plain

LONGEST_LABEL = 63
"""Characters of a DNS label (RFC 1035, 2.3.4)."""

CLUSTER_DOMAIN = "cluster.local"
"""The default of kubeadm and of the managed clusters; the API does not tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a text is filled in with."""

    service: str
    """Name of the Service; for a URL the host."""
    namespace: str | None
    """``None``: the target is a URL, and there are no manifests for it."""
    port: int
    port_name: str | None = None
    target_port: str | None = None
    endpoint_port: int | None = None
    """The port that the endpoints listen on, as their EndpointSlices say; a headless name leads there, not to `port`."""
    scheme: str = "http"
    grpc: bool | None = None
    """Whether the Service speaks gRPC; ``None``: unknown, and there are texts for both."""
    http2: bool = False
    """Whether the Service speaks HTTP/2, as gRPC does."""
    http1: bool = True
    """Whether it may answer clients that speak HTTP/1.1 alone; not where HTTP/2 was spoken without TLS, so without a choice."""
    selector: tuple[tuple[str, str], ...] = ()
    """The Service's, where it is known."""
    endpoints_named: bool = True
    """Whether a DNS name has the addresses of all endpoints, or could be given them by a headless Service."""
    headless: bool = False
    """Whether the Service itself has no address of its own; then it needs no headless one beside it."""
    dns: str = "kube-dns.kube-system.svc.cluster.local"
    """The cluster's DNS server, for proxies that look names up by themselves."""
    connections: int = 10
    """Size of a client's pool."""
    lifetime_s: float = 300.0
    """Advised age of a connection."""
    lifetime_requests: int = 1000
    """Advised requests per connection."""
    jitter: float = 0.1
    """Share by which lifetimes vary."""
    refresh_s: float = 10.0
    """How often a client looks the endpoints up."""
    owner: str | None = None
    """The Deployment of the Service's Pods, where it is known."""
    node: str | None = None
    """Where the traffic started, if that was on a node of the cluster."""
    internal_traffic_policy_local: bool = False
    traffic_distribution: str | None = None
    topology_annotation: str | None = None
    """The annotation that asks for topology hints, if the Service has one: ``service.kubernetes.io/topology-mode``."""

    @property
    def h2c(self) -> bool:
        """Whether HTTP/2 without TLS is all that is known to be answered, so that a client must begin with it."""
        return self.http2 and not self.http1

    @property
    def httpx_protocol(self) -> str:
        """The arguments by which httpx's transports speak as the Service does; empty where their defaults do."""
        if self.h2c:
            return "http1=False, http2=True"
        return "http2=True" if self.http2 and self.scheme == "https" else ""

    @property
    def host(self) -> str:
        """Where clients go now; an IPv6 address without its brackets."""
        if self.namespace is None:
            return plain(self.service.removeprefix("[").removesuffix("]"))
        return f"{plain(self.service)}.{plain(self.namespace)}.svc.{CLUSTER_DOMAIN}"

    @property
    def authority(self) -> str:
        """`host` and `port` as a URL has them; the port is left out where it is the scheme's own."""
        host = bracketed(self.host)
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def headless_service(self) -> str:
        """The Service whose name has every endpoint's address."""
        return plain(self.service) if self.headless else f"{plain(self.service)[: LONGEST_LABEL - 9]}-headless"

    @property
    def endpoints_host(self) -> str:
        """The name that has every endpoint's address in DNS."""
        if self.namespace is None:
            return self.host
        return f"{self.headless_service}.{plain(self.namespace)}.svc.{CLUSTER_DOMAIN}"

    @property
    def dialled(self) -> int:
        """The port at the addresses of `endpoints_host`."""
        if self.namespace is None:
            return self.port
        if self.endpoint_port is not None:
            return self.endpoint_port
        return int(self.target_port) if self.target_port is not None and self.target_port.isdecimal() else self.port

    @property
    def dialled_is_a_guess(self) -> bool:
        """Whether the endpoints may listen on another port than `dialled`: their container's port has a name only."""
        named = self.target_port is not None and not self.target_port.isdecimal()
        return self.namespace is not None and self.endpoint_port is None and named


def bracketed(host: str) -> str:
    """A host as it stands before a port."""
    return f"[{host}]" if ":" in host else host
