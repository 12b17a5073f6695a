"""One explicit connection: it opens, carries one exchange at a time, and says what it saw.

It owns a non-blocking socket and never waits: whoever drives it (the traffic driver, the asyncio transport) watches ``fileno()``
for reading, and for writing while ``wants_write``, and calls back. TLS is the same connection with a context.
"""

import errno
import socket
from typing import TYPE_CHECKING

from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.http1 import MAX_BODY, MAX_HEAD, End, Event, Head, ResponseParser

if TYPE_CHECKING:
    import ssl

READ_SIZE = 64 * 1024
"""Small enough that malloc never maps a buffer of this size anew, which would cost more than the read; larger than a TLS record
(16 KiB), so that a read leaves nothing inside the TLS object, where no poller would see it."""
KEPT_BODY = 64 * 1024
"""Bytes of each body that are kept; identity stands in the first few, and memory must not grow with bodies."""
_CACHED_HEADS = 256
_NONBLOCK: int = getattr(socket, "SOCK_NONBLOCK", 0)
"""A system call less for each connection, where the platform has it."""

_OPENING = {
    errno.ECONNREFUSED: Failure.REFUSED,
    errno.ETIMEDOUT: Failure.CONNECT_TIMEOUT,
    errno.ECONNRESET: Failure.RESET,
    errno.ECONNABORTED: Failure.RESET,
}
_NOT_YET = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINPROGRESS, errno.ENOTCONN, errno.EALREADY)

_heads: dict[tuple[bytes, str], Head] = {}
"""Heads seen before, by their bytes and blank line: a server repeats itself but for the Date, which changes once a second."""


class Tls:
    """How a connection is encrypted: a context, and the name that is sent (SNI) and verified."""

    __slots__ = ("context", "name")

    def __init__(self, context: "ssl.SSLContext", name: str) -> None:
        self.context = context
        self.name = name


