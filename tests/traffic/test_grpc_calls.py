"""Calls of gRPC: what their statuses count as, what is said of them, and who answered."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kbalance.model.observation import ConnectionObservation
from kbalance.model.target import Address
from kbalance.model.words import Failure, Profile, Protocol, Stop
from kbalance.testbed.grpc import FAILING
from kbalance.testbed.scenario import Fault, Identity
from kbalance.traffic.answers import Answer
from kbalance.traffic.driver import Driver
from kbalance.traffic.identify import Identify
from kbalance.traffic.readable import readable
from kbalance.wire.connection import KEPT_BODY
from kbalance.wire.grpc import frame, timeout_value
from kbalance.wire.grpc_status import Code, http_status
from tests.peers.calls import CHECK, ECHO, INFO, SERVING
from tests.peers.envoy import envoy
from tests.peers.grpcio import grpcio
from tests.peers.nginx import nginx
from tests.peers.running import free
from tests.testbed.conftest import StartPod
from tests.wire.grpc_calls import grpc, serving, unary

from .http2_servers import OK, Http2, each, speaks
from .runs import Total, finish, make_driver, plan
from .servers import Script, Server

GRPC = Protocol.GRPC
HEAD = (*OK, (b"content-type", b"application/grpc"))
GOOD = ((b"grpc-status", b"0"),)
LAST_S = 5.0


def _ends(request: bytes, context: Any) -> bytes:
    """Ends with the code in the first byte and the words behind it, after a head or at once."""
    code = next(code for code in grpc.StatusCode if code.value[0] == request[0])
    if request[1:2] == b"!":
        context.send_initial_metadata((("x-pod-name", "pod-1"),))
    context.set_code(code)
    context.set_details(request[1:].decode())
    return b""


_left: list[float] = []


def _time_left(request: bytes, context: Any) -> bytes:
    _left.append(context.time_remaining())
    return b""


def _never(request: bytes, context: Any) -> bytes:
    threading.Event().wait(min(LAST_S, context.time_remaining() + 0.1))
    return b""


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    with serving(unary("test.Calls", Ends=_ends, TimeLeft=_time_left, Never=_never)) as port:
        yield Address("127.0.0.1", port)


def made(
    address: Address, path: str = CHECK, message: bytes = b"", requests: int = 6, streams: int = 3, **more: Any
) -> tuple[Driver, list[ConnectionObservation], Total]:
    """So many calls on one connection."""
    spec = plan(Profile.SINGLE, address, requests, streams=streams)
    driver = make_driver(spec, protocol=GRPC, path=path, body=frame(message), **more)
    return driver, *finish(driver)


# Statuses


@pytest.mark.parametrize("trailers_only", [True, False])
@pytest.mark.parametrize("code", [code for code in Code if code], ids=lambda code: code.name)
def test_a_status_counts_as_what_http_says_for_it(code: Code, trailers_only: bool) -> None:
    status = ((b"grpc-status", b"%d" % code), (b"grpc-message", b"of 5 %C3%BC%25"))
    script = _says(head=(*HEAD, *status), trailers=()) if trailers_only else _says(trailers=status)
    with Server(script) as server:
        _, (only,), sums = made(server.address)

    failed = http_status(code) >= 500
    assert (sums.answered, sums.bad, sums.unanswered) == (6, 6 if failed else 0, {})
    assert [a.detail for a in only.answers] == [f"{code.name}: of 5 ü%" if failed else ""]


@pytest.mark.parametrize("after_a_head", [True, False])
@pytest.mark.parametrize(
    ("code", "failed"),
    [(Code.NOT_FOUND, False), (Code.RESOURCE_EXHAUSTED, False), (Code.INTERNAL, True), (Code.UNAVAILABLE, True)],
)
def test_statuses_of_grpcio(server: Address, code: Code, failed: bool, after_a_head: bool) -> None:
    words = "! of 5 ü%" if after_a_head else "of 5 ü%"
    _, (only,), sums = made(
        server, "/test.Calls/Ends", bytes([code]) + words.encode(), identify=Identify(_by_name, from_head=True)
    )

    assert (sums.answered, sums.bad, sums.unanswered) == (6, 6 if failed else 0, {})
    assert [(a.who, a.detail) for a in only.answers] == [
        ("pod-1" if after_a_head else None, f"{code.name}: {words}" if failed else "")
    ]


def _none(_: bytes) -> None:
    return None


def test_calls_that_go_well_have_nothing_to_tell(tmp_path: Path) -> None:
    with grpcio(tmp_path) as address:
        _, (only,), sums = made(address, requests=60, streams=8)

    assert (sums.answered, sums.bad, only.requests) == (60, 0, 60)
    assert [a.detail for a in only.answers] == [""]


def test_a_pod_that_fails_every_call_is_quoted(start_pod: StartPod) -> None:
    """Its words only travel encoded."""
    for identity in (Identity.BODY, Identity.HEADER, Identity.TRAILER):
        pod = start_pod(http2=True, fault=Fault.ERROR_500, identity=identity)
        driver, (only,), sums = made(pod.address, requests=40)

        assert driver.stopped is Stop.FAILING
        assert sums.bad == sums.answered > 0
        assert [a.detail for a in only.answers] == [f"UNAVAILABLE: {FAILING}"]


@pytest.mark.parametrize(
    ("path", "message", "trouble"),
    [
        (
            "/foo.Bar/Baz",
            b"",
            "The server has no service foo.Bar (UNIMPLEMENTED: unknown service foo.Bar); check the name given with --grpc-method,"
            " `grpcurl HOST:PORT list` shows its services.",
        ),
        (
            "/info.InfoService/X",
            b"",
            "The server's service info.InfoService has no method X (UNIMPLEMENTED: unknown method X for service"
            " info.InfoService); check the name given with --grpc-method, `grpcurl HOST:PORT list` shows its services.",
        ),
        (
            CHECK,
            b"\x0a\x05other",
            "The server's health check does not know the service that it was asked about (NOT_FOUND: unknown service); ask about"
            " the whole server by leaving --grpc-data out, or name one that it knows.",
        ),
        (CHECK, b"", ""),
    ],
)
def test_a_close_look_says_what_is_wrong_in_a_sentence(start_pod: StartPod, path: str, message: bytes, trouble: str) -> None:
    seen: list[Answer] = []
    pod = start_pod(http2=True)
    made(pod.address, path, message, requests=2, tap=lambda answer, _: seen.append(answer))

    assert {answer.trouble for answer in seen} == {trouble}


def test_a_health_check_that_says_not_serving_is_told() -> None:
    seen: list[Answer] = []
    with Server(_says(body=frame(b"\x08\x02"))) as server:
        _, _, sums = made(server.address, tap=lambda answer, _: seen.append(answer))

    assert (sums.answered, sums.bad) == (6, 0)
    assert {a.trouble for a in seen} == {"The health check grpc.health.v1.Health/Check says NOT_SERVING."}


# Answers that are none


def _says(
    *,
    body: bytes = b"",
    head: tuple[tuple[bytes, bytes], ...] = HEAD,
    trailers: tuple[tuple[bytes, bytes], ...] = GOOD,
) -> Script:
    """The same answer to every call."""

    def act(server: Http2, stream: int) -> None:
        server.answer_with(stream, head, body, trailers)

    return speaks(each(act))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the answer has no message"),
        (b"\x00\x00", "the answer is cut off after 2 bytes of the 5 before a message"),
        (b"\x00\x00\x00\x00\x09four", "the message is cut off: 4 bytes of 9"),
        (b"\x01\x00\x00\x00\x01x", "the message is compressed, though the client did not offer to read that"),
        (b"<html>", "the answer is not a gRPC message: it starts with the byte 60"),
        (frame(b"a") + frame(b"b"), "the answer has more than one message; only methods that answer with one can be called"),
        (frame(b"a") + b"rest", "4 bytes follow the message"),
    ],
)
def test_what_is_not_one_message_fails(body: bytes, detail: str) -> None:
    with Server(_says(body=body)) as server:
        driver, (only,), sums = made(server.address, requests=40)

    assert driver.stopped is Stop.FAILING
    assert sums.answered == 0
    assert set(sums.unanswered) == {Failure.MALFORMED}
    assert only.detail == detail


def test_a_bad_message_among_good_ones_fails_alone() -> None:
    """Heads and trailers are the same bytes for all."""

    def act(server: Http2, stream: int) -> None:
        body = frame(b"good") if stream % 3 else b"\x00\x00\x00\x00\x09four"
        server.answer_with(stream, HEAD, body, GOOD)

    with Server(speaks(each(act))) as server:
        _, (only,), sums = made(server.address, requests=30)

    assert (sums.answered, sums.bad, sums.unanswered) == (20, 0, {Failure.MALFORMED: 10})
    assert only.detail == "the message is cut off: 4 bytes of 9"


def test_a_message_that_is_larger_than_what_is_kept_is_an_answer(start_pod: StartPod) -> None:
    pod = start_pod(http2=True)
    _, _, sums = made(pod.address, ECHO, bytes(3 * KEPT_BODY))

    assert (sums.answered, sums.bad, sums.unanswered) == (6, 0, {})


@pytest.mark.parametrize(
    ("head", "trailers", "detail"),
    [
        (HEAD, (), "UNKNOWN: HTTP status 200, no grpc-status"),
        (OK, (), "UNKNOWN: HTTP status 200, no content-type"),
        (((b":status", b"503"), (b"content-type", b"text/plain")), (), "UNAVAILABLE: HTTP status 503, content-type text/plain"),
        (((b":status", b"404"), (b"content-type", b"text/html")), (), "UNIMPLEMENTED: HTTP status 404, content-type text/html"),
        (HEAD, ((b"grpc-status", b"14"), (b"grpc-message", b"a%20b%E2%86%92%zz")), "UNAVAILABLE: a b→%zz"),
        (HEAD, ((b"grpc-status", b"99"),), "code 99"),
        (HEAD, ((b"grpc-status", b"x"),), "UNKNOWN: grpc-status 'x' is no number"),
        ((*HEAD, (b"grpc-status", b"13"), (b"grpc-message", b"no")), (), "INTERNAL: no"),
    ],
)
def test_answers_without_a_good_status_are_bad_answers_with_a_reason(
    head: tuple[tuple[bytes, bytes], ...], trailers: tuple[tuple[bytes, bytes], ...], detail: str
) -> None:
    with Server(_says(head=head, trailers=trailers)) as server:
        _, (only,), sums = made(server.address)

    assert (sums.answered, sums.bad, sums.unanswered) == (6, 6, {})
    assert [a.detail for a in only.answers] == [detail]


def test_a_proxy_with_nothing_behind_it_is_quoted(tmp_path: Path) -> None:
    with envoy(tmp_path, [free()]) as address:
        _, (only,), sums = made(address)

    assert (sums.answered, sums.bad) == (6, 6)
    assert only.answers[0].detail.startswith("UNAVAILABLE: upstream connect error or disconnect/reset before headers.")


def test_a_server_of_pages_is_no_server_of_grpc(tmp_path: Path) -> None:
    seen: list[Answer] = []
    with nginx(tmp_path) as address:
        _, (only,), sums = made(address, tap=lambda answer, _: seen.append(answer))

    assert (sums.answered, sums.bad) == (6, 6)
    assert only.answers[0].detail == "UNKNOWN: HTTP status 200, content-type text/plain"
    assert {a.trouble for a in seen} == {
        "What answered grpc.health.v1.Health/Check was not a gRPC server, or a proxy before it (UNKNOWN: HTTP status 200,"
        " content-type text/plain); check that the port is the one that speaks gRPC."
    }


# Deadlines


@pytest.mark.parametrize("timeout_s", [60.0, 3600.0, 1e6])
def test_the_server_is_told_of_the_time_out(server: Address, timeout_s: float) -> None:
    _left.clear()
    _, _, sums = made(server, "/test.Calls/TimeLeft", timeout_s=timeout_s)

    assert sums.answered == len(_left) == 6
    assert all(0.5 * timeout_s < left <= timeout_s for left in _left)


def test_the_deadline_is_in_the_request_as_grpc_writes_it() -> None:
    heads: list[dict[bytes, bytes]] = []

    def act(server: Http2, stream: int) -> None:
        heads.append(server.heads[stream])
        server.answer_with(stream, HEAD, frame(b""), GOOD)

    with Server(speaks(each(act))) as server:
        made(server.address, "/a.B/C", timeout_s=2.5, headers=[("Authorization", "Bearer x"), ("grpc-accept-encoding", "gzip")])

    assert {head[b"grpc-timeout"] for head in heads} == {timeout_value(2.5).encode()} == {b"2500000u"}
    assert {(h[b":method"], h[b":path"], h[b"te"], h[b"content-type"], h[b"authorization"]) for h in heads} == {
        (b"POST", b"/a.B/C", b"trailers", b"application/grpc", b"Bearer x")
    }


def test_a_call_that_takes_too_long_fails_on_either_side(server: Address) -> None:
    """Whoever looks at its clock first: the server says DEADLINE_EXCEEDED, or nothing has come."""
    _, (only, *_), sums = made(server, "/test.Calls/Never", requests=2, streams=2, timeout_s=0.3)

    assert sums.bad + sums.unanswered.get(Failure.TIMEOUT, 0) == 2
    said = {a.detail.partition(":")[0] for a in only.answers} | {only.detail}
    assert said <= {"DEADLINE_EXCEEDED", "no complete answer after 0.3 s", ""}


# Identity


def _by_name(raw: bytes) -> str | None:
    name = raw.lower().partition(b"x-pod-name: ")[2].split(b"\r\n")[0].decode()
    return name or None


@pytest.mark.parametrize(("initial", "trailing"), [(True, False), (False, True)])
def test_who_answered_is_told_by_metadata(tmp_path: Path, initial: bool, trailing: bool) -> None:
    with ExitStack() as stack:
        pods = [stack.enter_context(grpcio(tmp_path, name=f"pod-{n}", initial=initial, trailing=trailing)) for n in (1, 2, 3)]
        address = stack.enter_context(envoy(tmp_path, pods))
        _, (only,), sums = made(address, requests=60, identify=Identify(_by_name, from_head=True))

    assert sums.bad == 0
    assert sorted((a.who, a.requests) for a in only.answers) == [("pod-1", 20), ("pod-2", 20), ("pod-3", 20)]


def test_who_answered_is_told_by_a_string_in_the_message(start_pod: StartPod) -> None:
    """Message by message, though heads and trailers are the same for all."""
    said = []

    def who(body: bytes) -> str:
        said.append(body)
        return readable(body).decode()

    def act(server: Http2, stream: int) -> None:
        name = b"\x0a\x05pod-%d" % (stream // 2 % 2)
        server.answer_with(stream, HEAD, frame(name), GOOD)

    with Server(speaks(each(act))) as server:
        _, (only,), _ = made(server.address, requests=40, identify=Identify(who, from_head=False))

    assert sorted((a.who, a.requests) for a in only.answers) == [('{"1":"pod-0"}', 20), ('{"1":"pod-1"}', 20)]
    assert len(said) == 2

    pod = start_pod(7, http2=True, identity=Identity.BODY)
    _, (only,), _ = made(pod.address, INFO, identify=Identify(who, from_head=False))
    assert [a.who for a in only.answers] == ['{"1":"pod-7","2":"6.7.0","7":"linux","8":"amd64"}']


def test_a_close_look_has_the_message_as_text(start_pod: StartPod) -> None:
    seen: list[Answer] = []
    pod = start_pod(http2=True, identity=Identity.TRAILER)
    made(pod.address, requests=1, streams=1, tap=lambda answer, _: seen.append(answer))

    (only,) = seen
    assert (only.status, only.body, only.length) == (200, b'{"1":1}', len(frame(SERVING)))
    assert only.head.splitlines()[0] == b"HTTP/2 200"
    assert {b"grpc-status: 0", b"x-pod-name: pod-1"} <= set(only.head.splitlines())


def test_statuses_change_within_a_connection() -> None:
    """Each answer is judged by its own trailers."""

    def act(server: Http2, stream: int) -> None:
        code = b"14" if stream % 5 == 1 else b"0"
        server.answer_with(stream, HEAD, b"" if code != b"0" else frame(b""), ((b"grpc-status", code),))

    with Server(speaks(each(act))) as server:
        _, (only,), sums = made(server.address, requests=50, identify=Identify(_none, from_head=True))

    assert (sums.answered, sums.bad) == (50, 10)
    assert [(a.requests, a.failed, a.detail) for a in only.answers] == [(50, 10, "UNAVAILABLE")]
