"""HAProxy on the way."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, plain, span
from kbalance.model.report import Artifact

MOST_ENDPOINTS = 50
"""Places that HAProxy keeps for endpoints; those without an address cost nothing but memory."""


def to_endpoints(setting: Setting) -> Artifact:
    """A backend of every endpoint instead of the Service's address."""
    content = fill(
        _BACKEND,
        host=setting.endpoints_host,
        service=plain(setting.service),
        port=setting.dialled,
        places=MOST_ENDPOINTS,
        refresh=span(setting.refresh_s, "{}s", "{}ms"),
        options=" proto h2" if setting.http2 else "",
        tls=f" ssl verify required ca-file @system-ca sni str({setting.host})" if setting.scheme == "https" else "",
    )
    return Artifact(name="haproxy-to-endpoints.cfg", kind="haproxy", content=content)


def least_connections(setting: Setting) -> Artifact:
    """A policy that follows load."""
    return Artifact(name="haproxy-least-connections.cfg", kind="haproxy", content=_LEAST)


_BACKEND = """\
# HAProxy to the endpoints themselves, by {{host}}, instead of the address of {{service}}:
# a kept connection to that address stays on one endpoint, whoever sends requests through it.
# {{places}} places are kept for endpoints; more endpoints than that get nothing.
resolvers cluster
    parse-resolv-conf
    hold valid {{refresh}}
    accepted_payload_size 8192

backend endpoints
    mode http
    balance roundrobin
    server-template pod {{places}} {{host}}:{{port}} check resolvers cluster init-addr none{{options}}{{tls}}
"""

_LEAST = """\
    # Takes the endpoint with the fewest requests under way. Goes into the backend, in place of its balance line; the
    # backend must know the endpoints, not the Service's address.
    balance leastconn
"""
