"""Answers that are not text, as text."""

from kbalance.wire.grpc import Malformed, unframe
from kbalance.wire.protobuf import as_json


def readable(body: bytes) -> bytes:
    """The message of a gRPC answer as JSON text by field numbers, in which names can be looked for; empty if there is none."""
    try:
        return as_json(unframe(body))
    except Malformed:
        return b""
