"""A server's end of HTTP/2 that does exactly what a test says, frame by frame; scripts for `tests.traffic.servers.Server`."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import count

from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from tests.wire import http2_peer as frames
from tests.wire.http2_peer import MAX_STREAMS, OK, PREFACE

from .servers import Peer, Script

__all__ = ["MAX_STREAMS", "OK", "Http2", "Step", "each", "speaks", "together"]


class Http2:
    """One connection; its client is believed to be sound."""

    def __init__(self, peer: Peer, settings: Mapping[int, int] | None = None) -> None:
        """Reads the preface, and says its settings."""
        self.peer = peer
        self.writer = frames.Peer()
        self.heads: dict[int, dict[bytes, bytes]] = {}
        """Of every request, by stream."""
        self.bodies: dict[int, bytes] = {}
        self.resets: list[int] = []
        """Streams that the client gave up."""
        self.goodbye = False
        """Whether the client said that it goes."""
        self._complete: deque[int] = deque()
        self._settled = -1
        """Settings that the client has acknowledged, beyond the first."""
        self._decoder = Decoder()
        self._received = bytearray()
        self._need(len(PREFACE))
        assert self._received.startswith(PREFACE), bytes(self._received[:40])
        del self._received[: len(PREFACE)]
        self.send(frames.settings(settings))

    def send(self, *parts: bytes) -> None:
        self.peer.sock.sendall(b"".join(parts))

    def _need(self, size: int) -> bool:
        while len(self._received) < size:
            data = self.peer.sock.recv(65536)
            if not data:
                return False
            self._received += data
        return True

    def frame(self) -> Frame | None:
        """The next one; ``None`` when the client closed."""
        if not self._need(9):
            return None
        frame, length = Frame.parse_frame_header(memoryview(bytes(self._received[:9])))
        if not self._need(9 + length):
            return None
        frame.parse_body(memoryview(bytes(self._received[9 : 9 + length])))
        del self._received[: 9 + length]
        return frame

    def request(self) -> int | None:
        """The stream of the next request that is complete, after seeing to what comes before it; ``None``: the client left."""
        while not self._complete and not self.goodbye and (frame := self.frame()) is not None:
            self._see_to(frame)
        if not self._complete:
            return None
        stream = self._complete.popleft()
        self.peer.requests.append(self.heads[stream][b":path"])
        self.peer.server.entered()
        return stream

    def settle(self, settings: Mapping[int, int]) -> None:
        """Says other settings, and waits until the client knows them."""
        before = self._settled
        self.send(frames.settings(settings))
        while self._settled <= before and (frame := self.frame()) is not None:
            self._see_to(frame)

    def _see_to(self, frame: Frame) -> None:
        match frame:
            case SettingsFrame() if "ACK" in frame.flags:
                self._settled += 1
            case SettingsFrame():
                self.send(SettingsFrame(0, flags=["ACK"]).serialize())
            case PingFrame() if "ACK" not in frame.flags:
                self.send(PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]).serialize())
            case HeadersFrame():
                fields = self._decoder.decode(frame.data, raw=True)
                self.heads[frame.stream_id] = {bytes(name): bytes(value) for name, value in fields}
                self.bodies[frame.stream_id] = b""
            case DataFrame():
                self.bodies[frame.stream_id] += frame.data
                if frame.data:
                    self.send(frames.window(0, len(frame.data)), frames.window(frame.stream_id, len(frame.data)))
            case RstStreamFrame():
                self.resets.append(frame.stream_id)
            case GoAwayFrame():
                self.goodbye = True
        if "END_STREAM" in frame.flags:
            self._complete.append(frame.stream_id)

    def requests(self, number: int) -> list[int]:
        """The streams of the next requests; fewer when the client left."""
        found: list[int] = []
        while len(found) < number and (stream := self.request()) is not None:
            found.append(stream)
        return found

    def answered(self, stream: int, body: bytes = b"hello", fields: Iterable[tuple[bytes, bytes]] = OK) -> bytes:
        """The bytes of an answer."""
        self.peer.server.left()
        return self.writer.head(stream, fields) + frames.body(stream, body, end=True)

    def answer(self, stream: int, body: bytes = b"hello", fields: Iterable[tuple[bytes, bytes]] = OK) -> None:
        self.send(self.answered(stream, body, fields))

    def answer_with(
        self, stream: int, head: Iterable[tuple[bytes, bytes]], body: bytes, trailers: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        """All of it made by hand; without body and trailers there is a head alone."""
        self.peer.server.left()
        bare = not body and not trailers
        parts = [self.writer.head(stream, head, end=bare)]
        if body:
            parts.append(frames.body(stream, body, end=not trailers))
        if trailers:
            parts.append(self.writer.trailers(stream, trailers))
        self.send(*parts)

    def refuse(self, stream: int) -> None:
        self.peer.server.left()
        self.send(frames.reset(stream, 7))

    def serve(self) -> None:
        """Answers until the client leaves."""
        while (stream := self.request()) is not None:
            self.answer(stream)

    def until_left(self) -> None:
        """Answers nothing more."""
        while self.request() is not None:
            pass


Step = Callable[[Http2], None]


def speaks(step: Step, settings: Mapping[int, int] | None = None) -> Script:
    """The script of a connection of HTTP/2."""
    return lambda peer: step(Http2(peer, settings))


def each(act: Callable[[Http2, int], None]) -> Step:
    """Does so with every request."""

    def step(server: Http2) -> None:
        while (stream := server.request()) is not None:
            act(server, stream)

    return step


def together(size: int, *, batches: int | None = None) -> Step:
    """Answers once so many requests are under way, or nothing comes any more, the last one first; so many times, or always."""

    def step(server: Http2) -> None:
        for _ in count() if batches is None else range(batches):
            if not (streams := server.requests(size)):
                return
            for stream in reversed(streams):
                server.answer(stream)

    return step
