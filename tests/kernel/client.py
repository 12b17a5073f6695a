"""A client as plain as can be: one socket, one connection, and who answered on it.

Call these in `Namespace.call`; a socket belongs for good to the namespace in which it was made.
"""

import errno
import socket
from types import TracebackType
from typing import Self

from kbalance.model.target import Address


class Connection:
    """One held connection; every other failure than an `OSError` is a bug."""

    def __init__(self, to: Address, source: str = "127.0.2.1", timeout_s: float = 5.0) -> None:
        self._socket = socket.create_connection(to, timeout_s, (source, 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends it; a second time does nothing."""
        self._socket.close()

    def ask(self, *, last: bool = False) -> str:
        """The body of ``/hostname``, or its status when that is not 200."""
        end = "Connection: close\r\n" if last else ""
        self._socket.sendall(f"GET /hostname HTTP/1.1\r\nHost: kernel\r\n{end}\r\n".encode())
        received = b""
        while not _complete(received):
            if not (more := self._socket.recv(4096)):
                raise ConnectionResetError(errno.ECONNRESET, "closed before the answer was complete")
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode()
        return body.decode() if status == "200" else status


def _complete(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    return bool(found) and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])


def once(to: Address, source: str = "127.0.2.1", timeout_s: float = 5.0) -> str:
    """Who answers on a fresh connection, or the name of the error (``ECONNREFUSED``, ``ETIMEDOUT``)."""
    try:
        with Connection(to, source, timeout_s) as connection:
            # The server closes first and keeps TIME_WAIT: the client's ports stay free for the next draws.
            return connection.ask(last=True)
    except TimeoutError:
        return "ETIMEDOUT"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def fresh(to: Address, connections: int, source: str = "127.0.2.1", timeout_s: float = 5.0) -> list[str]:
    """`once`, again and again."""
    return [once(to, source, timeout_s) for _ in range(connections)]


def held(to: Address, requests: int, source: str = "127.0.2.1") -> list[str]:
    """Who answers each of many requests on one connection."""
    with Connection(to, source) as connection:
        return [connection.ask() for _ in range(requests)]


def accepts(to: Address, timeout_s: float = 1.0) -> bool:
    """Whether anybody accepts connections there."""
    try:
        socket.create_connection(to, timeout_s).close()
    except OSError:
        return False
    return True
