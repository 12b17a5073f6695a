"""Messages of ``google.protobuf`` that JSON writes in a way of their own: times, wrappers, masks, and JSON itself.

Source: protobuf.dev/programming-guides/json (ProtoJSON), the comments of timestamp.proto, duration.proto and field_mask.proto.
"""

import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from kbalance.errors import TargetError
from kbalance.wire.descriptor_files import Kind
from kbalance.wire.json_scalars import real, scalar, wire_type, wrong
from kbalance.wire.protobuf import WireType, length_delimited, tag, varint

DEEPEST = 100
"""Levels of messages inside messages; what protobuf's readers take where they are not told otherwise."""
VALUE = "google.protobuf.Value"
NULL_VALUE = "google.protobuf.NullValue"

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):([0-5]\d))", re.ASCII)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_DURATION_S = 315_576_000_000
"""10,000 years."""

_WRAPPED = {
    "DoubleValue": Kind.DOUBLE,
    "FloatValue": Kind.FLOAT,
    "Int64Value": Kind.INT64,
    "UInt64Value": Kind.UINT64,
    "Int32Value": Kind.INT32,
    "UInt32Value": Kind.UINT32,
    "BoolValue": Kind.BOOL,
    "StringValue": Kind.STRING,
    "BytesValue": Kind.BYTES,
}


def known(type_name: str) -> Callable[[object, str, int], bytes] | None:
    """What writes a message of this type from its value, its place (for errors) and the levels that are left."""
    return _KNOWN.get(type_name)


def check_depth(where: str, depth: int) -> None:
    """
    Raises:
        TargetError: when no level is left.
    """
    if depth <= 0:
        raise TargetError(f"{where[:60]}...: the message is nested more than {DEEPEST} levels deep.")


def _timestamp(value: object, where: str, depth: int) -> bytes:
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    expected = 'a time from year 1 to 9999 like "2025-01-31T12:00:00Z"'
    if match is None:
        raise wrong(where, expected, value)
    sign = -1 if match[3] == "-" else 1
    offset = sign * timedelta(hours=int(match[4] or 0), minutes=int(match[5] or 0))
    try:
        at = datetime.fromisoformat(match[1]).replace(tzinfo=UTC) - offset
    except (ValueError, OverflowError):
        raise wrong(where, expected, value) from None
    return _time((at - _EPOCH) // timedelta(seconds=1), _nanos(match[2]))


def _duration(value: object, where: str, depth: int) -> bytes:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[2]) > _LONGEST_DURATION_S:
        raise wrong(where, 'a duration of at most 10,000 years like "1.5s"', value)
    sign = -1 if match[1] else 1
    return _time(sign * int(match[2]), sign * _nanos(match[3]))


def _nanos(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))


def _time(seconds: int, nanos: int) -> bytes:
    """Timestamp and Duration have the same two fields."""
    return tag(1, WireType.VARINT) + varint(seconds) + tag(2, WireType.VARINT) + varint(nanos)


def _field_mask(value: object, where: str, depth: int) -> bytes:
    paths = value.split(",") if isinstance(value, str) and value else []
    if not isinstance(value, str) or not all(map(_PATH.fullmatch, paths)):
        raise wrong(where, 'paths of fields like "user.displayName,photo"', value)
    return b"".join(length_delimited(1, re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", path).encode()) for path in paths)


def _wrapper(kind: Kind) -> Callable[[object, str, int], bytes]:
    def write(value: object, where: str, depth: int) -> bytes:
        written = scalar(kind, value, where)
        wire = wire_type(kind)
        return length_delimited(1, written) if wire is WireType.LENGTH_DELIMITED else tag(1, wire) + written

    return write


def _value(value: object, where: str, depth: int) -> bytes:
    match value:
        case None:
            return tag(1, WireType.VARINT) + varint(0)
        case bool():
            return tag(4, WireType.VARINT) + varint(value)
        case int() | float():
            return tag(2, WireType.FIXED64) + struct.pack("<d", real(value, where))
        case str():
            return length_delimited(3, scalar(Kind.STRING, value, where))
        case dict():
            return length_delimited(5, _struct(value, where, depth - 1))
        case _:
            return length_delimited(6, _list(value, where, depth - 1))


def _struct(value: object, where: str, depth: int) -> bytes:
    check_depth(where, depth)
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    entries = (
        length_delimited(1, scalar(Kind.STRING, key, where)) + length_delimited(2, _value(of, f"{where}.{key}", depth - 1))
        for key, of in value.items()
    )
    return b"".join(length_delimited(1, entry) for entry in entries)


def _list(value: object, where: str, depth: int) -> bytes:
    check_depth(where, depth)
    if not isinstance(value, list):
        raise wrong(where, "a list", value)
    return b"".join(length_delimited(1, _value(of, f"{where}[{i}]", depth - 1)) for i, of in enumerate(value))


_KNOWN: Mapping[str, Callable[[object, str, int], bytes]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.FieldMask": _field_mask,
    VALUE: _value,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    **{f"google.protobuf.{name}": _wrapper(kind) for name, kind in _WRAPPED.items()},
}
