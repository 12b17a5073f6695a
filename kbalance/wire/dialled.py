"""A TCP or TLS connection as a socket that never waits: it opens, takes bytes, gives bytes.

Whoever drives it (the traffic driver, the asyncio transport) watches ``fileno()`` for reading, and for writing while
``wants_write``, and calls back. TLS is the same connection with a context.
"""

import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure

if TYPE_CHECKING:
    import ssl

READ_SIZE = 64 * 1024
"""Small enough that malloc never maps a buffer of this size anew, which would cost more than the read; larger than a TLS record
(16 KiB), so that a read leaves nothing inside the TLS object, where no poller would see it."""
_NONBLOCK: int = getattr(socket, "SOCK_NONBLOCK", 0)
"""A system call less for each connection, where the platform has it."""

_OPENING = {
    errno.ECONNREFUSED: Failure.REFUSED,
    errno.ETIMEDOUT: Failure.CONNECT_TIMEOUT,
    errno.ECONNRESET: Failure.RESET,
    errno.ECONNABORTED: Failure.RESET,
}
_NOT_YET = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINPROGRESS, errno.ENOTCONN, errno.EALREADY)

UNTRUSTED = "the certificate is not trusted"
NOT_TLS = "the answer is not TLS"
NO_HTTP2 = "no HTTP/2 here"
_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What OpenSSL calls an answer of another protocol; versions differ."""


class Tls:
    """How a connection is encrypted: a context, and the name that is sent (SNI) and verified."""

    __slots__ = ("context", "name")

    def __init__(self, context: "ssl.SSLContext", name: str) -> None:
        self.context = context
        self.name = name

    def offer(self, protocols: Sequence[str]) -> None:
        """From now on connections offer these, the most wanted first (ALPN, RFC 7301)."""
        self.context.set_alpn_protocols(list(protocols))


class Dialled:
    """One connection to an address, opening or open. Failures are `ExchangeError`; the caller closes."""

    __slots__ = ("_broken", "_unsent", "address", "is_open", "sock", "tls", "wants_write")

    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        """Starts to open.

        Raises:
            ExchangeError: when the operating system refuses at once.
        """
        self.address = address
        self.tls = tls
        self.is_open = False
        self.wants_write = True
        self._unsent: bytes | memoryview = b""
        self._broken: ExchangeError | None = None
        """Why sending failed; what the server had answered by then may still be read."""
        self._start()

    def _start(self) -> None:
        try:
            family = socket.AF_INET6 if ":" in self.address.ip else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_STREAM | _NONBLOCK)
        except OSError as error:
            raise ExchangeError(Failure.UNREACHABLE, error.strerror or str(error)) from error
        if not _NONBLOCK:
            self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._connect()
        if code and code not in _NOT_YET:
            self.sock.close()
            raise _opening_failed(code)

    def _connect(self) -> int:
        if self.tls is None:
            return self.sock.connect_ex(self.address)
        # Wrapped before it connects, so that the descriptor stays the same for whoever watches it.
        try:
            # A name that cannot be encoded would make wrap_socket lose the descriptor.
            self.tls.name.encode("idna")
            self.sock = self.tls.context.wrap_socket(self.sock, server_hostname=self.tls.name, do_handshake_on_connect=False)
            return self.sock.connect_ex(self.address)
        except (OSError, ValueError) as error:
            self.sock.close()
            raise ExchangeError(Failure.TLS, str(error)) from error

    def fileno(self) -> int:
        """The socket's descriptor; -1 once closed."""
        return self.sock.fileno()

    def local_address(self) -> Address:
        """This side's address."""
        return Address(*self.sock.getsockname()[:2])

    def close(self) -> None:
        """Ends the connection; never fails."""
        self.is_open = False
        self.sock.close()

    def advance(self) -> bool:
        """Goes on opening after the socket became ready; whether the connection is open now.

        Raises:
            ExchangeError: REFUSED, UNREACHABLE, CONNECT_TIMEOUT, RESET or TLS.
        """
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise _opening_failed(code)
        return self._opened() if self.tls is None else self._handshake()

    def _opened(self) -> bool:
        self.is_open = True
        self.wants_write = bool(self._unsent)
        return True

    def _handshake(self) -> bool:
        import ssl

        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.wants_write = False
            return False
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return False
        except OSError as error:
            failure = Failure.TLS if isinstance(error, ssl.SSLError) else Failure.RESET
            raise ExchangeError(failure, _tls_words(error)) from error
        return self._opened()

    def flush(self) -> None:
        """Sends more of what the socket did not take before.

        A server may answer and hang up before it has read everything (RFC 9112, 9.5): when sending fails, what it sent can still
        be read, and the failure is met behind it.

        Raises:
            ExchangeError: as `advance`, when the connection was not open yet.
        """
        try:
            sent = self.sock.send(self._unsent) if self._unsent else 0
        except OSError as error:
            sent = 0 if waits(error) else self._hung_up(error)
        self._unsent = self._unsent[sent:]
        self.wants_write = bool(self._unsent)

    def _hung_up(self, error: OSError) -> int:
        """Gives up sending, but not yet reading."""
        failure = self._sending_failed(error)
        if not self.is_open:
            raise failure from error
        self._broken = failure
        return len(self._unsent)

    def _sending_failed(self, error: OSError) -> ExchangeError:
        if self.is_open:
            return ExchangeError(Failure.RESET, error.strerror or str(error))
        return _opening_failed(error.errno or 0, error.strerror or str(error))

    def _read(self) -> bytes | None:
        try:
            return self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return None
        except OSError as error:
            if waits(error):
                return None
            raise ExchangeError(Failure.RESET, error.strerror or str(error)) from error


def waits(error: OSError) -> bool:
    """Whether the socket is only not ready; the TLS exceptions are told by name, so that plain HTTP never loads `ssl`."""
    return error.errno in _NOT_YET or type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")


def _opening_failed(code: int, text: str = "") -> ExchangeError:
    import os

    return ExchangeError(_OPENING.get(code, Failure.UNREACHABLE), text or os.strerror(code))


def _tls_words(error: Exception) -> str:
    untrusted, reason = getattr(error, "verify_message", ""), getattr(error, "reason", "")
    if untrusted:
        return f"{UNTRUSTED}: {untrusted}"
    return NOT_TLS if reason in _PLAIN else str(reason or error)
