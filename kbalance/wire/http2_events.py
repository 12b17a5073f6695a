"""What happens on an HTTP/2 connection, as values."""

from typing import NamedTuple

from kbalance.model.words import Failure

Pairs = tuple[tuple[bytes, bytes], ...]
"""Names in lower case with their values."""


class Head(NamedTuple):
    """The header fields of a response; informational ones come before the final one."""

    stream: int
    status: int
    fields: Pairs
    """Without ``:status``."""

    @property
    def informational(self) -> bool:
        return self.status < 200


class Data(NamedTuple):
    """A part of a body, never empty; once it is used, its length goes to `acknowledge`."""

    stream: int
    data: bytes


class End(NamedTuple):
    """The response is complete, and the stream is over, whatever of the request was still to be sent."""

    stream: int
    trailers: Pairs = ()


class Broken(NamedTuple):
    """There will be no complete response on this stream; nothing more comes of it."""

    stream: int
    failure: Failure
    """RESET by the server, CLOSED with the connection, MALFORMED or TOO_LARGE."""
    detail: str
    unprocessed: bool
    """The server says that it has done nothing with the request, which may be sent again (RFC 9113, 8.7)."""


class WindowOpened(NamedTuple):
    """More of a request's body may be sent."""

    stream: int | None
    """``None``: on every stream, as far as its own window goes."""


class Settled(NamedTuple):
    """The server's settings came, the first or changed ones: `Http2Connection.room` may be another."""

    most_streams: int | None
    """How many may be open at once; ``None``: the server names no limit."""


class GoingAway(NamedTuple):
    """The server takes no new streams; those above the last one follow as `Broken`, the others go on."""

    last_stream: int
    code: int
    """0: nothing is wrong (RFC 9113, 7)."""
    detail: str


class Lost(NamedTuple):
    """The connection is over, after a `Broken` for each open stream; what is left to send is a farewell."""

    failure: Failure
    """CLOSED, MALFORMED or TOO_LARGE."""
    detail: str


Event = Head | Data | End | Broken | WindowOpened | Settled | GoingAway | Lost
