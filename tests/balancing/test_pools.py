"""The simplest cures, each of either kind: connections that end after a while, and connections that take turns."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from kbalance.balancing import (
    AsyncBalancingTransport,
    AsyncPoolTransport,
    AsyncRecyclingTransport,
    AsyncRoundRobinPoolTransport,
    Lifetime,
    PoolTransport,
    RecyclingTransport,
    RoundRobinPoolTransport,
    StaticEndpoints,
)
from tests.wire.server import PATIENCE_S, Script, always, read_request, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Make = Callable[..., httpx.AsyncBaseTransport | httpx.BaseTransport]

RECYCLING = pytest.mark.parametrize("make", [AsyncRecyclingTransport, RecyclingTransport])
IN_TURN = pytest.mark.parametrize("make", [AsyncRoundRobinPoolTransport, RoundRobinPoolTransport])
ORDINARY = pytest.mark.parametrize("make", [AsyncPoolTransport, PoolTransport])


def asked(transport: Any, url: str, count: int, at_once: int = 1, method: str = "GET") -> list[int | type[Exception]]:
    """Statuses of so many requests, or what they ended with."""
    if isinstance(transport, httpx.AsyncBaseTransport):
        return asyncio.run(_asked(transport, url, count, at_once, method))
    with httpx.Client(transport=transport, trust_env=False) as client, ThreadPoolExecutor(at_once) as threads:

        def ask(_: int) -> int | type[Exception]:
            try:
                return client.request(method, url).status_code
            except httpx.HTTPError as error:
                return type(error)

        return list(threads.map(ask, range(count)))


async def _asked(
    transport: httpx.AsyncBaseTransport, url: str, count: int, at_once: int, method: str
) -> list[int | type[Exception]]:
    room = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:

        async def ask() -> int | type[Exception]:
            async with room:
                try:
                    return (await client.request(method, url)).status_code
                except httpx.HTTPError as error:
                    return type(error)

        return await asyncio.gather(*(ask() for _ in range(count)))


class Tally:
    """Counts the requests of each connection."""

    def __init__(self, answer: bytes = OK) -> None:
        self.requests: Counter[int] = Counter()
        self._connections = iter(range(10_000))
        self._answer = answer

    def __call__(self, sock: socket.socket) -> None:
        mine = next(self._connections)
        while read_request(sock):
            self.requests[mine] += 1
            sock.sendall(self._answer)


@RECYCLING
def test_a_connection_ends_after_so_many_requests(make: Make) -> None:
    tally = Tally()
    with serving(tally) as server:
        statuses = asked(make(age_s=None, requests=10, jitter=0.0), server.url, 35)

    assert (statuses, list(tally.requests.values())) == ([200] * 35, [10, 10, 10, 5])


@RECYCLING
def test_jitter_spreads_the_ends(make: Make) -> None:
    tally = Tally()
    with serving(tally) as server:
        asked(make(age_s=None, requests=10, jitter=0.5), server.url, 300)

    lengths = list(tally.requests.values())[:-1]
    assert all(5 <= length <= 15 for length in lengths)
    # At least 19 draws of eleven lengths: only three of them in less than 1 of 10^7 runs.
    assert len(set(lengths)) > 3


@RECYCLING
@pytest.mark.parametrize(("age_s", "least", "most"), [(0.05, 5, 10), (3600.0, 1, 1)])
def test_a_connection_ends_at_an_age_between_two_requests(make: Make, age_s: float, least: int, most: int) -> None:
    """The request under way is finished, however old the connection is meanwhile; the oldest is younger than two requests."""
    pause = threading.Event()

    def slow(sock: socket.socket) -> None:
        while read_request(sock):
            pause.wait(0.03)
            sock.sendall(OK)

    with serving(slow) as server:
        statuses = asked(make(age_s=age_s), server.url, 10)

    assert statuses == [200] * 10
    assert least <= server.accepted <= most


def test_an_idle_connection_does_not_outlive_its_age() -> None:
    """Threads close it when they come by the next time; a loop comes by in time."""
    ended = threading.Event()

    def script(sock: socket.socket) -> None:
        while read_request(sock):
            sock.sendall(OK)
        ended.set()

    async def work() -> bool:
        async with httpx.AsyncClient(transport=AsyncRecyclingTransport(age_s=0.05), trust_env=False) as client:
            await client.get(server.url)
            return await asyncio.to_thread(ended.wait, PATIENCE_S)

    with serving(script) as server:
        assert asyncio.run(work())


@IN_TURN
@pytest.mark.parametrize("at_once", [1, 4])
def test_connections_take_turns(make: Make, at_once: int) -> None:
    tally = Tally()
    with serving(tally) as server:
        statuses = asked(make(4), server.url, 80, at_once)

    assert (statuses, server.accepted) == ([200] * 80, 4)
    if at_once == 1:
        assert set(tally.requests.values()) == {20}


@IN_TURN
def test_a_request_more_than_there_are_connections_waits(make: Make) -> None:
    tally = Tally()
    with serving(tally) as server:
        statuses = asked(make(2), server.url, 60, 10)

    assert (statuses, server.accepted, sum(tally.requests.values())) == ([200] * 60, 2, 60)


@IN_TURN
def test_connections_that_take_turns_may_end_as_well(make: Make) -> None:
    with serving(always(OK)) as server:
        asked(make(2, lifetime=Lifetime(requests=5, jitter=0.0)), server.url, 40)

    assert server.accepted == 8


@IN_TURN
def test_hosts_do_not_share_turns(make: Make) -> None:
    with serving(always(OK)) as one, serving(always(OK)) as other:
        transport: Any = make(2)
        if isinstance(transport, httpx.AsyncBaseTransport):

            async def work() -> None:
                async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
                    for url in (one.url, other.url) * 6:
                        await client.get(url)

            asyncio.run(work())
        else:
            with httpx.Client(transport=transport, trust_env=False) as client:
                for url in (one.url, other.url) * 6:
                    client.get(url)

    assert (one.accepted, other.accepted) == (2, 2)


@IN_TURN
def test_nobody_listening_is_a_connect_error_at_once(make: Make) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"

        assert asked(make(3), url, 1) == [httpx.ConnectError]


def _closing_after(answers: int, closed: "threading.Semaphore") -> Script:
    def script(sock: socket.socket) -> None:
        for _ in range(answers):
            if not read_request(sock):
                return
            sock.sendall(OK)
        sock.shutdown(socket.SHUT_RDWR)
        closed.release()

    return script


@ORDINARY
def test_a_post_does_not_go_out_on_a_connection_that_the_server_has_closed(make: Make) -> None:
    """It may not be sent twice, so that it has to be seen beforehand."""
    closed = threading.Semaphore(0)
    transport: Any = make()
    with serving(_closing_after(1, closed)) as server:
        if isinstance(transport, httpx.AsyncBaseTransport):

            async def work() -> list[int]:
                async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
                    statuses = []
                    for _ in range(5):
                        statuses.append((await client.post(server.url)).status_code)
                        await asyncio.to_thread(closed.acquire, timeout=PATIENCE_S)
                    return statuses

            assert asyncio.run(work()) == [200] * 5
        else:
            with httpx.Client(transport=transport, trust_env=False) as client:
                for _ in range(5):
                    assert client.post(server.url).status_code == 200
                    assert closed.acquire(timeout=PATIENCE_S)


def test_the_names_of_the_library_are_there() -> None:
    import kbalance.balancing as library

    assert [name for name in library.__all__ if not hasattr(library, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = library.Nothing


def test_news_without_a_loop_do_not_pile_up() -> None:
    """A transport whose loop has ended, and whose source goes on telling."""
    source = StaticEndpoints({"web.shop": [("127.0.0.1", 1)]})
    transport = AsyncBalancingTransport(source)

    async def begin() -> None:
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("http://web.shop/")
            transport.aclose = _nothing  # type: ignore[method-assign]

    asyncio.run(begin())
    for port in range(1, 5000):
        source.update("web.shop", [("127.0.0.1", port)])

    assert len(transport._inbox) <= 1001


async def _nothing() -> None:
    """Leaves it open."""


def test_without_asyncio_the_asynchronous_ones_say_what_to_do() -> None:
    request = httpx.Request("GET", "http://127.0.0.1:9/")
    coroutine = AsyncPoolTransport().handle_async_request(request)

    with pytest.raises(RuntimeError, match="under trio use the synchronous ones"):
        coroutine.send(None)
