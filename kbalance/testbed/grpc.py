"""gRPC as the pods speak it: the health check, podinfo's info and echo, and what every other call gets. No sockets.

Source: gRPC over HTTP/2 (grpc/grpc `doc/PROTOCOL-HTTP2.md`); the texts of errors are grpc-go's (`server.go`, `rpc_util.go`,
`health/server.go`).
"""

import re
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from kbalance.testbed.messages import Headers, Request
from kbalance.testbed.pages import Answer
from kbalance.testbed.scenario import Identity

NAME_KEY = "x-pod-name"
FAILING = "this pod fails every call → 100%"
"""What UNAVAILABLE says of a pod that fails; a sign and a letter that only travel encoded are in it."""
NOT_FOUND, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 5, 12, 13, 14
SERVING = b"\x08\x01"
_HEAD: Headers = (("content-type", "application/grpc"),)
_KIND = re.compile(r"application/grpc([+;]|$)")


class Status(NamedTuple):
    """How a call ends without a message."""

    code: int
    text: str


def is_call(request: Request) -> bool:
    """Whether it is a call of gRPC; gRPC-Web is not."""
    return _KIND.match(request.header("content-type")) is not None


def answer(request: Request, name: str, identity: Identity, *, failing: bool = False) -> Answer:
    """A unary call's answer: a message, or a status in its trailers, or in the head where nothing else would be in that."""
    method = _method(request.path)
    if isinstance(method, Status):
        return Answer(status=200, headers=(*_HEAD, *_status(method)))
    mark = ((NAME_KEY, name),)
    head = (*_HEAD, *mark) if identity is Identity.HEADER else _HEAD
    after = mark if identity is Identity.TRAILER else ()
    asked = _message(request)
    said = Status(UNAVAILABLE, FAILING) if failing else asked if isinstance(asked, Status) else method(asked, name, identity)
    if not isinstance(said, Status):
        prefixed = struct.pack(">?I", False, len(said)) + said
        return Answer(status=200, headers=head, body=prefixed, trailers=(*_status(Status(0, "")), *after))
    if head == _HEAD:
        return Answer(status=200, headers=(*head, *_status(said), *after))
    return Answer(status=200, headers=head, trailers=(*_status(said), *after))


def _status(status: Status) -> Headers:
    """Its fields; the text is percent-encoded, all but printable ASCII."""
    said = quote(status.text, safe="".join(map(chr, range(0x20, 0x7F))).replace("%", ""))
    return (("grpc-status", str(status.code)), *((("grpc-message", said),) if said else ()))


def _message(request: Request) -> bytes | Status:
    """The one message of the request."""
    body = request.body
    if body[:1] == b"\x01":
        encoding = request.header("grpc-encoding")
        return Status(UNIMPLEMENTED, f'grpc: Decompressor is not installed for grpc-encoding "{encoding}"')
    if len(body) < 5 or len(body) != 5 + int.from_bytes(body[1:5], "big"):
        return Status(INTERNAL, f"{len(body)} bytes are not one message")
    return body[5:]


_Method = Callable[[bytes, str, Identity], bytes | Status]


def _check(asked: bytes, name: str, identity: Identity) -> bytes | Status:
    # Only the whole server's health is known, which goes by an empty name.
    return SERVING if asked in (b"", b"\x0a\x00") else Status(NOT_FOUND, "unknown service")


def _info(asked: bytes, name: str, identity: Identity) -> bytes | Status:
    """Source: stefanprodan/podinfo `pkg/api/grpc/info/info.proto`; fields without a value are not sent."""
    return _text(1, name if identity.in_body else "localhost") + _text(2, "6.7.0") + _text(7, "linux") + _text(8, "amd64")


def _echo(asked: bytes, name: str, identity: Identity) -> bytes | Status:
    return asked


SERVICES: Mapping[str, Mapping[str, _Method]] = {
    "grpc.health.v1.Health": {"Check": _check},
    "info.InfoService": {"Info": _info},
    "echo.EchoService": {"Echo": _echo},
}


def _method(path: str) -> _Method | Status:
    service, slash, method = path.removeprefix("/").rpartition("/")
    if not slash:
        return Status(UNIMPLEMENTED, f'malformed method name: "{path}"')
    if service not in SERVICES:
        return Status(UNIMPLEMENTED, f"unknown service {service}")
    if method not in SERVICES[service]:
        return Status(UNIMPLEMENTED, f"unknown method {method} for service {service}")
    return SERVICES[service][method]


def _text(number: int, value: str) -> bytes:
    """A string field of a message."""
    data = value.encode()
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])
