"""Clients in Python on kbalance's own balancing library, the very code whose effect was measured."""

from kbalance.analysis.artifacts.setting import Setting, bracketed
from kbalance.analysis.artifacts.text import fill, plain, quoted, share, told
from kbalance.model.report import Artifact


def balancing_client(setting: Setting) -> Artifact:
    """Endpoints from the API where there is a Service, else from DNS."""
    named = f"{bracketed(setting.endpoints_host)}:{setting.dialled}"
    known = {"service": plain(setting.service), "url": setting.url, "host": quoted(setting.host), "named": quoted(named)}
    content = fill(_BALANCING, by_default="by_api" if setting.namespace else "by_dns", **known)
    return Artifact(name="kbalance_client.py", kind="python", content=content)


def recycling_client(setting: Setting) -> Artifact:
    """Connections that end at an age."""
    content = fill(
        _RECYCLING,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime=f"{setting.lifetime_s:g}",
        jitter=f"{setting.jitter:g}",
    )
    return Artifact(name="kbalance_recycling.py", kind="python", content=content)


def client_in_turn(setting: Setting) -> Artifact:
    """Connections that take turns."""
    return Artifact(name="kbalance_in_turn.py", kind="python", content=fill(_IN_TURN, connections=setting.connections))


_BALANCING = """\
# Spreads the requests of httpx over the endpoints of {{service}} with kbalance.balancing, the client that was measured: a
# connection to each endpoint, the next one for each request. Endpoints that fail are left alone for a while, requests are sent
# again where HTTP allows it, and connections to endpoints that leave are drained. Needs the package kbalance.
#
#     with make_client() as client:
#         client.get("{{url}}/")
import httpx

from kbalance.balancing import (
    AsyncBalancingTransport,
    BalancingTransport,
    DnsEndpoints,
    EndpointSlices,
    Source,
)

HOST = {{host}}


def by_api() -> Source:
    \"\"\"Watches EndpointSlices, so that a new Pod is known when it is ready; endpoint-reader.yaml allows it.\"\"\"
    return EndpointSlices()


def by_dns() -> Source:
    \"\"\"Without any permission: looks a name with all addresses up whenever its time to live is over.\"\"\"
    return DnsEndpoints({HOST: {{named}}})


def make_client(source: Source | None = None) -> httpx.Client:
    return httpx.Client(transport=BalancingTransport(source or {{by_default}}()))


def make_async_client(source: Source | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AsyncBalancingTransport(source or {{by_default}}()))
"""

_RECYCLING = """\
# Ends each connection of httpx at an age of {{told}}, give or take {{share}}, so that a Service's endpoints are drawn anew; a
# request under way is finished first. Needs the package kbalance.
import httpx

from kbalance.balancing import AsyncRecyclingTransport, RecyclingTransport


def make_client() -> httpx.Client:
    return httpx.Client(transport=RecyclingTransport(age_s={{lifetime}}, jitter={{jitter}}))


def make_async_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AsyncRecyclingTransport(age_s={{lifetime}}, jitter={{jitter}}))
"""

_IN_TURN = """\
# Keeps {{connections}} connections to each host that take requests in turn; httpx itself takes the first idle one. Needs the
# package kbalance.
import httpx

from kbalance.balancing import AsyncRoundRobinPoolTransport, RoundRobinPoolTransport


def make_client() -> httpx.Client:
    return httpx.Client(transport=RoundRobinPoolTransport({{connections}}))


def make_async_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AsyncRoundRobinPoolTransport({{connections}}))
"""
