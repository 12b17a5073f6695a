"""A connection that a thread waits for, or, once it carries streams, several."""

import math
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

import httpx

from kbalance.balancing.members import Member
from kbalance.balancing.pool import Pooled
from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.dialled import Tls

LONGEST_MS = 2**31 - 1
"""That poll(2) can wait; whoever waits for longer is told that it is late after 24 days."""
READ = select.POLLIN | select.POLLHUP | select.POLLERR


class BlockingLink(Pooled):
    """A connection that its thread waits for; nobody else touches it meanwhile but to end it."""

    __slots__ = ("polled", "reading", "turn")

    def __init__(self, member: Member, address: Address, tls: Tls | None) -> None:
        super().__init__(member, address, tls)
        self.turn = Condition()
        """Held around every use of its streams, but for waiting."""
        self.polled = 0
        """Threads that wait for its descriptor."""
        self.reading = False
        """Whether some thread waits for what comes."""

    def lively(self, careful: bool) -> bool:
        if self.mux is None:
            return not self.poll(READ, 0)
        # Not waited for, since whoever has the turn may want the lock under which this is asked; a busy one is alive.
        if self.turn.acquire(blocking=False):
            try:
                self.look()
            finally:
                self.turn.release()
        return self.error is None and not self.mux.protocol.closing

    @contextmanager
    def held(self) -> Iterator[None]:
        """Its turn; whatever interrupts a use of its streams half-way leaves them of no use to anybody."""
        with self.turn:
            try:
                yield
            except (ExchangeError, httpx.HTTPError, ValueError):
                raise
            except BaseException:
                if self.mux is not None:
                    self._lose(ExchangeError(Failure.CLOSED, "interrupted"))
                raise

    def end(self, error: httpx.TransportError) -> None:
        """Makes whoever waits raise this; from another thread, so the descriptor stays."""
        self.error = error
        if self.mux is not None:
            with self.turn:
                self.mux.fail(error)
                self.turn.notify_all()
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            # It is not connected, or not any more: the wait ends by itself.
            return

    def open(self, until_s: float) -> None:
        """Waits until it is open.

        Raises:
            ExchangeError: as `Connection.advance`.
        """
        while not self.is_open:
            self.wait(select.POLLOUT if self.wants_write else READ, until_s - time.monotonic(), httpx.ConnectTimeout)
            self.advance()

    def push(self, seconds: float | None) -> None:
        """Sends what is unsent, unless an answer comes first."""
        while self.wants_write and self.head is None:
            if self.wait(select.POLLOUT | READ, seconds, httpx.WriteTimeout) & READ:
                self.receive()
            else:
                self.flush()

    def pull(self, seconds: float | None) -> None:
        """Reads once."""
        self.wait(READ, seconds, httpx.ReadTimeout)
        self.receive()

    def wait(self, mask: int, seconds: float | None, late: type[httpx.TimeoutException]) -> int:
        """Until the socket is ready; for what."""
        ready = self.poll(mask, None if seconds is None or seconds == math.inf else max(0.0, seconds))
        if self.error is not None:
            raise self.error
        if not ready:
            raise late("the server was silent for too long" if late is not httpx.ConnectTimeout else "not open in time")
        return ready

    def poll(self, mask: int, seconds: float | None) -> int:
        if self.fileno() < 0:
            return 0
        poll = select.poll()
        poll.register(self.sock, mask)
        self.polled += 1
        try:
            found = poll.poll(None if seconds is None else min(math.ceil(seconds * 1000), LONGEST_MS))
        finally:
            self.polled -= 1
        return found[0][1] if found else 0

    # Many exchanges; the turn is held

    def multiplex(self) -> None:
        """From now on it carries streams."""
        from kbalance.balancing.multiplex import Multiplex

        self.mux = Multiplex()
        self.push_streams()

    def push_streams(self) -> None:
        """Sends what the streams have to send, once what went before is on its way."""
        if self.mux is None or self.error is not None:
            return
        try:
            if self.wants_write:
                self.flush()
            if not self.wants_write and (data := self.mux.protocol.data_to_send()):
                self.send_more(data)
        except ExchangeError as error:
            self._lose(error)

    def look(self) -> None:
        """Takes in what has come, if nobody waits for it."""
        if not self.reading and self.error is None and self.poll(READ, 0):
            self.work_streams()

    def work_streams(self) -> None:
        """Takes in what has come, and sends what can be sent."""
        assert self.mux is not None
        if self.error is not None:
            return
        try:
            data = self._read()
        except ExchangeError as error:
            return self._lose(error)
        if data is not None:
            lost = self.mux.feed(data)
            self.answered = self.mux.answered
            self.reusable = self.reusable and not self.mux.protocol.closing
            if lost is not None:
                self._lose(lost)
        self.push_streams()
        self.turn.notify_all()

    def _lose(self, error: ExchangeError) -> None:
        self.error = error
        self.reusable = False
        assert self.mux is not None
        self.mux.fail(error)
        self.turn.notify_all()
