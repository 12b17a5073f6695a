"""Pods that come and go on loopback, and callers of either kind that spread requests over them."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import httpx

from kbalance.balancing import AsyncBalancingTransport, BalancingTransport, Endpoint, Snapshot, Source, StaticEndpoints
from kbalance.testbed.pods import Pod
from kbalance.testbed.scenario import Fault, Identity, PodSpec
from tests.testbed.conftest import Background
from tests.wire.server import read_request, serving

T = TypeVar("T")

HOST = "web.shop"
URL = f"http://{HOST}/"
PATIENCE_S = 10.0
"""Only a broken test ever waits so long."""


def until(condition: Callable[[], bool]) -> None:
    """Waits until it holds."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came true")


class Fleet:
    """Pods by number, and a source that lists those that are meant to be there."""

    def __init__(self) -> None:
        self._background = Background()
        self.pods: dict[int, Pod] = {}
        self.source = StaticEndpoints({HOST: ()})

    def start(self, *numbers: int, **spec: Any) -> None:
        """Starts pods, without listing them."""
        for number in numbers:
            made = PodSpec(identity=Identity.HEADER, **spec)
            self.pods[number] = self._background.start(lambda n=number, made=made: Pod(f"pod-{n}", n, made))  # type: ignore[misc]

    def list(self, *numbers: int) -> None:
        """These are the endpoints from now on."""
        self.source.update(HOST, [self.endpoint(n) for n in numbers])

    def endpoint(self, number: int) -> Endpoint:
        return Endpoint(address=self.pods[number].address, name=f"pod-{number}")

    def fault(self, number: int, fault: Fault, delay_ms: int | None = None) -> None:
        self._background.call(self.pods[number].set_fault, fault, delay_ms)

    def connections(self, number: int) -> int:
        """That are open at the pod."""
        return self._background.call(lambda: len(self.pods[number].connections))

    def close(self) -> None:
        self._background.close()


@contextmanager
def fleet(*numbers: int, **spec: Any) -> Iterator[Fleet]:
    """Pods of these numbers, all of them listed."""
    made = Fleet()
    try:
        made.start(*numbers, **spec)
        made.list(*numbers)
        yield made
    finally:
        made.close()


class Gate:
    """A pod that answers nobody before it is let go, and knows who asked."""

    def __init__(self, name: str) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Pod-Name: %b\r\n\r\nok" % name.encode()
        self._open = threading.Event()
        self.asked: list[bytes] = []
        """Requests that have come, whole."""
        self.connections: set[socket.socket] = set()

    def __call__(self, sock: socket.socket) -> None:
        self.connections.add(sock)
        try:
            while request := read_request(sock):
                self.asked.append(request)
                self._open.wait(PATIENCE_S)
                sock.sendall(self._answer)
        finally:
            self.connections.discard(sock)

    def let_go(self) -> None:
        self._open.set()


@contextmanager
def gate(name: str) -> Iterator[tuple[Gate, Endpoint]]:
    """One that runs while the block does, and where it is."""
    made = Gate(name)
    with serving(made) as server:
        try:
            yield made, Endpoint(address=server.address, name=name)
        finally:
            made.let_go()


class Caller(Protocol):
    """A client with many requests at once, whichever way it waits."""

    def begin(self, method: str = "GET", url: str = URL, **options: Any) -> "Future[httpx.Response]": ...
    def peek(self, url: str) -> "Future[bytes]":
        """The first part of a body whose rest nobody wants."""

    def snapshot(self) -> Snapshot: ...
    def line(self) -> str: ...
    def close(self) -> None: ...


class AsyncCaller:
    """An `httpx.AsyncClient` in a loop of its own thread."""

    def __init__(self, source: Source, timeout: float, at_once: int, **options: Any) -> None:
        self.transport = AsyncBalancingTransport(source, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._client = httpx.AsyncClient(transport=self.transport, timeout=timeout, trust_env=False)
        self._room = asyncio.Semaphore(at_once)

    def _run(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def begin(self, method: str = "GET", url: str = URL, **options: Any) -> "Future[httpx.Response]":
        async def in_its_turn() -> httpx.Response:
            async with self._room:
                return await self._client.request(method, url, **options)

        return self._run(in_its_turn())

    def peek(self, url: str) -> "Future[bytes]":
        async def first() -> bytes:
            async with self._client.stream("GET", url) as response:
                return await anext(response.aiter_raw())

        return self._run(first())

    def snapshot(self) -> Snapshot:
        async def taken() -> Snapshot:
            return self.transport.snapshot()

        return self._run(taken()).result(PATIENCE_S)

    def line(self) -> str:
        return repr(self.transport)

    def tasks(self) -> int:
        """That are still there, after the time that those need which have just been told to end."""

        async def count() -> int:
            for _ in range(200):
                if len(asyncio.all_tasks()) == 1:
                    break
                await asyncio.sleep(0.005)
            return len(asyncio.all_tasks()) - 1

        return self._run(count()).result(PATIENCE_S)

    def close(self) -> None:
        if not self._client.is_closed:
            self._run(self._client.aclose()).result(PATIENCE_S)
            assert self.tasks() == 0
            # Of the resolver's threads, which are the loop's.
            self._run(self._loop.shutdown_default_executor()).result(PATIENCE_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_S)
            self._loop.close()


class ThreadCaller:
    """An `httpx.Client` that many threads share."""

    def __init__(self, source: Source, timeout: float, at_once: int, **options: Any) -> None:
        self.transport = BalancingTransport(source, **options)
        self._client = httpx.Client(transport=self.transport, timeout=timeout, trust_env=False)
        self._threads = ThreadPoolExecutor(at_once)

    def begin(self, method: str = "GET", url: str = URL, **options: Any) -> "Future[httpx.Response]":
        return self._threads.submit(self._client.request, method, url, **options)

    def peek(self, url: str) -> "Future[bytes]":
        def first() -> bytes:
            with self._client.stream("GET", url) as response:
                return next(response.iter_raw())

        return self._threads.submit(first)

    def snapshot(self) -> Snapshot:
        return self.transport.snapshot()

    def line(self) -> str:
        return repr(self.transport)

    def close(self) -> None:
        self._client.close()
        self._threads.shutdown()


KINDS: dict[str, Callable[..., Caller]] = {"asyncio": AsyncCaller, "threads": ThreadCaller}


@contextmanager
def calling(kind: str, source: Source, *, timeout: float = PATIENCE_S, at_once: int = 8, **options: Any) -> Iterator[Caller]:
    """A caller of this kind."""
    caller = KINDS[kind](source, timeout, at_once, **options)
    try:
        yield caller
    finally:
        caller.close()


def met(response: httpx.Response) -> str:
    """The pod that answered."""
    return response.headers["X-Pod-Name"]


def got(future: "Future[httpx.Response]") -> str:
    """The pod that answered, or the name of the exception."""
    try:
        return met(future.result(PATIENCE_S))
    except httpx.HTTPError as error:
        return type(error).__name__


def ask(caller: Caller, count: int, method: str = "GET", **options: Any) -> list[str]:
    """The outcome of so many requests, as many at once as the caller has room for."""
    return [got(future) for future in [caller.begin(method, **options) for _ in range(count)]]


def ask_in_turn(caller: Caller, count: int, method: str = "GET", **options: Any) -> list[str]:
    """The outcome of so many requests, each after the one before."""
    return [got(caller.begin(method, **options)) for _ in range(count)]
