"""One exchange on a stream of an HTTP/2 connection that threads share.

Whoever waits first reads for all; everything but waiting is done while holding the connection's turn, since neither the protocol
nor TLS may be used by two threads at once.
"""

import select
import time
from collections.abc import Iterator

import httpx

from kbalance.balancing.attempts import Unanswered
from kbalance.balancing.blocking_exchanges import Owner
from kbalance.balancing.blocking_link import READ, BlockingLink
from kbalance.balancing.incoming import http2_response, to_httpx
from kbalance.balancing.multiplex import Exchange, Multiplex, request_fields
from kbalance.balancing.outgoing import Outgoing, check_length
from kbalance.balancing.setup import Timeouts
from kbalance.errors import ExchangeError
from kbalance.model.words import Failure


class BlockingStream:
    """A stream, for the thread whose request it carries."""

    def __init__(self, owner: Owner, link: BlockingLink, request: httpx.Request, *, end: bool) -> None:
        """Sends the request's head.

        Args:
            end: there is no body.

        Raises:
            ExchangeError: nothing was sent.
        """
        assert link.mux is not None
        self._owner = owner
        self._link = link
        self._mux: Multiplex = link.mux
        self._news = False
        self._left = False
        fields = request_fields(request)
        with link.held():
            if link.error is not None:
                raise Unanswered(Failure.CLOSED, str(link.error), unsent=True)
            self.exchange: Exchange = self._mux.begin(fields, self._wake, end=end)
            link.push_streams()

    def _wake(self) -> None:
        self._news = True

    def wait(self, seconds: float | None, late: type[httpx.TimeoutException]) -> None:
        """Until something has changed.

        Raises:
            ExchangeError, httpx.TransportError: the stream's end, or `late` after so many seconds.
        """
        until_s = float("inf") if seconds is None else time.monotonic() + seconds
        with self._link.held():
            self._check()
            while not self._news and (left_s := until_s - time.monotonic()) > 0:
                self._work(left_s)
            in_time, self._news = self._news, False
            self._check()
        if not in_time:
            silent = late("the server was silent for too long")
            self._link.reusable = self._link.reusable and not self._mux.dead_to(self.exchange)
            self._owner.late(self._link, silent)
            raise silent

    def _check(self) -> None:
        if self.exchange.error is not None and not self.exchange.parts:
            raise self.exchange.error

    def _work(self, left_s: float) -> None:
        """Reads for everybody, or sends, or waits for whoever reads."""
        link = self._link
        reads = not link.reading
        mask = READ * reads | select.POLLOUT * link.wants_write
        if not mask:
            link.turn.wait(None if left_s == float("inf") else left_s)
            return
        link.reading = link.reading or reads
        link.turn.release()
        try:
            ready = link.poll(mask, None if left_s == float("inf") else left_s)
        finally:
            link.turn.acquire()
            if reads:
                link.reading = False
            # Somebody else has to read when this one is through.
            link.turn.notify_all()
        if ready and reads:
            link.work_streams()
        elif ready:
            # Whoever reads was woken for what came, and would wait for it in vain.
            link.push_streams()

    def send(self, data: bytes, seconds: float | None, *, end: bool) -> None:
        """Sends a part of the body, as the windows allow; stops when the answer is complete."""
        while not self.exchange.ended:
            with self._link.held():
                taken = self._mux.protocol.send_data(self.exchange.number, data, end=end)
                self._link.push_streams()
            data = data[taken:]
            if not data:
                # What is taken goes out while the answer is waited for.
                return
            self.wait(seconds, httpx.WriteTimeout)

    def upload(self, outgoing: Outgoing, seconds: float | None) -> None:
        """Sends a body as it is made."""
        assert isinstance(outgoing.stream, httpx.SyncByteStream)
        left = outgoing.length
        for part in outgoing.stream:
            if not outgoing.chunked:
                left -= len(part)
                check_length(outgoing, left, left >= 0)
            self.send(part, seconds, end=False)
            with self._link.held():
                self._link.look()
            if self.exchange.over:
                return
        check_length(outgoing, left, left == 0 or outgoing.chunked)
        self.send(b"", seconds, end=True)

    def part(self, seconds: float | None) -> bytes | None:
        """The next part of the response's body; ``None``: that was all."""
        while not self.exchange.parts:
            if self.exchange.ended:
                return None
            self.wait(seconds, httpx.ReadTimeout)
        with self._link.held():
            data = self._mux.take_part(self.exchange)
            self._link.push_streams()
        return data

    def body(self) -> bytes:
        """All of a complete response's body."""
        with self._link.held():
            return self._mux.take_body(self.exchange)

    def abandon(self) -> None:
        """Has somebody leave it soon."""
        if not self._left:
            self._owner.abandoned.append(self.leave)

    def leave(self) -> None:
        """It is over, or nobody wants the rest."""
        if self._left:
            return
        self._left = True
        with self._link.held():
            if not self.exchange.ended or self.exchange.parts:
                self._mux.abandon(self.exchange)
            self._link.push_streams()
        self._owner.release(self._link)


def exchange(owner: Owner, link: BlockingLink, request: httpx.Request, outgoing: Outgoing, timeouts: Timeouts) -> httpx.Response:
    """The response to a request; its body is at hand when it came at once.

    Raises:
        ExchangeError, httpx.TransportError: there is none.
    """
    began_s = time.monotonic()
    at_hand = outgoing.stream is None
    try:
        stream = BlockingStream(owner, link, request, end=at_hand and not outgoing.body)
    except BaseException:
        owner.release(link)
        raise
    try:
        if not at_hand:
            stream.upload(outgoing, timeouts.get("write"))
        elif outgoing.body:
            stream.send(outgoing.body, timeouts.get("write"), end=True)
        stream.exchange.eager = False
        while (head := stream.exchange.head) is None:
            stream.wait(timeouts.get("read"), httpx.ReadTimeout)
    except BaseException:
        stream.leave()
        raise
    owner.answered(link, head.status, began_s)
    if not stream.exchange.ended:
        return http2_response(head.status, head.fields, None, _Body(stream, timeouts.get("read")))
    body = stream.body()
    stream.leave()
    return http2_response(head.status, head.fields, body)


class _Body(httpx.SyncByteStream):
    """The rest of a response, read as it is consumed; holds the stream until then."""

    def __init__(self, stream: BlockingStream, seconds: float | None) -> None:
        self._stream = stream
        self._seconds = seconds

    def __iter__(self) -> Iterator[bytes]:
        try:
            while (part := self._stream.part(self._seconds)) is not None:
                yield part
        except GeneratorExit:
            # Perhaps by the garbage collector, which comes in the middle of anything; `close` comes in its own time.
            self._stream.abandon()
            raise
        except ExchangeError as error:
            self.close()
            raise to_httpx(error) from error
        except BaseException:
            self.close()
            raise
        self.close()

    def close(self) -> None:
        self._stream.leave()
