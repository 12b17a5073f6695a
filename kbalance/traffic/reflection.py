"""What a gRPC server tells of its own methods: which ones stream, and how a message is encoded that the user gave as JSON."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from kbalance.errors import ExchangeError, KbalanceError, TargetError, TrafficError
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.traffic.asking import LARGEST, ask
from kbalance.traffic.handshake import Wait
from kbalance.wire import reflection
from kbalance.wire.descriptor_files import Method
from kbalance.wire.descriptors import Schema
from kbalance.wire.dialled import Tls
from kbalance.wire.grpc import Malformed, frame, streams, unframe
from kbalance.wire.grpc_status import Code, Status, outcome
from kbalance.wire.protobuf import NoMessage

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
    _check_unary(request.path, found)
    return schema.encode(found.input, value)


def tells_of(request: RequestSpec, address: Address, tls: Tls | None, patience: Callable[[], Wait]) -> bool:
    """Whether the server tells of the method, which then is one that can be called.

    Raises:
        TargetError: it streams.
    """
    service, _, method = request.path.lstrip("/").partition("/")
    try:
        found = Schema.of(_Talk(request, address, tls, patience).declaring(service)).method(service, method)
    except (KbalanceError, NoMessage):
        return False
    _check_unary(request.path, found)
    return True


def _check_unary(path: str, method: Method) -> None:
    match method.client_streaming, method.server_streaming:
        case True, True:
            raise streams(path, "both ways")
        case True, False:
            raise streams(path, "client")
        case False, True:
            raise streams(path, "server")


class _Talk:
    """Calls of server reflection, each on a connection of its own: there are few."""

    def __init__(self, request: RequestSpec, address: Address, tls: Tls | None, patience: Callable[[], Wait]) -> None:
        self._request = request
        self._address = address
        self._tls = tls
        self._patience = patience

    def declaring(self, symbol: str) -> list[bytes]:
        """The file that declares a symbol, with whatever others the server sends along."""
        return self._ask(reflection.request(symbol), must=True)

    def files(self, symbol: str) -> Iterable[bytes]:
        """The file that declares a symbol, and those that it needs and the server has."""
        files = self.declaring(symbol)
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
            heard = ask(self._address, self._tls, request, self._patience())
        except ExchangeError as error:
            raise TrafficError(f"Server reflection could not be asked at {self._address}: {error}.") from error
        if len(heard.body) > LARGEST:
            raise TrafficError(f"Server reflection at {self._address} answers with more than {LARGEST} bytes.")
        if not heard.ended:
            raise TrafficError(f"Server reflection at {self._address} did not answer in time (--timeout).")
        return outcome(heard.status, heard.fields, heard.trailers), _message(bytes(heard.body))


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
