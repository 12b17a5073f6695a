"""Messages from JSON, beside google.protobuf's own json_format: what both make of the same text is the same message."""

import base64
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from kbalance.errors import TargetError
from kbalance.wire.protobuf import WireType, fields
from tests.wire.schemas import DIALECTS, KEYS, KNOWN, SCALARS, by_google, empty, schema_of

EVERYTHING = "test.v1.Everything"


def read_back(dialect: str, value: object, name: str = EVERYTHING) -> bytes:
    """Our message, as google.protobuf reads it and writes it again; NaN equals NaN only so."""
    message = empty(dialect, name)
    message.ParseFromString(schema_of(dialect).encode(name, value))
    return message.SerializeToString(deterministic=True)


def expected(dialect: str, value: object, name: str = EVERYTHING) -> bytes:
    return by_google(dialect, name, json.dumps(value)).SerializeToString(deterministic=True)


def refusal(value: object, name: str = EVERYTHING, dialect: str = "proto3") -> str:
    with pytest.raises(TargetError) as refused:
        schema_of(dialect).encode(name, value)
    return str(refused.value)


def _whole(bits: int, *, signed: bool) -> st.SearchStrategy[Any]:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    exact = st.integers(max(low, -(1 << 53)), min(high, 1 << 53)).map(float)
    return st.one_of(st.integers(low, high), st.integers(low, high).map(str), exact, st.sampled_from([low, high, 0]))


_BYTES = st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode())
_TEXTS = st.text(max_size=8)
_NOT_FINITE = st.sampled_from(["NaN", "Infinity", "-Infinity", "-0.0", "1e3"])
_REALS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(1 << 60), 1 << 60), _NOT_FINITE)
_SINGLES = st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-1000, 1000), _NOT_FINITE)
_OF_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "double": _REALS,
    "float": _SINGLES,
    "bool": st.booleans(),
    "string": _TEXTS,
    "bytes": st.one_of(_BYTES, _BYTES.map(lambda text: text.rstrip("=").translate(str.maketrans("+/", "-_")))),
    **{
        name: _whole(64 if "64" in name else 32, signed="u" not in name and not name.startswith("fixed"))
        for name in SCALARS
        if "32" in name or "64" in name
    },
}
_OF_JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.floats(allow_nan=False, allow_infinity=False), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=6,
)
_INNER: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries({}, optional={"name": _TEXTS}),
    lambda inner: st.fixed_dictionaries({}, optional={"name": _TEXTS, "again": inner}),
    max_leaves=3,
)
_FRACTIONS = st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,9}", fullmatch=True))
_OF_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "timestamp": st.builds(
        lambda at, fraction, zone: f"{at.isoformat(timespec='seconds')}{fraction}{zone}",
        # Not the first and last day, out of which an offset can lead.
        st.datetimes().filter(lambda at: 1 < at.toordinal() < 3652059).map(lambda at: at.replace(microsecond=0)),
        _FRACTIONS,
        st.sampled_from(["Z", "+00:00", "-05:30", "+14:00"]),
    ),
    "duration": st.builds(lambda n, f: f"{n}{f}s", st.integers(-315_576_000_000, 315_576_000_000), _FRACTIONS),
    "mask": st.lists(st.from_regex(r"[a-z][a-zA-Z]{0,4}(\.[a-z][a-zA-Z]{0,3})?", fullmatch=True), max_size=3).map(",".join),
    "struct": st.dictionaries(_TEXTS, _OF_JSON, max_size=3),
    "value": _OF_JSON,
    "list": st.lists(_OF_JSON, max_size=3),
    "empty": st.just({}),
    "any": st.one_of(
        st.just({}),
        # Of one field at most, and none with its default value: the bytes in an Any are compared as they are.
        st.text(min_size=1).map(lambda name: {"@type": "type.googleapis.com/test.v1.Everything.Inner", "name": name}),
        _TEXTS.map(lambda value: {"@type": "type.googleapis.com/google.protobuf.Value", "value": value}),
    ),
    **{name: _OF_SCALARS[name.removesuffix("_wrapper").lower()] for name in KNOWN if name.endswith("_wrapper")},
}
_ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    **_OF_SCALARS,
    **_OF_KNOWN,
    "inner": _INNER,
    "color": st.sampled_from(["GRAY", "RED", "BLUE", 0, 1, -2, 1.0, "1", "-2"]),
    "null": st.sampled_from(["NULL_VALUE", 0]),
}
_OF_KEYS = {
    name: st.sampled_from(["true", "false"]) if name == "bool" else _OF_SCALARS[name].map(lambda key: str(key).removesuffix(".0"))
    for name in KEYS
}
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **{f"a_{name}": st.one_of(st.none(), values) for name, values in _ELEMENTS.items()},
    **{f"some_{name}": st.lists(values, max_size=3) for name, values in _ELEMENTS.items()},
    **{f"map_to_{name}": st.dictionaries(_TEXTS, values, max_size=2) for name, values in _ELEMENTS.items()},
    **{f"map_of_{name}": st.dictionaries(keys, st.integers(-9, 9), max_size=3) for name, keys in _OF_KEYS.items()},
    "packed_true": st.lists(_OF_SCALARS["sint32"], max_size=3),
    "packed_false": st.lists(_OF_SCALARS["sint32"], max_size=3),
    "called-so": _TEXTS,
}


