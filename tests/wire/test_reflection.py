"""Reflection: asked for and answered as the service of grpcio does."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import empty_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from kbalance.errors import TargetError
from kbalance.wire.descriptor_files import Method
from kbalance.wire.descriptors import Schema
from kbalance.wire.grpc import method_path, unframe
from kbalance.wire.grpc_status import Code, outcome
from kbalance.wire.protobuf import NoMessage, length_delimited
from kbalance.wire.reflection import METHODS, answer, missing, request, request_file
from tests.wire.grpc_calls import call, serving
from tests.wire.schemas import file_of, pool_of

reflection: Any = importlib.import_module("grpc_reflection.v1alpha.reflection")
reflection_pb2: Any = importlib.import_module("grpc_reflection.v1alpha.reflection_pb2")

NEW, OLD = map(method_path, METHODS)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that tells of the services in `tests.wire.schemas`."""
    names = ("test.v1.Shop", reflection.SERVICE_NAME)
    with serving(lambda server: reflection.enable_server_reflection(names, server, pool=pool_of("proto3"))) as port:
        yield port


def asked(port: int, message: bytes) -> list[bytes]:
    return answer(unframe(call(port, OLD, message).body))


def test_requests_are_those_of_grpcio() -> None:
    symbol, file = reflection_pb2.ServerReflectionRequest(), reflection_pb2.ServerReflectionRequest()
    symbol.file_containing_symbol, file.file_by_filename = "a.B", "a/b.proto"

    assert (request("a.B"), request_file("a/b.proto")) == (symbol.SerializeToString(), file.SerializeToString())


def test_a_server_of_grpcio_tells_enough_to_encode_a_message(port: int) -> None:
    files = asked(port, request("test.v1.Shop"))
    for _ in range(3):
        for name in missing(files):
            files += asked(port, request_file(name))

    assert missing(files) == []
    schema = Schema.of(files)
    assert schema.method("test.v1.Shop", "Get") == Method("test.v1.Everything", "google.protobuf.Empty", False, False)
    assert schema.encode("test.v1.Everything", {"aColor": "RED"}) != b""


def test_what_a_server_of_grpcio_does_not_know_is_said_in_its_words(port: int) -> None:
    with pytest.raises(TargetError, match=r"^The server's reflection does not tell .* \(NOT_FOUND: .+\)\.$"):
        asked(port, request("no.Such"))
    with pytest.raises(TargetError, match="NOT_FOUND"):
        asked(port, request_file("no/such.proto"))


def test_a_server_that_knows_only_the_older_service_says_so(port: int) -> None:
    told = call(port, NEW, request("test.v1.Shop"))

    head = told.heads[-1]
    assert outcome(head.status, head.fields, told.trailers.items()).code == Code.UNIMPLEMENTED


def test_words_of_an_error_are_harmless() -> None:
    error = b"\x08\x05" + length_delimited(2, b"no\n\x1b[31m")

    with pytest.raises(TargetError, match=r"\(NOT_FOUND: no  \[31m\)\.$"):
        answer(length_delimited(7, error))
    with pytest.raises(TargetError, match=r"\(OK: no reason given\)\.$"):
        answer(length_delimited(7, b""))


@pytest.mark.parametrize("message", [b"", length_delimited(6, b""), b"<html>", b"\x20\x01"])
def test_another_answer_than_files_is_refused(message: bytes) -> None:
    with pytest.raises(NoMessage):
        answer(message)


def test_files_that_are_imported_and_not_there_are_missing() -> None:
    files = [file_of("proto3").SerializeToString(), empty_pb2.DESCRIPTOR.serialized_pb]

    assert missing(files) == [
        f"google/protobuf/{name}.proto" for name in ("any", "duration", "field_mask", "struct", "timestamp", "wrappers")
    ]
    assert missing([FileDescriptorProto(name="a.proto").SerializeToString()]) == []


@given(st.binary(max_size=60))
def test_any_bytes_give_files_or_an_error(message: bytes) -> None:
    try:
        files = answer(message)
    except (TargetError, NoMessage):
        return
    assert all(file in message for file in files)
