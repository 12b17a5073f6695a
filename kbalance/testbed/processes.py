"""The process of a pod's container: started, read, ended, and never left behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A running command; what it prints and its end are told in the event loop's thread."""

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        *,
        printed: Callable[[bytes], None],
        ended: Callable[[int], None],
    ) -> None:
        """Needs a running event loop; `ended` is called last, with the exit code as a shell has it: 128 + n for signal n.

        Raises:
            OSError: when the command cannot be started.
        """
        self._loop = asyncio.get_running_loop()
        self._printed = printed
        self._ended = ended
        self._popen = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own, so that what it starts ends with it.
            process_group=0,
            # The loop's thread is the one that forks, and it lives as long as this process does.
            preexec_fn=_die_with_parent,
        )
        self._thread = threading.Thread(target=self._watch, name=f"pod-{self._popen.pid}", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as output:
            while data := os.read(output.fileno(), 65536):
                self._tell(self._printed, data)
        code = self._popen.wait()
        self._tell(self._ended, 128 - code if code < 0 else code)

    def _tell(self, listener: Callable[..., None], value: object) -> None:
        # The loop may be closed already; then nobody listens.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(listener, value)

    def send(self, number: signal.Signals) -> None:
        """Signal the process and what it started, if it still runs."""
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    def close(self) -> None:
        """End it at once and wait for that."""
        self.send(signal.SIGKILL)
        self._thread.join(2)
