"""A connection watched by an asyncio loop: callbacks drive it, and one coroutine at a time waits for what it becomes."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from kbalance.balancing.members import Member
from kbalance.balancing.pool import Pooled
from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.wire.dialled import Tls

if TYPE_CHECKING:
    from kbalance.balancing.multiplex import Multiplex

HIGH_WATER = 256 * 1024
"""Bytes of a body that may wait for their reader before the socket is left alone."""
LOW_WATER = HIGH_WATER // 4


class Link(Pooled):
    """One connection of a transport.

    Its user, a coroutine, calls ``begin``, then awaits ``wait()`` until ``head`` is there and, while ``awaiting``, takes the
    parts of the body.
    """

    __slots__ = (
        "_buffered",
        "_paused",
        "_settled",
        "_waiter",
        "late",
        "loop",
        "lost",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        member: Member,
        address: Address,
        tls: Tls | None,
        lost: Callable[["Link"], None],
        settled: Callable[[], None],
    ) -> None:
        """
        Args:
            lost: called when it breaks or is closed by the server while nobody uses it.
            settled: called when it may carry more requests at once than before.
        """
        super().__init__(member, address, tls)
        self.lost = lost
        self._settled = settled
        self.late: type[httpx.TimeoutException] = httpx.ConnectTimeout
        self._buffered = 0
        self.loop = loop
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> bool:
        """Whether somebody waits, so that the deadline counts."""
        return self._waiter is not None

    async def wait(self) -> None:
        """Until something has changed.

        Raises:
            ExchangeError, httpx.TimeoutException: the connection's own end.
        """
        if self.error is not None:
            raise self.error
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self.error is not None:
            raise self.error

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, error: ExchangeError | httpx.TransportError) -> None:
        """Ends its usefulness; whoever waits is told, and whoever holds it closes it."""
        self.error = error
        self.reusable = False
        self._unwatch()
        self._wake()
        if self.mux is not None:
            self.mux.fail(error)
        if self.idle:
            self.lost(self)

    def shut(self) -> None:
        """Closes, and leaves nothing behind in the loop."""
        self._unwatch()
        self.close()

    def _unwatch(self) -> None:
        fd = self.fileno()
        if fd >= 0 and not self.loop.is_closed():
            self.loop.remove_reader(fd)
            self.loop.remove_writer(fd)

    # Opening

    async def opened(self) -> None:
        """Waits until the connection is open.

        Raises:
            ExchangeError: as `Connection.advance`.
        """
        self.loop.add_writer(self.fileno(), self._go_on)
        while not self.is_open:
            await self.wait()

    def _go_on(self) -> None:
        try:
            opened = self.advance()
        except ExchangeError as error:
            return self.fail(error)
        self._unwatch()
        if opened:
            self.loop.add_reader(self.fileno(), self._readable)
            self._wake()
        elif self.wants_write:
            self.loop.add_writer(self.fileno(), self._go_on)
        else:
            self.loop.add_reader(self.fileno(), self._go_on)

    # An exchange

    def begin(self, data: bytes, method: str) -> None:
        """Sends a request; raises as `send`."""
        self.send(data, method)
        if self.wants_write:
            self.loop.add_writer(self.fileno(), self._writable)

    def more(self, data: bytes) -> None:
        """Sends more of the request's body; raises as `send_more` and `wait`."""
        if self.error is not None:
            raise self.error
        self.send_more(data)
        if self.wants_write:
            self.loop.add_writer(self.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            self.flush()
        except ExchangeError as error:
            return self.fail(error)
        if not self.wants_write:
            self.loop.remove_writer(self.fileno())
            self._wake()
            self.push()

    # Many exchanges

    def multiplex(self) -> None:
        """From now on it carries streams."""
        from kbalance.balancing.multiplex import Multiplex

        self.mux = Multiplex()
        self.push()

    def push(self) -> None:
        """Sends what the streams have to send, once what went before is on its way."""
        if self.mux is None or self.wants_write or self.error is not None:
            return
        data = self.mux.protocol.data_to_send()
        if data:
            self.more(data)

    def _frames(self, mux: "Multiplex") -> None:
        try:
            data = self._read()
        except ExchangeError as error:
            return self.fail(error)
        if data is None:
            return
        lost = mux.feed(data)
        self.answered = mux.answered
        self.push()
        if mux.settled:
            mux.settled = False
            self._settled()
        if lost is not None:
            self.fail(lost)
        elif mux.protocol.closing:
            self.reusable = False
            if self.idle:
                self.lost(self)

    def _readable(self) -> None:
        if self.mux is not None:
            return self._frames(self.mux)
        try:
            self.receive()
        except ExchangeError as error:
            return self.fail(error)
        waiter = self._waiter
        if waiter is not None and self.head is not None and not waiter.done():
            waiter.set_result(None)

    def absorb(self, data: bytes) -> bool:
        """Keeps all parts of the body; stops reading while too many wait."""
        for event in self.events(data):
            if isinstance(event, bytes):
                self.parts.append(event)
                self._buffered += len(event)
        if self._buffered > HIGH_WATER and self.awaiting:
            self._paused = True
            self.loop.remove_reader(self.fileno())
        return not self.awaiting

    def take_part(self) -> bytes:
        """The next part of the body."""
        part = self.parts.popleft()
        self._buffered -= len(part)
        if self._paused and self._buffered < LOW_WATER and self.error is None:
            self._paused = False
            self.loop.add_reader(self.fileno(), self._readable)
        return part

    def take_body(self) -> bytes:
        self._buffered = 0
        return super().take_body()
