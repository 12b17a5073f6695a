"""One stream of HTTP/2: what was asked on it, and whether what comes can be its response (RFC 9113, 8.1.1)."""

from collections.abc import Sequence

from kbalance.model.words import Failure
from kbalance.wire.http2_events import Head, Pairs
from kbalance.wire.http2_fields import Malformed, length_of, sound, status_of
from kbalance.wire.http2_frames import END_STREAM, Frame

MOST_INTERIM_HEADS = 100


class Stream:
    """A stream whose response is not complete; each method raises `Malformed` at what cannot be a part of it."""

    __slots__ = ("_answered", "_interim", "_left", "_method", "number", "sending", "trailers")

    def __init__(self, number: int, method: bytes, *, sending: bool) -> None:
        self.number = number
        self.sending = sending
        """Whether the request's body goes on."""
        self.trailers: Pairs = ()
        self._method = method
        self._answered = False
        self._interim = 0
        self._left: int | None = None
        """Bytes of the body that must still come, if that is known."""

    def head(self, fields: Sequence[tuple[bytes, bytes]]) -> Head:
        """An informational head or the final one."""
        head = Head(self.number, status_of(fields), tuple(fields[1:]))
        if head.informational:
            self._interim += 1
            if self._interim > MOST_INTERIM_HEADS:
                raise Malformed("a flood of informational heads", Failure.TOO_LARGE)
        else:
            self._answered = True
            self._left = length_of(head.status, self._method, head.fields)
        return head

    def part(self, frame: Frame) -> None:
        """A frame of the body, before the library sees it, which would end the connection for what is wrong with it."""
        if not self._answered:
            raise Malformed("a body before its head")
        if self._left is not None:
            self._left -= frame.body_size
            if self._left < 0 or (self._left and frame.flags & END_STREAM):
                raise Malformed("a body that is not as long as announced")

    def trail(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """The trailers, kept until the end that comes with them."""
        self.trailers = sound(fields)

    def end(self) -> None:
        """Nothing more comes."""
        if self._left:
            raise Malformed("a body that is not as long as announced")