def _lower_camel(name: str) -> str:
    return "".join(word.title() if i else word for i, word in enumerate(name.split("_")))


@st.composite
def _messages(draw: st.DrawFn) -> dict[str, Any]:
    """Some fields with valid values, by either of their names."""
    chosen = draw(st.lists(st.sampled_from(sorted(_FIELDS)), max_size=4, unique=True))
    message = {draw(st.sampled_from([name, _lower_camel(name)])): draw(_FIELDS[name]) for name in chosen}
    one: dict[str, Any] = draw(st.sampled_from([{}, {"oneText": "x"}, {"one_number": 0}, {"oneValue": None}, {"oneValue": [1]}]))
    return {**message, **one}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", sorted(_FIELDS))
@settings(max_examples=6)
@given(data=st.data())
def test_each_field_is_what_google_makes_of_it(dialect: str, name: str, data: st.DataObject) -> None:
    value = {name: data.draw(_FIELDS[name])}

    assert read_back(dialect, value) == expected(dialect, value)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(value=_messages())
def test_a_message_is_what_google_makes_of_it(dialect: str, value: dict[str, Any]) -> None:
    assert read_back(dialect, value) == expected(dialect, value)


def test_a_field_that_is_optional_in_proto3_is_set_to_zero() -> None:
    assert read_back("proto3", {"perhaps": 0, "oneText": ""}) == expected("proto3", {"perhaps": 0, "oneText": ""}) != b""


@pytest.mark.parametrize(
    ("dialect", "name", "wires"),
    [
        ("proto3", "some_int32", [WireType.LENGTH_DELIMITED]),
        ("proto3", "packed_false", [WireType.VARINT] * 2),
        ("proto2", "some_int32", [WireType.VARINT] * 2),
        ("proto2", "packed_true", [WireType.LENGTH_DELIMITED]),
        ("editions", "some_double", [WireType.LENGTH_DELIMITED]),
    ],
)
def test_repeated_numbers_are_packed_where_the_file_says_so(dialect: str, name: str, wires: list[WireType]) -> None:
    assert [field.wire for field in fields(schema_of(dialect).encode(EVERYTHING, {name: [1, 2]}))] == wires


@pytest.mark.parametrize("value", [{"needed": 1}, {"needed": 0, "pair": {"left": "x"}, "somePair": [{"left": "y"}, {}]}])
def test_groups_and_required_fields_of_proto2(value: dict[str, Any]) -> None:
    assert read_back("proto2", value, "test.v1.Old") == expected("proto2", value, "test.v1.Old")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("google.protobuf.Duration", "1.5s"),
        ("google.protobuf.Value", None),
        ("google.protobuf.StringValue", "x"),
        ("google.protobuf.Empty", {}),
    ],
)
def test_a_whole_message_of_a_special_form(name: str, value: object) -> None:
    assert read_back("proto3", value, name) == expected("proto3", value, name)


def test_null_is_an_empty_message() -> None:
    assert schema_of("proto3").encode(EVERYTHING, None) == b""


