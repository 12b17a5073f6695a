"""httpx over kbalance's transport, and stock httpx: as many loops as connections, each with one request under way."""

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import httpx

from bench.errors import NotMeasured
from bench.servers import PODS

Ask = Callable[[], Awaitable[httpx.Response]]
"""One request, its response read to the end."""


def transport_rate(port: int, connections: int, seconds: float) -> float:
    """Requests per second through `AsyncPoolTransport.handle_async_request`.

    Raises:
        NotMeasured: there is no such transport, or something else was answered than was asked for.
    """
    try:
        module: Any = importlib.import_module("kbalance.balancing")
        make = module.AsyncPoolTransport
    except (ImportError, AttributeError) as error:
        raise NotMeasured("kbalance.balancing.AsyncPoolTransport is not there yet") from error
    return asyncio.run(_over_transport(make, port, connections, seconds))


def httpx_rate(port: int, connections: int, seconds: float) -> float:
    """Requests per second of one `httpx.AsyncClient` as it comes out of the box."""
    return asyncio.run(_over_client(port, connections, seconds))


async def _over_transport(make: Callable[[], httpx.AsyncBaseTransport], port: int, connections: int, seconds: float) -> float:
    async with make() as transport:
        request = httpx.Request("GET", f"http://127.0.0.1:{port}/")

        async def ask() -> httpx.Response:
            response = await transport.handle_async_request(request)
            await response.aread()
            return response

        return await _loops(ask, connections, seconds)


async def _over_client(port: int, connections: int, seconds: float) -> float:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        return await _loops(lambda: client.get(f"http://127.0.0.1:{port}/"), connections, seconds)


async def _loops(ask: Ask, loops: int, seconds: float) -> float:
    began = perf_counter()
    counts = await asyncio.gather(*(_loop(ask, began + seconds) for _ in range(loops)))
    return sum(counts) / (perf_counter() - began)


async def _loop(ask: Ask, until: float) -> int:
    answered = 0
    while perf_counter() < until:
        response = await ask()
        if response.status_code != 200 or response.headers["X-Pod-Name"] not in PODS:
            raise NotMeasured(f"httpx: {response!r} from {response.headers.get('X-Pod-Name')}")
        answered += 1
    return answered
