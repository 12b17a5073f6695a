"""How a gRPC call ended: its status, where it stands in an answer, what it is in HTTP, and what a user can do about it.

Source: grpc/grpc doc/PROTOCOL-HTTP2.md (Responses, Trailers-Only, Status-Message), doc/statuscodes.md and
doc/http-grpc-status-mapping.md; googleapis/googleapis google/rpc/code.proto (HTTP Mapping).
"""

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from kbalance.wire.grpc import HEALTH

Pairs = Iterable[tuple[bytes, bytes]]
"""Names in lower case with their values."""

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_NUMBER = re.compile(rb"[0-9]{1,9}")
_NOT_GRPC = "HTTP status "
"""How the message of a status begins that no gRPC server gave."""


class Code(IntEnum):
    """The codes that there are; a server may send others."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Status(NamedTuple):
    """The end of a call."""

    code: int
    """A `Code`, or a number that is none."""
    message: str
    """The server's, or ours where it gave no status; printable, on one line, often empty."""

    @property
    def name(self) -> str:
        return code_name(self.code)


_HTTP = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.UNAUTHENTICATED: 401,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
}
_OF_HTTP = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    431: Code.INTERNAL,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}


def code_name(code: int) -> str:
    """Like ``UNAVAILABLE``, or ``code 42``."""
    return Code(code).name if code in Code._value2member_map_ else f"code {code}"


def http_status(code: int) -> int:
    """What HTTP says for it: 500 for UNKNOWN, INTERNAL, DATA_LOSS and for codes that there are not."""
    return _HTTP.get(Code(code), 500) if code in Code._value2member_map_ else 500


def percent_decode(value: bytes) -> str:
    """A grpc-message as text: broken escapes stay as they are, broken UTF-8 is replaced, and what moves a terminal is a blank.

    Source: doc/PROTOCOL-HTTP2.md: a decoder must neither fail nor throw the message away.
    """
    return harmless(_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), value).decode("utf-8", "replace"))


def harmless(text: str) -> str:
    """A server's words on one line, without control characters, marks of direction and the like."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def outcome(http_status: int, head_fields: Pairs, trailers: Pairs) -> Status:
    """The status of an answer that is complete.

    The server's own is taken wherever it stands, whatever HTTP says beside it: in trailers, else in the head (Trailers-Only).
    Without one the HTTP status is all there is; 200 then means UNKNOWN.
    """
    head = tuple(head_fields)
    for fields in (tuple(trailers), head):
        given = _first(fields, b"grpc-status")
        if given is not None:
            return _status(given, _first(fields, b"grpc-message") or b"")
    return Status(_OF_HTTP.get(http_status, Code.UNKNOWN), f"{_NOT_GRPC}{http_status}, {_what_came(head)}")


def _status(given: bytes, message: bytes) -> Status:
    if not _NUMBER.fullmatch(given):
        return Status(Code.UNKNOWN, f"grpc-status {given[:40].decode('latin-1')!a} is no number")
    return Status(int(given), percent_decode(message))


def _what_came(head: tuple[tuple[bytes, bytes], ...]) -> str:
    kind = harmless((_first(head, b"content-type") or b"").decode("latin-1"))[:100]
    if not kind:
        return "no content-type"
    return "no grpc-status" if kind.startswith("application/grpc") else f"content-type {kind}"


def _first(fields: Pairs, name: bytes) -> bytes | None:
    return next((value for key, value in fields if key == name), None)


def sentence(status: Status, path: str) -> str:
    """What a status other than OK means for whoever asked, with the server's own words and the next step.

    Args:
        path: of the method, with or without the slash before it.
    """
    method = path.removeprefix("/")
    said = f"{status.name}: {status.message}" if status.message else status.name
    return f"{_happened(status, method)} ({said}){_next_step(status, method)}."


def _happened(status: Status, method: str) -> str:
    service, _, name = method.rpartition("/")
    message = status.message.lower()
    if status.message.startswith(_NOT_GRPC):
        return f"What answered {method} was not a gRPC server, or a proxy before it"
    match status.code:
        case Code.UNIMPLEMENTED if "unknown service" in message or "service is unimplemented" in message:
            return f"The server has no service {service}"
        case Code.UNIMPLEMENTED if "unknown method" in message or "method is unimplemented" in message:
            return f"The server's service {service} has no method {name}"
        case Code.UNIMPLEMENTED:
            return f"The server does not have the method {method}"
        case Code.UNAVAILABLE:
            return f"The server is not available for {method}"
        case Code.DEADLINE_EXCEEDED:
            return f"{method} was not done in time"
        case Code.UNAUTHENTICATED:
            return f"{method} wants to know who calls"
        case Code.PERMISSION_DENIED:
            return f"The caller may not call {method}"
        case Code.NOT_FOUND if method == HEALTH:
            return "The server's health check does not know the service that it was asked about"
        case _:
            return f"{method} failed"


def _next_step(status: Status, method: str) -> str:
    if status.message.startswith(_NOT_GRPC) and status.code not in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED):
        return "; check that the port is the one that speaks gRPC"
    match status.code:
        case Code.UNIMPLEMENTED if method == HEALTH:
            return "; name a method that it has with --grpc-method, `grpcurl HOST:PORT list` shows its services"
        case Code.UNIMPLEMENTED:
            return "; check the name given with --grpc-method, `grpcurl HOST:PORT list` shows its services"
        case Code.UNAVAILABLE:
            return "; it may be starting, draining or overloaded: look at its Pods and try again"
        case Code.DEADLINE_EXCEEDED:
            return "; give it longer with --timeout"
        case Code.UNAUTHENTICATED:
            return "; give credentials with --header 'Authorization: Bearer TOKEN'"
        case Code.PERMISSION_DENIED:
            return "; give other credentials with --header 'Authorization: Bearer TOKEN'"
        case Code.NOT_FOUND if method == HEALTH:
            return "; ask about the whole server by leaving --grpc-data out, or name one that it knows"
        case Code.INVALID_ARGUMENT:
            return "; give a message that it takes with --grpc-data"
        case Code.RESOURCE_EXHAUSTED:
            return "; ask less often with --rate"
        case _:
            return ""
