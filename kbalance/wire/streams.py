"""One explicit connection of HTTP/2: it carries many exchanges at a time, each on a stream."""

import contextlib

from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.dialled import NO_HTTP2, Dialled, Tls, waits
from kbalance.wire.http2 import Http2Connection
from kbalance.wire.http2_events import Event
from kbalance.wire.http2_fields import Fields


class StreamConnection(Dialled):
    """A TCP or TLS connection to a server that speaks HTTP/2.

    Requests go out with the next ``push``, many of them at once; ``receive`` gives what came.
    """

    __slots__ = ("_core", "answered", "settled")

    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        """Starts to open; raises as `Dialled`."""
        self._core = Http2Connection(eager=True)
        self.answered = 0
        """Complete responses so far; whoever takes the events counts."""
        self.settled = False
        """Whether the server has said how many streams it takes."""
        super().__init__(address, tls)

    @property
    def room(self) -> int:
        """How many more requests may be begun now."""
        return self._core.room

    @property
    def most(self) -> int:
        """How many may be under way at once; more may be where the server has lowered it."""
        return self._core.most

    @property
    def closing(self) -> bool:
        """Whether no request can be begun any more, though those under way may be answered."""
        return self._core.closing

    def _opened(self) -> bool:
        if self.tls is not None:
            import ssl

            assert isinstance(self.sock, ssl.SSLSocket)
            chosen = self.sock.selected_alpn_protocol()
            if chosen != "h2":
                what = f"the server chose {chosen}" if chosen else "the server does not choose a protocol"
                raise ExchangeError(Failure.TLS, f"{NO_HTTP2}: {what} in the TLS handshake (ALPN)")
        return super()._opened()

    def ask(self, fields: Fields, body: bytes) -> tuple[int, bytes]:
        """Begins a request; gives the number of its stream, and what of the body has to wait for its window.

        Raises:
            ExchangeError: CLOSED, when there is no room.
        """
        number = self._core.request(fields, end=not body)
        return number, self.go_on(number, body) if body else b""

    def go_on(self, stream: int, body: bytes) -> bytes:
        """Sends more of a body, as far as the windows go; gives the rest."""
        return body[self._core.send_data(stream, body, end=True) :]

    def give_up(self, stream: int) -> None:
        """No answer is awaited any more on this stream."""
        self._core.reset(stream)

    def push(self) -> None:
        """Sends what there is; what the socket does not take waits for `flush`.

        May be called before a connection without TLS is open, as a kernel that has already connected takes the bytes at once.

        Raises:
            ExchangeError: as `Dialled.advance`, when the connection was not open yet.
        """
        if self._unsent or self._broken is not None or not (self.is_open or self.tls is None):
            return
        data = self._core.data_to_send()
        if not data:
            return
        try:
            sent = self.sock.send(data)
        except OSError as error:
            sent = 0
            if not waits(error):
                self._hung_up(error)
                return
        else:
            self.is_open = True
        self._unsent = memoryview(data)[sent:] if sent < len(data) else b""
        self.wants_write = bool(self._unsent) or not self.is_open

    def flush(self) -> None:
        super().flush()
        if not self._unsent:
            self.push()

    def receive(self) -> list[Event]:
        """What came, once the socket is readable; ends with `Lost` when the connection is over.

        Raises:
            ExchangeError: RESET; no event tells then what became of the streams.
        """
        data = self._read()
        if data is None:
            return []
        if not data and self._broken is not None:
            raise self._broken
        return self._core.receive(data)

    def leave(self) -> None:
        """Says goodbye (GOAWAY), as far as that is possible."""
        self._core.close()
        with contextlib.suppress(ExchangeError):
            self.push()

    def close(self) -> None:
        if self.is_open:
            self.leave()
        super().close()
