"""Schemas read from descriptors: methods and types by name, and bytes that describe nothing."""

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from kbalance.errors import TargetError
from kbalance.wire.descriptor_files import Method
from kbalance.wire.descriptors import Schema
from kbalance.wire.protobuf import NoMessage, length_delimited
from tests.wire.schemas import file_of, schema_of


def test_the_methods_of_a_service() -> None:
    schema = schema_of("proto3")

    assert schema.method("test.v1.Shop", "Get") == Method("test.v1.Everything", "google.protobuf.Empty", False, False)
    assert schema.method("test.v1.Shop", "Watch") == Method("google.protobuf.Empty", "test.v1.Everything.Inner", False, True)
    assert repr(schema) == "<Schema of test.v1.Empty, test.v1.Shop>"


@pytest.mark.parametrize(
    ("service", "method", "words"),
    [
        ("Shop", "Get", "The server describes no service 'Shop'; it describes test.v1.Empty, test.v1.Shop."),
        ("test.v1.Shop", "get", "The service test.v1.Shop has no method 'get'; it has Get, Watch."),
        ("test.v1.Empty", "Get", "The service test.v1.Empty has no method 'Get'; it has none."),
    ],
)
def test_what_there_is_is_named_when_something_else_is_asked_for(service: str, method: str, words: str) -> None:
    with pytest.raises(TargetError) as refused:
        schema_of("proto3").method(service, method)

    assert str(refused.value) == words


def test_of_many_services_only_some_are_named() -> None:
    file = FileDescriptorProto(name="many.proto")
    for i in range(50):
        file.service.add(name=f"S{i:02}")

    with pytest.raises(TargetError, match="S18, S19 and 30 more"):
        Schema.of([file.SerializeToString()]).method("S", "m")


def test_a_type_whose_file_is_lacking_matters_only_where_it_is_used() -> None:
    file = FileDescriptorProto(name="a.proto", syntax="proto3", dependency=["b.proto"])
    message = file.message_type.add(name="A")
    message.field.add(name="lacking", number=1, type=11, type_name=".b.B", label=1)
    message.field.add(name="lacking_too", number=2, type=14, type_name=".b.E", label=1)
    message.field.add(name="text", number=3, type=9, label=1)
    schema = Schema.of([file.SerializeToString()])

    assert schema.encode("A", {"text": "x"}) == b"\x1a\x01x"
    with pytest.raises(TargetError, match=r"lacking: the server does not describe its type b\.B"):
        schema.encode("A", {"lacking": {}})
    with pytest.raises(TargetError, match=r"lackingToo: the server does not describe its type b\.E"):
        schema.encode("A", {"lackingToo": 1})
    with pytest.raises(TargetError, match=r"The message: the server does not describe its type C\."):
        schema.encode("C", {})


def test_the_files_of_google_itself_are_read() -> None:
    """In proto2, with extensions, and described by itself."""
    schema = Schema.of([FileDescriptorProto.DESCRIPTOR.file.serialized_pb])

    written = schema.encode("google.protobuf.FileDescriptorProto", {"name": "x", "messageType": [{"name": "M"}]})

    assert written == FileDescriptorProto(name="x", message_type=[DescriptorProto(name="M")]).SerializeToString()


@given(st.data())
def test_a_server_can_send_any_descriptor(data: st.DataObject) -> None:
    whole = file_of("proto2").SerializeToString()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + data.draw(st.binary(min_size=1, max_size=3)) + whole[at + 1 :]
    value = {
        "aInt32": 1,
        "someInt32": [1],
        "aColor": "RED",
        "mapToInner": {"a": {"name": "x"}},
        "mapOfInt64": {"1": 1},
        "aAny": {"@type": "a/test.v1.Everything", "aBool": True},
    }

    for file in (changed, data.draw(st.binary(max_size=50))):
        words = ""
        try:
            Schema.of([file]).encode("test.v1.Everything", value)
        except (NoMessage, TargetError) as error:
            words = str(error)
        assert words.isprintable()


def test_messages_declared_inside_each_other_without_end_are_refused() -> None:
    file = b""
    for _ in range(5000):
        file = length_delimited(3, file)

    with pytest.raises(NoMessage, match="too deep"):
        Schema.of([length_delimited(4, file)])


def _described(message: DescriptorProto) -> bytes:
    return length_delimited(4, message.SerializeToString())


def _entry(key: int, *names: str) -> DescriptorProto:
    entry = DescriptorProto(name="E")
    entry.options.map_entry = True
    for number, name in enumerate(names, 1):
        entry.field.append(FieldDescriptorProto(name=name, number=number, type=key))  # type: ignore[arg-type]
    return entry


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"<html>", "a group"),
        (length_delimited(4, length_delimited(2, b"\x0a\x01f\x18\x01\x28\x63")), "the field f has number 1 and type 99"),
        (
            _described(DescriptorProto(field=[FieldDescriptorProto(name="f", type=FieldDescriptorProto.TYPE_BOOL)])),
            "has number 0",
        ),
        (_described(DescriptorProto(name="\x1b[31m")), "characters that no name has"),
        (_described(_entry(9, "key")), "E is no entry of a map"),
        (_described(_entry(11, "key", "value")), "E is no entry of a map"),
    ],
    ids=["html", "type", "number", "name", "no value", "key"],
)
def test_what_no_compiler_writes_is_refused(file: bytes, reason: str) -> None:
    with pytest.raises(NoMessage, match=reason):
        Schema.of([file])
