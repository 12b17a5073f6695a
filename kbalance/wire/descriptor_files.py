"""What a ``.proto`` file declares, read from its serialized descriptor: messages, enums and services by their full names.

Source: protocolbuffers/protobuf src/google/protobuf/descriptor.proto.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from kbalance.wire.protobuf import NoMessage, Record

DEEPEST = 32
"""Levels of messages declared inside messages, which protoc limits likewise."""

_REPEATED, _REQUIRED = 3, 2
_LARGEST_NUMBER = (1 << 29) - 1
_DELIMITED = 2
"""Of features.message_encoding: the message stands between the tags of a group."""


class Kind(IntEnum):
    """A field's type, numbered as in FieldDescriptorProto.Type."""

    DOUBLE = 1
    FLOAT = 2
    INT64 = 3
    UINT64 = 4
    INT32 = 5
    FIXED64 = 6
    FIXED32 = 7
    BOOL = 8
    STRING = 9
    GROUP = 10
    MESSAGE = 11
    BYTES = 12
    UINT32 = 13
    ENUM = 14
    SFIXED32 = 15
    SFIXED64 = 16
    SINT32 = 17
    SINT64 = 18


_NO_KEYS = (Kind.DOUBLE, Kind.FLOAT, Kind.GROUP, Kind.MESSAGE, Kind.BYTES, Kind.ENUM)
"""Kinds that a map cannot have for its keys."""


class FieldType(NamedTuple):
    """A field of a message."""

    name: str
    number: int
    kind: Kind
    type_name: str
    """Of a message, group or enum, without the leading dot; else empty."""
    repeated: bool
    required: bool
    packed: bool
    oneof: int | None
    """Index of the oneof that it belongs to; ``None``: none, or the one that only says that it is optional."""


class MessageType(NamedTuple):
    """A message."""

    name: str
    fields: Mapping[str, FieldType]
    """By JSON name and by the name in the file; most stand here twice."""
    is_map_entry: bool
    """Made by the compiler for a map: its fields are key and value."""

    @property
    def required(self) -> list[FieldType]:
        return [field for name, field in self.fields.items() if field.required and field.name == name]


class EnumType(NamedTuple):
    """An enum."""

    name: str
    numbers: Mapping[str, int]
    closed: bool
    """It takes no numbers but its own, as in proto2."""


class Method(NamedTuple):
    """A method of a service."""

    input: str
    """Full name of the message that it takes."""
    output: str
    client_streaming: bool
    server_streaming: bool


class File(NamedTuple):
    """Everything that one file declares, by full name."""

    messages: dict[str, MessageType]
    enums: dict[str, EnumType]
    services: dict[str, dict[str, Method]]


class _Dialect(NamedTuple):
    """What differs between proto2, proto3 and editions."""

    packs: bool
    """Repeated numbers are packed where nothing is said; readers take both, so for editions either is right."""
    closed_enums: bool
    delimited: bool


def read_file(descriptor: bytes) -> File:
    """One file.

    Raises:
        NoMessage: when the bytes are no FileDescriptorProto.
    """
    record = Record(descriptor)
    syntax = record.text(12)
    dialect = _Dialect(
        packs=syntax in ("proto3", "editions"),
        closed_enums=syntax in ("", "proto2"),
        delimited=record.message(8).message(50).number(5) == _DELIMITED,
    )
    package = _name(record, 2)
    file = File({}, {}, {})
    for part in record.parts(4):
        _add_message(file, package, Record(part), dialect, DEEPEST)
    _add_enums(file, package, record.parts(5), dialect)
    for part in record.parts(6):
        service = Record(part)
        file.services[_full(package, _name(service))] = dict(_methods(service))
    return file


def _name(record: Record, number: int = 1) -> str:
    """Errors show it to a user, and a server may send anything."""
    name = record.text(number)
    if not name.isprintable():
        raise NoMessage("a name has characters that no name has")
    return name


def _full(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


def _add_message(file: File, scope: str, record: Record, dialect: _Dialect, depth: int) -> None:
    if not depth:
        raise NoMessage("messages are declared inside each other too deep")
    name = _full(scope, _name(record))
    is_map_entry = bool(record.message(7).number(7))
    # A map is written as plain messages whatever the file says of others (C++: FieldDescriptor::type()).
    dialect = dialect._replace(delimited=dialect.delimited and not is_map_entry)
    named = [(_field(field, dialect), _name(field, 10)) for field in map(Record, record.parts(2))]
    fields = {field.name: field for field, _ in named}
    fields |= {json_name or lower_camel(field.name): field for field, json_name in named}
    if is_map_entry and (not {"key", "value"} <= fields.keys() or fields["key"].kind in _NO_KEYS):
        raise NoMessage(f"{name} is no entry of a map")
    file.messages[name] = MessageType(name, fields, is_map_entry)
    for part in record.parts(3):
        _add_message(file, name, Record(part), dialect, depth - 1)
    _add_enums(file, name, record.parts(4), dialect)


def _field(record: Record, dialect: _Dialect) -> FieldType:
    name, number = _name(record), record.number(3)
    if not 0 < number <= _LARGEST_NUMBER or record.number(5) not in Kind._value2member_map_:
        raise NoMessage(f"the field {name} has number {number} and type {record.number(5)}")
    kind = Kind(record.number(5))
    options = record.message(8)
    encoding = options.message(21).number(5)
    if kind is Kind.MESSAGE and (encoding == _DELIMITED if encoding else dialect.delimited):
        kind = Kind.GROUP
    return FieldType(
        name=name,
        number=number,
        kind=kind,
        type_name=_name(record, 6).removeprefix("."),
        repeated=record.number(4) == _REPEATED,
        required=record.number(4) == _REQUIRED,
        packed=bool(options.number(2)) if 2 in options else dialect.packs,
        oneof=record.number(9) if 9 in record and not record.number(17) else None,
    )


def _add_enums(file: File, scope: str, parts: list[bytes], dialect: _Dialect) -> None:
    for record in map(Record, parts):
        name = _full(scope, _name(record))
        values = [Record(part) for part in record.parts(2)]
        file.enums[name] = EnumType(name, {_name(value): _signed(value.number(2)) for value in values}, dialect.closed_enums)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _methods(service: Record) -> Iterator[tuple[str, Method]]:
    for method in map(Record, service.parts(2)):
        taken, given = (_name(method, number).removeprefix(".") for number in (2, 3))
        yield _name(method), Method(taken, given, bool(method.number(5)), bool(method.number(6)))


def lower_camel(name: str) -> str:
    """``a_field_name`` as ``aFieldName``: the JSON name where the file gives no other."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
