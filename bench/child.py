"""Measures kbalance in a process of its own: ``python -m bench.child WHAT PORT CONNECTIONS AMOUNT`` prints one number.

WHAT is one of `WHATS`; AMOUNT is seconds, or for memory requests.
"""

import gc
import sys
from collections.abc import Callable

from bench.errors import NotMeasured
from kbalance.model.words import Profile


def _profile(profile: Profile) -> Callable[[int, int, float], float]:
    def measure(port: int, connections: int, seconds: float) -> float:
        from bench.engine import rate

        return rate(profile, port, connections, seconds)

    return measure


def _memory(port: int, connections: int, requests: float) -> float:
    from bench.engine import peak_memory

    return peak_memory(port, connections, int(requests))


def _transport(port: int, connections: int, seconds: float) -> float:
    from bench.library import transport_rate

    return transport_rate(port, connections, seconds)


def _httpx(port: int, connections: int, seconds: float) -> float:
    from bench.library import httpx_rate

    return httpx_rate(port, connections, seconds)


WHATS: dict[str, Callable[[int, int, float], float]] = {
    "single": _profile(Profile.SINGLE),
    "pooled": _profile(Profile.POOLED),
    "short-lived": _profile(Profile.SHORT_LIVED),
    "memory": _memory,
    "transport": _transport,
    "httpx": _httpx,
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
