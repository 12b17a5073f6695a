"""A server over TLS that chose HTTP/2 is known for one of gRPC by what it does, and nobody else is taken for one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import pytest

from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Protocol
from kbalance.traffic.handshake import Wait, speaks_tls
from kbalance.traffic.recognising import shown
from kbalance.wire.grpc import HEALTH, frame
from kbalance.wire.tls import make_tls
from tests.peers.grpc_go import grpc_go
from tests.peers.nginx import nginx
from tests.peers.node import node
from tests.wire import http2_peer as frames
from tests.wire.certificates import Certificates
from tests.wire.grpc_calls import serving, unary

from .http2_servers import Http2, Step, each, speaks
from .servers import Peer, Server, hang, refusing, steady

Fields = tuple[tuple[bytes, bytes], ...]

GRPC = (b"content-type", b"application/grpc")
PAGE = (b"content-type", b"text/html; charset=utf-8")
OTHER = (b"grpc-status", b"12")
"""UNIMPLEMENTED, as of a server that knows no health check."""
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def patience(longest_s: float = PATIENCE_S) -> Wait:
    until = perf_counter() + longest_s
    return Wait(lambda: until - perf_counter())


def found(address: Address, longest_s: float = PATIENCE_S) -> str | None:
    tls = make_tls("localhost", insecure=True, alpn=("h2",))
    plain = RequestSpec(method="GET", authority="localhost", path="/", scheme="https", protocol=Protocol.H2)
    call = RequestSpec(
        method="POST", authority="localhost", path=f"/{HEALTH}", scheme="https", protocol=Protocol.GRPC, body=frame(b"")
    )
    return shown(plain, call, address, tls, lambda: patience(longest_s))


@contextmanager
def scripted(certificates: Certificates, step: Step) -> Iterator[Address]:
    with Server(speaks(step), tls=certificates.server("localhost")) as server:
        yield server.address


def meets(plain: Fields | None, call: Fields = (), message: bytes = b"", trailers: Fields = ()) -> Step:
    """Answers a request for a page with these fields, or a reset, and a call with those."""

    def act(server: Http2, stream: int) -> None:
        if server.heads[stream][b":method"] == b"POST":
            server.answer_with(stream, call, message, trailers)
        elif plain is None:
            server.send(frames.reset(stream, 2))
        else:
            server.answer_with(stream, plain, b"", ())

    return each(act)


def status(code: bytes, *fields: tuple[bytes, bytes]) -> Fields:
    return ((b":status", code), *fields)


SERVES = (status(b"200", GRPC), frame(b"\x08\x01"), ((b"grpc-status", b"0"),))


# Servers that others wrote


def test_grpcio(certificates: Certificates, tmp_path: Path) -> None:
    """It resets what is no call."""
    files = certificates.server_files("localhost", tmp_path)
    with serving(unary("grpc.health.v1.Health", Check=lambda request, context: b"\x08\x01"), certificate=files) as port:
        assert found(Address("127.0.0.1", port)) == "reset a plain request and answered a call as gRPC does"


def test_grpcio_without_a_health_check(certificates: Certificates, tmp_path: Path) -> None:
    with serving(certificate=certificates.server_files("localhost", tmp_path)) as port:
        assert found(Address("127.0.0.1", port)) == "reset a plain request and answered a call as gRPC does"


def test_grpc_go(certificates: Certificates, tmp_path: Path) -> None:
    """It answers what is no call with an error of its own."""
    with grpc_go(tmp_path, certificate=certificates.server_files("localhost", tmp_path)) as address:
        assert found(address) == "answered a plain request with content-type application/grpc"


def test_servers_of_pages(certificates: Certificates, tmp_path: Path) -> None:
    files = certificates.server_files("localhost", tmp_path)
    with node(tmp_path, certificate=files) as address:
        assert found(address) is None
    with nginx(tmp_path, certificate=files) as address:
        assert found(address) is None


# What others are known to do


@pytest.mark.parametrize(
    ("step", "did"),
    [
        (
            meets(
                status(b"405", (b"content-type", b"text/plain; charset=utf-8"), (b"grpc-status", b"13")),
                status(b"200", GRPC, OTHER, (b"grpc-message", b"Method not found")),
            ),
            "answered a plain request with status 405 and answered a call as gRPC does",
        ),
        (meets(status(b"415"), *SERVES), "answered a plain request with status 415 and answered a call as gRPC does"),
        (meets(status(b"502", PAGE), *SERVES), "answered a plain request with status 502 and answered a call as gRPC does"),
        (meets(status(b"200", GRPC, OTHER)), "answered a plain request with content-type application/grpc"),
        (
            meets(status(b"415", (b"content-type", b"application/grpc+proto"))),
            "answered a plain request with content-type application/grpc+proto",
        ),
    ],
    ids=["Java", "Node", "nginx before it", "Rust", "with a suffix"],
)
def test_other_servers_of_grpc(certificates: Certificates, step: Step, did: str) -> None:
    with scripted(certificates, step) as address:
        assert found(address) == did


UPSTREAM = (b"grpc-message", b"upstream connect error or disconnect/reset before headers")


@pytest.mark.parametrize(
    "step",
    [
        meets(status(b"200", PAGE), *SERVES),
        meets(status(b"404", PAGE), *SERVES),
        meets(status(b"401", PAGE), *SERVES),
        meets(status(b"200", (b"content-type", b"application/json"), (b"grpc-status", b"0")), *SERVES),
        meets(status(b"200", (b"content-type", b"application/grpc-web+proto")), *SERVES),
        meets(None, status(b"200", PAGE)),
        meets(None, status(b"405", PAGE)),
        meets(status(b"405", PAGE), status(b"404", PAGE)),
        meets(status(b"405", PAGE), status(b"200", PAGE, (b"grpc-status", b"0"))),
        meets(status(b"405", PAGE), status(b"200", GRPC)),
        meets(status(b"405", PAGE), status(b"200", GRPC, OTHER)),
        meets(status(b"503", PAGE), status(b"200", GRPC, (b"grpc-status", b"14"), UPSTREAM)),
        each(lambda server, stream: server.send(frames.reset(stream, 2))),
    ],
    ids=[
        "a page, whoever takes calls too",
        "no such page",
        "a page for those who log in",
        "JSON made of a call",
        "gRPC-Web",
        "a page that breaks",
        "pages that break",
        "no GET, no call",
        "a page that names a status",
        "no status",
        "a proxy's own words: no route",
        "a proxy's own words: nobody behind it",
        "resets everything",
    ],
)
def test_servers_of_pages_are_none_of_grpc(certificates: Certificates, step: Step) -> None:
    with scripted(certificates, step) as address:
        assert found(address) is None


def test_a_server_that_says_nothing_shows_nothing(certificates: Certificates) -> None:
    with scripted(certificates, Http2.until_left) as address:
        assert found(address, 0.3) is None
    with refusing() as address:
        assert found(address) is None


# TLS where nobody said so


def test_a_server_of_tls_is_known_whoever_it_is(certificates: Certificates) -> None:
    for context in (certificates.server("other.test"), certificates.server(trusted=False), certificates.server(expired=True)):
        with Server(steady(), tls=context) as server:
            assert speaks_tls(server.address, "localhost", patience())


def test_a_server_of_tls_that_refuses_this_client_is_one() -> None:
    """It names no protocol that it would take: a fatal alert, handshake_failure."""
    alert = bytes((21, 3, 3, 0, 2, 2, 40))

    def refuses(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.sock.sendall(alert)

    with Server(refuses) as server:
        assert speaks_tls(server.address, "localhost", patience())


def test_other_servers_speak_no_tls(tmp_path: Path) -> None:
    def answers(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.sock.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")

    with Server(answers) as server:
        assert not speaks_tls(server.address, "localhost", patience())
    with Server(lambda peer: None) as server:
        assert not speaks_tls(server.address, "localhost", patience())
    with Server(hang) as server:
        assert not speaks_tls(server.address, "localhost", patience(0.3))
    with serving() as port:
        assert not speaks_tls(Address("127.0.0.1", port), "localhost", patience())
    with refusing() as address:
        assert not speaks_tls(address, "localhost", patience())
