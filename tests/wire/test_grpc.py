"""gRPC's framing, names, deadlines and statuses, most of them beside a server of grpcio."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbalance.errors import TargetError
from kbalance.wire.grpc import HEALTH, Malformed, frame, health_words, method_path, timeout_value, unframe
from kbalance.wire.grpc_status import Code, Status, code_name, http_status, outcome, percent_decode, sentence
from tests.wire.grpc_calls import call, grpc, serving, unary
from tests.wire.http2_talk import Answer

health_pb2: Any = importlib.import_module("grpc_health.v1.health_pb2")
health: Any = importlib.import_module("grpc_health.v1.health")
health_pb2_grpc: Any = importlib.import_module("grpc_health.v1.health_pb2_grpc")


def _ends(request: bytes, context: Any) -> bytes:
    """Ends with the code in the first byte and the words behind it."""
    code = next(code for code in grpc.StatusCode if code.value[0] == request[0])
    context.set_code(code)
    context.set_details(request[1:].decode())
    return b""


def _time_left(request: bytes, context: Any) -> bytes:
    left = context.time_remaining()
    return b"none" if left is None else repr(left).encode()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server with a service of our own, and the standard health check."""
    checked = health.HealthServicer()
    checked.set("shop.Cart", health_pb2.HealthCheckResponse.NOT_SERVING)
    ours = unary("test.Calls", Ends=_ends, TimeLeft=_time_left, Echoes=lambda request, context: request)
    with serving(ours, lambda server: health_pb2_grpc.add_HealthServicer_to_server(checked, server)) as port:
        yield port


def status_of(answer: Answer) -> Status:
    head = answer.heads[-1]
    return outcome(head.status, head.fields, answer.trailers.items())


@given(st.binary(max_size=300))
def test_a_message_is_unframed_as_it_was_framed(message: bytes) -> None:
    assert unframe(frame(message)) == message


@pytest.mark.parametrize("message", [b"", b"abc", b"x" * 100_000], ids=["empty", "short", "long"])
def test_a_server_of_grpcio_reads_and_writes_our_framing(port: int, message: bytes) -> None:
    answer = call(port, method_path("test.Calls/Echoes"), message)

    assert (status_of(answer), unframe(answer.body)) == (Status(Code.OK, ""), message)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the answer has no message"),
        (b"\0\0\0", "cut off after 3 bytes of the 5"),
        (frame(b"abc")[:-1], "the message is cut off: 2 bytes of 3"),
        (b"\1" + frame(b"abc")[1:], "compressed"),
        (b"<html>", "not a gRPC message: it starts with the byte 60"),
        (frame(b"a") + frame(b""), "more than one message"),
        (frame(b"a") + b"xyz", "3 bytes follow the message"),
        (frame(b"a") + b"\0\0\0\0\5abc", "8 bytes follow the message"),
    ],
)
def test_a_body_that_is_not_one_message_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        unframe(body)


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (0, "1n"),
        (-5, "1n"),
        (0.05, "50000000n"),
        (0.1, "100000u"),
        (1, "1000000u"),
        (30, "30000000u"),
        (100, "100000m"),
        (99_999.9996, "100000S"),
        (99_999_999, "99999999S"),
        (1e9, "16666667M"),
        (1e11, "27777778H"),
        (1e300, "99999999H"),
        (float("inf"), "99999999H"),
        (float("nan"), "99999999H"),
    ],
)
def test_a_timeout_is_in_the_finest_unit_of_eight_digits(seconds: float, value: str) -> None:
    assert timeout_value(seconds) == value


@pytest.mark.parametrize("seconds", [20, 90.5, 5000, 2e6])
def test_a_server_of_grpcio_understands_the_timeout(port: int, seconds: float) -> None:
    answer = call(port, "/test.Calls/TimeLeft", headers=[(b"grpc-timeout", timeout_value(seconds).encode())])

    assert seconds * 0.98 - 10 < float(unframe(answer.body)) <= seconds * 1.02


@pytest.mark.parametrize("message", ["", "plain", "100 % sure", "Zoë → ☃", "%41%", "quoted \"'", "emoji 🙂"])
def test_words_of_a_server_of_grpcio_are_decoded(port: int, message: str) -> None:
    answer = call(port, "/test.Calls/Ends", bytes([Code.ABORTED]) + message.encode())

    assert status_of(answer) == Status(Code.ABORTED, message)


def test_words_on_lines_and_with_control_characters_come_as_one_harmless_line(port: int) -> None:
    answer = call(port, "/test.Calls/Ends", bytes([Code.INTERNAL]) + "at a\n\tat b \x1b[31m \u202e\x9b\n".encode())

    assert b"\n" not in answer.trailers[b"grpc-message"]
    assert status_of(answer) == Status(Code.INTERNAL, "at a  at b  [31m")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"%", "%"),
        (b"%4", "%4"),
        (b"%zz%41", "%zzA"),
        (b"%%41", "%A"),
        (b"%C3", "\ufffd"),
        (b"%c3%ab", "ë"),
        (b"\xc3\xab", "ë"),
        (b"\xff", "\ufffd"),
        (b"%2541", "%41"),
    ],
)
def test_broken_escapes_stay_as_they_are(value: bytes, text: str) -> None:
    assert percent_decode(value) == text