ODD: list[Any] = [
    *(
        True,
        False,
        [],
        {},
        [1],
        {"a": 1},
        "",
        "x",
        "true",
        "1",
        "-1",
        "1.0",
        "1.5",
        "1e2",
        "1E400",
        "-0",
        "01",
        " 1",
        "1 ",
        "0x1",
    ),
    *(
        "+1",
        "1_0",
        ".5",
        "5.",
        "NaN",
        "nan",
        "inf",
        "Infinity",
        "-Infinity",
        "1e99999",
        "٣",
        "RED",
        "red",
        "\ud800",
        "é",
        "AA==",
        "AA=",
    ),
    *("A", "AA", "AAA", "-_8=", "+/8=", "A A=", "AA==AA==", "QQ=\n"),
    *(0, 1, -1, 2, 1.0, 1.5, -0.0, 1e2, 1e300, 1e39, -1e39, 1 << 31, -(1 << 31) - 1, 1 << 32, 1 << 63, 1 << 64, -(1 << 63) - 1),
    *(10**400, math.nan, math.inf, -math.inf),
    *("2025-01-31T12:00:00Z", "2025-01-31T12:00:00", "2025-01-31 12:00:00Z", "2025-02-30T12:00:00Z", "2025-01-31t12:00:00Z"),
    *("2025-01-31T12:00:00z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2025-01-31T12:00:00.1234567890Z", "2025-01-31T12:00:60Z"),
    *("2025-01-31T12:00:00+0100", "2025-01-31T12:00:00Zx", "1s", "s", "1", "-1.5s", "-0.5s", "315576000001s", "1.0123456789s"),
    *("1 s", "1S", "a,b", "a,", ",a", "a_b", "a.b", "a..b", "aB.cD"),
]
"""Values that belong into some fields and not into others."""

_NUMBERS = ("+1", "1_0", "5.", "٣")
_REAL_NUMBERS = (*_NUMBERS, True, False, "1E400", " 1", "1 ", ".5", "inf", "1e99999")
LENIENT: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("double", "float", "double_wrapper", "float_wrapper"), _REAL_NUMBERS),
    **dict.fromkeys((name for name in _ELEMENTS if "int" in name or "fixed" in name), _NUMBERS),
    "color": (*_NUMBERS, True, False, " 1", "1 ", 1.5, 1 << 32),
    "duration": ("1.0123456789s", "1 s"),
    "value": (math.nan, math.inf, -math.inf),
    **dict.fromkeys(("empty", "inner"), ([], "")),
    # Characters that are not of base64 are skipped, and a mask may have any but "_": all that we refuse of them.
    **dict.fromkeys(("bytes", "bytes_wrapper", "mask"), tuple(ODD)),
}
"""Values that google.protobuf for Python takes, because Python does, though the specification of ProtoJSON does not."""


def _made(make: Callable[[str, object], bytes], value: object) -> bytes | None:
    try:
        return make("proto3", value)
    except (TargetError, json_format.ParseError):
        return None


