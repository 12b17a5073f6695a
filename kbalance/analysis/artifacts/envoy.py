"""Envoy as a client's sidecar, as a proxy on the way, and in front of a server."""

from textwrap import indent

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, plain, quoted, share, told
from kbalance.model.report import Artifact

EGRESS_PORT = 15001


def sidecar(setting: Setting) -> Artifact:
    """A whole configuration for a proxy in the client's Pod."""
    says = (
        f"# Envoy in the client's Pod: takes each request to the next endpoint of {setting.endpoints_host}.\n"
        f"# The client asks 127.0.0.1:{EGRESS_PORT} instead of {setting.authority}."
    )
    return Artifact(name="envoy-sidecar.yaml", kind="envoy", content=_proxy(setting, says, "127.0.0.1"))


def proxy_to_endpoints(setting: Setting) -> Artifact:
    """The same for a proxy that stands on the way and held connections to the Service's address."""
    says = (
        f"# Envoy to the endpoints themselves, by {setting.endpoints_host}, instead of the address of {plain(setting.service)}:\n"
        "# a kept connection to that address stays on one endpoint, whoever sends requests through it."
    )
    return Artifact(name="envoy-to-endpoints.yaml", kind="envoy", content=_proxy(setting, says, "0.0.0.0"))


def connection_lifetime(setting: Setting) -> Artifact:
    """In front of a server: clients' connections end; by age alone where one connection carries a client's whole load."""
    limited = not setting.http2
    content = fill(
        _LIFETIME,
        age=f"{setting.lifetime_s:g}s",
        told=told(setting.lifetime_s),
        jitter=f"{setting.jitter * 100:g}",
        jitter_told=share(setting.jitter),
        requests=f" or {setting.lifetime_requests} requests" if limited else "",
        limit=f"  max_requests_per_connection: {setting.lifetime_requests}\n" if limited else "",
    )
    return Artifact(name="envoy-lifetime.yaml", kind="envoy", content=content)


def upstream_lifetime(setting: Setting) -> Artifact:
    """On the way, where the Service's address has to stay: the proxy's own connections end; of HTTP/2, by age."""
    by_age = setting.http2
    content = fill(
        _UPSTREAM,
        service=plain(setting.service),
        limit=told(setting.lifetime_s) if by_age else f"{setting.lifetime_requests} requests",
        protocol="http2_protocol_options" if by_age else "http_protocol_options",
        option=f"max_connection_duration: {setting.lifetime_s:g}s"
        if by_age
        else f"max_requests_per_connection: {setting.lifetime_requests}",
    )
    return Artifact(name="envoy-upstream-lifetime.yaml", kind="envoy", content=content)


def least_request(setting: Setting) -> Artifact:
    """A policy that follows load."""
    return Artifact(name="envoy-least-request.yaml", kind="envoy", content=_LEAST)


def retries(setting: Setting) -> Artifact:
    """On the way: what no endpoint took goes to another one."""
    content = fill(_ELSEWHERE, retry=_RETRY, at_once=_AT_ONCE)
    return Artifact(name="envoy-retries.yaml", kind="envoy", content=content)


def _proxy(setting: Setting, says: str, listen: str) -> str:
    return fill(
        _PROXY,
        says=says,
        listen=listen,
        port=EGRESS_PORT,
        host=quoted(setting.endpoints_host),
        dialled=setting.dialled,
        refresh=f"{setting.refresh_s:g}s",
        retry=indent(_RETRY, " " * 22),
        at_once=indent(_AT_ONCE, " " * 6),
        protocol=_H2 if setting.http2 else "",
        tls=fill(_TLS, sni=quoted(setting.host)) if setting.scheme == "https" else "",
    )


_PROXY = """\
{{says}}
static_resources:
  listeners:
    - name: requests
      address:
        socket_address: {address: {{listen}}, port_value: {{port}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: requests
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
{{retry}}                      routes:
                        - match: {prefix: /}
                          route: {cluster: endpoints, timeout: 0s}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
    - name: endpoints
      type: STRICT_DNS
      lb_policy: ROUND_ROBIN
      connect_timeout: 1s
      dns_refresh_rate: {{refresh}}
{{at_once}}      load_assignment:
        cluster_name: endpoints
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address:
                    socket_address: {address: {{host}}, port_value: {{dialled}}}
{{protocol}}{{tls}}"""

_RETRY = """\
# Sends again, at another endpoint, only what none has taken up, so POST as well: where an endpoint is gone,
# or ends its connection (GOAWAY) with requests on their way to it. Without this, clients get 503.
retry_policy:
  retry_on: connect-failure,refused-stream
  num_retries: 3
  retry_host_predicate:
    - name: envoy.retry_host_predicates.previous_hosts
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
  host_selection_retry_max_attempts: 3
"""

_AT_ONCE = """\
# Retries under way at once: beyond the default of 3, requests fail, and one connection may have left out more. As many as
# may be under way at all, by default.
circuit_breakers: {thresholds: [{max_retries: 1024}]}
"""

_ELSEWHERE = """\
# The first part goes into the route or its virtual host, the second into the cluster; Istio's sidecars have the like by
# themselves.
{{retry}}{{at_once}}"""

_H2 = """\
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
"""

_TLS = """\
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: {{sni}}
          common_tls_context:
            validation_context:
              trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt}
"""

_LIFETIME = """\
# Ends clients' connections after {{told}}{{requests}}: the next one is drawn anew.
# Goes into the HttpConnectionManager of the listener in front of the server. HTTP/1.1 clients are told with a response
# (Connection: close), HTTP/2 clients with GOAWAY, so that no request is lost.
# The jitter adds up to {{jitter_told}}, so that connections opened together do not end together; it needs Envoy 1.39.
# Before that, leave its line out.
http1_safe_max_connection_duration: true
common_http_protocol_options:
  max_connection_duration: {{age}}
  max_connection_duration_jitter: {value: {{jitter}}}
{{limit}}"""

_UPSTREAM = """\
# Ends Envoy's own connections to {{service}} after {{limit}}: the next one is drawn anew.
# Goes into the cluster whose address is the Service's, where it cannot be the endpoints'.
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {{{protocol}}: {}}
    common_http_protocol_options: {{{option}}}
"""

_LEAST = """\
# Takes two endpoints at random for each request, and of these the one with fewer requests under way.
# Goes into the cluster, in place of its lb_policy; the cluster must know the endpoints, not the Service's address.
lb_policy: LEAST_REQUEST
"""
