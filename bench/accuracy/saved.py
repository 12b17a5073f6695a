"""Results as JSON lines, each with what it is: they can be made in parts and put together later."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bench.accuracy.run import Failed
from bench.accuracy.simulated import Simulated
from bench.accuracy.trial import Trial

Result = Trial | Failed | Simulated

_KINDS: Mapping[str, Callable[..., Result]] = {"trial": Trial, "failed": Failed, "simulated": Simulated}
_LISTS = {one.name for one in fields(Trial) if str(one.type).startswith("tuple")}


def line(result: Result) -> str:
    """One result as a line of JSON."""
    (kind,) = [kind for kind, made in _KINDS.items() if made is type(result)]
    return json.dumps({kind: asdict(result)})


def read(files: Iterable[Path]) -> list[Result]:
    """The results in these files, in their order.

    Raises:
        ValueError: a line is not a result.
    """
    lines = [(file, text) for file in files for text in file.read_text(encoding="utf-8").splitlines() if text.strip()]
    return [_result(file, text) for file, text in lines]


def _result(file: Path, text: str) -> Result:
    try:
        ((kind, values),) = json.loads(text).items()
        return _KINDS[kind](**{name: _value(name, value) for name, value in values.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: not a saved result ({error}): {text[:80]}") from error


def _value(name: str, value: Any) -> Any:
    return tuple(value) if name in _LISTS else value
