"""Methods that stream are refused: by what the server tells of them, or by what one call shows."""

import importlib
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from kbalance.errors import TargetError
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Failure, Profile, Protocol
from kbalance.traffic.handshake import Wait
from kbalance.traffic.unary import check_unary
from kbalance.wire.connection import KEPT_BODY
from kbalance.wire.grpc import frame
from tests.wire import http2_peer as frames
from tests.wire.grpc_calls import grpc, serving

from .http2_servers import OK, Http2, each, speaks
from .runs import finish, make_driver, plan
from .servers import Server, hang, refusing, steady

reflection: Any = importlib.import_module("grpc_reflection.v1alpha.reflection")

HEAD = (*OK, (b"content-type", b"application/grpc"))
MESSAGE = b"\x0a\x01x"
STREAMS = "test.v1.Streams"
KINDS = {
    "Get": (False, False),
    "Late": (False, False),
    "Large": (False, False),
    "Fails": (False, False),
    "Many": (False, True),
    "More": (False, True),
    "One": (False, True),
    "Nothing": (False, True),
    "Watch": (False, True),
    "Gather": (True, False),
    "Chat": (True, True),
}
"""Whether the client streams, and whether the server does."""
FAR_S = 20.0


def _fails(request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
    raise AssertionError


def _late(request: bytes, context: Any) -> bytes:
    threading.Event().wait(1.0)
    return MESSAGE


def _watch(request: bytes, context: Any) -> Iterator[bytes]:
    """A word at once, and then nothing until the client has gone."""
    gone = threading.Event()
    context.add_callback(gone.set)
    yield MESSAGE
    gone.wait(FAR_S)


BEHAVIOUR: dict[str, Callable[[Any, Any], Any]] = {
    "Get": lambda request, context: MESSAGE,
    "Late": _late,
    "Large": lambda request, context: bytes(3 * KEPT_BODY),
    "Fails": _fails,
    "Many": lambda request, context: iter([MESSAGE] * 3),
    "More": lambda request, context: iter([bytes(KEPT_BODY // 2)] * 6),
    "One": lambda request, context: iter([MESSAGE]),
    "Nothing": lambda request, context: iter(()),
    "Watch": _watch,
    "Gather": lambda requests, context: MESSAGE * len(list(requests)),
    "Chat": lambda requests, context: (word for _ in requests for word in (MESSAGE, MESSAGE)),
}


def streaming(server: Any) -> None:
    """The service, whose methods take and give bytes."""
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    handlers = {name: make[kind](BEHAVIOUR[name]) for name, kind in KINDS.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(STREAMS, handlers),))


def telling(server: Any) -> None:
    """Reflection that describes the service."""
    file = FileDescriptorProto(name="streams.proto", package="test.v1", syntax="proto3")
    file.message_type.add(name="Word")
    service = file.service.add(name="Streams")
    for name, (client, sends) in KINDS.items():
        word = ".test.v1.Word"
        service.method.add(name=name, input_type=word, output_type=word, client_streaming=client, server_streaming=sends)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    reflection.enable_server_reflection((STREAMS,), server, pool=pool)


@pytest.fixture(scope="module")
def open_server() -> Iterator[Address]:
    with serving(streaming, telling) as port:
        yield Address("127.0.0.1", port)


@pytest.fixture(scope="module")
def closed_server() -> Iterator[Address]:
    """It has no reflection."""
    with serving(streaming) as port:
        yield Address("127.0.0.1", port)


def checked(address: Address, method: str, *, patience_s: float = FAR_S, timeout_s: float = FAR_S) -> str:
    """What is said against the method; empty: nothing."""
    call = RequestSpec(
        method="POST",
        authority="test.invalid",
        path=f"/{STREAMS}/{method}",
        body=frame(MESSAGE),
        protocol=Protocol.GRPC,
        timeout_s=timeout_s,
    )

    def patience() -> Wait:
        until = perf_counter() + patience_s
        return Wait(lambda: until - perf_counter())

    try:
        check_unary(call, address, None, patience)
    except TargetError as error:
        return str(error)
    return ""


def refused(method: str, how: str) -> str:
    return f"{STREAMS}/{method} streams ({how}); kbalance makes unary calls only: name another with --grpc-method."


@pytest.mark.parametrize("method", KINDS)
def test_reflection_knows_of_every_method(open_server: Address, method: str) -> None:
    who = {(False, True): "server", (True, False): "client", (True, True): "both ways"}.get(KINDS[method])
    assert checked(open_server, method) == (refused(method, who) if who else "")


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("Many", "it answered with more than one message"),
        ("More", "it answered with more than one message"),
        ("Chat", "it answered with more than one message"),
        ("Nothing", "it answered OK without a message"),
    ],
)
def test_an_answer_that_is_not_one_message_shows_a_stream(closed_server: Address, method: str, how: str) -> None:
    assert checked(closed_server, method) == refused(method, how)


@pytest.mark.parametrize("method", ["Get", "Late", "Large", "Fails", "One", "Gather", "Unknown"])
def test_a_call_that_looks_like_a_unary_one_is_let_pass(closed_server: Address, method: str) -> None:
    assert checked(closed_server, method) == ""


def test_a_call_that_is_slow_is_let_pass(closed_server: Address) -> None:
    assert checked(closed_server, "Late", patience_s=0.4) == ""


@pytest.mark.parametrize("timeout_s", [FAR_S, 0.5], ids=["goes on", "ends with the call's deadline"])
def test_a_stream_without_end_is_not_waited_for(closed_server: Address, timeout_s: float) -> None:
    began = perf_counter()
    said = checked(closed_server, "Watch", patience_s=1.5, timeout_s=timeout_s)

    assert said == refused("Watch", "it answered with a message and did not end")
    assert perf_counter() - began < FAR_S / 2


def test_a_stream_that_never_pauses_is_left_after_two_messages() -> None:
    """However long it may be looked at."""

    def act(server: Http2, stream: int) -> None:
        if b"reflection" in server.heads[stream][b":path"]:
            return server.answer_with(stream, (*HEAD, (b"grpc-status", b"12")), b"", ())
        server.send(server.writer.head(stream, HEAD))
        while True:
            server.send(frames.body(stream, frame(MESSAGE)) * 100)

    began = perf_counter()
    with Server(speaks(each(act))) as server:
        assert checked(server.address, "Watch") == refused("Watch", "it answered with more than one message")
    assert perf_counter() - began < FAR_S / 2


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (HEAD, b"<html>"),
        ((*OK, (b"content-type", b"text/html")), frame(b"a") + frame(b"b")),
        ((*OK, (b"content-type", b"application/grpc-web")), frame(b"a") + frame(b"b")),
    ],
    ids=["no message", "page", "gRPC-Web"],
)
def test_what_shows_no_stream_is_let_pass(head: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
    def act(server: Http2, stream: int) -> None:
        server.answer_with(stream, head, body, ((b"grpc-status", b"0"),))

    with Server(speaks(each(act))) as server:
        assert checked(server.address, "Get") == ""


def test_more_messages_than_are_kept_are_no_answer_while_it_is_measured(closed_server: Address) -> None:
    """The length of the first one tells that others follow."""
    spec = plan(Profile.SINGLE, closed_server, 6)
    (only,), sums = finish(make_driver(spec, protocol=Protocol.GRPC, path=f"/{STREAMS}/More", body=frame(MESSAGE)))

    assert (sums.answered, sums.unanswered) == (0, {Failure.MALFORMED: 6})
    assert only.detail == "the answer has more than one message; only methods that answer with one can be called"


def test_a_server_that_is_none_is_let_pass() -> None:
    """What is wrong with it is told when it is measured."""
    with refusing() as address:
        assert checked(address, "Get") == ""
    with Server(steady()) as server:
        assert checked(server.address, "Get") == ""
    with Server(hang) as server:
        assert checked(server.address, "Get", patience_s=0.2) == ""
