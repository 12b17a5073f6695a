"""A proxy's process inside a namespace: started, awaited until it listens, and ended."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kbalance.model.target import Address

from . import client
from .netns import Namespace, only_child

PROXY = Address("127.0.3.1", 15001)
"""Where proxies listen, and the address from which they dial."""

_TRIES, _PAUSE_S = 3000, 0.01


@contextmanager
def running(ns: Namespace, argv: Sequence[str], config: str, suffix: str, listens: Address = PROXY) -> Iterator[None]:
    """The proxy with this configuration, whose file is the last word of its command line.

    Raises:
        AssertionError: it ended, or listens nowhere, with its own last words.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:
        file = Path(folder, f"proxy{suffix}")
        file.write_text(config)
        with ns.popen([*argv, str(file)], stdin=subprocess.DEVNULL, stdout=said, stderr=said) as process:
            try:
                if not _listening(ns, process, listens):
                    said.seek(0)
                    raise AssertionError(f"{argv[0]} does not listen at {listens}: {said.read()[-2000:]}")
                yield
            finally:
                # `nsenter` stays the parent: a signal to it would leave the proxy running.
                if process.poll() is None:
                    os.kill(only_child(process.pid), signal.SIGKILL)


def _listening(ns: Namespace, process: "subprocess.Popen[str]", address: Address) -> bool:
    pause = threading.Event()
    for _ in range(_TRIES):
        if process.poll() is not None:
            return False
        if ns.call(client.accepts, address):
            return True
        pause.wait(_PAUSE_S)
    return False
