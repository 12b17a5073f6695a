"""The embedded API's refusals, as Status objects with the words of the real API server."""

from collections.abc import Mapping, Sequence
from typing import Any

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import Resource


class Refusal(Exception):
    """A request that is answered with a Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """The real server leaves `details` out where it has none (``None``), and writes an empty one for unknown paths."""
        super().__init__(message)
        self.code = code
        self.value: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(metadata or {}),
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({} if details is None else {"details": dict(details)}),
            "code": code,
        }


def _details(resource: Resource, name: str) -> dict[str, Any]:
    every = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in every.items() if value}


def not_found(resource: Resource, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_path() -> Refusal:
    return Refusal(404, "NotFound", "the server could not find the requested resource", {})


def exists(resource: Resource, name: str) -> Refusal:
    return Refusal(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def not_allowed(message: str) -> Refusal:
    return Refusal(405, "MethodNotAllowed", message, {})


def forbidden(resource: Resource, name: str, why: str) -> Refusal:
    named = f'{resource.qualified} "{name}"' if name else resource.qualified
    return Refusal(403, "Forbidden", f"{named} is forbidden: {why}", _details(resource, name))


def invalid_version(text: str) -> Refusal:
    """For a watch from a version that is none; the real server takes it for a failure of its own."""
    why = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    return Refusal(500, "", f"resourceVersion: {why}")


def too_old(version: int, current: int) -> Refusal:
    """For a watch from a version whose changes are not remembered; the real server says so in an event."""
    return Refusal(410, "Expired", f"too old resource version: {version} ({current})")


Cause = tuple[str, str, str]
"""Reason, field and message of what is wrong with an object."""


def invalid(kind: str, name: str, causes: Sequence[Cause], group: str = "") -> Refusal:
    """For an object of that kind; the kind is qualified with its group in the message only."""
    said = [f"{field}: {message}" for _, field, message in causes]
    every = {
        "name": name,
        "group": group,
        "kind": kind,
        "causes": [{"reason": reason, "message": message, "field": field} for reason, field, message in causes],
    }
    summary = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    details = {key: value for key, value in every.items() if value}
    return Refusal(422, "Invalid", f'{kind}{"." + group if group else ""} "{name}" is invalid: {summary}', details)


def expired(again: str) -> Refusal:
    """For a continue token that is too old; `again` goes on without consistency."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
        "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
        "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the "
        "time the first chunk was returned and now may show up in the list."
    )
    return Refusal(410, "Expired", message, metadata={"continue": again})
