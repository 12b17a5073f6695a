"""JSON becomes a message by what the server tells of its methods, and every way in which that fails is a sentence."""

import importlib
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import pytest

from kbalance.errors import KbalanceError, TargetError, TrafficError
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Protocol
from kbalance.traffic.handshake import Wait, chosen_protocol
from kbalance.traffic.reflection import encoded
from kbalance.wire.dialled import Tls
from kbalance.wire.grpc import frame
from kbalance.wire.protobuf import length_delimited
from kbalance.wire.tls import make_tls
from tests.testbed.conftest import StartPod
from tests.wire import http2_peer as frames
from tests.wire.certificates import Certificates
from tests.wire.grpc_calls import serving, unary
from tests.wire.schemas import by_google, file_of, pool_of

from .http2_servers import OK, Http2, each, speaks
from .servers import Peer, Script, Server, hang, refusing, sends, steady

reflection: Any = importlib.import_module("grpc_reflection.v1alpha.reflection")

GET, WATCH = "/test.v1.Shop/Get", "/test.v1.Shop/Watch"
HEAD = (*OK, (b"content-type", b"application/grpc"))
ADVICE = "give --grpc-data as hex:BYTES."


def waiting(longest_s: float) -> Wait:
    until = perf_counter() + longest_s
    return Wait(lambda: until - perf_counter())


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    """Tells of the services in `tests.wire.schemas`, by the older version of the service only, as all in Python do."""
    names = ("test.v1.Shop", reflection.SERVICE_NAME)
    with serving(lambda server: reflection.enable_server_reflection(names, server, pool=pool_of("proto3"))) as port:
        yield Address("127.0.0.1", port)


def message(text: str, address: Address, path: str = GET, *, tls: Tls | None = None, timeout_s: float = 5.0) -> bytes:
    scheme = "http" if tls is None else "https"
    call = RequestSpec(
        method="POST", authority="test.invalid", path=path, protocol=Protocol.GRPC, scheme=scheme, timeout_s=timeout_s
    )
    return encoded(text, call, address, tls, lambda: waiting(timeout_s))


def refusal(kind: type[KbalanceError], *given: Any, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        message(*given, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"aString": "x", "aInt32": -5, "someBool": [true, false]}',
        '{"aColor": "RED", "aInner": {"name": "n", "again": {"name": "m"}}}',
        '{"aTimestamp": "2024-01-02T03:04:05Z", "aDuration": "1.5s", "aStruct": {"a": [1, null]}}',
    ],
)
def test_json_is_encoded_as_google_does(server: Address, text: str) -> None:
    expected = by_google("proto3", "test.v1.Everything", text)
    got = type(expected).FromString(message(text, server))
    assert got == expected


def test_hex_asks_nobody() -> None:
    with refusing() as address:
        assert message("hex:0a0378797a", address) == b"\x0a\x03xyz"
        assert message("hex:", address) == b""
        assert refusal(TargetError, "hex:0g", address) == (
            "--grpc-data 'hex:0g' is not hexadecimal; write it like hex:0a03616263."
        )


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("{", GET, "--grpc-data is neither JSON nor hex:BYTES: "),
        ('{"nope": 1}', GET, "nope"),
        ('{"aInt32": "x"}', GET, "aInt32"),
        ("{}", WATCH, "test.v1.Shop/Watch streams (server); kbalance makes unary calls only: name another with --grpc-method."),
        ("{}", "/test.v1.Shop/Put", "The service test.v1.Shop has no method 'Put'; it has Get, Watch."),
        ("{}", "/no.Such/Get", "The server's reflection does not tell what was asked for (NOT_FOUND: "),
    ],
)
def test_what_makes_no_sense_is_said(server: Address, text: str, path: str, words: str) -> None:
    assert words in refusal(TargetError, text, server, path)


def test_a_server_without_reflection_is_told(start_pod: StartPod) -> None:
    expected = f"The server offers no reflection, so JSON cannot be encoded for it; {ADVICE}"
    assert refusal(TargetError, "{}", start_pod(http2=True).address) == expected
    with serving(unary("test.v1.Shop", Get=lambda request, context: b"")) as port:
        assert refusal(TargetError, "{}", Address("127.0.0.1", port)) == expected


def _tells(*bodies: bytes, code: bytes = b"0", version: str = "v1") -> Script:
    """Answers the calls of that version of the service one after the other, the last one for good."""
    left = list(bodies)

    def act(server: Http2, stream: int) -> None:
        if f".{version}.".encode() not in server.heads[stream][b":path"]:
            return server.answer_with(stream, (*HEAD, (b"grpc-status", b"12")), b"", ())
        body = left.pop(0) if len(left) > 1 else left[0]
        server.answer_with(stream, HEAD, body, ((b"grpc-status", code), (b"grpc-message", b"busy%20now")))

    return speaks(each(act))


