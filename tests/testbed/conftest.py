"""An event loop in a thread of its own, so that tests can be plain blocking clients."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec, Protocol, TypeVar

import pytest

from kbalance.testbed.pods import Pod
from kbalance.testbed.scenario import PodSpec

P = ParamSpec("P")
T = TypeVar("T")


class Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Background:
    """Runs functions in the loop's thread and hands back what they return."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._started: list[Closable] = []

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def run() -> T:
            return function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def start(self, factory: Callable[[], C]) -> C:
        """Make a part of the testbed that is closed at the end."""
        part = self.call(factory)
        self._started.append(part)
        return part

    def close(self) -> None:
        for part in self._started:
            self.call(part.close)
        asyncio.run_coroutine_threadsafe(self._settle(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _settle(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.close()


StartPod = Callable[..., Pod]


@pytest.fixture
def start_pod(background: Background) -> StartPod:
    """Starts a pod: ``start_pod(number, fault=..., ...)``; its name is ``pod-<number>``."""

    def start(number: int = 1, **fields: object) -> Pod:
        spec = PodSpec(**fields)  # type: ignore[arg-type]
        return background.start(lambda: Pod(f"pod-{number}", number, spec))

    return start
