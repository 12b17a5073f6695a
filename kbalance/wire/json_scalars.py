"""Single values of JSON as protobuf writes them: numbers, truth, text, bytes.

Source: protobuf.dev/programming-guides/json (ProtoJSON).
"""

import base64
import math
import re
import struct
from collections.abc import Callable

from kbalance.errors import TargetError
from kbalance.wire.descriptor_files import Kind
from kbalance.wire.protobuf import WireType, varint

_INTEGER = re.compile(r"-?[0-9]{1,40}")
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][-+]?[0-9]{1,4})?")
_BASE64 = re.compile(r"([A-Za-z0-9+/_-]*)={0,2}")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_WHOLE: dict[Kind, tuple[int, bool, Callable[[int], bytes]]] = {
    Kind.INT32: (32, True, varint),
    Kind.INT64: (64, True, varint),
    Kind.UINT32: (32, False, varint),
    Kind.UINT64: (64, False, varint),
    Kind.SINT32: (32, True, lambda value: varint(_zigzag(value))),
    Kind.SINT64: (64, True, lambda value: varint(_zigzag(value))),
    Kind.FIXED32: (32, False, struct.Struct("<I").pack),
    Kind.FIXED64: (64, False, struct.Struct("<Q").pack),
    Kind.SFIXED32: (32, True, struct.Struct("<i").pack),
    Kind.SFIXED64: (64, True, struct.Struct("<q").pack),
}
"""Bits, whether signed, and how they are written."""

_WIRE = {
    **dict.fromkeys((Kind.STRING, Kind.BYTES, Kind.MESSAGE), WireType.LENGTH_DELIMITED),
    **dict.fromkeys((Kind.FIXED32, Kind.SFIXED32, Kind.FLOAT), WireType.FIXED32),
    **dict.fromkeys((Kind.FIXED64, Kind.SFIXED64, Kind.DOUBLE), WireType.FIXED64),
    Kind.GROUP: WireType.START_GROUP,
}


def wire_type(kind: Kind) -> WireType:
    """What the tag of such a field says."""
    return _WIRE.get(kind, WireType.VARINT)


def wrong(where: str, expected: str, value: object) -> TargetError:
    """An error that names the place in the message, what belongs there, and what was given."""
    return TargetError(f"{where or 'The message'}: expected {expected}, but {_given(value)} is given.")


def _given(value: object) -> str:
    match value:
        case dict() | list():
            return "an object" if isinstance(value, dict) else "a list"
        case None | bool():
            return "null" if value is None else str(value).lower()
        case str():
            text = "".join(c if c.isprintable() else "?" for c in f'"{value}"')
        case _:
            text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def scalar(kind: Kind, value: object, where: str) -> bytes:
    """A value without its tag; text and bytes without their length.

    Raises:
        TargetError: when it is no value of this kind.
    """
    if kind in _WHOLE:
        bits, is_signed, write = _WHOLE[kind]
        return write(whole(value, bits, is_signed, where))
    match kind:
        case Kind.BOOL if isinstance(value, bool):
            return varint(value)
        case Kind.BOOL:
            raise wrong(where, "true or false", value)
        case Kind.STRING:
            return _utf8(value, where)
        case Kind.BYTES:
            return _bytes(value, where)
        case Kind.FLOAT:
            return _float(value, where)
        case Kind.DOUBLE:
            return struct.pack("<d", real(value, where))
        case _:
            raise TypeError(f"{kind.name} is no scalar")


def whole(value: object, bits: int, is_signed: bool, where: str) -> int:
    """A whole number, also as text and in any notation that JSON has (``1e3``), within what its bits hold."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if is_signed else (0, (1 << bits) - 1)
    number = _whole(value)
    if number is None or not low <= number <= high:
        raise wrong(where, f"a whole number from {low} to {high}", value)
    return number


def _whole(value: object) -> int | None:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def real(value: object, where: str) -> float:
    """A number, also as text; NaN and the infinities as text only, since JSON has no other way to say them."""
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    number = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = _as_float(value)
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value)
    if number is None or not math.isfinite(number):
        raise wrong(where, 'a number, "NaN", "Infinity" or "-Infinity"', value)
    return number


def _as_float(value: float) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _float(value: object, where: str) -> bytes:
    try:
        return struct.pack("<f", real(value, where))
    except OverflowError:
        raise wrong(where, "a number of single precision", value) from None


def _utf8(value: object, where: str) -> bytes:
    if not isinstance(value, str):
        raise wrong(where, "a text", value)
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise wrong(where, "a text without halves of surrogate pairs", value) from None


def _bytes(value: object, where: str) -> bytes:
    match = _BASE64.fullmatch(value) if isinstance(value, str) else None
    if match is None or len(match[1]) % 4 == 1:
        raise wrong(where, "bytes in base64", value)
    digits = match[1].translate(str.maketrans("-_", "+/"))
    return base64.b64decode(digits + "=" * (-len(digits) % 4))


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else ~value << 1 | 1
