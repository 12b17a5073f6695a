"""nginx in front of a server, and on the way."""

from kbalance.analysis.artifacts.setting import Setting, bracketed
from kbalance.analysis.artifacts.text import fill, plain, share, span, told
from kbalance.model.report import Artifact

NO_LIMIT = 1_000_000_000
"""Requests that no connection makes; left out, nginx ends connections after 1000, however young."""


def connection_lifetime(setting: Setting) -> Artifact:
    """In front of a server: clients' connections end."""
    content = fill(
        _LIFETIME,
        age=span(setting.lifetime_s, "{}s", "{}ms"),
        told=told(setting.lifetime_s),
        requests=_requests(setting),
        limit="" if setting.http2 else f" after {setting.lifetime_requests} requests, or",
        jitter=share(setting.jitter),
        otherwise=_LIFTED if setting.http2 else _OTHERWISE,
    )
    return Artifact(name="nginx-lifetime.conf", kind="nginx", content=content)


def to_endpoints(setting: Setting) -> Artifact:
    """A name that is looked up again and again instead of the Service's address."""
    content = fill(
        _ENDPOINTS,
        host=bracketed(setting.endpoints_host),
        service=plain(setting.service),
        port=setting.dialled,
        dns=bracketed(plain(setting.dns)),
        refresh=max(1, round(setting.refresh_s)),
        scheme=setting.scheme,
        name=setting.authority,
        sni=fill(_SNI, host=setting.host) if setting.scheme == "https" else "",
    )
    return Artifact(name="nginx-to-endpoints.conf", kind="nginx", content=content)


def upstream_lifetime(setting: Setting) -> Artifact:
    """On the way, where the Service's address has to stay: the proxy's own connections end."""
    content = fill(
        _UPSTREAM,
        service=plain(setting.service),
        server=f"{bracketed(setting.host)}:{setting.port}",
        connections=setting.connections,
        requests=_requests(setting),
        limit="" if setting.http2 else f"{setting.lifetime_requests} requests or ",
        age=span(setting.lifetime_s, "{}s", "{}ms"),
        told=told(setting.lifetime_s),
    )
    return Artifact(name="nginx-upstream-lifetime.conf", kind="nginx", content=content)


def least_connections(setting: Setting) -> Artifact:
    """A policy that follows load."""
    return Artifact(name="nginx-least-connections.conf", kind="nginx", content=_LEAST)


def pod_name_header(setting: Setting) -> Artifact:
    """A Pod's host name is its own name."""
    return Artifact(name="pod-name-header.conf", kind="nginx", content=_POD_NAME)


def _requests(setting: Setting) -> int:
    """One connection of HTTP/2 carries a client's whole load: there a limit of requests would end it long before its age."""
    return NO_LIMIT if setting.http2 else setting.lifetime_requests


_OTHERWISE = ", or let connections end by requests."
_LIFTED = """\
.
# Its own limit of 1000 requests is lifted: one connection of HTTP/2 carries all of a client's. When one ends, nginx refuses
# what is still on its way there, unread: clients have to send it again (Envoy: retry_on: refused-stream), or it fails."""

_LIFETIME = """\
# Ends clients' connections{{limit}} with the first answer after {{told}}: the next one is drawn anew.
# Goes into http or server, where nginx stands in front of the server. keepalive_time needs nginx 1.19.10 or later.
# nginx has no jitter: give each replica another age, within {{jitter}} of this{{otherwise}}
keepalive_requests {{requests}};
keepalive_time {{age}};
"""

_ENDPOINTS = """\
# nginx to the endpoints themselves, by {{host}}, instead of the address of {{service}}:
# a kept connection to that address stays on one endpoint, whoever sends requests through it.
# The name stands in a variable, or nginx looks it up once only. Each request then has a connection of its own. To keep
# connections, nginx 1.27.3 or later takes an upstream with a zone, keepalive, and "server {{host}}:{{port}} resolve".
# Goes into server.
location / {
    resolver {{dns}} valid={{refresh}}s;
    set $endpoints {{host}}:{{port}};
    proxy_pass {{scheme}}://$endpoints;
    proxy_http_version 1.1;
    proxy_set_header Host {{name}};
    proxy_set_header Connection "";
{{sni}}}
"""

_SNI = """\
    proxy_ssl_server_name on;
    proxy_ssl_name {{host}};
"""

_UPSTREAM = """\
# Ends nginx's own connections to {{service}} after {{limit}}{{told}}: the next one is drawn anew.
# For the case that its upstream cannot be the endpoints. Goes into http; proxy_pass then names service, and the location
# needs proxy_http_version 1.1 and proxy_set_header Connection "". keepalive_time needs nginx 1.19.10 or later.
upstream service {
    server {{server}};
    keepalive {{connections}};
    keepalive_requests {{requests}};
    keepalive_time {{age}};
}
"""

_LEAST = """\
# Takes the endpoint with the fewest requests under way. Goes into the upstream, before keepalive; the upstream must know
# the endpoints, not the Service's address. With several workers, a zone lets them count together.
zone endpoints 64k;
least_conn;
"""

_POD_NAME = """\
# Says with every answer, errors too, which Pod gave it: a Pod's host name is its name, unless its spec sets another.
# Goes into http or server; a location that has add_header lines of its own needs it as well.
add_header X-Pod-Name $hostname always;
"""
