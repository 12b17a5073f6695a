"""A server that does what a script says, one thread a connection; it knows nothing of HTTP but where a request ends."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kbalance.model.target import Address

Script = Callable[[socket.socket], None]
"""Gets an accepted connection, which is closed when it returns."""
PATIENCE_S = 10.0
"""Only a broken test ever waits so long."""


class Serving:
    """A running server."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.address = Address(*self._listener.getsockname()[:2])
        self.accepted = 0
        """Connections so far."""

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def start(self) -> None:
        self._start(self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                self._open.append(sock)
                self._start(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            self._script(sock)
        except OSError:
            pass  # the client hung up, or the test is over
        finally:
            sock.close()

    def stop(self) -> None:
        # shutdown() wakes the threads that wait in accept and recv; close() alone does not.
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)


@contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Serving]:
    """A server on 127.0.0.1 while the block runs."""
    server = Serving(script, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def read_request(sock: socket.socket) -> bytes:
    """One request with its body, sized or chunked; ``b""`` when the client closed before its end."""
    data = b""
    while not _complete(data):
        more = sock.recv(1 << 20)
        if not more:
            return b""
        data += more
    return data


def _complete(data: bytes) -> bool:
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        return False
    fields = {line.split(b":")[0].lower(): line.split(b":", 1)[1].strip() for line in head.split(b"\r\n")[1:]}
    if fields.get(b"transfer-encoding") == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(fields.get(b"content-length", b"0"))


def answering(*answers: bytes) -> Script:
    """Gives one answer after another, then closes."""

    def script(sock: socket.socket) -> None:
        for answer in answers:
            if not read_request(sock):
                return
            sock.sendall(answer)

    return script


def always(answer: bytes) -> Script:
    """Gives the same answer as long as it is asked."""

    def script(sock: socket.socket) -> None:
        while read_request(sock):
            sock.sendall(answer)

    return script


def reset(sock: socket.socket) -> None:
    """Closes with RST, so that the client sees a broken connection rather than an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def refusing() -> Address:
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Address(*sock.getsockname()[:2])
