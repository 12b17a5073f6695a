"""A private network namespace: a tree of processes that dies with this one, and a thread whose sockets live inside."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ParamSpec, Self, TypeVar

from .rules import Rules

NODE = "127.255.0.1"
"""The one address of global scope on lo: without it MASQUERADE finds no source and drops what it should rewrite."""

TOOLS = ("unshare", "nsenter", "ip", "iptables-restore", "nft", "conntrack")

_CLONE_NEWNET = 0x40000000  # <sched.h>; os.setns and os.CLONE_NEWNET arrive with Python 3.12

_SETUP = f"ip link set lo up && ip address add {NODE}/32 dev lo scope global && echo ready && exec cat"
"""`cat` keeps the namespace until its input ends, which happens even when the owner is killed."""

P = ParamSpec("P")
T = TypeVar("T")


def lacking(euid: int, which: Callable[[str], str | None]) -> tuple[str, ...]:
    """What this machine lacks to make a namespace with kube-proxy's rules, in the words for a skip."""
    tools = tuple(tool for tool in TOOLS if which(tool) is None)
    return (() if euid == 0 else ("root",)) + tools


class Namespace:
    """A network, process and mount namespace of its own, with loopback up; left, everything in it is gone."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._holder = stack.enter_context(_holder())
            self.pid = only_child(self._holder.pid)
            self._thread = stack.enter_context(ThreadPoolExecutor(1, "netns", _enter_network, (self.pid,)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside, in this process's working directory."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--pid", "--mount", f"--wdns={Path.cwd()}", "--"]
        return [*enter, *argv]

    def run(
        self, argv: Sequence[str], *, text: str = "", env: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The finished command, whatever its exit code; `text` is its standard input."""
        return subprocess.run(
            self.command(argv), input=text, env=env, timeout=timeout_s, capture_output=True, text=True, check=False
        )

    def check(self, argv: Sequence[str], *, text: str = "") -> str:
        """The standard output of a command that must succeed."""
        done = self.run(argv, text=text)
        assert done.returncode == 0, f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr}\n{text}"
        return done.stdout

    def apply(self, rules: Rules) -> None:
        """The rules, loaded in one step."""
        self.check(rules.command, text=rules.text)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """A process inside, with text pipes as asked for; it cannot outlive the namespace."""
        return subprocess.Popen(self.command(argv), text=True, **options)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` gives in a thread that lives inside; a socket made there stays inside wherever it is used."""
        return self._thread.submit(function, *args, **kwargs).result()


@contextmanager
def _holder() -> Iterator[subprocess.Popen[str]]:
    argv = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _SETUP]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert pipe(holder.stdout).readline() == "ready\n", "no private network namespace could be set up"
        try:
            yield holder
        finally:
            pipe(holder.stdin).close()


def pipe(stream: IO[str] | None) -> IO[str]:
    """The pipe that was asked for."""
    assert stream is not None
    return stream


def only_child(pid: int) -> int:
    """`unshare` and `nsenter` stay outside the process namespace; their child is the one inside."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def _enter_network(pid: int) -> None:
    """Moves the calling thread alone (setns(2))."""
    with open(f"/proc/{pid}/ns/net", "rb") as network:
        if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
