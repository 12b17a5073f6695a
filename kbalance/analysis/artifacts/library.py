"""Clients in Python on kbalance's own balancing library, the very code whose effect was measured."""

from kbalance.analysis.artifacts.setting import Setting, bracketed
from kbalance.analysis.artifacts.text import fill, plain, quoted, share, told
from kbalance.model.report import Artifact


def balancing_client(setting: Setting) -> Artifact:
    """Endpoints from the API where there is a Service, else from DNS."""
    content = fill(
        _BALANCING,
        url=setting.url,
        spoken=f", {setting.httpx_protocol}" if setting.httpx_protocol else "",
        **_sources(setting),
    )
    return Artifact(name="kbalance_client.py", kind="python", content=content)


def grpc_channel(setting: Setting) -> Artifact | None:
    """The same for gRPC: its own round_robin, over a list of addresses that nobody has to resolve."""
    if setting.grpc is False:
        return None
    secure = setting.scheme == "https"
    content = fill(
        _GRPC_AIO,
        origin=f"{quoted(setting.scheme)}, HOST, {setting.port}",
        authority=quoted(setting.authority),
        channel="secure_channel(target, grpc.ssl_channel_credentials(), OPTIONS)"
        if secure
        else "insecure_channel(target, OPTIONS)",
        **_sources(setting),
    )
    return Artifact(name="kbalance_grpc_aio.py", kind="grpc-python", content=content)


def _sources(setting: Setting) -> dict[str, str]:
    """Where the library hears of endpoints."""
    return {
        "service": plain(setting.service),
        "host": quoted(setting.host),
        "named": quoted(f"{bracketed(setting.endpoints_host)}:{setting.dialled}"),
        "by_default": "by_api" if setting.namespace else "by_dns",
    }


def recycling_client(setting: Setting) -> Artifact:
    """Connections that end at an age."""
    content = fill(
        _RECYCLING,
        spoken=f", {setting.httpx_protocol}" if setting.httpx_protocol else "",
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime=f"{setting.lifetime_s:g}",
        jitter=f"{setting.jitter:g}",
    )
    return Artifact(name="kbalance_recycling.py", kind="python", content=content)


def client_in_turn(setting: Setting) -> Artifact:
    """Connections that take turns."""
    spoken = f", {setting.httpx_protocol}" if setting.httpx_protocol else ""
    content = fill(_IN_TURN, connections=setting.connections, spoken=spoken)
    return Artifact(name="kbalance_in_turn.py", kind="python", content=content)


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
    return httpx.Client(transport=BalancingTransport(source or {{by_default}}(){{spoken}}))


def make_async_client(source: Source | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AsyncBalancingTransport(source or {{by_default}}(){{spoken}}))
"""

_RECYCLING = """\
# Ends each connection of httpx at an age of {{told}}, give or take {{share}}, so that a Service's endpoints are drawn anew; a
# request under way is finished first. Needs the package kbalance.
import httpx

from kbalance.balancing import AsyncRecyclingTransport, RecyclingTransport


def make_client() -> httpx.Client:
    return httpx.Client(transport=RecyclingTransport(age_s={{lifetime}}, jitter={{jitter}}{{spoken}}))


def make_async_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AsyncRecyclingTransport(age_s={{lifetime}}, jitter={{jitter}}{{spoken}}))
"""

_IN_TURN = """\
# Keeps {{connections}} connections to each host that take requests in turn; httpx itself takes the first idle one. Needs the
# package kbalance.
import httpx

from kbalance.balancing import AsyncRoundRobinPoolTransport, RoundRobinPoolTransport


def make_client() -> httpx.Client:
    return httpx.Client(transport=RoundRobinPoolTransport({{connections}}{{spoken}}))


def make_async_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AsyncRoundRobinPoolTransport({{connections}}{{spoken}}))
"""

_GRPC_AIO = """\
# A grpc.aio channel over the endpoints of {{service}} that resolves no name: their addresses come from kbalance.balancing (a
# watch of EndpointSlices, or DNS) and go to gRPC as a list, of which round_robin takes the next one for each call. So a new Pod
# gets calls as soon as it is known, and not when a connection ends. When the list changes, new calls go over a new channel,
# which connects to each endpoint anew, and the old one is closed after its last call. Needs the packages kbalance and grpcio.
#
#     async with Balanced() as channel:
#         answer = await GreeterStub(channel).SayHello(request, timeout=5)
import asyncio
import logging

