"""Values of the model to JSON's own types and back, by their type hints.

A dataclass becomes the list of its fields in the order of definition: both ends run the same version, and a list is a third of
an object's size. Nothing here knows any class of the model.
"""

import types
from base64 import b64decode, b64encode
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Decoder = Callable[[Any], Any]


def encode(value: object) -> object:
    """The value in JSON's types: a dataclass is a list, bytes are base64, a mapping is a list of pairs."""
    match value:
        case Enum():
            return value.value
        case bytes():
            return b64encode(value).decode()
        case tuple() | list():
            return [encode(item) for item in value]
        case Mapping():
            return [[encode(key), encode(item)] for key, item in value.items()]
        case _ if is_dataclass(value):
            return [encode(getattr(value, field.name)) for field in fields(value)]
    return value


def decode(kind: type[T], value: object) -> T:
    """The value of this type that `encode` made into JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        return cast(T, _decoder(cast(Hashable, kind))(value))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from error


@cache
def _decoder(hint: Any) -> _Decoder:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is bytes:
        return b64decode
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if is_dataclass(hint):
        return _dataclass(cast(type, hint))
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return lambda value: hint(*value)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is not None and issubclass(origin, Mapping):
        of_key, of_item = map(_decoder, arguments)
        return lambda value: {of_key(key): of_item(item) for key, item in value}
    return lambda value: value


def _dataclass(kind: type) -> _Decoder:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    decoders = [(name, _decoder(hints[name])) for name in names]

    def build(value: Any) -> Any:
        if len(value) != len(decoders):
            raise ValueError(f"{kind.__name__} has {len(decoders)} fields, not {len(value)}")
        return kind(**{name: decoder(item) for (name, decoder), item in zip(decoders, value, strict=True)})

    return build


def _union(alternatives: tuple[Any, ...]) -> _Decoder:
    """``None`` or one other type; several plain types need no decoding."""
    structured = [a for a in alternatives if a not in (types.NoneType, str, int, float, bool)]
    if not structured:
        return lambda value: value
    decoder = _decoder(structured[0])
    return lambda value: None if value is None else decoder(value)


def _tuple(items: tuple[Any, ...]) -> _Decoder:
    if items[-1:] == (Ellipsis,):
        each = _decoder(items[0])
        return lambda value: tuple(map(each, value))
    decoders = tuple(map(_decoder, items))
    return lambda value: tuple(decoder(item) for decoder, item in zip(decoders, value, strict=True))
