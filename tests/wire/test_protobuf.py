"""The wire format beside google.protobuf, and guesses at messages without a schema."""

import json
import re
import struct
import time
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import example, given
from hypothesis import strategies as st

from kbalance.wire.protobuf import (
    LONGEST_BINARY,
    MOST_BYTES,
    MOST_FIELDS,
    Field,
    NoMessage,
    Record,
    WireType,
    as_json,
    fields,
    length_delimited,
    tag,
    varint,
)

_NUMBERS = st.one_of(st.integers(1, 20), st.integers(1, (1 << 29) - 1))
_VALUES = st.one_of(
    st.builds(lambda value: (WireType.VARINT, varint(value)), st.integers(0, (1 << 64) - 1)),
    st.binary(min_size=4, max_size=4).map(lambda value: (WireType.FIXED32, value)),
    st.binary(min_size=8, max_size=8).map(lambda value: (WireType.FIXED64, value)),
    st.binary(max_size=40).map(lambda value: (WireType.LENGTH_DELIMITED, varint(len(value)) + value)),
)
MESSAGES = st.lists(st.tuples(_NUMBERS, _VALUES), max_size=8).map(
    lambda parts: b"".join(tag(number, wire) + value for number, (wire, value) in parts)
)
"""Valid ones."""


def cut_or_changed(message: bytes) -> st.SearchStrategy[bytes]:
    """Nearly messages: mistakes are near the borders, where random bytes rarely come."""
    places = st.integers(0, len(message))
    return st.builds(lambda at, byte: message[:at] + byte + message[at + len(byte) :], places, st.binary(max_size=2))


def by_google(message: bytes) -> list[Field] | None:
    """What google.protobuf reads of a message without a schema; ``None``: it refuses the bytes. Groups are not opened."""
    empty = Empty()
    try:
        empty.ParseFromString(message)
    except DecodeError:
        return None
    unknown: Any = UnknownFieldSet(empty)  # its types do not know that it is a sequence
    return [Field(part.field_number, WireType(part.wire_type), part.data) for part in unknown]


def by_us(message: bytes) -> list[Field] | None:
    try:
        return list(fields(message))
    except NoMessage:
        return None


@given(MESSAGES)
def test_fields_are_those_that_google_reads(message: bytes) -> None:
    assert by_us(message) == by_google(message) is not None


@given(st.one_of(MESSAGES.flatmap(cut_or_changed), st.binary(max_size=30)))
@example(b"\x08" + b"\xff" * 9 + b"\x02")
@example(b"\x80\x80\x80\x80\x10\x00")
@example(b"\x88\x80\x80\x80\x00\x00")
@example(b"\x00\x00")
def test_what_google_refuses_is_refused_and_groups_and_number_0_besides(message: bytes) -> None:
    ours, theirs = by_us(message), by_google(message)

    if ours is not None:
        assert theirs == ours
    elif theirs is not None:
        lenient = any(not field.number or field.wire is WireType.START_GROUP for field in theirs)
        # Bits of a varint above the 64th are dropped there.
        assert lenient or re.search(rb"[\x80-\xff]{9}", message)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\x08", "does not end"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "does not end"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "64 bits"),
        (b"\x80", "does not end"),
        (b"\x00\x01", "no field number 0"),
        (b"\x80\x80\x80\x80\x10\x00", "no field number"),
        (b"\x0a\x05abc", "field 1 is cut off"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "field 1 is cut off"),
        (b"\x0d\x00\x00\x00", "field 1 is cut off"),
        (b"\x09" + b"\x00" * 7, "field 1 is cut off"),
        (b"\x0b\x0c", "field 1 is a group"),
        (b"\x0e", "field 1 is a group or of wire type 6"),
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(message: bytes, reason: str) -> None:
    with pytest.raises(NoMessage, match=reason):
        list(fields(message))


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_a_varint_is_read_back(value: int) -> None:
    assert list(fields(tag(1, WireType.VARINT) + varint(value))) == [Field(1, WireType.VARINT, value % (1 << 64))]


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1])
def test_a_varint_of_more_than_64_bits_is_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        varint(value)


def test_a_record_gives_the_last_of_what_occurs_once_and_merges_messages() -> None:
    record = Record(
        length_delimited(1, b"a")
        + length_delimited(1, b"b\xff")
        + tag(2, WireType.VARINT)
        + varint(7)
        + length_delimited(3, length_delimited(1, b"x"))
        + length_delimited(3, length_delimited(2, b"y"))
    )

    assert (record.texts(1), record.text(1), record.number(2), 9 in record) == (["a", "b\ufffd"], "b\ufffd", 7, False)
    assert (record.number(9), record.text(9), record.parts(9)) == (0, "", [])
    assert (record.message(3).text(1), record.message(3).text(2)) == ("x", "y")


