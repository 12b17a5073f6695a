"""Label and field selectors as the real API server reads them, its refusals included."""

import re
from collections.abc import Mapping
from typing import Any

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import CONFIG_MAPS, ENDPOINT_SLICES, EVENTS, JOBS, PODS, SECRETS, Resource
from kbalance.testbed.statuses import Refusal, bad_request

_TERM = re.compile(r"\s*(!?)\s*([\w./-]+)\s*(?:(==|=|!=)\s*([\w.-]*)|(in|notin)\s*\(([^()]*)\))?\s*(?:,|$)")

_MORE_FIELDS: Mapping[Resource, tuple[str, ...]] = {
    PODS: ("spec.nodeName", "status.phase", "status.podIP", "spec.restartPolicy"),
    JOBS: ("status.successful",),
    SECRETS: ("type",),
    EVENTS: (
        *(
            f"involvedObject.{name}"
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        ),
        *("reason", "reportingComponent", "source", "type"),
    ),
}


def selected(resource: Resource, found: Object, labels: str, fields: str) -> bool:
    """Whether an object matches both selectors; an empty one matches all.

    Raises:
        Refusal: 400 when a selector cannot be read; a term that was left out would widen the answer.
    """
    return _labels_match(labels, found["metadata"].get("labels", {})) and _fields_match(resource, fields, found)


def check(resource: Resource, labels: str, fields: str) -> None:
    """Refuse what cannot be read, also where there is nothing to select from.

    Raises:
        Refusal: 400.
    """
    selected(resource, {"metadata": {"name": "", "labels": {}}}, labels, fields)


def _labels_match(selector: str, labels: Mapping[str, str]) -> bool:
    at = 0
    holds = True
    while at < len(selector):
        term = _TERM.match(selector, at)
        if term is None:
            raise bad_request(_unreadable(selector[at:]))
        holds = _label_holds(term, labels) and holds
        at = term.end()
    return holds


def _unreadable(rest: str) -> str:
    if re.match(r"[^\w!]", rest):
        return f"found '{rest[0]}', expected: !, identifier, or 'end of string'"
    return f"unable to parse requirement: found '{rest.partition(' ')[2].partition(' ')[2]}' expected: '('"


def _label_holds(term: "re.Match[str]", labels: Mapping[str, str]) -> bool:
    negated, key, sign, value, word, values = term.groups()
    actual = labels.get(key)
    if word:
        return (actual in [one.strip() for one in values.split(",")]) == (word == "in")
    if sign:
        return (actual == value) == (sign != "!=")
    return (key in labels) != bool(negated)


def _fields_match(resource: Resource, selector: str, found: Object) -> bool:
    # Every term is looked at, so that an unknown field is refused whatever stands before it.
    holds = [_field_holds(resource, term, found) for term in filter(None, selector.split(","))]
    return all(holds)


def _field_holds(resource: Resource, term: str, found: Object) -> bool:
    match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
    if match is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    path, sign, value = match.groups()
    if path not in ("metadata.name", "metadata.namespace", *_MORE_FIELDS.get(resource, ())):
        raise _unknown_field(resource, path)
    return (_field(found, path) == value) == (sign != "!=")


def _field(found: Object, path: str) -> str:
    if path == "source":
        return str(found.get("source", {}).get("component", ""))
    if path == "status.successful":
        return str(found.get("status", {}).get("succeeded", 0))
    value: Any = found
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _unknown_field(resource: Resource, path: str) -> Refusal:
    if resource is JOBS:
        return bad_request(f'field label "{path}" not supported for Job')
    if resource in (CONFIG_MAPS, ENDPOINT_SLICES):
        return bad_request(f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"')
    return bad_request(f"field label not supported: {path}")
