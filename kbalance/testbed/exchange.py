"""One request of HTTP/2 at a pod: what was asked so far, and its answer, sent as the client's windows take it."""

from collections.abc import Sequence
from dataclasses import replace

from h2.connection import H2Connection

from kbalance.testbed import grpc, pages
from kbalance.testbed.messages import Request
from kbalance.testbed.pages import Answer
from kbalance.testbed.scenario import Fault, Identity


class Exchange:
    """One stream; what it sends is left in the connection's buffer."""

    def __init__(self, h2: H2Connection, stream: int, fields: Sequence[tuple[str, str]]) -> None:
        self.asked = bytearray()
        """The request's body."""
        self.waits = False
        """Whether the client's windows took less than there was to say."""
        self._h2 = h2
        self._stream = stream
        self._fields = fields
        self._left = b""
        self._trailers: Sequence[tuple[str, str]] = ()

    def begin(self, name: str, identity: Identity, fault: Fault) -> bool:
        """Send the head of the answer; whether that was all of it."""
        request = _request(self._fields, bytes(self.asked))
        answer = _answer(request, name, identity, failing=fault is Fault.ERROR_500)
        self._left = b"" if request.method == "HEAD" else answer.body
        self._trailers = answer.trailers
        done = not self._left and not self._trailers
        self._h2.send_headers(self._stream, [(":status", str(answer.status)), *_lowered(answer.headers)], end_stream=done)
        return done

    def pour(self, limit: int | None = None) -> bool:
        """Send what the windows take of the body, that many bytes at most, and the end behind all of it; whether that is out."""
        room = self._room() if limit is None else min(limit, self._room())
        while self._left and room > 0:
            piece, self._left = self._left[:room], self._left[room:]
            self._h2.send_data(self._stream, piece, end_stream=not self._left and not self._trailers)
            room = self._room() if limit is None else 0
        self.waits = bool(self._left) and limit is None
        if not self._left and self._trailers:
            self._h2.send_headers(self._stream, _lowered(self._trailers), end_stream=True)
        return not self._left

    def halve(self) -> None:
        """Send half of the body and no end."""
        half = self._left[: min(len(self._left) // 2, self._room())]
        self._h2.send_data(self._stream, half)

    def _room(self) -> int:
        return min(self._h2.local_flow_control_window(self._stream), self._h2.max_outbound_frame_size)


def _request(fields: Sequence[tuple[str, str]], body: bytes) -> Request:
    """As if it had come over HTTP/1.1."""
    pseudo = {name: value for name, value in fields if name.startswith(":")}
    rest = tuple((name, value) for name, value in fields if not name.startswith(":"))
    host = (("host", pseudo[":authority"]),) if ":authority" in pseudo else ()
    method, target = pseudo[":method"], pseudo.get(":path", "*")
    return Request(method=method, target=target, version="HTTP/2.0", headers=(*host, *rest), body=body)


def _answer(request: Request, name: str, identity: Identity, *, failing: bool) -> Answer:
    if grpc.is_call(request):
        return grpc.answer(request, name, identity, failing=failing)
    page = pages.answer(request, name, identity, 500 if failing else 200)
    return replace(page, headers=(*page.headers, ("content-length", str(len(page.body)))))


def _lowered(fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in fields]
