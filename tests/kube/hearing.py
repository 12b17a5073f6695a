"""Those who are told something by other threads, and wait for it."""

import time
from collections.abc import Callable
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")

LONGEST_S = 10.0


class Heard(Generic[T]):
    """All that was told so far; call it to tell."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._told: list[T] = []
        self._read = 0

    def __call__(self, one: T) -> None:
        with self._condition:
            self._told.append(one)
            self._condition.notify_all()

    @property
    def all(self) -> list[T]:
        with self._condition:
            return list(self._told)

    def until(self, holds: Callable[[T], bool], within_s: float = LONGEST_S) -> T:
        """The next one, after those that were waited for before, of which that holds."""
        due_s = time.monotonic() + within_s
        with self._condition:
            while True:
                while self._read < len(self._told):
                    self._read += 1
                    if holds(self._told[self._read - 1]):
                        return self._told[self._read - 1]
                assert self._condition.wait(due_s - time.monotonic()), f"it was never told, but {self._told}"

    def next(self) -> T:
        return self.until(lambda one: True)

    def skip(self) -> None:
        """Wait only for what is told from now on."""
        with self._condition:
            self._read = len(self._told)
