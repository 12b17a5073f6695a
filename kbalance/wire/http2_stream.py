"""One stream of HTTP/2: what was asked on it, and whether what comes can be its response (RFC 9113, 8.1.1)."""

from kbalance.model.words import Failure
from kbalance.wire.http2_compression import Block
from kbalance.wire.http2_events import Head, Pairs
from kbalance.wire.http2_fields import Malformed

MOST_INTERIM_HEADS = 100


class Stream:
    """A stream whose response is not complete; each method raises `Malformed` at what cannot be a part of it."""

    __slots__ = ("_interim", "_method", "answered", "left", "number", "room", "sending", "trailers", "window")

    def __init__(self, number: int, method: bytes, sending: bool, room: int, window: int) -> None:
        self.number = number
        self.sending = sending
        """Whether the request's body goes on."""
        self.room = room
        """Bytes that we may still send; the server may make it negative."""
        self.window = window
        """Bytes that the server may still send."""
        self.trailers: Pairs = ()
        self.answered = False
        """Whether the final head has come."""
        self.left: int | None = None
        """Bytes of the body that must still come, if that is known."""
        self._method = method
        self._interim = 0

    def head(self, block: Block, *, end: bool) -> Head | None:
        """An informational head or the final one; ``None``: these are trailers."""
        if self.answered:
            if not end:
                raise Malformed("a second head")
            self.trailers = block.trailers
            self._check_end()
            return None
        status, fields, length = block.head
        head = Head(self.number, status, fields)
        if status < 200:
            self._interim += 1
            if end:
                raise Malformed("an informational head that ends the response")
            if self._interim > MOST_INTERIM_HEADS:
                raise Malformed("a flood of informational heads", Failure.TOO_LARGE)
        else:
            self.answered = True
            self.left = 0 if self._method == b"HEAD" or status in (204, 304) else length
            if end:
                self._check_end()
        return head

    def part(self, size: int, *, end: bool) -> None:
        """So many bytes of the body have come."""
        if not self.answered:
            raise Malformed("a body before its head")
        if self.left is not None:
            self.left -= size
            if self.left < 0 or (self.left and end):
                raise Malformed("a body that is not as long as announced")

    def _check_end(self) -> None:
        if self.left:
            raise Malformed("a body that is not as long as announced")
