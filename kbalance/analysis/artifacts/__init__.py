"""Recommendations as texts that make the change: manifests, settings and client code, filled in for one Service.

What is advised, and in which order, is decided in `kbalance.analysis.advice`; nothing here looks at measurements. One module
a kind; `FIXES` is the list that says which text belongs to which recommendation.
"""

from collections.abc import Callable
from dataclasses import replace

from kbalance.analysis.artifacts import (
    dotnet,
    envoy,
    go,
    grpc,
    haproxy,
    istio,
    java,
    kubernetes,
    library,
    linkerd,
    nginx,
    node,
    python,
)
from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import wrapped
from kbalance.model.report import Artifact

__all__ = ["FIXES", "Setting", "artifacts"]

Text = Callable[[Setting], Artifact | None]
"""``None``: there is no such text for this setting."""


def http(text: Text) -> Text:
    """A text for clients of HTTP, who know nothing of gRPC."""
    return lambda setting: None if setting.grpc is True else text(setting)


def http1(text: Text) -> Text:
    """A text for clients that speak HTTP/1.1 alone."""
    return lambda setting: None if setting.grpc is True or not setting.http1 else text(setting)


FIXES: dict[str, tuple[Text, ...]] = {
    "client-side-balancing": (
        kubernetes.headless_service,
        kubernetes.endpoint_reader,
        grpc.go_round_robin,
        grpc.java_round_robin,
        grpc.python_round_robin,
        grpc.node_round_robin,
        grpc.dotnet_round_robin,
        library.grpc_channel,
        http(go.balancing_transport),
        http1(java.balancing_client),
        http1(node.balancing_client),
        http(node.balancing_http2),
        http(library.balancing_client),
        http(python.balancing_transport),
        http(python.balancing_transport_async),
    ),
    "meshed-client": (
        istio.injection,
        istio.destination_rule,
        linkerd.injection,
        grpc.xds_bootstrap,
        kubernetes.headless_service,
        envoy.sidecar,
    ),
    "shorter-lifetime": (
        http(go.retiring_transport),
        http1(java.retiring_client),
        http1(java.apache_lifetime),
        http1(node.retiring_agent),
        http1(node.undici_lifetime),
        http(library.recycling_client),
        http(python.retiring_transport),
        http(python.retiring_transport_async),
        http1(dotnet.pooled_lifetime),
        envoy.connection_lifetime,
        nginx.connection_lifetime,
        grpc.go_max_age,
        grpc.java_max_age,
        grpc.python_max_age,
        grpc.node_max_age,
        dotnet.kestrel_max_age,
    ),
    "stream-proxy": (kubernetes.headless_service, envoy.proxy_to_endpoints),
    "round-robin-pool": (
        http(go.transports_in_turn),
        http1(java.clients_in_turn),
        http1(node.agents_in_turn),
        http1(node.undici_in_turn),
        http(library.client_in_turn),
        http(python.clients_in_turn),
    ),
    "affinity-none": (kubernetes.no_affinity, kubernetes.shorter_affinity),
    "widen-traffic": (
        kubernetes.internal_traffic_everywhere,
        kubernetes.no_traffic_distribution,
        kubernetes.no_topology_annotation,
    ),
    "spread-pods": (kubernetes.spread_pods,),
    "external-spread": (kubernetes.external_traffic_everywhere, kubernetes.spread_pods),
    "proxy-to-endpoints": (
        kubernetes.headless_service,
        envoy.proxy_to_endpoints,
        haproxy.to_endpoints,
        nginx.to_endpoints,
        envoy.upstream_lifetime,
        nginx.upstream_lifetime,
    ),
    "proxy-least-request": (istio.destination_rule, envoy.least_request, haproxy.least_connections, nginx.least_connections),
    "proxy-retries": (envoy.retries,),
    "drain-and-limit-age": (kubernetes.drain,),
    "check-kube-proxy": (kubernetes.look_at_kube_proxy,),
    "tell-who-answers": (
        kubernetes.pod_name,
        grpc.go_pod_name,
        grpc.python_pod_name,
        http(nginx.pod_name_header),
        http(go.pod_name_header),
        http(node.pod_name_header),
        http(python.pod_name_header),
    ),
}
"""By recommendation: its texts, in the order in which they are read."""

BY_NAME = frozenset(("client-side-balancing", "meshed-client", "proxy-to-endpoints", "stream-proxy"))
"""Whose texts look all endpoints up in DNS."""


def artifacts(fix: str, setting: Setting) -> tuple[Artifact, ...]:
    """The texts for a recommendation, by its id; empty where there is nothing to paste."""
    if fix in BY_NAME and not setting.endpoints_named:
        return ()
    made = (text(setting) for text in FIXES.get(fix, ()))
    return tuple(replace(one, content=wrapped(one.content)) for one in made if one is not None)
