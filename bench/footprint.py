"""What an endpoint costs in memory that a balancing transport knows, or has a connection to."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bench.endpoints import HOST, even, listed
from bench.library import H2C
from bench.pace import check
from bench.servers import ADDRESSES
from kbalance.balancing import AsyncBalancingTransport

FEW = 3
TOGETHER = 100
"""Requests under way while connections are opened."""

Make = Callable[[AsyncExitStack, int], Awaitable[object]]
"""Makes a client of so many endpoints that lives as long as the stack."""


def each_kib(contender: str, port: int, endpoints: int) -> float:
    """KiB of resident memory for each endpoint, of a client that has so many and beyond one that has three.

    Raises:
        NotMeasured: something else was answered than was asked for.
    """
    return asyncio.run(_each_kib(partial(CONTENDERS[contender], port), endpoints))


async def _each_kib(make: Make, endpoints: int) -> float:
    async with AsyncExitStack() as stack:
        # Twice: the first ones load modules and fill the holes that this has left in the memory.
        few, many = [await _grown_kib(make, stack, n) for _ in range(2) for n in (FEW, endpoints)][2:]
    return (many - few) / (endpoints - FEW)


async def _grown_kib(make: Make, stack: AsyncExitStack, endpoints: int) -> int:
    before = _resident_kib()
    await make(stack, endpoints)
    return _resident_kib() - before


def _resident_kib() -> int:
    gc.collect()
    # Other files of /proc tell what each core has counted so far, which is off by a few hundred KiB (proc(5)).
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return int(rollup.partition("Rss:")[2].split()[0])


async def _known(port: int, stack: AsyncExitStack, endpoints: int) -> None:
    """One request is made, since only a host that was asked for is known."""
    await _asked(await _balancing(port, stack, endpoints), HOST)


async def _connected(port: int, stack: AsyncExitStack, endpoints: int, **spoken: Any) -> None:
    transport = await _balancing(port, stack, endpoints, **spoken)
    for _ in range(0, endpoints, TOGETHER):
        await asyncio.gather(*(_asked(transport, HOST) for _ in range(min(TOGETHER, endpoints))))
    even(transport.snapshot(), endpoints)


async def _stock(port: int, stack: AsyncExitStack, endpoints: int, **spoken: Any) -> None:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=600.0)
    transport = await stack.enter_async_context(httpx.AsyncHTTPTransport(limits=limits, **spoken))
    for address in ADDRESSES[:endpoints]:
        await _asked(transport, f"http://{address}:{port}/")


async def _balancing(port: int, stack: AsyncExitStack, endpoints: int, **spoken: Any) -> AsyncBalancingTransport:
    return await stack.enter_async_context(AsyncBalancingTransport(listed(endpoints, port), **spoken))


async def _asked(transport: httpx.AsyncBaseTransport, url: str) -> None:
    response = await transport.handle_async_request(httpx.Request("GET", url))
    await response.aread()
    await response.aclose()
    check(response)


CONTENDERS: dict[str, Callable[[int, AsyncExitStack, int], Awaitable[object]]] = {
    "known": _known,
    "connected": _connected,
    "httpx-connected": _stock,
    "http2-connected": partial(_connected, **H2C),
    "http2-httpx-connected": partial(_stock, **H2C),
}
