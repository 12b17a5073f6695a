"""The report as JSON, ``kbalance/report/v1``: the dataclasses field by field, but for target and endpoints."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, cast

from kbalance.model.report import Report
from kbalance.model.target import EndpointFacts, Target
from kbalance.render import Style

SCHEMA = "kbalance/report/v1"
"""The contract's name; within it fields are only ever added."""


def render(report: Report, style: Style) -> str:
    """The report as indented JSON; the same bytes whatever the style."""
    # ASCII escapes keep the text valid on any stream, and let a lone surrogate out of a stranger's header pass.
    return json.dumps({"schema": SCHEMA} | _object(report), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def schema(document: str = "report") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every ``report`` fulfils, or every ``diff``."""
    from importlib.resources import files

    text = files("kbalance.render").joinpath(f"{document}-v1.schema.json").read_text(encoding="utf-8")
    return cast(dict[str, Any], json.loads(text))


def plain(value: object) -> object:
    """A value of the model in JSON's own types."""
    match value:
        case Enum():
            return value.value
        case float():
            return _rounded(value)
        case Target():
            return _target(value)
        case EndpointFacts():
            return _endpoint(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case tuple() | list():
            return [plain(item) for item in value]
        case _ if is_dataclass(value):
            return _object(value)
    return value


def _object(value: object) -> dict[str, object]:
    """A dataclass with its fields in the order of definition."""
    return {field.name: plain(getattr(value, field.name)) for field in fields(cast(Any, value))}


def _target(target: Target) -> dict[str, object]:
    """The contract's fields first; `host` and `path_given` are additions."""
    plain = _object(target)
    names = ("kind", "namespace", "name", "port", "scheme", "path")
    return {name: plain[name] for name in names} | {"url": target.url, "host": target.host, "path_given": target.path_given}


def _endpoint(endpoint: EndpointFacts) -> dict[str, object]:
    """An endpoint with its address and port as two fields."""
    address = endpoint.address
    head = {"name": endpoint.name, "address": address and address.ip, "port": address and address.port}
    return head | {name: value for name, value in _object(endpoint).items() if name not in head}


def _rounded(value: float) -> float | None:
    """Six significant digits: beyond them lies noise. ``None`` for what is not a number, as JSON has no word for it."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        # An e-value may overflow; "beyond any doubt" must not read as "not tested".
        return math.copysign(sys.float_info.max, value)
    return float(f"{value:.6g}")
