"""What is built of Go: a server of gRPC, and ghz, which is a load generator for such. Modules come from the Go proxy, once."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from bench.errors import NotMeasured

GHZ = "v0.121.0"
_SERVER = Path(__file__).with_name("grpcserver")
_LONGEST_S = 600.0


@cache
def grpc_server() -> Path:
    """The server in `grpcserver`, built once a run.

    Raises:
        NotMeasured: it cannot be built.
    """
    return _built("grpcserver", ["go", "build", "-o", str(_folder()), "."])


@cache
def ghz() -> Path:
    """The load generator, built once a run.

    Raises:
        NotMeasured: it cannot be had.
    """
    return _built("ghz", ["go", "install", f"github.com/bojand/ghz/cmd/ghz@{GHZ}"])


def _built(name: str, command: list[str]) -> Path:
    # Clients have one core, and so has the toolchain unless it is told otherwise; nobody is measured meanwhile.
    environment = {**os.environ, "GOBIN": str(_folder()), "GOFLAGS": ""}
    try:
        done = subprocess.run(command, cwd=_SERVER, env=environment, capture_output=True, text=True, timeout=_LONGEST_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMeasured(f"{name} cannot be built: {error}") from error
    if done.returncode:
        raise NotMeasured(f"{name} cannot be built: {done.stderr.strip().splitlines()[-1]}")
    return _folder() / name


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kbalance-bench-go-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
