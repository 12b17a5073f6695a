"""JSON bodies: a value at a pointer, and the pointers that there are."""

from collections.abc import Iterator

from kbalance.analysis.identity.extract import Extractor, Family
from kbalance.analysis.identity.sample import Part
from kbalance.errors import TargetError

_DEEPEST = 8
"""Levels of a JSON document that are looked at."""


def json_pointer(pointer: str) -> Extractor:
    """A string or whole number inside a JSON body.

    Source: RFC 6901.

    Raises:
        TargetError: when the pointer does not start with a slash.
    """
    import json  # costs every start of the program a few milliseconds otherwise

    if pointer and not pointer.startswith("/"):
        raise TargetError(f"{pointer!r} is not a JSON pointer; write it like json:/os/hostname.")
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    loads = json.loads

    def extract(body: bytes) -> str | None:
        try:
            value = loads(body)
        except (ValueError, RecursionError):
            return None
        for step in steps:
            value = _child(value, step)
        if isinstance(value, str):
            return value.strip() or None
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else None

    return Extractor(source=f"json {pointer}", family=Family.JSON, part=Part.BODY, extract=extract)


def json_pointers(body: bytes, nonce: str) -> list[str]:
    """Pointers to all strings of a JSON body, except those beside the nonce: they are the echoed request."""
    import json

    try:
        return list(_pointers(json.loads(body), nonce, "", 0))
    except (ValueError, RecursionError):
        return []


def _child(value: object, step: str) -> object:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    return None


def _pointers(value: object, nonce: str, pointer: str, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield pointer
    elif isinstance(value, dict | list) and depth < _DEEPEST and not (nonce and _beside(value, nonce)):
        children = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in children:
            step = str(key).replace("~", "~0").replace("/", "~1")
            yield from _pointers(child, nonce, f"{pointer}/{step}", depth + 1)


def _beside(value: dict[str, object] | list[object], nonce: str) -> bool:
    """Whether a container holds the nonce itself, in a header's list of values, or (lists) anywhere."""
    if isinstance(value, list):
        return nonce in str(value)
    return any(isinstance(child, str | list) and nonce in str(child) for child in value.values())