@given(st.binary(max_size=60))
def test_any_words_are_printable(value: bytes) -> None:
    assert percent_decode(value).isprintable()


def test_codes_have_the_names_and_numbers_of_grpcio() -> None:
    assert {code.name: code.value for code in Code} == {code.name: code.value[0] for code in grpc.StatusCode}
    assert (code_name(14), code_name(17), code_name(-1)) == ("UNAVAILABLE", "code 17", "code -1")


def test_each_code_has_the_http_status_of_code_proto() -> None:
    of = {code.name: http_status(code) for code in Code}

    assert of == {
        "OK": 200,
        "CANCELLED": 499,
        "UNKNOWN": 500,
        "INVALID_ARGUMENT": 400,
        "DEADLINE_EXCEEDED": 504,
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "PERMISSION_DENIED": 403,
        "RESOURCE_EXHAUSTED": 429,
        "FAILED_PRECONDITION": 400,
        "ABORTED": 409,
        "OUT_OF_RANGE": 400,
        "UNIMPLEMENTED": 501,
        "INTERNAL": 500,
        "UNAVAILABLE": 503,
        "DATA_LOSS": 500,
        "UNAUTHENTICATED": 401,
    }
    assert (http_status(17), http_status(-1)) == (500, 500)


GRPC = (b"content-type", b"application/grpc+proto")
HTML = (b"content-type", b"text/html")


@pytest.mark.parametrize(
    ("http", "head", "trailers", "status"),
    [
        (200, [GRPC], [(b"grpc-status", b"0")], Status(Code.OK, "")),
        (200, [GRPC], [(b"grpc-status", b"5"), (b"grpc-message", b"no%20such")], Status(Code.NOT_FOUND, "no such")),
        (200, [GRPC, (b"grpc-status", b"12")], [], Status(Code.UNIMPLEMENTED, "")),
        (200, [GRPC, (b"grpc-status", b"12")], [(b"grpc-status", b"14")], Status(Code.UNAVAILABLE, "")),
        (503, [HTML, (b"grpc-status", b"8"), (b"grpc-message", b"slow")], [], Status(Code.RESOURCE_EXHAUSTED, "slow")),
        (200, [GRPC], [(b"grpc-status", b"42")], Status(42, "")),
        (200, [GRPC], [(b"grpc-status", b"")], Status(Code.UNKNOWN, "grpc-status '' is no number")),
        (200, [GRPC], [(b"grpc-status", b"-1")], Status(Code.UNKNOWN, "grpc-status '-1' is no number")),
        (200, [GRPC], [], Status(Code.UNKNOWN, "HTTP status 200, no grpc-status")),
        (200, [HTML], [], Status(Code.UNKNOWN, "HTTP status 200, content-type text/html")),
        (400, [HTML], [], Status(Code.INTERNAL, "HTTP status 400, content-type text/html")),
        (401, [HTML], [], Status(Code.UNAUTHENTICATED, "HTTP status 401, content-type text/html")),
        (403, [HTML], [], Status(Code.PERMISSION_DENIED, "HTTP status 403, content-type text/html")),
        (404, [HTML], [], Status(Code.UNIMPLEMENTED, "HTTP status 404, content-type text/html")),
        (429, [], [], Status(Code.UNAVAILABLE, "HTTP status 429, no content-type")),
        (431, [], [], Status(Code.INTERNAL, "HTTP status 431, no content-type")),
        (502, [HTML], [], Status(Code.UNAVAILABLE, "HTTP status 502, content-type text/html")),
        (503, [HTML], [], Status(Code.UNAVAILABLE, "HTTP status 503, content-type text/html")),
        (504, [HTML], [], Status(Code.UNAVAILABLE, "HTTP status 504, content-type text/html")),
        (500, [(b"content-type", b"\x1b[31m")], [], Status(Code.UNKNOWN, "HTTP status 500, content-type [31m")),
    ],
)
def test_the_status_is_the_servers_or_follows_from_http(
    http: int, head: list[tuple[bytes, bytes]], trailers: list[tuple[bytes, bytes]], status: Status
) -> None:
    assert outcome(http, head, trailers) == status


@pytest.mark.parametrize("text", ["pkg.v1.Greeter/SayHello", "/pkg.v1.Greeter/SayHello", "Greeter/say_hello_2"])
def test_a_method_is_named_by_service_and_method(text: str) -> None:
    assert method_path(text) == "/" + text.removeprefix("/")


