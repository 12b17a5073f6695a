"""Many exchanges on one HTTP/2 connection; without a socket, a clock or a lock of its own."""

from collections import deque
from collections.abc import Callable, Iterator

import httpx

from kbalance.balancing.attempts import Unanswered
from kbalance.errors import ExchangeError
from kbalance.model.words import Failure
from kbalance.wire.http2 import Http2Connection
from kbalance.wire.http2_events import Broken, Data, End, Head, Lost, Settled, WindowOpened
from kbalance.wire.http2_fields import Fields, fields_of

EAGER_MOST = 64 << 20
"""Bytes of an answer that are kept while its request is still being sent."""


class Exchange:
    """A request under way and what came of it."""

    __slots__ = ("eager", "ended", "error", "head", "heard", "number", "parts", "wake")

    def __init__(self, number: int, wake: Callable[[], None]) -> None:
        self.number = number
        self.wake = wake
        """Called whenever something has changed."""
        self.heard = 0
        """`Multiplex.heard` when it began."""
        self.head: Head | None = None
        self.parts: deque[bytes] = deque()
        """Of the body, not taken yet."""
        self.eager = False
        """Whether the body is taken in as it comes, since its reader still sends: a server that echoes would wait for ever."""
        self.ended = False
        """The response is complete, though parts may wait to be taken."""
        self.error: ExchangeError | httpx.TransportError | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.error is not None


class Multiplex:
    """Exchanges by their streams."""

    def __init__(self) -> None:
        self.protocol = Http2Connection()
        self.answered = 0
        self.heard = 0
        """Times that something came."""
        self.settled = False
        """Whether the server may have changed how many exchanges it takes since this was last looked at."""
        self._exchanges: dict[int, Exchange] = {}

    @property
    def most(self) -> int:
        """Exchanges that may be under way at once, as far as the server lets new ones begin."""
        room = self.protocol.room
        return room + self.protocol.streams if room else 0

    def begin(self, fields: Fields, wake: Callable[[], None], *, end: bool) -> Exchange:
        """Opens a stream.

        Args:
            end: the request has no body.

        Raises:
            Unanswered: there is no room for one any more, so that nothing was sent.
        """
        try:
            number = self.protocol.request(fields, end=end)
        except ExchangeError as error:
            raise Unanswered(error.failure, str(error), unsent=True) from error
        made = self._exchanges[number] = Exchange(number, wake)
        made.eager = not end
        made.heard = self.heard
        return made

    def feed(self, data: bytes) -> ExchangeError | None:
        """Takes in what came, ``b""`` being the end; why the connection is over, if it is."""
        lost = None
        self.heard += bool(data)
        for event in self.protocol.receive(data):
            self.settled = self.settled or isinstance(event, Settled)
            if isinstance(event, Lost):
                lost = ExchangeError(event.failure, event.detail)
            elif isinstance(event, WindowOpened):
                for exchange in list(self._meant(event.stream)):
                    exchange.wake()
            elif isinstance(event, (Head, Data, End, Broken)):
                self._take(event)
        return lost

    def _meant(self, stream: int | None) -> Iterator[Exchange]:
        if stream is None:
            yield from self._exchanges.values()
        elif stream in self._exchanges:
            yield self._exchanges[stream]

    def _take(self, event: Head | Data | End | Broken) -> None:
        exchange = self._exchanges.get(event.stream)
        if exchange is None:
            return
        match event:
            case Head():
                if not event.informational:
                    exchange.head = event
            case Data(data=data):
                exchange.parts.append(data)
                if exchange.eager and sum(map(len, exchange.parts)) < EAGER_MOST:
                    self.protocol.acknowledge(event.stream, len(data))
            case End():
                exchange.ended = True
                self.answered += 1
            case Broken():
                # The connection is well, and httpx calls a stream that the server ends a breach of protocol.
                failure = Failure.CLOSED if event.failure is Failure.RESET else event.failure
                answered = exchange.head is not None
                exchange.error = (
                    ExchangeError(failure, event.detail)
                    if answered
                    else Unanswered(failure, event.detail, unprocessed=event.unprocessed)
                )
        if exchange.over:
            del self._exchanges[event.stream]
        exchange.wake()

    def fail(self, error: ExchangeError | httpx.TransportError) -> None:
        """The connection is of no more use."""
        exchanges, self._exchanges = list(self._exchanges.values()), {}
        for exchange in exchanges:
            if isinstance(error, ExchangeError) and exchange.head is None:
                exchange.error = Unanswered(error.failure, str(error))
            else:
                # Each its own, since httpx notes on it whose request it was.
                exchange.error = error if isinstance(error, ExchangeError) else type(error)(str(error))
            exchange.wake()

    def dead_to(self, exchange: Exchange) -> bool:
        """Whether nothing at all has come since this one began, so that a time-out says something of the connection."""
        return self.heard == exchange.heard

    def take_part(self, exchange: Exchange) -> bytes:
        """The next part of the body; the server may send as much more."""
        part = exchange.parts.popleft()
        self.protocol.acknowledge(exchange.number, len(part))
        return part

    def take_body(self, exchange: Exchange) -> bytes:
        """All that is left of the body."""
        body = b"".join(exchange.parts)
        exchange.parts.clear()
        if body:
            self.protocol.acknowledge(exchange.number, len(body))
        return body

    def abandon(self, exchange: Exchange) -> None:
        """Nobody wants the rest."""
        exchange.parts.clear()
        self._exchanges.pop(exchange.number, None)
        self.protocol.reset(exchange.number)


def request_fields(request: httpx.Request) -> Fields:
    """A request's head.

    Raises:
        httpx.LocalProtocolError: a part cannot stand in one.
    """
    url = request.url
    target = request.extensions.get("target") or url.raw_path
    try:
        return fields_of(request.method.encode(), url.raw_scheme, url.netloc, target, request.headers.raw)
    except ValueError as error:
        raise httpx.LocalProtocolError(str(error)) from error
