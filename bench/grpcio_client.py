"""grpcio as a client: health checks on one channel, so many under way, and the pod that answered looked at."""

import asyncio
import importlib
from time import perf_counter
from typing import Any

from bench.errors import NotMeasured
from bench.servers import PODS


def rate(port: int, calls: int, seconds: float) -> float:
    """Calls per second of grpcio's asyncio client, which is faster than its threads.

    Raises:
        NotMeasured: it is not installed, or something else was answered than was asked for.
    """
    try:
        aio: Any = importlib.import_module("grpc.aio")
    except ImportError as error:
        raise NotMeasured("grpcio is missing: pip install -e .[test]") from error
    return asyncio.run(_rate(aio, port, calls, seconds))


async def _rate(aio: Any, port: int, calls: int, seconds: float) -> float:
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        began = perf_counter()
        answered = sum(await asyncio.gather(*(_loop(check, began + seconds) for _ in range(calls))))
        return answered / (perf_counter() - began)


async def _loop(check: Any, until: float) -> int:
    answered = 0
    while perf_counter() < until:
        call = check(b"")
        said = await call
        pods = [value for key, value in await call.initial_metadata() if key == "x-pod-name"]
        if said != b"\x08\x01" or pods[0] not in PODS:
            raise NotMeasured(f"grpcio: {said!r} from {pods}")
        answered += 1
    return answered
