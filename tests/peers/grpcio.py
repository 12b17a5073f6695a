"""grpcio's server, which is the C core of gRPC that Python, Ruby, PHP and C++ share."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kbalance.model.target import Address

from .running import printing, room

_SERVER = Path(__file__).with_name("grpcio_server.py")


@contextmanager
def grpcio(
    folder: Path,
    *,
    name: str = "pod-1",
    ip: str = "127.0.0.1",
    initial: bool = True,
    trailing: bool = False,
    delay_ms: int = 0,
    max_connection_age_ms: int | None = None,
    max_connection_age_grace_ms: int | None = None,
    max_concurrent_streams: int | None = None,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Address]:
    """Serves the health check and ``/echo.EchoService/Echo``; 64 calls at once.

    Args:
        folder: for its log.
        name: said as ``x-pod-name``.
        ip: to listen at.
        initial: whether the name is in initial metadata.
        trailing: whether it is in trailing metadata.
        delay_ms: before each answer, unless the server ends before.
        max_connection_age_ms: after which clients are asked to leave.
        max_connection_age_grace_ms: after which, then, calls are cancelled.
        max_concurrent_streams: of a connection.
        certificate: with its key, for TLS.
    """
    options = {
        "max_connection_age_ms": max_connection_age_ms,
        "max_connection_age_grace_ms": max_connection_age_grace_ms,
        "max_concurrent_streams": max_concurrent_streams,
    }
    told = {"name": name, "ip": ip, "initial": initial, "trailing": trailing, "delay_ms": delay_ms, "options": options}
    told["certificate"] = certificate and [str(file) for file in certificate]
    # -P: modules here are named as libraries are.
    with printing([sys.executable, "-P", _SERVER, json.dumps(told)], room(folder, "grpcio")) as port:
        yield Address(ip, port)