import grpc.aio

from kbalance.balancing import DnsEndpoints, EndpointSlices, Known, News, Origin, Source

HOST = {{host}}
OPTIONS = [
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.default_authority", {{authority}}),
]


def by_api() -> Source:
    \"\"\"Watches EndpointSlices, so that a new Pod is known when it is ready; endpoint-reader.yaml allows it.\"\"\"
    return EndpointSlices()


def by_dns() -> Source:
    \"\"\"Without any permission: looks a name with all addresses up whenever its time to live is over.\"\"\"
    return DnsEndpoints({HOST: {{named}}})


def open_channel(target: str) -> grpc.aio.Channel:
    return grpc.aio.{{channel}}


class Balanced:
    # What generated stubs ask of a channel. It waits for the first list, and then goes on with the last one it heard.
    def __init__(self, source: Source | None = None, first_s: float = 10.0) -> None:
        self._source = source or {{by_default}}()
        self._first_s = first_s
        self._known = asyncio.Event()
        self._current: _Held | None = None
        self._retired: set[_Held] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._following = None

    async def __aenter__(self) -> "Balanced":
        loop = asyncio.get_running_loop()

        def hear(news: News) -> None:
            # In a thread of the source's.
            loop.call_soon_threadsafe(self._take, news)

        self._following = self._source.follow(Origin({{origin}}), hear)
        try:
            await asyncio.wait_for(self._known.wait(), self._first_s)
        except TimeoutError:
            await self.close()
            raise TimeoutError(f"the endpoints of {HOST} are not known after {self._first_s:g} s") from None
        return self

    async def __aexit__(self, *failed: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        if self._following is not None:
            await asyncio.to_thread(self._following.close)
        current, self._current = self._current, None
        for held in [*self._retired, *([current] if current else [])]:
            await held.channel.close(grace)
        await asyncio.gather(*self._closing)

    def unary_unary(self, *method, **more):
        return self._on_the_channel_of_now("unary_unary", method, more)

    def unary_stream(self, *method, **more):
        return self._on_the_channel_of_now("unary_stream", method, more)

    def stream_unary(self, *method, **more):
        return self._on_the_channel_of_now("stream_unary", method, more)

    def stream_stream(self, *method, **more):
        return self._on_the_channel_of_now("stream_stream", method, more)

    def _on_the_channel_of_now(self, kind: str, method, more):
        def begin(*arguments, **options):
            held = self._current
            if held is None:
                raise RuntimeError("the channel is closed, or was not entered with async with")
            call = getattr(held.channel, kind)(*method, **more)(*arguments, **options)
            held.calls += 1
            call.add_done_callback(lambda _: self._ended(held))
            return call

        return begin

    def _take(self, news: News) -> None:
        if not isinstance(news, Known):
            logging.getLogger(__name__).warning("%s: %s", HOST, news.reason)
            return
        target = _target(news)
        old = self._current
        if target is None or (old is not None and old.target == target):
            # Where there is nobody at the moment, calls to those that were there fail by themselves.
            return
        self._current = _Held(target)
        self._known.set()
        if old is not None:
            self._retired.add(old)
            self._close_if_done(old)

    def _ended(self, held: "_Held") -> None:
        held.calls -= 1
        self._close_if_done(held)

    def _close_if_done(self, held: "_Held") -> None:
        if held in self._retired and held.calls == 0:
            self._retired.discard(held)
            task = asyncio.ensure_future(held.channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Held:
    # A channel, and how many calls are under way on it.
    def __init__(self, target: str) -> None:
        self.target = target
        self.channel = open_channel(target)
        self.calls = 0


def _target(known: Known) -> str | None:
    # gRPC takes a list of addresses of one family; a Service of two families lists each endpoint twice.
    families: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
    for endpoint in known.endpoints:
        families["ipv6" if ":" in endpoint.address.ip else "ipv4"].append(str(endpoint.address))
    family, addresses = max(families.items(), key=lambda one: len(one[1]))
    return f"{family}:{','.join(sorted(addresses))}" if addresses else None
"""
"""Generated stubs hold a channel for ever, so what they hold is not the channel but what asks for the one of now."""
