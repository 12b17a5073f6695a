# A grpc.aio channel over the endpoints of checkout that resolves no name: their addresses
# come from kbalance.balancing (a watch of EndpointSlices, or DNS) and go to gRPC as a list,
# of which round_robin takes the next one for each call. So a new Pod gets calls as soon as it
# is known, and not when a connection ends. When the list changes, new calls go over a new
# channel, which connects to each endpoint anew, and the old one is closed after its last
# call. Needs the packages kbalance and grpcio.
#
#     async with Balanced() as channel:
#         answer = await GreeterStub(channel).SayHello(request, timeout=5)
import asyncio
import logging

import grpc.aio

from kbalance.balancing import DnsEndpoints, EndpointSlices, Known, News, Origin, Source

HOST = "checkout.shop.svc.cluster.local"
OPTIONS = [
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.default_authority", "checkout.shop.svc.cluster.local"),
]


def by_api() -> Source:
    """Watches EndpointSlices, so that a new Pod is known when it is ready; endpoint-reader.yaml allows it."""
    return EndpointSlices()


def by_dns() -> Source:
    """Without any permission: looks a name with all addresses up whenever its time to live is over."""
    return DnsEndpoints({HOST: "checkout-headless.shop.svc.cluster.local:9000"})


def open_channel(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target, OPTIONS)


class Balanced:
    # What generated stubs ask of a channel. It waits for the first list, and then goes on
    # with the last one it heard.
    def __init__(self, source: Source | None = None, first_s: float = 10.0) -> None:
        self._source = source or by_api()
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

        self._following = self._source.follow(Origin("http", HOST, 80), hear)
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
            # Where there is nobody at the moment, calls to those that were there fail by
            # themselves.
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
    # gRPC takes a list of addresses of one family; a Service of two families lists each
    # endpoint twice.
    families: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
    for endpoint in known.endpoints:
        families["ipv6" if ":" in endpoint.address.ip else "ipv4"].append(str(endpoint.address))
    family, addresses = max(families.items(), key=lambda one: len(one[1]))
    return f"{family}:{','.join(sorted(addresses))}" if addresses else None
