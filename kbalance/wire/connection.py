"""One explicit connection of HTTP/1.1: it carries one exchange at a time, and says what it saw."""

from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.dialled import Dialled, Tls, waits
from kbalance.wire.http1 import MAX_BODY, MAX_HEAD, End, Event, Head, ResponseParser

KEPT_BODY = 64 * 1024
"""Bytes of each body that are kept; identity stands in the first few, and memory must not grow with bodies."""
_CACHED_HEADS = 256

_heads: dict[tuple[bytes, str], Head] = {}
"""Heads seen before, by their bytes and blank line: a server repeats itself but for the Date, which changes once a second."""


class Connection(Dialled):
    """One TCP or TLS connection to an address.

    After ``send`` each ``receive`` returns whether the response is complete; ``head`` and ``body`` then hold it until the next
    ``send``.
    """

    __slots__ = ("_method", "_parser", "_partial", "answered", "awaiting", "body", "head", "reusable")

    def __init__(self, address: Address, tls: Tls | None = None, *, max_head: int = MAX_HEAD, max_body: int = MAX_BODY) -> None:
        """Starts to open; raises as `Dialled`."""
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
        super().__init__(address, tls)

    def __repr__(self) -> str:
        state = "closed" if self.fileno() < 0 else "open" if self.is_open else "opening"
        scheme = "tls" if self.tls else "tcp"
        return f"<Connection {scheme} {self.address} {state}, {self.answered} answered{', awaiting' * self.awaiting}>"

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
                if not waits(error):
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
        super().flush()
        if not self.wants_write and self._parser.untouched and self._broken is None:
            self._partial = False

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
