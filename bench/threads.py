"""httpx over kbalance's threaded transport, and stock httpx: so many threads, each with one request under way."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from time import perf_counter

import httpx

from bench.endpoints import HOST, even, listed
from bench.pace import Pace, Stopwatch, check
from kbalance.balancing import BalancingTransport

ENDPOINTS = 3

Ask = Callable[[], httpx.Response]
"""One request, its response read to the end."""
Asks = AbstractContextManager[Sequence[Ask]]
"""What each thread does over and over."""


def pace(contender: str, port: int, threads: int, seconds: float) -> Pace:
    """How fast one of `CONTENDERS` is.

    Raises:
        NotMeasured: something else was answered than was asked for, or not by the endpoints in turn.
    """
    with CONTENDERS[contender](port, threads) as asks, ThreadPoolExecutor(threads) as executor:
        watch = Stopwatch()
        until = perf_counter() + seconds
        return watch.pace(sum(executor.map(partial(_loop, until), asks)))


def _loop(until: float, ask: Ask) -> int:
    answered = 0
    while perf_counter() < until:
        check(ask())
        answered += 1
    return answered


@contextmanager
def _balancing(port: int, threads: int) -> Iterator[Sequence[Ask]]:
    transport = BalancingTransport(listed(ENDPOINTS, port))
    with httpx.Client(transport=transport, trust_env=False) as client:
        yield [partial(client.get, HOST)] * threads
        even(transport.snapshot(), ENDPOINTS)


@contextmanager
def _stock_pool(port: int, threads: int) -> Iterator[Sequence[Ask]]:
    with httpx.Client(trust_env=False) as client:
        yield [partial(client.get, f"http://127.0.0.1:{port}/")] * threads


@contextmanager
def _stock_each(port: int, threads: int) -> Iterator[Sequence[Ask]]:
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(trust_env=False)) for _ in range(threads)]
        yield [partial(client.get, f"http://127.0.0.1:{port}/") for client in clients]


CONTENDERS: dict[str, Callable[[int, int], Asks]] = {
    "threads": _balancing,
    "threads-httpx": _stock_pool,
    "threads-httpx-each": _stock_each,
}
