"""The least that drives an HTTP/2 connection over a socket: send what there is, read what comes, acknowledge at once."""

import socket
from dataclasses import dataclass, field

from kbalance.wire.http2 import Http2Connection
from kbalance.wire.http2_events import Broken, Data, End, Event, GoingAway, Head, Lost
from kbalance.wire.http2_fields import fields_of

PATIENCE_S = 20.0
"""Only a broken test ever waits so long."""


@dataclass
class Answer:
    """What came on one stream."""

    heads: list[Head] = field(default_factory=list)
    body: bytes = b""
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    ended: bool = False
    broken: Broken | None = None

    @property
    def status(self) -> int:
        return self.heads[-1].status


class Talk:
    """One connection, on a blocking socket that is open."""

    def __init__(self, sock: socket.socket, scheme: bytes = b"http") -> None:
        sock.settimeout(PATIENCE_S)
        self.sock = sock
        self.scheme = scheme
        self.connection = Http2Connection()
        self.answers: dict[int, Answer] = {}
        self.bodies: dict[int, bytes] = {}
        self.farewells: list[GoingAway | Lost] = []

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
        """Asks, but sends nothing yet."""
        fields = fields_of(method.encode(), self.scheme, b"web.test", path.encode(), [(b"User-Agent", b"kbalance")])
        stream = self.connection.request(fields, end=body is None)
        if body is not None:
            self.bodies[stream] = body
        self.answers[stream] = Answer()
        return self.answers[stream]

    def turn(self) -> bool:
        """Sends what can be sent, and waits for what comes; whether the connection still is."""
        for stream, body in list(self.bodies.items()):
            self.bodies[stream] = body[self.connection.send_data(stream, body, end=True) :]
            if not self.bodies[stream]:
                del self.bodies[stream]
        self.sock.sendall(self.connection.data_to_send())
        data = self.sock.recv(64 * 1024)
        for event in self.connection.receive(data):
            self._note(event)
        return bool(data)

    def finish(self) -> None:
        """Until every stream has ended."""
        while self.connection.streams and self.turn():
            pass

    def until_closed(self) -> None:
        """Until the server hangs up."""
        while self.turn():
            pass

    def _note(self, event: Event) -> None:
        match event:
            case Head(stream=stream):
                self.answers[stream].heads.append(event)
            case Data(stream=stream, data=data):
                self.answers[stream].body += data
                self.connection.acknowledge(stream, len(data))
            case End(stream=stream, trailers=trailers):
                self.answers[stream].ended = True
                self.answers[stream].trailers = dict(trailers)
            case Broken(stream=stream):
                self.answers[stream].broken = event
            case GoingAway() | Lost():
                self.farewells.append(event)
