"""A client of gRPC: grpcio, with messages as bytes."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

grpc: Any = importlib.import_module("grpc")
"""It has no types."""

CHECK = "/grpc.health.v1.Health/Check"
INFO = "/info.InfoService/Info"
ECHO = "/echo.EchoService/Echo"
SERVING = b"\x08\x01"
_LIMIT_S = 10


class Caller:
    """Calls on one channel; `call` objects have ``initial_metadata()``, ``trailing_metadata()``, ``code()`` and ``details()``."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def call(self, path: str = CHECK, message: bytes = b"", **options: Any) -> tuple[bytes, Any]:
        """The answer's message, and what the library knows of the call.

        Raises:
            grpc.RpcError: its status is not 0.
        """
        said, call = self._channel.unary_unary(path).with_call(message, timeout=_LIMIT_S, **options)
        return bytes(said), call

    def fail(self, path: str = CHECK, message: bytes = b"", **options: Any) -> Any:
        """The error of a call, which knows as much."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call(path, message, **options)
        return caught.value

    def start(self, path: str = CHECK, message: bytes = b"") -> Any:
        """A call under way, whose ``result()`` waits."""
        return self._channel.unary_unary(path).future(message, timeout=_LIMIT_S)


@contextmanager
def caller(address: object, **arguments: int | str) -> Iterator[Caller]:
    """A channel of its own connections, to ``IP:PORT``; further arguments are channel arguments without their ``grpc.``."""
    own = {"use_local_subchannel_pool": 1, "enable_http_proxy": 0, **arguments}
    with grpc.insecure_channel(str(address), [(f"grpc.{name}", value) for name, value in own.items()]) as channel:
        yield Caller(channel)


def pairs(metadata: Any) -> dict[str, str]:
    """Metadata, values as text."""
    return {key: value if isinstance(value, str) else value.decode() for key, value in metadata or ()}
