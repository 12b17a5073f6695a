"""What an answer over HTTP/2 says of itself: its status, its words where it failed, the text in which names are looked for."""

from kbalance.traffic.answers import Answer
from kbalance.traffic.calls import Call
from kbalance.traffic.readable import readable
from kbalance.wire import grpc_status
from kbalance.wire.grpc import HEALTH, Malformed, check_one, health_words, unframe
from kbalance.wire.http2_events import Pairs


def judged(call: Call, trailers: Pairs, *, grpc: bool) -> tuple[int, str]:
    """The status of an answer, for a gRPC call what HTTP says for its own, and what a server said that did not answer well.

    Raises:
        Malformed: the answer to a call is well by its status, and is no message.
    """
    if not grpc:
        return call.status, ""
    outcome = grpc_status.outcome(call.status, call.fields, trailers)
    if not outcome.code:
        check_one(call.body, call.size)
    words = f"{outcome.name}: {outcome.message}" if outcome.message else outcome.name
    return grpc_status.http_status(outcome.code), words if outcome.code else ""


def closely(call: Call, trailers: Pairs, *, grpc_path: str | None) -> Answer:
    """Everything of an answer, for whoever looks for an identity in it.

    Args:
        grpc_path: of a gRPC call; ``None``: it is none.
    """
    head = raw(call, trailers)
    if grpc_path is None:
        return Answer(call.status, head, call.body, call.size)
    outcome = grpc_status.outcome(call.status, call.fields, trailers)
    trouble = grpc_status.sentence(outcome, grpc_path) if outcome.code else _unwell(grpc_path, call.body)
    return Answer(grpc_status.http_status(outcome.code), head, readable(call.body), call.size, trouble)


def _unwell(path: str, body: bytes) -> str:
    """What a health check said that is not SERVING."""
    if path != f"/{HEALTH}":
        return ""
    try:
        words = health_words(unframe(body))
    except Malformed as error:
        return f"The health check got no message: {error}."
    return "" if words == "SERVING" else f"The health check {HEALTH} says {words}."


def raw(call: Call, trailers: Pairs) -> bytes:
    """Head and trailers in HTTP/1.1's form, for whoever looks for names in them."""
    lines = (b"%b: %b" % field for field in (*call.fields, *trailers))
    return b"\r\n".join((b"HTTP/2 %d" % call.status, *lines))