@pytest.mark.parametrize("name", [*SCALARS, *(name for name in KNOWN if name != "any"), "color", "inner"])
def test_odd_values_are_refused_where_google_refuses_them(name: str) -> None:
    outcomes = [(value, _made(read_back, {f"a_{name}": value}), _made(expected, {f"a_{name}": value})) for value in ODD]

    # Python's True and 1 are equal, those of JSON are not.
    lenient = {repr(value) for value in LENIENT.get(name, ())}
    assert [(value, ours, theirs) for value, ours, theirs in outcomes if ours not in (theirs, None)] == []
    assert [value for value, ours, theirs in outcomes if ours != theirs and repr(value) not in lenient] == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "The message: expected an object with fields of test.v1.Everything, but a list is given."),
        ({"aInt32": "x"}, 'aInt32: expected a whole number from -2147483648 to 2147483647, but "x" is given.'),
        ({"aUint64": -1}, "aUint64: expected a whole number from 0 to 18446744073709551615, but -1 is given."),
        ({"aInt32": True}, "aInt32: expected a whole number from -2147483648 to 2147483647, but true is given."),
        ({"aBool": "true"}, 'aBool: expected true or false, but "true" is given.'),
        ({"aString": 5}, "aString: expected a text, but 5 is given."),
        ({"aString": "\ud800"}, 'aString: expected a text without halves of surrogate pairs, but "?" is given.'),
        ({"aBytes": "a\x1b[31m"}, 'aBytes: expected bytes in base64, but "a?[31m" is given.'),
        ({"aString": [1]}, "aString: expected a text, but a list is given."),
        ({"aDouble": "x" * 99}, f'aDouble: expected a number, "NaN", "Infinity" or "-Infinity", but "{"x" * 56}... is given.'),
        ({"aFloat": 1e39}, "aFloat: expected a number of single precision, but 1e+39 is given."),
        ({"a_color": "PINK"}, 'a_color: expected one of GRAY, RED, BLUE, but "PINK" is given.'),
        ({"someInt32": [1, None]}, "someInt32[1]: expected a value, but null is given."),
        ({"someInt32": 1}, "someInt32: expected a list, but 1 is given."),
        ({"someInner": [{"again": {"name": 1}}]}, "someInner[0].again.name: expected a text, but 1 is given."),
        ({"mapToInner": {"a b": {"name": 1}}}, "mapToInner[a b].name: expected a text, but 1 is given."),
        ({"mapToInt32": {"a": None}}, "mapToInt32[a]: expected a value, but null is given."),
        ({"mapToInt32": []}, "mapToInt32: expected an object, but a list is given."),
        ({"mapOfBool": {"1": 1}}, 'mapOfBool[1], its key: expected true or false, but "1" is given.'),
        (
            {"aTimestamp": "today"},
            'aTimestamp: expected a time from year 1 to 9999 like "2025-01-31T12:00:00Z", but "today" is given.',
        ),
        ({"aDuration": 5}, 'aDuration: expected a duration of at most 10,000 years like "1.5s", but 5 is given.'),
        ({"aMask": "a_b"}, 'aMask: expected paths of fields like "user.displayName,photo", but "a_b" is given.'),
        ({"aList": {}}, "aList: expected a list, but an object is given."),
        ({"aStruct": [{}]}, "aStruct: expected an object, but a list is given."),
        ({"aValue": [{"x": math.nan}]}, 'aValue[0].x: expected a number, "NaN", "Infinity" or "-Infinity", but nan is given.'),
        (
            {"aAny": {"name": "x"}},
            'aAny: expected an object with "@type", like {"@type": "type.googleapis.com/PACKAGE.MESSAGE", ...}',
        ),
        ({"aAny": {"@type": "a/b.C"}}, "aAny: the server does not describe its type b.C."),
        ({"aAny": {"@type": "a/google.protobuf.Duration", "value": 1}}, "aAny.value: expected a duration"),
        ({"aInner": {"nmae": "x"}}, "aInner.nmae: test.v1.Everything.Inner has no such field; it has again, name."),
        ({"[test.v1.more]": 1}, "[test.v1.more]: extensions cannot be given."),
        ({"aInt32": 1, "a_int32": 1}, "a_int32: the field is given already, as aInt32."),
        ({"oneText": "x", "oneNumber": 1}, "oneNumber: only one of it and oneText can be given."),
    ],
)
def test_an_error_names_the_field_what_belongs_there_and_what_is_given(value: object, words: str) -> None:
    assert refusal(value)[: len(words)] == words


def test_enums_of_proto2_take_no_other_numbers() -> None:
    assert read_back("proto3", {"aColor": 7}) == expected("proto3", {"aColor": 7}) != b""
    assert refusal({"aColor": 7}, dialect="proto2") == "aColor: expected one of GRAY, RED, BLUE, but 7 is given."


def test_a_required_field_must_be_given() -> None:
    assert refusal({"needed": None}, "test.v1.Old", "proto2") == "The message: test.v1.Old needs the field needed."


def test_null_leaves_the_other_name_and_the_rest_of_a_oneof_free() -> None:
    value = {"aInt32": None, "a_int32": 1, "oneText": None, "oneNumber": 2}

    assert read_back("proto3", value) == read_back("proto3", {"aInt32": 1, "oneNumber": 2})


@pytest.mark.parametrize(
    ("levels", "field"),
    [(300, {"again": {}}), (300, {"aValue": []}), (300, {"aStruct": {"x": {}}})],
    ids=["own", "list", "object"],
)
def test_a_message_that_is_nested_too_deep_is_refused(levels: int, field: dict[str, Any]) -> None:
    (name, value), *_ = field.items()
    key = next(iter(value), name)
    deep: Any = {}
    for _ in range(levels):
        deep = [deep] if isinstance(value, list) else {key: deep}

    assert "nested more than 100 levels deep" in refusal({"aInner": deep} if name == "again" else {name: deep})


def test_messages_may_be_nested_as_deep_as_googles() -> None:
    value: dict[str, Any] = {"name": "x"}
    for _ in range(97):
        value = {"again": value}

    assert read_back("proto3", {"aInner": value}) == expected("proto3", {"aInner": value})
