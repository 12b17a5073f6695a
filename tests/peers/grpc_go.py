"""grpc-go's server, the one that cluster tests run: the health check and reflection."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kbalance.model.target import Address
from tests.artifacts.conftest import run, tool

from .running import free, listening, room

_SOURCE = Path(__file__).parent.parent / "cluster" / "grpc_go"


@functools.cache
def _built() -> Path:
    """The server, built once a session."""
    folder = Path(tempfile.mkdtemp(prefix="kbalance-grpc-go-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run(tool("go"), "build", "-o", folder / "server", ".", cwd=_SOURCE)
    return folder / "server"


@contextmanager
def grpc_go(folder: Path, *, certificate: tuple[Path, Path] | None = None) -> Iterator[Address]:
    """With a certificate and its key it speaks TLS."""
    home, address = room(folder, "grpc-go"), free()
    secured: list[str | Path] = ["-cert", certificate[0], "-key", certificate[1]] if certificate else []
    command: list[str | Path] = [_built(), "-port", str(address.port), *secured]
    with listening(command, home, address):
        yield address
