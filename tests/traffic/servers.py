"""A server that does exactly what a test says, connection by connection, and counts what it saw.

A script is a function of one accepted connection (`Peer`); each runs in a thread of its own, and when it returns the connection
is closed. `steady` and the other small functions make the scripts that most tests want.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from kbalance.model.target import Address

PATIENCE_S = 10.0
"""Ends a test that hangs; nothing waits for it to pass."""


def answer(body: bytes = b"hello", *, status: bytes = b"200 OK", headers: tuple[bytes, ...] = (), close: bool = False) -> bytes:
    """A response with a length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, *([b"Connection: close"] if close else [])]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, server: "Server", sock: socket.socket, index: int) -> None:
        self.server = server
        self.sock = sock
        self.index = index
        """Order of acceptance, from 0."""
        self.requests: list[bytes] = []
        """Heads, the body behind each."""
        self._received = bytearray()

    def request(self) -> bytes | None:
        """The next request, head and body; ``None`` when the client closed."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if not self._more():
                return None
        head = bytes(self._received[:end])
        lines = (line.partition(b":") for line in head.split(b"\r\n"))
        size = end + 4 + next((int(value) for name, _, value in lines if name == b"Content-Length"), 0)
        while len(self._received) < size:
            if not self._more():
                return None
        self.requests.append(bytes(self._received[:size]))
        del self._received[:size]
        self.server.entered()
        return self.requests[-1]

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except OSError:
            return False
        self._received += data
        return bool(data)

    def reply(self, data: bytes) -> None:
        """Sends a complete response."""
        self.server.left()
        self.sock.sendall(data)

    def reset(self) -> None:
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def until_closed(self) -> None:
        """Waits for the client to close, whatever it sends before."""
        while self._more():
            self._received.clear()


Script = Callable[[Peer], None]


class Gate:
    """Holds answers back until the driver has swept so many times, which is a tenth of a second each after the first."""

    def __init__(self, sweeps: int) -> None:
        self._left = sweeps
        self._open = threading.Event()

    def on_sweep(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._open.set()

    def wait(self) -> None:
        assert self._open.wait(PATIENCE_S)

    def script(self, peer: Peer) -> None:
        """Answers as `steady` does, once the gate is open."""
        steady(before=self.wait)(peer)


def wants_close(request: bytes) -> bool:
    return b"\r\nConnection: close\r\n" in request


def steady(response: bytes = answer(), *, before: Callable[[], object] = lambda: None) -> Script:
    """Answers every request alike, and closes when asked to; ``before`` runs between request and answer."""

    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            before()
            peer.reply(response)
            if wants_close(request):
                return

    return script


def hang(peer: Peer) -> None:
    """Takes a request and never answers."""
    peer.request()
    peer.until_closed()


def sends(data: bytes, *, reset: bool = False, stay: bool = False) -> Script:
    """Takes one request, sends these bytes, then closes, resets or stays."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.sock.sendall(data)
        if reset:
            peer.reset()
        if stay:
            peer.until_closed()

    return script


def in_turn(*scripts: Script) -> Script:
    """The first connection gets the first script, and so on; all later ones get the last."""
    return lambda peer: scripts[min(peer.index, len(scripts) - 1)](peer)


class Server:
    """Listens on a loopback port; a context manager that leaves nothing behind."""

    def __init__(self, script: Script, *, ip: str = "127.0.0.1", tls: ssl.SSLContext | None = None, deaf: bool = False) -> None:
        """
        Args:
            deaf: never accepts, and the kernel's queue holds one connection: all further ones get no answer to their SYN.
        """
        self._script = script
        self._tls = tls
        self._lock = threading.Condition()
        self._in_flight = 0
        self.most_in_flight = 0
        """Requests received and not yet answered, at most."""
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self._filler: list[socket.socket] = []
        self._listener = socket.create_server(
            (ip, 0), family=socket.AF_INET6 if ":" in ip else socket.AF_INET, backlog=0 if deaf else 512
        )
        self.address = Address(ip, self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        if deaf:
            self._fill_queue()
        else:
            self._start(self._accept)

    def _fill_queue(self) -> None:
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(self.address)
            self._filler.append(sock)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                peer = Peer(self, sock, len(self.peers))
                self.peers.append(peer)
                self._lock.notify_all()
            self._start(self._run, peer)

    def _run(self, peer: Peer) -> None:
        try:
            if self._tls is not None:
                peer.sock = self._tls.wrap_socket(peer.sock, server_side=True)
            self._script(peer)
        except OSError:
            pass  # the client went away first
        except BaseException as error:
            self.errors.append(error)
        finally:
            with contextlib.suppress(OSError):
                # A close with unread bytes would reset the connection and could destroy the answer on its way.
                peer.sock.shutdown(socket.SHUT_WR)
            peer.sock.close()

    def stop_listening(self) -> None:
        """Further connections are refused; those that there are go on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def entered(self) -> None:
        with self._lock:
            self._in_flight += 1
            self._lock.notify_all()
            self.most_in_flight = max(self.most_in_flight, self._in_flight)

    def left(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def until_accepted(self, connections: int) -> None:
        """Waits for so many connections: the kernel opens them before the thread that accepts has its turn."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.peers) >= connections, PATIENCE_S)

    def until_asked(self, requests: int, *, on: int | None = None) -> None:
        """Waits for so many requests over all connections, or on the connection with this index."""

        def asked() -> bool:
            return (self.requests if on is None else sum(self.per_connection[on : on + 1])) >= requests

        with self._lock:
            assert self._lock.wait_for(asked, PATIENCE_S)

    @contextlib.contextmanager
    def when_asked(self, requests: int, action: Callable[[], object]) -> Iterator[None]:
        """Meanwhile, in another thread: waits for so many requests and then acts."""

        def wait_and_act() -> None:
            self.until_asked(requests)
            action()

        thread = threading.Thread(target=wait_and_act)
        thread.start()
        yield
        thread.join()

    @property
    def requests(self) -> int:
        """Received over all connections."""
        return sum(len(peer.requests) for peer in self.peers)

    @property
    def per_connection(self) -> list[int]:
        """Requests received on each connection, in order of acceptance."""
        return [len(peer.requests) for peer in self.peers]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop_listening()
        for sock in (*self._filler, *(peer.sock for peer in list(self.peers))):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        for sock in self._filler:
            sock.close()
        assert not self.errors, self.errors


@contextlib.contextmanager
def refusing(ip: str = "127.0.0.1") -> Iterator[Address]:
    """An address at which nobody listens, and that nobody else gets meanwhile."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as sock:
        sock.bind((ip, 0))
        yield Address(ip, sock.getsockname()[1])
