"""What a gRPC server tells of its own methods: its description, and a message that the user gave as JSON, encoded by it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from kbalance.errors import ExchangeError, TargetError, TrafficError
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.traffic.handshake import Wait
from kbalance.wire import reflection
from kbalance.wire.descriptors import Schema
from kbalance.wire.dialled import Tls
from kbalance.wire.grpc import Malformed, frame, unframe
from kbalance.wire.grpc_status import Code, Status, outcome
from kbalance.wire.http2_events import Broken, Data, End, Head, Lost, Pairs
from kbalance.wire.http2_request import fields_for
from kbalance.wire.protobuf import NoMessage
from kbalance.wire.streams import StreamConnection

LARGEST = 16 << 20
"""Bytes of an answer."""
MOST_FILES = 200
"""Of descriptors that a method's message may need."""


def encoded(text: str, request: RequestSpec, address: Address, tls: Tls | None, patience: Callable[[], Wait]) -> bytes:
    """The message of a call, which the user gave as JSON or as ``hex:``.

    Args:
        request: the call that it is for.
        patience: how long to wait for one question to the server.

    Raises:
        TargetError: the text makes no sense, or not for this method.
        TrafficError: the server does not tell what its messages are made of.
    """
    if text.startswith("hex:"):
        try:
            return bytes.fromhex(text.removeprefix("hex:"))
        except ValueError as error:
            raise TargetError(f"--grpc-data {text[:60]!r} is not hexadecimal; write it like hex:0a03616263.") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise TargetError(f"--grpc-data is neither JSON nor hex:BYTES: {error}.") from error
    service, _, method = request.path.lstrip("/").partition("/")
    talk = _Talk(request, address, tls, patience)
    try:
        schema = Schema.of(talk.files(service))
    except NoMessage as error:
        raise TrafficError(f"What the server tells of {service} by reflection is no description: {error}.") from error
    found = schema.method(service, method)
    if found.client_streaming or found.server_streaming:
        raise TargetError(f"{service}/{method} is a streaming method, and kbalance makes unary calls; name another.")
    return schema.encode(found.input, value)


class _Talk:
    """Calls of server reflection, each on a connection of its own: there are few."""

    def __init__(self, request: RequestSpec, address: Address, tls: Tls | None, patience: Callable[[], Wait]) -> None:
        self._request = request
        self._address = address
        self._tls = tls
        self._patience = patience

    def files(self, symbol: str) -> Iterable[bytes]:
        """The file that defines a symbol, and those that it needs and the server has."""
        files = self._ask(reflection.request(symbol), must=True)
        asked: set[str] = set()
        while len(files) < MOST_FILES and (names := [n for n in reflection.missing(files) if n not in asked]):
            asked.add(names[0])
            files += self._ask(reflection.request_file(names[0]), must=False)
        return files

    def _ask(self, message: bytes, *, must: bool) -> list[bytes]:
        """What the server answers, by the newer version of the service or the older one.

        Args:
            must: a server that does not know it is a failure; else it is left out, since a field may never need it.
        """
        for method in reflection.METHODS:
            status, answer = self._call(method, message)
            if status.code == Code.UNIMPLEMENTED:
                continue
            if status.code:
                raise TrafficError(f"Server reflection failed with {_words(status)}; give --grpc-data as hex:BYTES.")
            try:
                return reflection.answer(answer)
            except TargetError:
                if must:
                    raise
                return []
            except NoMessage as error:
                raise TrafficError(f"Server reflection answered what is no message of it: {error}.") from error
        raise TargetError("The server offers no reflection, so JSON cannot be encoded for it; give --grpc-data as hex:BYTES.")

    def _call(self, method: str, message: bytes) -> tuple[Status, bytes]:
        request = replace(self._request, path=f"/{method}", body=frame(message))
        try:
            conn = StreamConnection(self._address, self._tls)
            try:
                return self._exchange(conn, request)
            finally:
                conn.close()
        except ExchangeError as error:
            raise TrafficError(f"Server reflection could not be asked at {self._address}: {error}.") from error

    def _exchange(self, conn: StreamConnection, request: RequestSpec) -> tuple[Status, bytes]:
        wait = self._patience()
        rest = conn.ask(fields_for(request), request.body)[1]
        assert not rest, "a question is smaller than any first window"
        status, fields, body = 0, Pairs(()), bytearray()
        while True:
            if not wait.ready(conn):
                raise TrafficError(f"Server reflection at {self._address} did not answer in time (--timeout).")
            if not conn.is_open:
                if conn.advance():
                    conn.flush()
                continue
            if conn.wants_write:
                conn.flush()
            for event in conn.receive():
                match event:
                    case Head():
                        status, fields = event.status, event.fields
                    case Data():
                        body += event.data
                    case End():
                        return outcome(status, fields, event.trailers), _message(bytes(body))
                    case Broken() | Lost():
                        raise ExchangeError(event.failure, event.detail)
            conn.push()
            if len(body) > LARGEST:
                raise TrafficError(f"Server reflection at {self._address} answers with more than {LARGEST} bytes.")


def _words(status: Status) -> str:
    return f"{status.name} ({status.message})" if status.message else status.name


def _message(body: bytes) -> bytes:
    """Empty where there is none, which the status explains."""
    if not body:
        return b""
    try:
        return unframe(body)
    except Malformed as error:
        raise TrafficError(f"Server reflection answered no message: {error}.") from error
