"""From a program's first import to its first answer, in processes of their own."""

import sys

from bench.errors import NotMeasured
from bench.process import output_of
from bench.servers import ADDRESSES, PODS

_ASK = """
from time import perf_counter
began = perf_counter()
import asyncio, sys
import httpx
{imports}
port = int(sys.argv[1])
async def main():
    async with httpx.AsyncClient({arguments}) as client:
        response = await client.get({url})
        took = perf_counter() - began
        print(took * 1000, response.status_code, response.headers["X-Pod-Name"])
asyncio.run(main())
"""
_IMPORT = """
from time import perf_counter
began = perf_counter()
{imports}
print((perf_counter() - began) * 1000)
"""
_BALANCING = "from kbalance.balancing import AsyncBalancingTransport, BalancingTransport, StaticEndpoints"


def balancing(port: int) -> float:
    """Milliseconds until the first of three endpoints has answered."""
    listed = "{'web': [(address, port) for address in " + repr(ADDRESSES[:3]) + "]}"
    arguments = f"transport=AsyncBalancingTransport(StaticEndpoints({listed}))"
    imports = "from kbalance.balancing import AsyncBalancingTransport, StaticEndpoints"
    return _answered(_ASK.format(imports=imports, arguments=arguments, url="'http://web/'"), port)


def stock(port: int, *, verify: bool = True) -> float:
    """Milliseconds until stock httpx has its answer; it loads the authorities of https before it knows that it needs none."""
    arguments = "" if verify else "verify=False"
    return _answered(_ASK.format(imports="", arguments=arguments, url="f'http://127.0.0.1:{port}/'"), port)


def http2(port: int) -> float:
    """Milliseconds until the first answer over HTTP/2 without TLS."""
    imports = "from kbalance.balancing import AsyncPoolTransport"
    arguments = "transport=AsyncPoolTransport(http1=False, http2=True)"
    return _answered(_ASK.format(imports=imports, arguments=arguments, url="f'http://127.0.0.1:{port}/'"), port)


def stock_http2(port: int, *, verify: bool = True) -> float:
    """The same of stock httpx."""
    arguments = f"http1=False, http2=True, verify={verify}"
    return _answered(_ASK.format(imports="", arguments=arguments, url="f'http://127.0.0.1:{port}/'"), port)


def import_balancing() -> float:
    """Milliseconds of importing the balancing transports."""
    return _number(_IMPORT.format(imports=_BALANCING))


def import_httpx() -> float:
    """Milliseconds of importing httpx."""
    return _number(_IMPORT.format(imports="import httpx"))


def _answered(script: str, port: int) -> float:
    took_ms, status, pod = output_of([sys.executable, "-c", script, str(port)]).split()
    if status != "200" or pod not in PODS:
        raise NotMeasured(f"httpx: {status} from {pod}")
    return float(took_ms)


def _number(script: str) -> float:
    return float(output_of([sys.executable, "-c", script]))
