"""Measures kbalance in a process of its own: ``python -m bench.child WHAT PORT CONNECTIONS AMOUNT`` prints one number.

WHAT is one of `WHATS`; AMOUNT is seconds, or for memory requests or endpoints; CONNECTIONS are also loops or threads.
"""

import gc
import sys
from collections.abc import Callable

from bench.errors import NotMeasured
from kbalance.model.words import Profile

Measure = Callable[[int, int, float], float]
"""From port, connections and amount to a number."""


def _profile(profile: Profile, exchange: str = "HTTP1") -> Measure:
    def measure(port: int, connections: int, seconds: float) -> float:
        from bench import engine

        return engine.rate(getattr(engine, exchange), profile, port, connections, seconds)

    return measure


def _memory(port: int, connections: int, requests: float) -> float:
    from bench.engine import peak_memory

    return peak_memory(port, connections, int(requests))


def _library(contender: str, figure: str) -> Measure:
    def measure(port: int, loops: int, seconds: float) -> float:
        from bench.library import pace

        return float(getattr(pace(contender, port, loops, seconds), figure))

    return measure


def _threads(contender: str) -> Measure:
    def measure(port: int, threads: int, seconds: float) -> float:
        from bench.threads import pace

        return pace(contender, port, threads, seconds).per_s

    return measure


def _latency(contender: str) -> Measure:
    def measure(port: int, _: int, seconds: float) -> float:
        from bench.library import p50_us

        return p50_us(contender, port, seconds)

    return measure


def _grpcio(port: int, calls: int, seconds: float) -> float:
    from bench.grpcio_client import rate

    return rate(port, calls, seconds)


def _footprint(contender: str) -> Measure:
    def measure(port: int, _: int, endpoints: float) -> float:
        from bench.footprint import each_kib

        return each_kib(contender, port, int(endpoints))

    return measure


HTTP2 = ("http2-client", "http2-direct", "http2-httpx")
LIBRARY = (
    *("httpx", "httpx-each", "balancing-3", "balancing-50", "balancing-direct-3", "balancing-direct-50"),
    *(*HTTP2, "http2-httpx-fresh"),
)
FOOTPRINTS = ("known", "connected", "httpx-connected", "http2-connected", "http2-httpx-connected")
WHATS: dict[str, Measure] = {
    "single": _profile(Profile.SINGLE),
    "pooled": _profile(Profile.POOLED),
    "short-lived": _profile(Profile.SHORT_LIVED),
    "memory": _memory,
    "transport": _library("transport", "per_s"),
    **{name: _library(name, "per_s") for name in LIBRARY},
    **{f"{name}-cpu": _library(name, "cpu_us") for name in LIBRARY},
    "http2": _profile(Profile.POOLED, "HTTP2"),
    "http2-body": _profile(Profile.POOLED, "HTTP2_BODY"),
    "http2-page": _profile(Profile.POOLED, "HTTP2_PAGE"),
    "http2-single": _profile(Profile.SINGLE, "HTTP2"),
    "http2-short-lived": _profile(Profile.SHORT_LIVED, "HTTP2"),
    "grpc": _profile(Profile.POOLED, "GRPC"),
    "grpcio": _grpcio,
    **{f"{name}-p50": _latency(name) for name in HTTP2},
    **{name: _threads(name) for name in ("threads", "threads-httpx", "threads-httpx-each")},
    **{name: _footprint(name) for name in FOOTPRINTS},
}


def main(what: str, port: str, connections: str, amount: str) -> None:
    # As the command line does it.
    gc.freeze()
    try:
        print(WHATS[what](int(port), int(connections), float(amount)))
    except NotMeasured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