def _files(*files: bytes) -> bytes:
    return frame(length_delimited(4, b"".join(length_delimited(1, file) for file in files)))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_both_versions_of_the_service_are_asked_and_files_that_are_missing_may_be(version: str) -> None:
    """The second answer is that a file is not known, as for custom options: no field that is used needs it."""
    unknown = frame(length_delimited(7, b"\x08\x05" + length_delimited(2, b"no such file")))
    with Server(_tells(_files(file_of("proto3").SerializeToString()), unknown, version=version)) as server:
        assert message('{"aString": "x"}', server.address) == length_delimited(*_field("a_string", b"x"))


def _field(name: str, value: bytes) -> tuple[int, bytes]:
    everything = file_of("proto3").message_type[0]
    return next(field.number for field in everything.field if field.name == name), value


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (_tells(b"", code=b"14"), f"Server reflection failed with UNAVAILABLE (busy now); {ADVICE}"),
        (_tells(b""), "Server reflection answered what is no message of it"),
        (_tells(b"<html>"), "Server reflection answered no message: the answer is not a gRPC message"),
        (_tells(frame(b"\xff\xff")), "Server reflection answered what is no message of it"),
        (_tells(_files(b"\xff\xff\xff")), "What the server tells of test.v1.Shop by reflection is no description"),
        (hang, "did not answer in time (--timeout)."),
        (sends(b"HTTP/1.1 400 Bad\r\n\r\n"), "could not be asked at 127.0.0.1:"),
        (speaks(each(lambda server, stream: server.send(frames.reset(stream, 2)))), "reset by the server: INTERNAL_ERROR"),
    ],
    ids=str,
)
def test_reflection_that_fails_is_told(script: Script, words: str) -> None:
    with Server(script) as server:
        assert words in refusal(TrafficError, "{}", server.address, timeout_s=0.3 if "0.3" in words else 5.0)


def test_a_server_that_is_not_there_is_told() -> None:
    with refusing() as address:
        assert refusal(TrafficError, "{}", address) == (f"Server reflection could not be asked at {address}: Connection refused.")


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    def act(server: Http2, stream: int) -> None:
        server.send(server.writer.head(stream, HEAD))
        while True:
            server.send(frames.body(stream, bytes(16_000)) * 4)

    with Server(speaks(each(act))) as server:
        assert "answers with more than 16777216 bytes." in refusal(TrafficError, "{}", server.address)


def test_files_without_end_are_not_asked_for_for_ever() -> None:
    """Each names another one that it needs."""
    asked = []

    def act(server: Http2, stream: int) -> None:
        asked.append(stream)
        number = len(asked)
        file = length_delimited(1, b"f%d" % number) + length_delimited(3, b"f%d" % (number + 1))
        server.answer_with(stream, HEAD, _files(file), ((b"grpc-status", b"0"),))

    with Server(speaks(each(act))) as server:
        said = refusal(TargetError, "{}", server.address)

    assert said == "The server describes no service 'test.v1.Shop'; it describes none."
    assert len(asked) == 200


def test_reflection_over_tls(certificates: Certificates) -> None:
    tls = make_tls("web.test", cacert=certificates.cacert, alpn=("h2",))
    with Server(_tells(_files(file_of("proto3").SerializeToString())), tls=certificates.server()) as server:
        assert message("{}", server.address, tls=tls) == b""


# The handshake


@pytest.mark.parametrize(("protocols", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["spdy/3"], None)])
def test_a_server_chooses_in_the_handshake_and_is_asked_nothing(
    certificates: Certificates, protocols: list[str], chosen: str | None
) -> None:
    context = certificates.server()
    context.set_alpn_protocols(protocols)
    tls = make_tls("web.test", cacert=certificates.cacert)
    with Server(steady(), tls=context) as server:
        assert chosen_protocol(server.address, tls, waiting(5.0)) == chosen
        assert server.requests == 0


@pytest.mark.parametrize(
    "script",
    [lambda peer: None, lambda peer: peer.until_closed(), sends(b"HTTP/1.1 400 Bad\r\n\r\n")],
    ids=["close", "hang", "http"],
)
def test_a_server_without_a_handshake_chooses_nothing(script: Callable[[Peer], None]) -> None:
    with Server(script) as server:
        assert chosen_protocol(server.address, make_tls("web.test", insecure=True), waiting(0.3)) is None
    with refusing() as address:
        assert chosen_protocol(address, make_tls("web.test", insecure=True), waiting(0.3)) is None


def test_a_certificate_that_is_not_trusted_chooses_nothing(certificates: Certificates) -> None:
    with Server(steady(), tls=certificates.server(trusted=False)) as server:
        assert chosen_protocol(server.address, make_tls("web.test", cacert=certificates.cacert), waiting(5.0)) is None
