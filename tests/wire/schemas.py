"""A schema that has everything, in each dialect of ``.proto`` files, and google.protobuf's classes for it."""

import functools
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message

from kbalance.wire.descriptors import Schema

DIALECTS = ("proto2", "proto3", "editions", "delimited")
"""The last one is of an edition whose messages are written as groups."""
SCALARS = {
    name: FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}")
    for name in (
        *("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes"),
        *("uint32", "sfixed32", "sfixed64", "sint32", "sint64"),
    )
}
KEYS = [name for name in SCALARS if name not in ("double", "float", "bytes")]
KNOWN = {
    "timestamp": "Timestamp",
    "duration": "Duration",
    "mask": "FieldMask",
    "struct": "Struct",
    "value": "Value",
    "list": "ListValue",
    "any": "Any",
    "empty": "Empty",
    **{
        f"{name.lower()}_wrapper": f"{name}Value"
        for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    },
}
"""Fields, and their types in google.protobuf."""

_TYPES: Any = FieldDescriptorProto
_IMPORTED = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
_EDITION_2023: Any = 1000


def _add(message: Any, name: str, kind: int, type_name: str = "", *, repeated: bool = False, **more: Any) -> FieldDescriptorProto:
    field: FieldDescriptorProto = message.field.add(name=name, number=len(message.field) + 1, type=kind, **more)
    field.label = _TYPES.LABEL_REPEATED if repeated else _TYPES.LABEL_OPTIONAL
    if type_name:
        field.type_name = type_name
    return field


def _add_map(message: Any, name: str, key: int, value: int, type_name: str = "") -> None:
    entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    _add(entry, "key", key)
    _add(entry, "value", value, type_name)
    _add(message, name, _TYPES.TYPE_MESSAGE, f".test.v1.{message.name}.{entry.name}", repeated=True)


def _started(name: str, dialect: str) -> FileDescriptorProto:
    file = FileDescriptorProto(name=name, package="test.v1", syntax="editions" if dialect == "delimited" else dialect)
    if dialect == "proto2":
        file.ClearField("syntax")  # as protoc does
    if file.syntax == "editions":
        file.edition = _EDITION_2023
    if dialect == "delimited":
        file.options.features.message_encoding = descriptor_pb2.FeatureSet.DELIMITED
    return file


def _everything(file: FileDescriptorProto, dialect: str) -> None:
    everything = file.message_type.add(name="Everything")
    color = file.enum_type.add(name="Color")
    for name, number in (("GRAY", 0), ("RED", 1), ("BLUE", -2)):
        color.value.add(name=name, number=number)
    nested = everything.nested_type.add(name="Inner")
    _add(nested, "name", _TYPES.TYPE_STRING)
    _add(nested, "again", _TYPES.TYPE_MESSAGE, ".test.v1.Everything.Inner")
    for name, kind in SCALARS.items():
        _add(everything, f"a_{name}", kind)
        _add(everything, f"some_{name}", kind, repeated=True)
        _add_map(everything, f"map_to_{name}", _TYPES.TYPE_STRING, kind)
    for name in KEYS:
        _add_map(everything, f"map_of_{name}", SCALARS[name], _TYPES.TYPE_INT32)
    for name, kind, type_name in (
        ("inner", _TYPES.TYPE_MESSAGE, ".test.v1.Everything.Inner"),
        ("color", _TYPES.TYPE_ENUM, ".test.v1.Color"),
        ("null", _TYPES.TYPE_ENUM, ".google.protobuf.NullValue"),
        *((name, _TYPES.TYPE_MESSAGE, f".google.protobuf.{of}") for name, of in KNOWN.items()),
    ):
        _add(everything, f"a_{name}", kind, type_name)
        _add(everything, f"some_{name}", kind, type_name, repeated=True)
        _add_map(everything, f"map_to_{name}", _TYPES.TYPE_STRING, kind, type_name)
    everything.oneof_decl.add(name="choice")
    for name, kind, type_name in (
        ("one_text", _TYPES.TYPE_STRING, ""),
        ("one_number", _TYPES.TYPE_INT32, ""),
        ("one_value", _TYPES.TYPE_MESSAGE, ".google.protobuf.Value"),
    ):
        _add(everything, name, kind, type_name, oneof_index=0)
    for packed in (True, False):
        field = _add(everything, f"packed_{packed}".lower(), _TYPES.TYPE_SINT32, repeated=True)
        if dialect in ("proto2", "proto3"):
            field.options.packed = packed
    if dialect == "proto3":
        everything.oneof_decl.add(name="_perhaps")
        _add(everything, "perhaps", _TYPES.TYPE_INT32, oneof_index=1, proto3_optional=True)
    _add(everything, "renamed", _TYPES.TYPE_STRING, json_name="called-so")


def _proto2_only(file: FileDescriptorProto) -> None:
    old = file.message_type.add(name="Old")
    needed = _add(old, "needed", _TYPES.TYPE_INT32)
    needed.label = _TYPES.LABEL_REQUIRED
    group = old.nested_type.add(name="Pair")
    _add(group, "left", _TYPES.TYPE_STRING)
    _add(old, "pair", _TYPES.TYPE_GROUP, ".test.v1.Old.Pair")
    _add(old, "some_pair", _TYPES.TYPE_GROUP, ".test.v1.Old.Pair", repeated=True)
    old.extension_range.add(start=100, end=200)


@functools.cache
def file_of(dialect: str) -> FileDescriptorProto:
    """The file, with services besides: test.v1.Shop has Get, and Watch, which streams its answers; test.v1.Empty has nothing."""
    file = _started(f"test/{dialect}.proto", dialect)
    file.dependency.extend(module.DESCRIPTOR.name for module in _IMPORTED)
    _everything(file, dialect)
    if dialect == "proto2":
        _proto2_only(file)
    shop = file.service.add(name="Shop")
    shop.method.add(name="Get", input_type=".test.v1.Everything", output_type=".google.protobuf.Empty")
    shop.method.add(
        name="Watch", input_type=".google.protobuf.Empty", output_type=".test.v1.Everything.Inner", server_streaming=True
    )
    file.service.add(name="Empty")
    return file


@functools.cache
def imported() -> tuple[bytes, ...]:
    return tuple(module.DESCRIPTOR.serialized_pb for module in _IMPORTED)


@functools.cache
def schema_of(dialect: str) -> Schema:
    return Schema.of([file_of(dialect).SerializeToString(), *imported()])


@functools.cache
def pool_of(dialect: str) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in _IMPORTED:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file_of(dialect).SerializeToString())
    return pool


def by_google(dialect: str, name: str, text: str) -> Message:
    """The message that google.protobuf makes of JSON.

    Raises:
        json_format.ParseError: when it does not.
    """
    return json_format.Parse(text, empty(dialect, name), descriptor_pool=pool_of(dialect))


def empty(dialect: str, name: str) -> Message:
    return message_factory.GetMessageClass(pool_of(dialect).FindMessageTypeByName(name))()
