"""What option values look like, and what is said when they do not."""

import math
import re
from typing import Any

import click

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


class Duration(click.ParamType[float]):
    """Seconds, or a number with ms, s, m or h; more than nothing."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(str(value))
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is not a duration; write one like 5s, 500ms or 2m.", param, ctx)
        return seconds


class Number(click.FloatRange):
    """A finite number in a range; click lets "nan" and "inf" pass every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number that can be used.", param, ctx)
        return number


class Header(click.ParamType[tuple[str, str]]):
    """``Name: value``, as in curl."""

    name = "header"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, colon, rest = str(value).partition(":")
        if not colon or not name.strip():
            self.fail(f"{value!r} is not a header; write it as 'Name: value'.", param, ctx)
        return name.strip(), rest.strip()


class Output(click.ParamType[tuple[str, str | None]]):
    """``FORMAT`` or ``FORMAT=FILE``."""

    name = "format[=file]"

    def __init__(self, formats: tuple[str, ...]) -> None:
        self._formats = formats

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str | None]:
        if isinstance(value, tuple):
            return value
        name, equals, file = str(value).partition("=")
        if name not in self._formats:
            self.fail(f"{name!r} is not a format; choose {' or '.join(self._formats)}.", param, ctx)
        if equals and not file:
            self.fail(f"{value!r} names no file; write {name}=FILE, or {name} alone for standard output.", param, ctx)
        return name, file or None


class Pair(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE``, as a label selector has it."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, rest = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not a label; write it as KEY=VALUE.", param, ctx)
        return key, rest


class Toleration(click.ParamType[dict[str, str]]):
    """``KEY[=VALUE][:EFFECT]`` as the API writes it; without a key, every taint is tolerated."""

    name = "toleration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        if isinstance(value, dict):
            return value
        rest, colon, effect = str(value).partition(":")
        key, equals, wanted = rest.partition("=")
        if effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute") or (colon and not effect) or (equals and not key):
            self.fail(f"{value!r} is not a toleration; write it as KEY, KEY=VALUE or KEY=VALUE:NoSchedule.", param, ctx)
        toleration = {"operator": "Equal", "value": wanted} if equals else {"operator": "Exists"}
        return toleration | ({"key": key} if key else {}) | ({"effect": effect} if effect else {})
