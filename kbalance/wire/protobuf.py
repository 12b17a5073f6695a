"""Protocol buffers without a schema: a message's fields as they stand on the wire, and a message as JSON to look into.

Source: protobuf.dev/programming-guides/encoding (varints, tags, wire types, length-delimited records).
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

MOST_BYTES = 1 << 20
"""Of a message that `as_json` looks into."""
MOST_FIELDS = 20_000
"""Fields that `as_json` reads, guesses at nested messages included: some 20 ms."""
DEEPEST = 16
"""Levels of messages that `as_json` opens."""
LONGEST_BINARY = 64
"""Bytes of a binary value that `as_json` shows; addresses, UUIDs and digests are shorter."""

_WORD = (1 << 64) - 1
_LARGEST_TAG = (1 << 32) - 1


class WireType(IntEnum):
    """How long a value is; 3 and 4 are the brackets of a group."""

    VARINT = 0
    FIXED64 = 1
    LENGTH_DELIMITED = 2
    START_GROUP = 3
    END_GROUP = 4
    FIXED32 = 5


class Field(NamedTuple):
    """One occurrence of a field."""

    number: int
    wire: WireType
    value: int | bytes
    """Bytes of a length-delimited one, else the bits as an unsigned number: only a schema knows signs and floats."""


class NoMessage(ValueError):
    """These bytes are no message in the wire format."""


def fields(message: bytes) -> Iterator[Field]:
    """The fields in the order of the wire; what comes before a mistake is given before it raises.

    Raises:
        NoMessage: what is cut off, a field number 0, a varint over 64 bits or a tag over 32, and groups: nobody has put one into
            a new schema since 2008, and in bytes of an unknown kind one is a sign of something else.
    """
    at, end = 0, len(message)
    while at < end:
        tag_, at = _read_varint(message, at)
        number, kind = tag_ >> 3, tag_ & 7
        if not number or tag_ > _LARGEST_TAG:
            raise NoMessage(f"no field number {number}")
        if kind == WireType.VARINT:
            value, at = _read_varint(message, at)
            yield Field(number, WireType.VARINT, value)
            continue
        if kind == WireType.LENGTH_DELIMITED:
            size, at = _read_varint(message, at)
        elif kind in (WireType.FIXED32, WireType.FIXED64):
            size = 4 if kind == WireType.FIXED32 else 8
        else:
            raise NoMessage(f"field {number} is a group or of wire type {kind}")
        if size > end - at:
            raise NoMessage(f"field {number} is cut off")
        part = message[at : at + size]
        at += size
        yield Field(number, WireType(kind), part if kind == WireType.LENGTH_DELIMITED else int.from_bytes(part, "little"))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > _WORD:
                raise NoMessage("a varint of more than 64 bits")
            return value, at
        shift += 7
    raise NoMessage("a varint that does not end")


class Record:
    """A message's fields by number, for reading one whose schema is known.

    Raises:
        NoMessage: when the bytes are none, or when a field asked for is of another wire type.
    """

    __slots__ = ("_values",)

    def __init__(self, message: bytes) -> None:
        self._values: dict[int, list[int | bytes]] = {}
        for field in fields(message):
            self._values.setdefault(field.number, []).append(field.value)

    def __contains__(self, number: int) -> bool:
        return number in self._values

    def number(self, number: int) -> int:
        """The last one given, as the wire format wants; 0 if there is none."""
        value = self._values.get(number, [0])[-1]
        if isinstance(value, bytes):
            raise NoMessage(f"field {number} is no number")
        return value

    def parts(self, number: int) -> list[bytes]:
        """Each occurrence of a field that holds bytes, text or messages."""
        parts = [value for value in self._values.get(number, []) if isinstance(value, bytes)]
        if len(parts) != len(self._values.get(number, [])):
            raise NoMessage(f"field {number} is a number")
        return parts

    def message(self, number: int) -> "Record":
        """A nested message; occurrences of one are merged, which is what their bytes end to end say."""
        return Record(b"".join(self.parts(number)))

    def texts(self, number: int) -> list[str]:
        return [part.decode("utf-8", "replace") for part in self.parts(number)]

    def text(self, number: int) -> str:
        """The last one given; empty if there is none."""
        return self.texts(number)[-1] if number in self._values else ""


def varint(value: int) -> bytes:
    """A number in 7 bits a byte; a negative one as 64 bits of two's complement, as int32 and int64 are sent.

    Raises:
        ValueError: when it does not fit into 64 bits.
    """
    if not -(1 << 63) <= value <= _WORD:
        raise ValueError(f"{value} does not fit into 64 bits")
    value &= _WORD
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire: WireType) -> bytes:
    """What stands before each value."""
    return varint(number << 3 | wire)


def length_delimited(number: int, value: bytes) -> bytes:
    """A whole field of bytes, text, a nested message or packed numbers."""
    return tag(number, WireType.LENGTH_DELIMITED) + varint(len(value)) + value


def as_json(message: bytes) -> bytes:
    """A message as JSON text with field numbers as keys, so that a JSON pointer finds a text in it without the schema.

    A guess: what is printable UTF-8 is a text, then what reads as a message is an object, then UTF-8 with line breaks and tabs is
    a text, and other bytes are hexadecimal digits, or null where they are more than `LONGEST_BINARY`. A field that occurs more
    than once is a list. A message of printable characters alone is taken for a text, which can happen only where all its
    field numbers are above 3, and its texts are 32 characters long at least. Numbers are unsigned, as on the wire.

    Returns:
        Like ``{"1":"web-7d-x","2":{"1":8080}}``; empty where the bytes are no message, or one that is larger than is looked into.
        Never raises; time and memory are bounded by `MOST_BYTES` and `MOST_FIELDS`.
    """
    import json  # not at the start of the program, see analysis/identity/json_body.py

    if len(message) > MOST_BYTES:
        return b""
    try:
        opened = _Reader().open(message, DEEPEST)
    except _TooMany:
        return b""
    return b"" if opened is None else json.dumps(opened, separators=(",", ":")).encode("ascii")


_Json = int | str | None | list["_Json"] | dict[str, "_Json"]


class _TooMany(Exception):
    """`MOST_FIELDS` are read."""


class _Reader:
    """One reading, whose guesses together are bounded."""

    def __init__(self) -> None:
        self._left = MOST_FIELDS

    def open(self, message: bytes, depth: int) -> dict[str, _Json] | None:
        try:
            found = list(self._counted(message))
        except NoMessage:
            return None
        values: dict[str, list[_Json]] = {}
        for field in found:
            value = field.value if isinstance(field.value, int) else self._guess(field.value, depth - 1)
            values.setdefault(str(field.number), []).append(value)
        return {number: of[0] if len(of) == 1 else of for number, of in values.items()}

    def _counted(self, message: bytes) -> Iterator[Field]:
        for field in fields(message):
            self._left -= 1
            if self._left < 0:
                raise _TooMany
            yield field

    def _guess(self, value: bytes, depth: int) -> _Json:
        text = _text(value)
        if text is not None and text.isprintable():
            return text
        opened = self.open(value, depth) if depth > 0 else None
        if opened is not None:
            return opened
        if text is not None and not any((ord(c) < 32 and c not in "\t\n\r") or 127 <= ord(c) < 160 for c in text):
            return text
        return value.hex() if len(value) <= LONGEST_BINARY else None


def _text(value: bytes) -> str | None:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None