def test_a_record_refuses_a_field_of_another_wire_type() -> None:
    record = Record(length_delimited(1, b"a") + tag(2, WireType.FIXED32) + b"\0\0\0\0")

    with pytest.raises(NoMessage, match="field 1 is no number"):
        record.number(1)
    with pytest.raises(NoMessage, match="field 2 is a number"):
        record.parts(2)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (b"", {}),
        (length_delimited(1, b"web-7d-x"), {"1": "web-7d-x"}),
        (length_delimited(1, b""), {"1": ""}),
        (length_delimited(1, "Zoë".encode()), {"1": "Zoë"}),
        (length_delimited(1, b"a") + length_delimited(1, b"b"), {"1": ["a", "b"]}),
        (length_delimited(2, length_delimited(1, b"web") + b"\x10\x50"), {"2": {"1": "web", "2": 80}}),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", {"1": (1 << 64) - 1}),
        (b"\x0d" + struct.pack("<I", 5) + b"\x11" + struct.pack("<Q", 6), {"1": 5, "2": 6}),
        (length_delimited(1, b"two\n\tlines"), {"1": "two\n\tlines"}),
        (length_delimited(1, b"\x1b[31m"), {"1": "1b5b33316d"}),
        (length_delimited(1, bytes([10, 1, 2, 3])), {"1": "0a010203"}),
        (length_delimited(1, b"\xff" * (LONGEST_BINARY + 1)) + length_delimited(1, b"a"), {"1": [None, "a"]}),
        (length_delimited(15, length_delimited(4, b"a" * 32)), {"15": '" ' + "a" * 32}),
    ],
)
def test_a_message_as_json(message: bytes, shown: object) -> None:
    assert json.loads(as_json(message)) == shown


@pytest.mark.parametrize("body", [b"<html>", b"\x0a\x05abc", b'{"a":1}', b"\0"])
def test_what_is_no_message_is_no_json(body: bytes) -> None:
    assert as_json(body) == b""


_TEXTS = st.text(max_size=20).filter(str.isprintable)
_TREES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(_TEXTS, st.integers(0, (1 << 64) - 1)),
    # Numbers up to 3 have tags that are control characters, so that no message looks like a text.
    lambda inner: st.dictionaries(st.integers(1, 3), inner, min_size=1, max_size=3),
    max_leaves=10,
)


def written(tree: dict[int, Any]) -> bytes:
    parts = []
    for number, value in tree.items():
        match value:
            case int():
                parts.append(tag(number, WireType.VARINT) + varint(value))
            case str():
                parts.append(length_delimited(number, value.encode()))
            case _:
                parts.append(length_delimited(number, written(value)))
    return b"".join(parts)


def with_text_keys(tree: Any) -> Any:
    return {str(key): with_text_keys(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


@given(st.dictionaries(st.integers(1, 3), _TREES, max_size=3))
def test_every_text_and_number_is_found_under_its_field_numbers(tree: dict[int, Any]) -> None:
    assert json.loads(as_json(written(tree))) == with_text_keys(tree)


def test_a_message_of_google_is_opened() -> None:
    struct_ = Struct()
    struct_.update({"pod": "web-7d-x"})

    assert json.loads(as_json(struct_.SerializeToString())) == {"1": {"1": "pod", "2": {"3": "web-7d-x"}}}


@given(st.one_of(st.binary(max_size=200), MESSAGES, MESSAGES.flatmap(cut_or_changed)))
def test_any_bytes_give_json_or_nothing(message: bytes) -> None:
    shown = as_json(message)

    assert (shown == b"") is (by_us(message) is None)
    assert shown == b"" or isinstance(json.loads(shown), dict)


def test_messages_inside_messages_are_opened_only_so_deep() -> None:
    message = b""
    for _ in range(3000):
        message = length_delimited(1, message + b"\x10\x01")

    shown = as_json(message)

    assert (shown.count(b'{"1":'), shown.count(b"null")) == (16, 1)


@pytest.mark.parametrize(
    "message",
    [
        b"\x08\x00" * (MOST_FIELDS + 1),
        b"\x0a\x00" * (MOST_FIELDS + 1),
        length_delimited(1, b"\x08\x00" * MOST_FIELDS),
        b"\x08" * (MOST_BYTES + 2),
        length_delimited(1, b"\xff" * MOST_BYTES),
    ],
    ids=["numbers", "texts", "guesses", "large", "one large value"],
)
def test_a_message_made_to_be_expensive_is_not_looked_into(message: bytes) -> None:
    started = time.process_time()

    assert as_json(message) == b""
    assert time.process_time() - started < 2
