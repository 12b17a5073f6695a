"""Programs as peers: started with a log in a folder of their own, awaited until they listen, ended through their own process."""

import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kbalance.model.target import Address

PATIENCE_S = 20.0
"""Only a broken program ever takes so long."""
_PAUSE_S = 0.01


def room(folder: Path, program: str) -> Path:
    """A folder of its own in this one, as one test may start several."""
    return Path(tempfile.mkdtemp(prefix=f"{program}-", dir=folder))


def free(ip: str = "127.0.0.1") -> Address:
    """An address that nobody listens at."""
    with socket.create_server((ip, 0)) as held:
        return Address(*held.getsockname()[:2])


@contextmanager
def listening(command: Sequence[str | Path], folder: Path, address: Address) -> Iterator[None]:
    """Runs a program that was told where to listen.

    Raises:
        AssertionError: it ended, or listens nowhere, with its own last words.
    """
    log = folder / "log"
    words = [str(word) for word in command]
    with (
        log.open("wb") as said,
        subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said) as running,
    ):
        try:
            assert _accepts(running, address), f"{words[0]} does not listen at {address}: {log.read_text()[-2000:]}"
            yield
        finally:
            _end(running)


@contextmanager
def printing(command: Sequence[str | Path], folder: Path) -> Iterator[int]:
    """Runs a program that prints its port once it listens; it leaves when its input ends."""
    log = folder / "log"
    words = [str(word) for word in command]
    with (
        log.open("wb") as said,
        subprocess.Popen(words, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True) as running,
    ):
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            line = running.stdout.readline()
            assert line, f"{words[0]} ended: {log.read_text()[-2000:]}"
            yield int(line)
        finally:
            running.stdin.close()
            _end(running, told=True)


def _accepts(running: "subprocess.Popen[bytes]", address: Address) -> bool:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / _PAUSE_S)):
        if running.poll() is not None:
            return False
        try:
            socket.create_connection(address, PATIENCE_S).close()
        except ConnectionRefusedError:
            pause.wait(_PAUSE_S)
        else:
            return True
    return False


def _end(running: "subprocess.Popen[bytes] | subprocess.Popen[str]", *, told: bool = False) -> None:
    if not told:
        running.terminate()
    try:
        running.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        running.kill()
        raise
