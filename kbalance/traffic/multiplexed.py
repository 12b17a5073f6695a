"""Many exchanges at once on a connection: HTTP/2, and gRPC over it."""

from typing import Final

from kbalance.errors import ExchangeError
from kbalance.model.histogram import bucket
from kbalance.model.plan import RequestSpec
from kbalance.model.words import Closer, Failure, Protocol, Stop
from kbalance.traffic.calls import Call, ManyAtOnce
from kbalance.traffic.exchanges import Exchanges
from kbalance.traffic.failing import stale, timed_out
from kbalance.traffic.judging import closely, judged, raw
from kbalance.traffic.poller import READ, WRITE
from kbalance.traffic.slots import SharedSlots
from kbalance.wire.grpc import Malformed
from kbalance.wire.http2_events import Broken, Data, End, GoingAway, Head, Lost, Pairs, Settled, WindowOpened
from kbalance.wire.http2_request import fields_for

MOST_TRIES: Final = 3
"""Of a request that the server says it has not looked at; one that refuses again and again is not merely on its way out."""
MOST_HELD: Final = 8
"""Requests that go out together, as a system call for each is dear; the server then works at these while the next are made, and
none waits long for the ones behind it, which would count as latency."""


class Multiplexed(Exchanges[ManyAtOnce]):
    """Requests on streams of their own."""

    __slots__ = ("_body", "_fields", "_grpc_path", "_held", "_touched", "_whole")

    _slots: SharedSlots[ManyAtOnce]

    def _prepare(self, request: RequestSpec) -> None:
        self._fields = fields_for(request)
        self._body = request.body
        self._grpc_path = request.path if request.protocol is Protocol.GRPC else None
        self._whole = self._grpc_path is not None or self._by_body
        """Whether the body tells something."""
        self._touched: dict[int, ManyAtOnce] = {}
        """Connections that have something to send, by descriptor."""
        self._held = 0
        """Requests that wait for the next push."""

    # Sending

    def fill(self, longest_s: float) -> float:
        wait_s = super().fill(longest_s)
        self._push()
        return wait_s

    def _send(self, carrier: ManyAtOnce, due: float, now: float) -> None:
        carrier.left -= 1
        self._give(carrier, Call(due, now))
        if carrier.left <= 0 or now >= carrier.expires:
            self._retire(carrier)
        self._held += 1
        if self._held >= MOST_HELD:
            self._push()

    def _give(self, carrier: ManyAtOnce, call: Call) -> None:
        if carrier.waiting or len(carrier.calls) >= carrier.most:
            carrier.waiting.append(call)
        else:
            self._ask(carrier, call)
        self._touched[carrier.fd] = carrier

    def _ask(self, carrier: ManyAtOnce, call: Call) -> None:
        number, call.rest = carrier.conn.ask(self._fields, self._body)
        call.out = True
        calls = carrier.calls
        calls[number] = call
        if len(calls) > carrier.streams:
            carrier.streams = len(calls)

    def _ask_waiting(self, carrier: ManyAtOnce) -> None:
        while carrier.waiting and len(carrier.calls) < carrier.most:
            self._ask(carrier, carrier.waiting.popleft())

    def _push(self) -> None:
        """Sends what connections have to send, each once, however many requests that is."""
        self._held = 0
        while self._touched:
            fd, carrier = self._touched.popitem()
            conn = carrier.conn
            if self._connections.by_fd.get(fd) is not carrier:
                continue
            try:
                conn.push()
            except ExchangeError as error:
                self.failed(carrier, error)
                continue
            if carrier.mask != READ or conn.wants_write:
                self._watch(carrier)

    # Receiving

    def serve(self, ready: list[tuple[int, int]]) -> None:
        carriers = self._connections.by_fd
        for fd, mask in ready:
            carrier = carriers[fd]
            conn = carrier.conn
            try:
                if carrier.lingering:
                    self.linger(carrier)
                elif not conn.is_open:
                    self._advance(carrier)
                else:
                    if mask & WRITE and conn.wants_write:
                        conn.flush()
                        self._connections.watch(carrier)
                    if mask != WRITE:
                        self._take(carrier)
            except ExchangeError as error:
                self.failed(carrier, error)

    def _take(self, carrier: ManyAtOnce) -> None:
        events = carrier.conn.receive()
        now = self._clock()
        calls, lost = carrier.calls, None
        for event in events:
            if isinstance(event, Head):
                carrier.heard = now
                call = calls.get(event.stream)
                if call is not None and event.status >= 200:
                    _, call.status, call.fields = event
            elif isinstance(event, Data):
                carrier.heard = now
                call = calls.get(event.stream)
                if call is not None:
                    call.take(event.data)
            elif isinstance(event, End):
                call = calls.pop(event.stream, None)
                if call is not None:
                    self._answered(carrier, call, event.trailers, now)
            else:
                match event:
                    case Broken():
                        self._broken(carrier, event)
                    case Settled():
                        self._settle(carrier)
                    case GoingAway():
                        self._go_away(carrier, event, now)
                    case WindowOpened():
                        self._resume(carrier)
                    case Lost():
                        lost = event
                        self._retire(carrier)
        if carrier.waiting or carrier.again:
            self._go_on(carrier)
        self._touched[carrier.fd] = carrier
        if lost is not None:
            self._lost(carrier, lost)
        elif carrier.draining and not carrier.under_way:
            self._part(carrier)

    def _go_on(self, carrier: ManyAtOnce) -> None:
        """Sends what waits, here as long as anything may be begun here."""
        if carrier.conn.closing:
            # Those that were out come first: they are the older ones.
            carrier.again += carrier.waiting
            carrier.waiting.clear()
        else:
            self._ask_waiting(carrier)
        self._send_again(carrier)

    def _answered(self, carrier: ManyAtOnce, call: Call, trailers: Pairs, now: float) -> None:
        us = int((now - call.due) * 1e6)
        carrier.conn.answered += 1
        if self._tap is not None:
            self._tap(closely(call, trailers, grpc_path=self._grpc_path), carrier)
        same = call.fields is carrier.fields and trailers is carrier.trailers and call.status == carrier.status
        if not same or (self._whole and call.body != carrier.body):
            self._look(carrier, call, trailers, now)
            if carrier.fields is None:
                return
        carrier.histogram[bucket(us)] += 1
        self.ended += 1
        self._in_flight -= 1
        if carrier.bad:
            carrier.failed[carrier.who] = carrier.failed.get(carrier.who, 0) + 1
            self._count_failure(carrier.slot, Failure.STATUS)
        self._slots.release(carrier.slot)

    def _look(self, carrier: ManyAtOnce, call: Call, trailers: Pairs, now: float) -> None:
        """Reads from the answer who gave it and whether it is a good one; one that is none fails, and leaves no fields."""
        try:
            status, words = judged(call, trailers, grpc=self._grpc_path is not None)
        except Malformed as error:
            carrier.fields = None
            return self._fail_call(carrier, Failure.MALFORMED, str(error))
        who = carrier.endpoint
        if who is None and self._identify is not None:
            who = self._identify(call.body if self._by_body else raw(call, trailers))
        carrier.answered_by(who, now)
        carrier.status, carrier.fields, carrier.trailers, carrier.body = call.status, call.fields, trailers, call.body
        carrier.bad = status >= 500
        if not carrier.bad:
            self._patience.succeeded(carrier.slot)
        elif words:
            carrier.details.setdefault(carrier.who, words)

    # The connection

    def _settle(self, carrier: ManyAtOnce) -> None:
        carrier.conn.settled = True
        carrier.most = carrier.conn.most
        if self._slots.carrier[carrier.slot] is carrier:
            # One at least may wait for a server that takes none for now, or nobody would see that it goes on so.
            self._slots.limit(carrier.slot, max(1, carrier.most))

    def _resume(self, carrier: ManyAtOnce) -> None:
        for number, call in carrier.calls.items():
            if call.rest:
                call.rest = carrier.conn.go_on(number, call.rest)

    def _retire(self, carrier: ManyAtOnce) -> None:
        """Its slot gets another connection with the next request for it."""
        carrier.draining = True
        self._slots.vacate(carrier)

    def _go_away(self, carrier: ManyAtOnce, event: GoingAway, now: float) -> None:
        """The server takes no more: a graceful one says so before it knows the last stream, and again when it does."""
        if carrier.goaway_s is None:
            carrier.goaway_s = now - carrier.opened
            carrier.goaway = event.detail
        carrier.leaving = not event.code and event.last_stream > 0
        self._retire(carrier)

    def _part(self, carrier: ManyAtOnce) -> None:
        """Everything on it is answered, and nothing more will be asked."""
        carrier.conn.leave()
        by = Closer.FAILURE if carrier.dead else Closer.CLIENT if carrier.goaway_s is None else Closer.SERVER
        self._connections.end(carrier, by, linger=not carrier.dead)

    def _lost(self, carrier: ManyAtOnce, lost: Lost) -> None:
        failed = carrier.cut or lost.failure is not Failure.CLOSED
        by = Closer.FAILURE if failed else Closer.SERVER
        self._connections.end(carrier, by, detail=lost.detail if failed else "")

    def linger(self, carrier: ManyAtOnce) -> None:
        try:
            over = any(isinstance(event, Lost) for event in carrier.conn.receive())
            carrier.conn.flush()
        except ExchangeError:
            over = True
        if over:
            self._connections.drop(carrier)
        else:
            self._connections.watch(carrier)

    def check(self, carrier: ManyAtOnce, now: float) -> None:
        if not carrier.conn.is_open:
            if now - carrier.opened > self._timeout_s:
                self.failed(carrier, timed_out(carrier, self._timeout_s))
            return
        for number, call in [(n, call) for n, call in carrier.calls.items() if now - call.sent > self._timeout_s]:
            carrier.conn.give_up(number)
            del carrier.calls[number]
            counts = not carrier.dead
            if carrier.heard <= call.given:
                # Younger requests keep their own time, as it may only have stalled; new ones do not depend on it.
                carrier.dead = True
                self._retire(carrier)
            self._fail_call(carrier, Failure.TIMEOUT, f"no complete answer after {self._timeout_s:g} s", counts=counts)
        while carrier.waiting and now - carrier.waiting[0].sent > self._timeout_s:
            carrier.waiting.popleft()
            self._fail_call(carrier, Failure.TIMEOUT, f"no room on the connection for {self._timeout_s:g} s")
        if now >= carrier.expires:
            self._retire(carrier)
        self._ask_waiting(carrier)
        self._touched[carrier.fd] = carrier
        if carrier.draining and not carrier.under_way:
            self._part(carrier)

    # Failing

    def _broken(self, carrier: ManyAtOnce, event: Broken) -> None:
        call = carrier.calls.pop(event.stream, None)
        if call is None:
            return
        error = ExchangeError(event.failure, event.detail)
        drained = event.unprocessed and event.failure is Failure.CLOSED and carrier.leaving
        refused = event.unprocessed and call.tries < MOST_TRIES
        if drained or refused or (event.failure is Failure.CLOSED and self._may_retry(carrier, call, error)):
            call.tries += not drained
            self._retry(carrier, call)
        else:
            carrier.cut = carrier.cut or event.failure is Failure.CLOSED
            self._fail_call(carrier, event.failure, event.detail)

    def _may_retry(self, carrier: ManyAtOnce, call: Call, error: ExchangeError) -> bool:
        """Whether the server closed a connection that had answered before just as this request went out on it; once at most."""
        untouched = not call.status and not call.tries and carrier.conn.answered > 0
        return untouched and self._grpc_path is None and stale(error, self._method)

    def _retry(self, carrier: ManyAtOnce, call: Call) -> None:
        """A stream that was refused goes out again on its connection, if that lives on; what was cut off, on another."""
        call.forget()
        if carrier.conn.closing:
            carrier.again.append(call)
        else:
            carrier.retried += 1
            call.out = False
            carrier.waiting.appendleft(call)

    def _send_again(self, old: ManyAtOnce) -> None:
        """On the connection that now has the slot, or on a new one; where there may be none, they are abandoned on the old."""
        calls, old.again = old.again, []
        now, recycles = self._clock(), self._slots.recycles
        for call in calls:
            carrier = self._slots.carrier[old.slot]
            fresh = carrier is None
            if fresh and self._connections.exhausted:
                self._stopping.stop(Stop.CONNECTION_CAP)
            if fresh and self._stopping.why is not None:
                old.abandoned += 1
                self._in_flight -= 1
                continue
            old.retried += call.out
            carrier = carrier or self._open(old.slot)
            if carrier is None:
                continue
            call.out, call.given = False, now
            # What a connection opens for counts among its requests; one that is there counts with the slot's own only.
            carrier.left -= fresh or recycles
            self._give(carrier, call)
            if recycles and (carrier.left <= 0 or now >= carrier.expires):
                self._retire(carrier)

    def _fail_call(self, carrier: ManyAtOnce, failure: Failure, detail: str, *, counts: bool = True) -> None:
        carrier.detail = carrier.detail or detail
        carrier.fields = None  # the next answer is looked at, for it ends a row of failures
        self._end_request(carrier, failure, counts=counts)
        self._slots.release(carrier.slot)

    def failed(self, carrier: ManyAtOnce, error: ExchangeError) -> None:
        if not carrier.under_way:
            if carrier.draining:
                return self._connections.end(carrier, Closer.SERVER)
            return self._failed_idle(carrier, error)
        final = carrier.connect_s is None or error.failure in (Failure.TIMEOUT, Failure.CONNECT_TIMEOUT)
        failing = len(carrier.waiting) if final else 0
        for call in carrier.calls.values():
            if not final and self._may_retry(carrier, call, error):
                call.tries += 1
                call.forget()
                carrier.again.append(call)
            else:
                failing += 1
        if not final:
            carrier.again += carrier.waiting
        carrier.calls.clear()
        carrier.waiting.clear()
        self._retire(carrier)
        for nth in range(failing):
            self._end_request(carrier, error.failure, counts=nth == 0)
        self._send_again(carrier)
        self._connections.end(carrier, Closer.FAILURE if failing else Closer.SERVER, detail=str(error) if failing else "")
        for _ in range(failing):
            self._slots.release(carrier.slot)
