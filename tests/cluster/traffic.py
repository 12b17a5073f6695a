"""A service's client as its authors would write it: constant traffic through the balancing transport, until standard input ends.

Each line that it writes is JSON: what the source told, each outcome, and at the end what the transport knew.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import httpx

from kbalance.balancing import AsyncBalancingTransport, DnsEndpoints, Hooks, Origin
from kbalance.model.target import Address

WORKERS = 8
PAUSE_S = 0.02
"""Of each worker, between two requests."""


def tell(kind: str, **fields: object) -> None:
    print(json.dumps({"kind": kind, "at_s": time.monotonic(), **fields}), flush=True)


class Telling(Hooks):
    """Endpoints as they come and go, and what had to be done twice."""

    def endpoints(self, origin: Origin, joined: Sequence[str], left: Sequence[str]) -> None:
        tell("endpoints", joined=joined, left=left)

    def trouble(self, origin: Origin, reason: str) -> None:
        tell("trouble", reason=reason)

    def retried(self, origin: Origin, endpoint: str, error: Exception) -> None:
        tell("retried", endpoint=endpoint, error=repr(error))


async def main(url: str, timeout_s: float, name: str = "", server: str = "") -> None:
    """
    Args:
        timeout_s: of each request.
        name: is looked up in DNS at the server, instead of watching EndpointSlices.
    """
    ended = asyncio.Event()
    reading = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    reading.add_done_callback(lambda _: ended.set())
    asked = httpx.URL(url).host
    source = DnsEndpoints({asked: name}, nameservers=[Address(server, 53)]) if name else None
    transport = AsyncBalancingTransport(source, hooks=Telling())
    async with httpx.AsyncClient(transport=transport, timeout=timeout_s, trust_env=False) as client:

        async def work() -> None:
            while not ended.is_set():
                began_s = time.monotonic()
                try:
                    outcome = (await client.get(url)).text
                except httpx.HTTPError as error:
                    outcome = repr(error)
                tell("outcome", outcome=outcome, began_s=began_s, took_s=time.monotonic() - began_s)
                await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(work() for _ in range(WORKERS)))
        (host,) = transport.snapshot().hosts
        tell("end", state=host.state, endpoints=[str(e.endpoint) for e in host.endpoints], line=repr(transport))


if __name__ == "__main__":
    _, url, timeout, *dns = sys.argv
    asyncio.run(main(url, float(timeout), *dns))
