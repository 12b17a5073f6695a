"""Fake pods: HTTP servers on loopback that say who they are, and misbehave as told."""

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from typing import assert_never

from kbalance.model.target import Address
from kbalance.testbed import pages
from kbalance.testbed.messages import Request, RequestReader, render
from kbalance.testbed.scenario import Fault, PodSpec
from kbalance.testbed.sockets import Port, Receiver, local_ip, reset, spawn

GARBAGE = b"\x16\x03\x01 220 this is not HTTP\r\n\r\n"


class Pod:
    """One pod; it listens from the start unless its fault is to refuse."""

    def __init__(self, name: str, number: int, spec: PodSpec, preferred_port: int = 0) -> None:
        """Needs a running event loop; `number` counts from 1 and is the last byte of the address."""
        self.name = name
        self.spec = spec
        self.fault = Fault.NONE
        self.delay_ms = spec.delay_ms
        self.connections: set[Receiver] = set()
        self.accepted = 0
        """Connections."""
        self.streams = 0
        """Of HTTP/2, refused ones included."""
        self.answered = 0
        """Requests with a complete answer, whatever its status."""
        self._random = random.Random(number)
        self._speak = _speaker(spec)
        self._port = Port(local_ip(f"127.0.1.{number}"), preferred_port)
        self.set_fault(spec.fault)

    @property
    def address(self) -> Address:
        return self._port.address

    def set_fault(self, fault: Fault, delay_ms: int | None = None) -> None:
        """Behave like this from the next request on; `Fault.REFUSE` acts at once, as when a process dies."""
        self.fault = fault
        self.delay_ms = self.delay_ms if delay_ms is None else delay_ms
        if fault is Fault.REFUSE:
            self._port.shut()
            for connection in tuple(self.connections):
                reset(connection.transport)
        else:
            self._port.open(self._accept)

    def _accept(self, sock: socket.socket, source: str) -> None:
        self.accepted += 1
        spawn(asyncio.get_running_loop().connect_accepted_socket(lambda: self._speak(self), sock))

    def draw_age(self) -> float | None:
        """Seconds until the next connection of HTTP/2 is asked to leave; ``None``: it may stay."""
        if self.spec.max_age_s is None:
            return None
        return self.spec.max_age_s * (1 + self._random.uniform(-1, 1) * self.spec.max_age_jitter)

    def close(self) -> None:
        """Stop, with every connection."""
        self._port.close()
        for connection in tuple(self.connections):
            connection.transport.abort()


def _speaker(spec: PodSpec) -> Callable[[Pod], Receiver]:
    """Makes the pod's end of a connection."""
    if not spec.http2:
        return PodConnection
    # Imported here for the weight of h2, which most pods do without.
    from kbalance.testbed.http2 import Greeter

    return Greeter


class PodConnection(Receiver):
    """A connection of HTTP/1.1 to a pod: requests wait in line, one at a time is being answered."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._reader = RequestReader()
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._ending = False
        """Close once the answer under way is out: the client is done, or the connection too old."""
        self._requests = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._pod.connections.add(self)
        if (age_s := self._pod.spec.close_after_s) is not None:
            self._timer = asyncio.get_running_loop().call_later(age_s, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pod.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def received(self, data: bytes) -> None:
        self._waiting.extend(self._reader.feed(data))
        self._work()

    def eof_received(self) -> bool:
        # A client that left looks like one that half-closed; a hanging pod would keep its connection for ever.
        if self._pod.fault is Fault.HANG:
            self.transport.close()
        self._end()
        return True

    def _end(self) -> None:
        self._ending = True
        self._work()

    def _work(self) -> None:
        while self._waiting and not self._busy and not self.transport.is_closing():
            self._busy = True
            self._requests += 1
            self._meet(self._waiting.popleft())
        if self._busy or self.transport.is_closing():
            return
        if self._reader.error is not None:
            self.transport.write(render(400, self._reader.error.encode(), [("Connection", "close")]))
            self.transport.close()
        elif self._ending:
            self.transport.close()

    def _meet(self, request: Request) -> None:
        """Answer, or do what the pod's fault says."""
        match self._pod.fault:
            case Fault.NONE | Fault.ERROR_500:
                self._send(request)
            case Fault.SLOW:
                self._later(self._pod.delay_ms, lambda: self._send(request))
            case Fault.HANG:
                pass
            case Fault.RESET | Fault.REFUSE:
                reset(self.transport)
            case Fault.GARBAGE:
                self.transport.write(GARBAGE)
                self.transport.close()
            case Fault.DRIP:
                self._drip(self._answer(request), 0)
            case Fault.CLOSE_EARLY:
                head, separator, body = self._answer(request).partition(b"\r\n\r\n")
                self.transport.write(head + separator + body[: len(body) // 2])
                self.transport.close()
            case fault:
                assert_never(fault)

    def _later(self, delay_ms: int, act: Callable[[], None]) -> None:
        def when_due() -> None:
            if not self.transport.is_closing():
                act()
                self._work()

        asyncio.get_running_loop().call_later(delay_ms / 1000, when_due)

    def _drip(self, data: bytes, at: int) -> None:
        if at == len(data) - 1:
            self._finish(data[at:])
        else:
            self.transport.write(data[at : at + 1])
            self._later(self._pod.spec.drip_ms, lambda: self._drip(data, at + 1))

    def _send(self, request: Request) -> None:
        self._finish(self._answer(request))

    def _finish(self, data: bytes) -> None:
        """Send the last bytes of an answer; it is counted first, so that a client that has it finds it counted."""
        self._pod.answered += 1
        self.transport.write(data)
        self._busy = False
        if self._ending:
            self._waiting.clear()

    def _answer(self, request: Request) -> bytes:
        """The answer's bytes; decides as well whether it is the connection's last one."""
        spec = self._pod.spec
        spent = spec.close_after_requests is not None and self._requests >= spec.close_after_requests
        self._ending = self._ending or spent or not request.keep_alive
        page = pages.answer(request, self._pod.name, spec.identity, 500 if self._pod.fault is Fault.ERROR_500 else 200)
        last = self._ending and (spec.announce_close or not spent)
        headers = (*page.headers, ("Connection", "close")) if last else page.headers
        return render(page.status, page.body, headers, head_only=request.method == "HEAD")
