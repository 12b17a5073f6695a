"""TCP on loopback: addresses that listen or refuse, received bytes without big allocations, and the hard close."""

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from kbalance.model.target import Address

BACKLOG = 1024
"""Connections that may wait to be accepted; as many as a burst of the largest profile opens."""

_tasks: set[asyncio.Task[Any]] = set()
_buffer = memoryview(bytearray(64 * 1024))


def spawn(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine in the background; the event loop alone would not keep it alive."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def local_ip(wanted: str) -> str:
    """The wanted address, or 127.0.0.1 where the operating system does not own all of 127.0.0.0/8."""
    with socket.socket() as probe:
        try:
            probe.bind((wanted, 0))
        except OSError:
            return "127.0.0.1"
    return wanted


def _bound(ip: str, port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        sock.bind((ip, port))
    except OSError:
        sock.close()
        raise
    return sock


class Port:
    """An address of our own that listens or refuses, as told.

    A second socket stays bound to it and never listens: while we refuse, nobody else is given the port.
    """

    def __init__(self, ip: str, preferred: int = 0) -> None:
        """Take the preferred port at `ip`, or another one if that is not free."""
        try:
            self._holder = _bound(ip, 0) if preferred == 0 else self._exclusively(ip, preferred)
        except OSError:
            self._holder = _bound(ip, 0)
        self.address = Address(*self._holder.getsockname()[:2])
        self._listener: socket.socket | None = None

    @staticmethod
    def _exclusively(ip: str, port: int) -> socket.socket:
        # SO_REUSEPORT would let us join a port that another testbed of the same user holds; a plain bind would not.
        with socket.socket() as probe:
            probe.bind((ip, port))
        return _bound(ip, port)

    def open(self, accept: Callable[[socket.socket, str], None]) -> None:
        """Listen; `accept` is called with each new connection and its source address, in the order of arrival."""
        if self._listener is None:
            self._listener = _bound(*self.address)
            self._listener.listen(BACKLOG)
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept_all, self._listener, accept)

    def _accept_all(self, listener: socket.socket, accept: Callable[[socket.socket, str], None]) -> None:
        while self._listener is listener:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            accept(sock, peer[0])

    def shut(self) -> None:
        """Refuse new connections, those that wait to be accepted included."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Give the port back."""
        self.shut()
        self._holder.close()


class Receiver(ABC, asyncio.BufferedProtocol):
    """A protocol that gets its bytes in `received`, through one buffer that all connections share.

    asyncio's plain Protocol allocates 256 KiB for every read. Sharing is safe: the loop asks for the buffer, fills it and
    reports it in one step.
    """

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received(bytes(_buffer[:nbytes]))

    @abstractmethod
    def received(self, data: bytes) -> None:
        """What came; every protocol here takes it in its own way, and one that forgot to must not pass for a silent peer."""


def harden(sock: Any) -> None:
    """Make the socket's close send RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(transport: asyncio.Transport) -> None:
    """Close with RST, dropping what is not yet sent."""
    if not transport.is_closing():
        harden(transport.get_extra_info("socket"))
    transport.abort()
