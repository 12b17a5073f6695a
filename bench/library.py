"""httpx over kbalance's transports, and stock httpx, under asyncio: so many loops, each with one request under way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import httpx

from bench.endpoints import HOST, even, listed
from bench.pace import Pace, Stopwatch, check
from kbalance.balancing import AsyncBalancingTransport, AsyncPoolTransport

Ask = Callable[[], Awaitable[httpx.Response]]
"""One request, its response read to the end."""
Asks = AbstractAsyncContextManager[Sequence[Ask]]
"""What each loop does over and over."""
H2C: dict[str, Any] = {"http1": False, "http2": True}
"""HTTP/2 without TLS, known beforehand."""


def pace(contender: str, port: int, loops: int, seconds: float) -> Pace:
    """How fast one of `CONTENDERS` is.

    Raises:
        NotMeasured: something else was answered than was asked for, or not by the endpoints in turn.
    """
    return asyncio.run(_run(CONTENDERS[contender](port, loops), seconds))


def p50_us(contender: str, port: int, seconds: float) -> float:
    """Microseconds from a request to the end of its answer, half of them within, when there is one at a time."""
    return asyncio.run(_p50_us(CONTENDERS[contender](port, 1), seconds))


async def _p50_us(asks: Asks, seconds: float) -> float:
    took: list[float] = []
    async with asks as (ask,):
        until = perf_counter() + seconds
        while (began := perf_counter()) < until:
            check(await ask())
            took.append(perf_counter() - began)
    return median(took) * 1e6


async def _run(asks: Asks, seconds: float) -> Pace:
    async with asks as each:
        watch = Stopwatch()
        until = perf_counter() + seconds
        return watch.pace(sum(await asyncio.gather(*(_loop(ask, until) for ask in each))))


async def _loop(ask: Ask, until: float) -> int:
    answered = 0
    while perf_counter() < until:
        check(await ask())
        answered += 1
    return answered


def _directly(transport: httpx.AsyncBaseTransport, url: str) -> Ask:
    request = httpx.Request("GET", url)

    async def ask() -> httpx.Response:
        response = await transport.handle_async_request(request)
        await response.aread()
        return response

    return ask


@asynccontextmanager
async def _pool_transport(port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    async with AsyncPoolTransport() as transport:
        yield [_directly(transport, f"http://127.0.0.1:{port}/")] * loops


@asynccontextmanager
async def _balancing_direct(endpoints: int, port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    async with AsyncBalancingTransport(listed(endpoints, port)) as transport:
        yield [_directly(transport, HOST)] * loops
        even(transport.snapshot(), endpoints)


@asynccontextmanager
async def _balancing(endpoints: int, port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    transport = AsyncBalancingTransport(listed(endpoints, port))
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        yield [partial(client.get, HOST)] * loops
        even(transport.snapshot(), endpoints)


@asynccontextmanager
async def _stock_pool(port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    async with _stock(loops) as client:
        yield [partial(client.get, f"http://127.0.0.1:{port}/")] * loops


@asynccontextmanager
async def _stock_each(port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    """Its fastest: no pool in which the loops look for a connection."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_stock(1)) for _ in range(loops)]
        yield [partial(client.get, f"http://127.0.0.1:{port}/") for client in clients]


def _stock(connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(limits=limits, trust_env=False)


@asynccontextmanager
async def _http2_direct(port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    async with AsyncPoolTransport(**H2C) as transport:
        yield [_directly(transport, f"http://127.0.0.1:{port}/")] * loops


@asynccontextmanager
async def _http2_client(port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    async with httpx.AsyncClient(transport=AsyncPoolTransport(**H2C), trust_env=False) as client:
        yield [partial(client.get, f"http://127.0.0.1:{port}/")] * loops


@asynccontextmanager
async def _http2_stock(port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    """One connection, whatever its limits say."""
    async with httpx.AsyncClient(trust_env=False, **H2C) as client:
        yield [partial(client.get, f"http://127.0.0.1:{port}/")] * loops


@asynccontextmanager
async def _http2_stock_fresh(port: int, loops: int) -> AsyncIterator[Sequence[Ask]]:
    """A client for each request, as its one connection would stay otherwise; the authorities are loaded once for all."""
    context = httpx.create_ssl_context()

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(verify=context, trust_env=False, **H2C) as client:
            return await client.get(f"http://127.0.0.1:{port}/")

    yield [ask] * loops


CONTENDERS: dict[str, Callable[[int, int], Asks]] = {
    "transport": _pool_transport,
    "httpx": _stock_pool,
    "httpx-each": _stock_each,
    "balancing-3": partial(_balancing, 3),
    "balancing-50": partial(_balancing, 50),
    "balancing-direct-3": partial(_balancing_direct, 3),
    "balancing-direct-50": partial(_balancing_direct, 50),
    "http2-client": _http2_client,
    "http2-direct": _http2_direct,
    "http2-httpx": _http2_stock,
    "http2-httpx-fresh": _http2_stock_fresh,
}
