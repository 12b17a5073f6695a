"""A pod's end of HTTP/2 without TLS: streams are answered each on its own, and connections are left as servers leave them.

GOAWAY is written by hand: to h2 a connection is over once one was sent, while a server that leaves still finishes what is under
way. A client's own GOAWAY ends the connection at once, for the same reason; clients send it when they want nothing more.
"""

import asyncio
from collections.abc import Callable
from typing import assert_never

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from kbalance.testbed.exchange import Exchange
from kbalance.testbed.pods import GARBAGE, Pod, PodConnection
from kbalance.testbed.scenario import Fault
from kbalance.testbed.sockets import Receiver, reset

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ANY_STREAM = 2**31 - 1
"""What a GOAWAY names that only announces one: every stream is still answered."""
FAREWELL = b"farewell"
"""In the PING whose acknowledgement says that the client knows."""
FAREWELL_TIMEOUT_S = 5.0
"""For that; grpc-go's own."""


class Greeter(Receiver):
    """A connection whose first bytes tell what it speaks."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._pod.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pod.connections.discard(self)

    def received(self, data: bytes) -> None:
        self._first += data
        if self._first.startswith(PREFACE):
            self._hand_over(Http2PodConnection(self._pod))
        elif not PREFACE.startswith(self._first):
            self._hand_over(PodConnection(self._pod))

    def _hand_over(self, heir: Receiver) -> None:
        self._pod.connections.discard(self)
        heir.connection_made(self.transport)
        self.transport.set_protocol(heir)
        heir.received(self._first)


class Http2PodConnection(Receiver):
    """A connection of HTTP/2 to a pod; its streams are under way side by side."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self._exchanges: dict[int, Exchange] = {}
        self._requests = 0
        self._latest = 0
        """Stream of the last one; h2 may have read on."""
        self._last: int | None = None
        """The stream behind which nothing is looked at any more; ``None``: all are."""
        self._over = False
        """All is said. What the client still says is read, so that no RST overtakes the last answer."""
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        spec = self._pod.spec
        self._pod.connections.add(self)
        self._open(spec.max_streams)
        if spec.close_after_s is not None:
            self._timers.append(self._later(spec.close_after_s, self._leave))
        if (age_s := self._pod.draw_age()) is not None:
            self._timers.append(self._later(age_s, self._announce))

    def connection_lost(self, exc: Exception | None) -> None:
        self._pod.connections.discard(self)
        for timer in self._timers:
            timer.cancel()

    def _open(self, max_streams: int | None) -> None:
        said: dict[SettingCodes, int] = {}
        if max_streams is not None:
            said[SettingCodes.MAX_CONCURRENT_STREAMS] = max_streams
        self._h2.local_settings = Settings(client=False, initial_values=said)
        self._h2.initiate_connection()
        # A client may not know the limit yet. h2 would end its connection; servers refuse the stream, and so do we.
        self._h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = ANY_STREAM
        self._h2.local_settings.acknowledge()
        self._flush()

    def received(self, data: bytes) -> None:
        if self._over:
            return
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            events = [ConnectionTerminated()]
        if any(isinstance(event, ConnectionTerminated) for event in events):
            self._hang_up()
            return
        # First, and with nothing else of theirs: to h2 these streams are closed already.
        lost = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for stream in lost:
            self._exchanges.pop(stream, None)
        for event in events:
            if not self._silent and not (isinstance(event, RequestReceived) and event.stream_id in lost):
                self._take(event)
        self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=stream, headers=headers):
                self._begin(stream, [(str(name), str(value)) for name, value in headers])
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self._h2.acknowledge_received_data(length, stream)
                if stream in self._exchanges:
                    self._exchanges[stream].asked += data
            case StreamEnded(stream_id=stream) if stream in self._exchanges:
                self._meet(stream)
            case WindowUpdated() | RemoteSettingsChanged():
                for stream in [stream for stream, exchange in self._exchanges.items() if exchange.waits]:
                    self._pour(stream)
            case PingAckReceived(ping_data=data) if data == FAREWELL:
                self._leave()

    def _begin(self, stream: int, fields: list[tuple[str, str]]) -> None:
        if self._last is not None and stream > self._last:
            return
        self._latest = stream
        spec = self._pod.spec
        self._pod.streams += 1
        if len(self._exchanges) == spec.max_streams or (spec.refuse_every and self._pod.streams % spec.refuse_every == 0):
            self._h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        self._exchanges[stream] = Exchange(self._h2, stream, fields)
        self._requests += 1
        if self._requests == spec.close_after_requests:
            self._leave(announce=spec.announce_close)

    def _meet(self, stream: int) -> None:
        """Answer, or do what the pod's fault says; connections that it costs are the same as over HTTP/1.1."""
        match self._pod.fault:
            case Fault.NONE | Fault.ERROR_500:
                self._answer(stream)
            case Fault.SLOW:
                self._later(self._pod.delay_ms / 1000, lambda: self._answer(stream))
            case Fault.HANG:
                pass
            case Fault.RESET:
                del self._exchanges[stream]
                self._h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
            case Fault.REFUSE:
                reset(self.transport)
            case Fault.GARBAGE:
                self.transport.write(self._h2.data_to_send() + GARBAGE)
                self._hang_up()
            case Fault.DRIP:
                self._answer(stream, drip=True)
            case Fault.CLOSE_EARLY:
                self._head(stream)
                self._exchanges[stream].halve()
                self._hang_up()
            case fault:
                assert_never(fault)

    def _head(self, stream: int) -> bool:
        return self._exchanges[stream].begin(self._pod.name, self._pod.spec.identity, self._pod.fault)

    def _answer(self, stream: int, *, drip: bool = False) -> None:
        if stream not in self._exchanges:
            return  # the client has given up meanwhile
        if self._head(stream):
            self._finish(stream)
        elif drip:
            self._drip(stream)
        else:
            self._pour(stream)

    def _drip(self, stream: int) -> None:
        self._pour(stream, 1)
        if stream in self._exchanges:
            self._later(self._pod.spec.drip_ms / 1000, lambda: self._drip(stream))

    def _pour(self, stream: int, limit: int | None = None) -> None:
        if stream in self._exchanges and self._exchanges[stream].pour(limit):
            self._finish(stream)

    def _finish(self, stream: int) -> None:
        """Count an answer; nothing was sent yet, so that a client that has it finds it counted."""
        del self._exchanges[stream]
        self._pod.answered += 1

    def _announce(self) -> None:
        """Ask the client to leave; what it opens before it knows is still answered. Source: RFC 9113, 6.8."""
        self._go_away(ANY_STREAM)
        self._h2.ping(FAREWELL)
        self._timers.append(self._later(FAREWELL_TIMEOUT_S, self._leave))

    def _leave(self, *, announce: bool = True) -> None:
        """Answer what has come so far, and nothing more."""
        if self._last is None:
            self._last = self._latest
            if announce:
                self._go_away(self._last)

    def _go_away(self, last: int) -> None:
        self.transport.write(self._h2.data_to_send())
        debug = b"" if self._pod.spec.max_age_s is None else b"max_age"
        self.transport.write(GoAwayFrame(0, last_stream_id=last, additional_data=debug).serialize())

    @property
    def _silent(self) -> bool:
        return self._over or self.transport.is_closing()

    def _flush(self) -> None:
        if self._silent:
            return
        self.transport.write(self._h2.data_to_send())
        if self._last is not None and not self._exchanges:
            self._hang_up()

    def _hang_up(self) -> None:
        """Say what is still to be said, and no more."""
        self.transport.write(self._h2.data_to_send())
        self._over = True
        try:
            self.transport.write_eof()
        except OSError:
            self.transport.abort()

    def _later(self, delay_s: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        def when_due() -> None:
            if not self._silent:
                act()
                self._flush()

        return asyncio.get_running_loop().call_later(delay_s, when_due)
