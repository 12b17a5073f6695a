"""One exchange of HTTP/2 beside those of the profiles, on a connection of its own."""

from collections.abc import Callable

from kbalance.errors import ExchangeError
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.traffic.handshake import Wait
from kbalance.wire.dialled import Tls
from kbalance.wire.http2_events import Broken, Data, End, Head, Lost, Pairs
from kbalance.wire.http2_request import fields_for
from kbalance.wire.streams import StreamConnection

LARGEST = 16 << 20
"""Bytes of an answer, of which no more is read."""


class Heard:
    """What came of an answer."""

    __slots__ = ("body", "ended", "fields", "status", "trailers")

    def __init__(self) -> None:
        self.status = 0
        """0: nothing came."""
        self.fields: Pairs = ()
        self.body = bytearray()
        self.trailers: Pairs = ()
        self.ended = False
        """Whether it is complete; else time was over, or it was enough."""

    @property
    def content_type(self) -> str:
        """Without parameters; empty: none was said."""
        value = next((value for name, value in self.fields if name == b"content-type"), b"")
        return value.decode("latin-1").partition(";")[0].strip().lower()


def ask(
    address: Address, tls: Tls | None, request: RequestSpec, wait: Wait, enough: Callable[[Heard], bool] = lambda heard: False
) -> Heard:
    """The answer, as far as it came in time.

    Args:
        enough: whether what came so far is all that is wanted.

    Raises:
        ExchangeError: there is no connection, or no complete answer will come on it.
    """
    conn = StreamConnection(address, tls)
    try:
        return _exchange(conn, request, wait, enough)
    finally:
        conn.close()


def _exchange(conn: StreamConnection, request: RequestSpec, wait: Wait, enough: Callable[[Heard], bool]) -> Heard:
    stream, rest = conn.ask(fields_for(request), request.body)
    heard = Heard()
    while not heard.ended and len(heard.body) <= LARGEST and not enough(heard) and wait.ready(conn):
        if not conn.is_open:
            if conn.advance():
                conn.flush()
            continue
        if conn.wants_write:
            conn.flush()
        for event in conn.receive():
            _take(heard, event)
        if rest:
            rest = conn.go_on(stream, rest)
        conn.push()
    return heard


def _take(heard: Heard, event: object) -> None:
    match event:
        case Head():
            heard.status, heard.fields = event.status, event.fields
        case Data():
            heard.body += event.data
        case End():
            heard.trailers, heard.ended = event.trailers, True
        case Broken() | Lost() if not heard.ended:
            raise ExchangeError(event.failure, event.detail)
