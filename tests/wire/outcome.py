"""What becomes of the bytes of one response: read by our parser, or by h11, as values that compare."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import h11

from kbalance.errors import ExchangeError
from kbalance.wire.http1 import End, Event, Head, ResponseParser


@dataclass(frozen=True)
class Read:
    """A complete response; header names in lower case, since h11 gives them so."""

    interim: tuple[int, ...]
    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    trailers: tuple[tuple[bytes, bytes], ...]
    reusable: bool


@dataclass(frozen=True)
class Refused:
    """No complete response, for whatever reason."""


Outcome = Read | Refused


def cut(raw: bytes, places: Iterable[int]) -> list[bytes]:
    """The bytes in pieces, none of them empty."""
    edges = [0, *sorted({place for place in places if 0 < place < len(raw)}), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges) if a < b]


def ours(parts: Sequence[bytes], method: str = "GET", *, closing: bool = True) -> Outcome:
    """As `kbalance.wire.http1` reads them; `closing` says that the server hangs up behind them.

    Raises:
        AssertionError: when the parser gives more than it got.
    """
    parser = ResponseParser()
    parser.start(method)
    events: list[Event] = []
    try:
        for part in parts:
            if any(isinstance(event, End) for event in events):
                break
            events += parser.receive(part)
        if closing and not any(isinstance(event, End) for event in events):
            events += parser.receive(b"")
    except ExchangeError:
        return Refused()
    assert sum(len(event) for event in events if isinstance(event, bytes)) <= sum(map(len, parts))
    heads = [event for event in events if isinstance(event, Head)]
    ends = [event for event in events if isinstance(event, End)]
    if not ends:
        return Refused()
    return Read(
        interim=tuple(head.status for head in heads[:-1]),
        status=heads[-1].status,
        reason=heads[-1].reason,
        fields=tuple((name.lower(), value) for name, value in heads[-1].fields),
        body=b"".join(event for event in events if isinstance(event, bytes)),
        trailers=tuple((name.lower(), value) for name, value in ends[0].trailers),
        reusable=heads[-1].reusable and not parser.surplus,
    )


def by_h11(parts: Sequence[bytes], method: str = "GET", *, closing: bool = True) -> Outcome:
    """As h11 reads them."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    events: list[h11.Event] = []
    try:
        for part in [*parts, b""] if closing else parts:
            if any(isinstance(event, h11.EndOfMessage) for event in events):
                break
            connection.receive_data(part)
            while isinstance(event := connection.next_event(), h11.Event):
                events.append(event)
                if isinstance(event, h11.EndOfMessage):
                    break
    except h11.RemoteProtocolError:
        return Refused()
    finals = [event for event in events if isinstance(event, h11.Response)]
    ends = [event for event in events if isinstance(event, h11.EndOfMessage)]
    if not ends:
        return Refused()
    return Read(
        interim=tuple(event.status_code for event in events if isinstance(event, h11.InformationalResponse)),
        status=finals[0].status_code,
        reason=bytes(finals[0].reason),
        fields=tuple(finals[0].headers),
        body=b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data)),
        trailers=tuple(ends[0].headers),
        reusable=connection.their_state is h11.DONE and connection.trailing_data == (b"", False),
    )