@pytest.mark.parametrize(
    "text",
    ["", "/", "Greeter", "a/b/c", "a//b", "//a/b", "a/", "/b", "1a/b", ".a/b", "a./b", "a b/c", "a/b\n", "é/b", "http://a/b"],
)
def test_what_names_no_method_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(TargetError, match=r"write it as PACKAGE\.SERVICE/METHOD, like grpc\.health\.v1\.Health/Check\.$"):
        method_path(text)


def test_a_dot_before_the_method_is_corrected() -> None:
    with pytest.raises(TargetError, match=r"'pkg\.Greeter\.SayHello' does not .*; write it as pkg\.Greeter/SayHello\.$"):
        method_path("pkg.Greeter.SayHello")


def test_what_a_health_check_says(port: int) -> None:
    whole = call(port, method_path(HEALTH))
    part = call(port, method_path(HEALTH), health_pb2.HealthCheckRequest(service="shop.Cart").SerializeToString())

    assert [health_words(unframe(answer.body)) for answer in (whole, part)] == ["SERVING", "NOT_SERVING"]


@pytest.mark.parametrize(("name", "number"), health_pb2.HealthCheckResponse.ServingStatus.items())
def test_every_health_status_has_its_name(name: str, number: int) -> None:
    message = health_pb2.HealthCheckResponse(status=number)

    assert health_words(message.SerializeToString()) == name


@pytest.mark.parametrize(
    ("message", "words"),
    [(b"\x08\x09", "health status 9"), (b"<html>", "not a health check's answer"), (b"\x0a\x00", "not a health check's answer")],
)
def test_an_answer_that_is_no_health_status(message: bytes, words: str) -> None:
    assert health_words(message) == words


def test_a_method_that_a_server_of_grpcio_lacks(port: int) -> None:
    status = status_of(call(port, "/test.Calls/Nothing"))

    assert status.code == Code.UNIMPLEMENTED
    assert sentence(status, "/test.Calls/Nothing") == (
        "The server does not have the method test.Calls/Nothing (UNIMPLEMENTED: Method not found!); "
        "check the name given with --grpc-method, `grpcurl HOST:PORT list` shows its services."
    )


def test_a_service_that_the_health_check_of_grpcio_does_not_know(port: int) -> None:
    message = health_pb2.HealthCheckRequest(service="unknown").SerializeToString()

    status = status_of(call(port, method_path(HEALTH), message))

    assert sentence(status, HEALTH) == (
        "The server's health check does not know the service that it was asked about (NOT_FOUND); "
        "ask about the whole server by leaving --grpc-data out, or name one that it knows."
    )


@pytest.mark.parametrize(
    ("code", "message", "path", "parts"),
    [
        (Code.UNIMPLEMENTED, "unknown service a.B", "/a.B/C", ("no service a.B ", "--grpc-method", "grpcurl")),
        (Code.UNIMPLEMENTED, "unknown method C for service a.B", "/a.B/C", ("service a.B has no method C ", "--grpc-method")),
        (Code.UNIMPLEMENTED, "Method not found: a.B/C", "a.B/C", ("does not have the method a.B/C ", "--grpc-method")),
        (Code.UNIMPLEMENTED, "", HEALTH, ("name a method that it has with --grpc-method",)),
        (Code.UNIMPLEMENTED, "HTTP status 404, content-type text/html", "/a.B/C", ("not a gRPC server", "the port")),
        (Code.UNKNOWN, "HTTP status 200, content-type text/html", "/a.B/C", ("not a gRPC server", "the port")),
        (Code.UNAVAILABLE, "draining", "/a.B/C", ("not available for a.B/C", "look at its Pods")),
        (Code.DEADLINE_EXCEEDED, "", "/a.B/C", ("not done in time", "--timeout")),
        (Code.UNAUTHENTICATED, "", "/a.B/C", ("wants to know who calls", "--header")),
        (Code.UNAUTHENTICATED, "HTTP status 401, no content-type", "/a.B/C", ("proxy", "--header")),
        (Code.PERMISSION_DENIED, "", "/a.B/C", ("may not call a.B/C", "--header")),
        (Code.INVALID_ARGUMENT, "id is empty", "/a.B/C", ("a.B/C failed", "--grpc-data")),
        (Code.RESOURCE_EXHAUSTED, "", "/a.B/C", ("--rate",)),
        (Code.NOT_FOUND, "no cart", "/a.B/C", ("a.B/C failed (NOT_FOUND: no cart).",)),
        (42, "", "/a.B/C", ("a.B/C failed (code 42).",)),
    ],
)
def test_a_failed_call_is_explained_with_the_next_step(code: int, message: str, path: str, parts: tuple[str, ...]) -> None:
    said = sentence(Status(code, message), path)

    assert [part for part in (*parts, message, code_name(code)) if part not in said] == []
    assert said.endswith(".")
    assert "\n" not in said
