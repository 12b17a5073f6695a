"""A message from JSON: the fields that a schema declares, each in the place and form that it wants.

Source: protobuf.dev/programming-guides/json (ProtoJSON); the order of fields and map entries is free, and a field with its
default value may be written (programming-guides/encoding).
"""

from collections.abc import Mapping

from kbalance.errors import TargetError
from kbalance.wire.descriptor_files import EnumType, FieldType, Kind, MessageType
from kbalance.wire.json_known import NULL_VALUE, VALUE, check_depth, known
from kbalance.wire.json_scalars import scalar, whole, wire_type, wrong
from kbalance.wire.protobuf import WireType, length_delimited, tag, varint

_ANY = "google.protobuf.Any"
_NUMBERS = (WireType.VARINT, WireType.FIXED32, WireType.FIXED64)


class Encoder:
    """Writes messages of the given types."""

    def __init__(self, messages: Mapping[str, MessageType], enums: Mapping[str, EnumType]) -> None:
        self._messages = messages
        self._enums = enums

    def message(self, type_name: str, value: object, where: str, depth: int) -> bytes:
        """A message without tag and length.

        Args:
            where: its place in the whole, like ``order.items[2]``; empty for the whole.
            depth: levels of messages that are left, this one included.

        Raises:
            TargetError: naming the place, what belongs there, and what is given.
        """
        check_depth(where, depth)
        write = known(type_name)
        if write is not None:
            return write(value, where, depth)
        if type_name == _ANY:
            return self._any(value, where, depth)
        message = self._messages.get(type_name)
        if message is None:
            raise TargetError(f"{where or 'The message'}: the server does not describe its type {type_name}.")
        if not isinstance(value, dict):
            raise wrong(where, f"an object with fields of {type_name}", value)
        return self._fields(message, value, where, depth)

    def _fields(self, message: MessageType, value: Mapping[str, object], where: str, depth: int) -> bytes:
        given: dict[int, str] = {}
        oneofs: dict[int, str] = {}
        parts = []
        for key, of in value.items():
            place = f"{where}.{key}" if where else key
            field = self._named(message, key, place)
            if key != given.setdefault(field.number, key):
                raise TargetError(f"{place}: the field is given already, as {given[field.number]}.")
            if of is None and (field.repeated or field.type_name not in (VALUE, NULL_VALUE)):
                del given[field.number]
                continue
            if field.oneof is not None and key != oneofs.setdefault(field.oneof, key):
                raise TargetError(f"{place}: only one of it and {oneofs[field.oneof]} can be given.")
            parts.append(self._field(field, of, place, depth))
        for field in message.required:
            if field.number not in given:
                raise TargetError(f"{where or 'The message'}: {message.name} needs the field {field.name}.")
        return b"".join(parts)

    @staticmethod
    def _named(message: MessageType, key: str, place: str) -> FieldType:
        field = message.fields.get(key)
        if field is None and key.startswith("["):
            raise TargetError(f"{place}: extensions cannot be given.")
        if field is None:
            names = ", ".join(sorted({field.name for field in message.fields.values()})) or "none"
            raise TargetError(f"{place}: {message.name} has no such field; it has {names}.")
        return field

    def _field(self, field: FieldType, value: object, place: str, depth: int) -> bytes:
        if not field.repeated:
            return self._tagged(field, self._single(field, value, place, depth))
        entry = self._messages.get(field.type_name)
        if entry is not None and entry.is_map_entry:
            return self._map(field.number, entry, value, place, depth)
        if not isinstance(value, list):
            raise wrong(place, "a list", value)
        elements = [self._element(field, of, f"{place}[{i}]", depth) for i, of in enumerate(value)]
        if field.packed and elements and wire_type(field.kind) in _NUMBERS:
            return length_delimited(field.number, b"".join(elements))
        return b"".join(self._tagged(field, element) for element in elements)

    def _element(self, field: FieldType, value: object, place: str, depth: int) -> bytes:
        """Of a list or a map, where null does not mean that there is none."""
        if value is None and field.type_name not in (VALUE, NULL_VALUE):
            raise wrong(place, "a value", value)
        return self._single(field, value, place, depth)

    def _single(self, field: FieldType, value: object, place: str, depth: int) -> bytes:
        match field.kind:
            case Kind.MESSAGE | Kind.GROUP:
                return self.message(field.type_name, value, place, depth - 1)
            case Kind.ENUM:
                return varint(self._enum(field.type_name, value, place))
            case _:
                return scalar(field.kind, value, place)

    @staticmethod
    def _tagged(field: FieldType, value: bytes) -> bytes:
        wire = wire_type(field.kind)
        if wire is WireType.LENGTH_DELIMITED:
            return length_delimited(field.number, value)
        end = tag(field.number, WireType.END_GROUP) if wire is WireType.START_GROUP else b""
        return tag(field.number, wire) + value + end

    def _map(self, number: int, entry: MessageType, value: object, place: str, depth: int) -> bytes:
        if not isinstance(value, dict):
            raise wrong(place, "an object", value)
        key_field, value_field = entry.fields["key"], entry.fields["value"]
        parts = []
        for key, of in value.items():
            # JSON has no keys but texts: numbers may stand in them anyway, true and false may not.
            truth = {"true": True, "false": False}.get(key, key) if key_field.kind is Kind.BOOL else key
            at = f"{place}[{key}]"
            written = self._tagged(key_field, scalar(key_field.kind, truth, f"{at}, its key"))
            written += self._tagged(value_field, self._element(value_field, of, at, depth))
            parts.append(length_delimited(number, written))
        return b"".join(parts)

    def _enum(self, type_name: str, value: object, place: str) -> int:
        if type_name == NULL_VALUE and value is None:
            return 0
        enum = self._enums.get(type_name)
        if enum is None:
            raise TargetError(f"{place}: the server does not describe its type {type_name}.")
        if isinstance(value, str) and value in enum.numbers:
            return enum.numbers[value]
        names = ", ".join(enum.numbers)
        if isinstance(value, str) and not value.removeprefix("-").isdecimal():
            raise wrong(place, f"one of {names}", value)
        number = whole(value, 32, True, place)
        if enum.closed and number not in enum.numbers.values():
            raise wrong(place, f"one of {names}", value)
        return number

    def _any(self, value: object, where: str, depth: int) -> bytes:
        """Any message with its type beside it; what is not written as an object stands in ``value``."""
        if value == {}:
            return b""
        url = value.get("@type") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(url, str) or "/" not in url:
            raise wrong(where, 'an object with "@type", like {"@type": "type.googleapis.com/PACKAGE.MESSAGE", ...}', value)
        type_name = url.rpartition("/")[2]
        inner: object = {key: of for key, of in value.items() if key != "@type"}
        place = where
        if known(type_name) is not None or type_name == _ANY:
            inner, place = value.get("value"), f"{where}.value" if where else "value"
        written = self.message(type_name, inner, place, depth - 1)
        return length_delimited(1, scalar(Kind.STRING, url, where)) + length_delimited(2, written)
