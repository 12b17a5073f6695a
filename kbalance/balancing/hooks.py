"""What a user of the library can be told of as it happens, for metrics; subclass and override what is wanted.

Calls come from whatever thread or task does the work, some with a lock held: they must be quick and must not use the transport.
An exception is logged and goes no further.
"""

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from kbalance.balancing.endpoints import Origin

log = logging.getLogger("kbalance.balancing")


class Hooks:
    """Every method does nothing; endpoints are named by their Pod or address."""

    def endpoints(self, origin: Origin, joined: Sequence[str], left: Sequence[str]) -> None:
        """The source listed other endpoints than before."""

    def trouble(self, origin: Origin, reason: str) -> None:
        """The source could not ask."""

    def ejected(self, origin: Origin, endpoint: str, for_s: float) -> None:
        """An endpoint failed too often in a row."""

    def returned(self, origin: Origin, endpoint: str) -> None:
        """An ejected endpoint is tried again."""

    def opened(self, origin: Origin, endpoint: str, took_s: float) -> None:
        """A connection is open."""

    def closed(self, origin: Origin, endpoint: str) -> None:
        """A connection was closed, by whichever side."""

    def answered(self, origin: Origin, endpoint: str, status: int, took_s: float) -> None:
        """A response's head came; the time is counted from when the request went out."""

    def failed(self, origin: Origin, endpoint: str, error: Exception) -> None:
        """An attempt ended without a response."""

    def retried(self, origin: Origin, endpoint: str, error: Exception) -> None:
        """A request goes out again, after this error at this endpoint."""


class Guarded(Hooks):
    """Somebody's hooks, whose exceptions are logged."""

    def __init__(self, hooks: Hooks) -> None:
        for name in (name for name, value in vars(Hooks).items() if callable(value)):
            setattr(self, name, _guarded(getattr(hooks, name)))


def _guarded(call: Callable[..., None]) -> Callable[..., None]:
    @wraps(call)
    def guarded(*arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception:
            log.exception("a hook of the balancing transport failed")

    return guarded
