"""gRPC over HTTP/2, what a client sends and how a message lies in a body; the status of an answer is in `grpc_status`.

Source: grpc/grpc doc/PROTOCOL-HTTP2.md (Length-Prefixed-Message, Timeout, Path) and doc/health-checking.md.
"""

import re
import struct

from kbalance.errors import TargetError
from kbalance.wire.protobuf import NoMessage, Record

HEALTH = "grpc.health.v1.Health/Check"
"""The standard health check; an empty request asks about the server as a whole."""

_PREFIX = struct.Struct(">BI")
_UNITS = (("n", 1e-9), ("u", 1e-6), ("m", 1e-3), ("S", 1), ("M", 60), ("H", 3600))
"""With their length in seconds."""
_LARGEST_TIMEOUT = 99_999_999

_METHOD = re.compile(r"/?((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*/[A-Za-z_]\w*)", re.ASCII)
_CONTENT = re.compile(r"application/grpc(\+[^;]*)?")
_DOTTED = re.compile(r"/?((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)\.([A-Za-z_]\w*)", re.ASCII)
_SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class Malformed(ValueError):
    """A body is not the one message that a unary answer has."""


def frame(message: bytes) -> bytes:
    """A message as it lies in a body: not compressed, its length before it.

    Raises:
        ValueError: when it is longer than 4 GiB.
    """
    if len(message) > 0xFFFFFFFF:
        raise ValueError(f"a message of {len(message)} bytes cannot be sent")
    return _PREFIX.pack(0, len(message)) + message


def unframe(body: bytes) -> bytes:
    """The message of a unary answer whose status is OK.

    Raises:
        Malformed: when there is none or more than one, when it is cut off, or compressed, which we do not offer to understand.
    """
    check_one(body, len(body))
    return body[_PREFIX.size :]


def check_one(body: bytes, size: int) -> None:
    """Looks for the one message of a unary answer whose status is OK.

    Args:
        body: its beginning, all of it where it is short.
        size: of all of it, in bytes.

    Raises:
        Malformed: as `unframe`.
    """
    if not body:
        raise Malformed("the answer has no message")
    if len(body) < _PREFIX.size:
        raise Malformed(f"the answer is cut off after {len(body)} bytes of the 5 before a message")
    flag, length = _PREFIX.unpack_from(body)
    if flag == 1:
        raise Malformed("the message is compressed, though the client did not offer to read that")
    if flag:
        raise Malformed(f"the answer is not a gRPC message: it starts with the byte {flag}")
    end = _PREFIX.size + length
    if size < end:
        raise Malformed(f"the message is cut off: {size - _PREFIX.size} bytes of {length}")
    if size > end:
        if messages(body) > 1 or size > len(body):
            raise Malformed("the answer has more than one message; only methods that answer with one can be called")
        raise Malformed(f"{size - end} bytes follow the message")


def messages(body: bytes | bytearray) -> int:
    """How many messages have come in whole."""
    start = found = 0
    while len(body) - start >= _PREFIX.size:
        flag, length = _PREFIX.unpack_from(body, start)
        start += _PREFIX.size + length
        if flag > 1 or start > len(body):
            break
        found += 1
    return found


def is_grpc(content_type: str) -> bool:
    """Whether an answer's content-type, in lower case and without parameters, is gRPC's; that of gRPC-Web is none."""
    return _CONTENT.fullmatch(content_type) is not None


def timeout_value(seconds: float) -> str:
    """The header grpc-timeout: a positive number of at most 8 digits and a unit, in the finest unit that has room for it."""
    if not seconds < _LARGEST_TIMEOUT * 3600:
        return f"{_LARGEST_TIMEOUT}H"
    numbers = ((max(1, round(seconds / length)), unit) for unit, length in _UNITS)
    return next(f"{number}{unit}" for number, unit in numbers if number <= _LARGEST_TIMEOUT)


def names_method(path: str) -> bool:
    """Whether a path could be a method's."""
    return _METHOD.fullmatch(path) is not None


def method_path(text: str) -> str:
    """The path of a method that the user named as ``PACKAGE.SERVICE/METHOD``, with or without a slash before it.

    Raises:
        TargetError: when it is anything else; the message says how it is written.
    """
    match = _METHOD.fullmatch(text)
    if match:
        return f"/{match[1]}"
    dotted = _DOTTED.fullmatch(text)
    form = f"{dotted[1]}/{dotted[2]}" if dotted else f"PACKAGE.SERVICE/METHOD, like {HEALTH}"
    raise TargetError(f"{text!r} does not name a gRPC method; write it as {form}.")


def streams(path: str, how: str) -> TargetError:
    """What is wrong with a method that was named and streams.

    Args:
        how: who does it, or how that is known.
    """
    method = path.removeprefix("/")
    return TargetError(f"{method} streams ({how}); kbalance makes unary calls only: name another with --grpc-method.")


def health_words(message: bytes) -> str:
    """What a HealthCheckResponse says: SERVING, NOT_SERVING, UNKNOWN, SERVICE_UNKNOWN, or that it says none of them."""
    try:
        status = Record(message).number(1)
    except NoMessage:
        return "not a health check's answer"
    return _SERVING[status] if status < len(_SERVING) else f"health status {status}"