class Connection:
    """One TCP or TLS connection to an address.

    After ``send`` each ``receive`` returns whether the response is complete; ``head`` and ``body`` then hold it until the next
    ``send``. Failures are `ExchangeError`; the caller closes.
    """

    __slots__ = (
        "_broken",
        "_method",
        "_parser",
        "_partial",
        "_unsent",
        "address",
        "answered",
        "awaiting",
        "body",
        "head",
        "is_open",
        "reusable",
        "sock",
        "tls",
        "wants_write",
    )

    def __init__(self, address: Address, tls: Tls | None = None, *, max_head: int = MAX_HEAD, max_body: int = MAX_BODY) -> None:
        """Starts to open.

        Raises:
            ExchangeError: when the operating system refuses at once.
        """
        self.address = address
        self.tls = tls
        self.is_open = False
        self.wants_write = True
        self.awaiting = False
        """Whether a response is outstanding."""
        self.answered = 0
        """Complete responses so far."""
        self.reusable = True
        self.head: Head | None = None
        self.body = b""
        self._parser = ResponseParser(max_head=max_head, max_body=max_body)
        self._partial = False
        self._method = ""
        self._unsent: bytes | memoryview = b""
        self._broken: ExchangeError | None = None
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

    def __repr__(self) -> str:
        state = "closed" if self.fileno() < 0 else "open" if self.is_open else "opening"
        scheme = "tls" if self.tls else "tcp"
        return f"<Connection {scheme} {self.address} {state}, {self.answered} answered{', awaiting' * self.awaiting}>"

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

    def send(self, data: bytes, method: str) -> None:
        """Sends a request, or what the socket takes of it; while ``wants_write``, call `flush` when it can take more.

        May be called before the connection is open: a kernel that has already connected takes the bytes at once, which saves a
        wait; otherwise they go out with the first `flush` after opening.

        Raises:
            ExchangeError: RESET, or as `advance`.
        """
        self.awaiting = True
        self._method = method
        self._partial = False
        self.head = None
        self.body = b""
        if self.is_open or self.tls is None:
            try:
                sent = self.sock.send(data)
            except OSError as error:
                if not _waits(error):
                    raise self._sending_failed(error) from error
                sent = 0
            else:
                self.is_open = True
            if sent == len(data):
                self.wants_write = False
                return
            self._unsent = memoryview(data)[sent:]
        else:
            self._unsent = data
        self.wants_write = self.wants_write or self.is_open
        # An answer to half a request must not look like any other: the parser takes it, and `_complete` sees what is unsent.
        self._partial = True
        self._parser.start(method)

    def send_more(self, data: bytes) -> None:
        """Sends more of the request that `send` began; what the socket does not take waits for `flush`.

        Raises:
            ExchangeError: as `flush`.
        """
        # A view, so that what is left of a large part is not copied at every flush.
        self._unsent = memoryview(b"".join((self._unsent, data)) if self._unsent else data)
        self.flush()

    def flush(self) -> None:
        """Sends more of what `send` could not.

        A server may answer and hang up before it has read everything (RFC 9112, 9.5): when sending fails, `receive` still gives
        that answer, or raises this failure when there is none.

        Raises:
            ExchangeError: as `advance`, when the connection was not open yet.
        """
        try:
            sent = self.sock.send(self._unsent) if self._unsent else 0
        except OSError as error:
            sent = 0 if _waits(error) else self._hung_up(error)
        self._unsent = self._unsent[sent:]
        self.wants_write = bool(self._unsent)
        if not self.wants_write and self._parser.untouched and self._broken is None:
            self._partial = False

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

    def receive(self) -> bool:
        """Reads what came; whether the awaited response is complete, in ``head`` and ``body``.

        Only the first `KEPT_BODY` bytes of a body are kept.

        Raises:
            ExchangeError: RESET, CLOSED, MALFORMED, TOO_LARGE. A server that closes while nothing is awaited is CLOSED too.
        """
        data = self._read()
        if data is None:
            return False
        if not self._partial:
            end = data.find(b"\r\n\r\n") + 4
            head = _heads.get((data[:end], self._method))
            if head is not None and len(data) - end == head.length and self.awaiting:
                self.head = head
                self.body = data[end:]
                self.reusable = head.reusable
                self.awaiting = False
                self.answered += 1
                return True
        return self.absorb(data)

    def _read(self) -> bytes | None:
        try:
            return self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return None
        except OSError as error:
            if _waits(error):
                return None
            raise ExchangeError(Failure.RESET, error.strerror or str(error)) from error

    def absorb(self, data: bytes) -> bool:
        """Takes in what is not one whole response with a head seen before; whether the response is complete now.

        A subclass that wants the parts of a body as they come, or all of them, overrides this.

        Raises:
            ExchangeError: as `events`.
        """
        for event in self.events(data):
            if isinstance(event, bytes):
                self.body += event[: KEPT_BODY - len(self.body)]
        return not self.awaiting

    def events(self, data: bytes) -> list[Event]:
        """The events of the awaited response that these bytes complete; ``b""`` is the server's close.

        Raises:
            ExchangeError: CLOSED, MALFORMED, TOO_LARGE, or what `flush` met.
        """
        if not data and self._broken is not None:
            raise self._broken
        if not self.awaiting:
            raise ExchangeError(Failure.CLOSED if not data else Failure.MALFORMED, "nothing was asked")
        if not self._partial:
            self._parser.start(self._method)
            self._partial = True
        events = self._parser.receive(data)
        for event in events:
            match event:
                case Head() if not event.informational:
                    self.head = event
                case End():
                    self._complete()
        return events

    def _complete(self) -> None:
        head = self.head
        assert head is not None
        whole = not self._unsent and self._broken is None and not self._parser.surplus
        self.reusable = head.reusable and whole
        self.awaiting = False
        self.answered += 1
        if head.length >= 0:
            if len(_heads) >= _CACHED_HEADS:
                _heads.clear()
            _heads[(head.raw + b"\r\n\r\n", self._method)] = head

    @property
    def untouched(self) -> bool:
        """Whether a response is awaited of which not a byte has come."""
        return self.awaiting and (not self._partial or self._parser.untouched)


def _waits(error: OSError) -> bool:
    """Whether the socket is only not ready; the TLS exceptions are told by name, so that plain HTTP never loads `ssl`."""
    return error.errno in _NOT_YET or type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")


def _opening_failed(code: int, text: str = "") -> ExchangeError:
    import os

    return ExchangeError(_OPENING.get(code, Failure.UNREACHABLE), text or os.strerror(code))


def _tls_words(error: Exception) -> str:
    return str(getattr(error, "verify_message", "") or getattr(error, "reason", "") or error)
