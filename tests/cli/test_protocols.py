"""``kbalance`` with servers of HTTP/2 and gRPC: what is spoken and why, and what is said where that does not work."""

import importlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kbalance.render.json import schema
from kbalance.testbed.cluster import Cluster
from tests.cli.conftest import endpoint_options, kbalance
from tests.peers.go import go
from tests.peers.grpc_go import grpc_go
from tests.peers.grpcio import grpcio
from tests.peers.nginx import nginx
from tests.peers.node import node
from tests.traffic.servers import Server, answer, steady
from tests.wire.certificates import Certificates
from tests.wire.grpc_calls import grpc, serving, unary
from tests.wire.schemas import by_google, pool_of

reflection: Any = importlib.import_module("grpc_reflection.v1alpha.reflection")

QUICK = ("--rate", "0", "--seed", "7", "-o", "json")
SETTLED = ("--profile", "single", "--profile", "pooled", "--profile", "stock", "--profile", "per-endpoint", "--requests", "60")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three pods of gRPC behind an L4 balancer."""
    with Cluster.start("grpc") as started:
        yield started


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def opened(report: dict[str, object]) -> dict[str, tuple[int, int]]:
    """Of each profile, connections, and streams on one of them at most."""
    rows = report["profiles"]
    assert isinstance(rows, list)
    return {row["profile"]: (row["connections"]["opened"], row["connections"]["streams_max"]) for row in rows}


@pytest.mark.parametrize("protocol", ["grpc", "h2c"])
def test_profiles_open_what_they_stand_for(cluster: Cluster, protocol: str) -> None:
    arguments = (f"http://{cluster.service}", *endpoint_options(cluster), "--protocol", protocol, *QUICK, *SETTLED)
    report = kbalance("probe", *arguments).report

    jsonschema.validate(report, schema())
    assert (report["protocol"], report["protocol_because"]) == (protocol, "--protocol says so")
    assert {row["protocol"] for row in report["profiles"]} == {protocol}
    assert {row["profile"]: row["requests"]["failed"] for row in report["profiles"]} == dict.fromkeys(opened(report), 0)
    counts = opened(report)
    assert {name: connections for name, (connections, _) in counts.items()} == {
        "single": 1,
        "pooled": 10,
        "stock": 1,
        "per-endpoint": 3,
    }
    assert counts["single"][1] == counts["stock"][1] == 4


def test_the_default_concurrency_does_not_draw_short_lived_connections_together(cluster: Cluster) -> None:
    """Its connections are draws: one request each, whatever the protocol could do."""
    arguments = (f"http://{cluster.service}", *endpoint_options(cluster), "--protocol", "grpc", *QUICK)
    (row,) = kbalance("probe", *arguments, "--profile", "short-lived", "--requests", "60", "--no-early-stop").report["profiles"]

    assert row["connections"]["opened"] == row["requests"]["answered"] == 60
    assert row["connections"]["streams_max"] == 1


def test_a_service_whose_port_says_grpc_is_called_so() -> None:
    report = kbalance("demo", "grpc", "--seed", "3", "-o", "json").report

    assert (report["protocol"], report["protocol_because"]) == ("grpc", "the Service's port has appProtocol grpc")
    assert report["diagnosis"]["cause"] == "http2-multiplexing"


def test_calls_that_meet_a_drain_are_not_failures() -> None:
    """At a rate at which connections reach the age at which the pods of the scenario ask clients to leave."""
    arguments = ("--seed", "3", "--rate", "150", "--profile", "pooled", "--requests", "450", "-o", "json")
    ended = kbalance("demo", "grpc-max-age", *arguments)

    (row,) = ended.report["profiles"]
    assert (row["requests"]["answered"], row["requests"]["failed"]) == (450, 0)
    assert row["connections"]["closed_by_server"] >= 10
    assert row["connections"]["opened"] >= 20


def test_a_port_that_says_nothing_is_spoken_to_in_http_1(cluster: Cluster) -> None:
    report = kbalance("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK, "--requests", "20").report

    assert (report["protocol"], report["protocol_because"]) == ("http1", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--protocol", "h2"), "--protocol h2 is HTTP/2 over TLS, and http://ADDRESS has none: give h2c."),
        (
            ("--protocol", "h2c", "--grpc-method", "a.B/C"),
            "--grpc-method is about a call of gRPC, and --protocol h2c was asked",
        ),
        (("--grpc-method", "Check"), "'Check' does not name a gRPC method; write it as PACKAGE.SERVICE/METHOD, like"),
        (("--grpc-method", ""), "'' does not name a gRPC method"),
        (("--path", "/a.B/C", "--grpc-method", "a.B/D"), "/a.B/C and --grpc-method a.B/D both name a method; give one of them."),
        (("--protocol", "grpc", "--method", "POST"), "A call of gRPC has neither --method nor --body"),
        (("--grpc-method", "a.B/C"), "The server has no service a.B (UNIMPLEMENTED: unknown service a.B); check the name given"),
        (
            ("--grpc-method", "grpc.health.v1.Health/Wrong"),
            "The server's service grpc.health.v1.Health has no method Wrong (UNIMPLEMENTED: unknown method Wrong for service",
        ),
        (("--grpc-data", "{"), "--grpc-data is neither JSON nor hex:BYTES"),
        (("--grpc-data", "hex:0"), "--grpc-data 'hex:0' is not hexadecimal"),
    ],
)
def test_what_cannot_be_asked_is_a_mistake_in_usage(cluster: Cluster, arguments: tuple[str, ...], words: str) -> None:
    ended = kbalance("probe", f"http://{cluster.service}", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"kbalance: {words.replace('ADDRESS', str(cluster.service))}")
    assert ended.err.count("\n") == 1


def test_json_needs_a_server_that_tells_of_its_messages(cluster: Cluster) -> None:
    ended = kbalance("probe", f"http://{cluster.service}", "--grpc-method", "echo.EchoService/Echo", "--grpc-data", "{}")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "kbalance: The server offers no reflection, so JSON cannot be encoded for it; give --grpc-data as hex:BYTES.\n"
    )


def test_json_is_encoded_for_a_server_that_tells_of_its_messages() -> None:
    seen: set[bytes] = set()

    def get(request: bytes, context: object) -> bytes:
        seen.add(request)
        return b""

    def tell(server: object) -> None:
        reflection.enable_server_reflection(("test.v1.Shop", reflection.SERVICE_NAME), server, pool=pool_of("proto3"))

    text = '{"aString": "x", "aColor": "RED"}'
    with serving(unary("test.v1.Shop", Get=get), tell) as port:
        arguments = ("--grpc-method", "test.v1.Shop/Get", "--grpc-data", text, "--requests", "10", *QUICK)
        report = kbalance("probe", f"http://127.0.0.1:{port}", *arguments).report

    assert report["protocol_because"] == "--grpc-method is about a call of gRPC"
    expected = by_google("proto3", "test.v1.Everything", text)
    assert [type(expected).FromString(message) for message in seen] == [expected]


@pytest.mark.parametrize("protocol", ["h2c", "grpc"])
def test_a_server_of_http_1_is_told_in_a_sentence(protocol: str) -> None:
    with Server(steady(answer(status=b"400 Bad Request", close=True))) as server:
        ended = kbalance("probe", f"http://{server.address}/", "--protocol", protocol)

    assert (ended.code, ended.out) == (3, "")
    assert "malformed (not HTTP/2: 'HTTP/1.1 400 Bad Request'; give --protocol http1)" in ended.err
    assert ended.err.count("\n") == 1


def test_endpoints_that_speak_no_http_2_give_no_verdict() -> None:
    with Server(steady()) as server:
        options = ("--endpoint", f"a={server.address}", "--protocol", "h2c", *QUICK)
        ended = kbalance("probe", f"http://{server.address}/", *options)

    assert ended.code == 3
    assert ended.report["diagnosis"]["cause"] == "invalid-measurement"
    assert "not HTTP/2: 'HTTP/1.1 200 OK'" in ended.report["diagnosis"]["summary"]


# TLS


def test_a_server_that_chooses_http_2_is_spoken_to_in_it(certificates: Certificates, tmp_path: Path) -> None:
    with node(tmp_path, certificate=certificates.server_files("localhost", tmp_path)) as address:
        url = f"https://localhost:{address.port}/"
        report = kbalance("probe", url, "--cacert", certificates.cacert, *QUICK, "--requests", "20").report

    assert (report["protocol"], report["protocol_because"]) == ("h2", "the server chose it in the TLS handshake (ALPN)")
    assert [row["requests"]["answered"] for row in report["profiles"]] == [20, 20, 20]
    assert opened(report)["single"] == (1, 4)


@pytest.mark.parametrize("protocols", [["http/1.1"], ["spdy/3"]])
def test_a_server_that_does_not_choose_it_is_spoken_to_in_http_1(certificates: Certificates, protocols: list[str]) -> None:
    context = certificates.server()
    context.set_alpn_protocols(protocols)
    with Server(steady(answer(headers=(b"X-Pod-Name: pod-1",))), tls=context) as server:
        report = kbalance(
            "probe", f"https://{server.address}/", "--cacert", certificates.cacert, *QUICK, "--requests", "20"
        ).report

    assert (report["protocol"], report["protocol_because"]) == ("http1", "")
    assert [row["requests"]["failed"] for row in report["profiles"]] == [0, 0, 0]


def test_a_tls_server_without_http_2_that_is_to_speak_it_is_told(certificates: Certificates) -> None:
    context = certificates.server()
    context.set_alpn_protocols(["http/1.1"])
    with Server(steady(), tls=context) as server:
        ended = kbalance("probe", f"https://{server.address}/", "--cacert", certificates.cacert, "--protocol", "h2")

    assert (ended.code, ended.out) == (3, "")
    assert (
        "tls (no HTTP/2 here: the server does not choose a protocol in the TLS handshake (ALPN); give --protocol http1)"
        in ended.err
    )


def test_a_server_that_takes_no_tls_is_told(tmp_path: Path) -> None:
    with nginx(tmp_path, http2=False) as address:
        ended = kbalance("probe", f"https://{address}/page")

    assert (ended.code, ended.out) == (3, "")
    assert f"{address}: tls (the answer is not TLS; give http:// where it is meant to be without)" in ended.err


def test_a_certificate_that_nobody_trusts_is_told(certificates: Certificates, tmp_path: Path) -> None:
    with nginx(tmp_path, certificate=certificates.server_files("localhost", tmp_path)) as address:
        ended = kbalance("probe", f"https://localhost:{address.port}/page")

    assert (ended.code, ended.out) == (3, "")
    assert "tls (the certificate is not trusted: unable to get local issuer certificate; give --cacert FILE, or -k)" in ended.err


def test_a_server_of_grpc_over_tls_is_recognised(certificates: Certificates, tmp_path: Path) -> None:
    """Nobody said what it speaks: the report says how that is known, and tells of the call that was made."""
    files = certificates.server_files("localhost", tmp_path)
    with ExitStack() as stack:
        pods = [stack.enter_context(grpcio(tmp_path, name=f"pod-{n}", certificate=files)) for n in (1, 2, 3)]
        named = [part for n, pod in enumerate(pods, 1) for part in ("--endpoint", f"pod-{n}={pod}")]
        url = f"https://localhost:{pods[0].port}"
        report = kbalance("probe", url, *named, "--cacert", certificates.cacert, *QUICK, "--requests", "30").report

    jsonschema.validate(report, schema())
    assert (report["protocol"], report["protocol_because"]) == (
        "grpc",
        "the server, which chose HTTP/2 in the TLS handshake (ALPN), reset a plain request and answered a call as gRPC does",
    )
    assert (report["target"]["path"], report["identity"]["path"]) == ("/grpc.health.v1.Health/Check", None)
    assert report["identity"]["source"] == "header x-pod-name"
    assert {row["protocol"] for row in report["profiles"]} == {"grpc"}
    assert [row["requests"]["failed"] for row in report["profiles"]] == [0, 0, 0, 0]
    direct = next(row for row in report["profiles"] if row["profile"] == "per-endpoint")
    assert {e["name"]: e["requests"] for e in direct["endpoints"]} == {f"pod-{n}": 10 for n in (1, 2, 3)}


def test_a_server_of_grpc_go_over_tls_is_recognised(certificates: Certificates, tmp_path: Path) -> None:
    with grpc_go(tmp_path, certificate=certificates.server_files("localhost", tmp_path)) as address:
        url = f"https://localhost:{address.port}"
        report = kbalance("probe", url, "--cacert", certificates.cacert, *QUICK, "--requests", "20").report

    assert (report["protocol"], report["protocol_because"]) == (
        "grpc",
        "the server, which chose HTTP/2 in the TLS handshake (ALPN), answered a plain request with content-type application/grpc",
    )
    assert [row["requests"]["failed"] for row in report["profiles"]] == [0, 0, 0]


def test_a_page_of_a_server_of_grpc_stays_a_page(certificates: Certificates, tmp_path: Path) -> None:
    with grpc_go(tmp_path, certificate=certificates.server_files("localhost", tmp_path)) as address:
        url = f"https://localhost:{address.port}/page"
        report = kbalance("probe", url, "--cacert", certificates.cacert, *QUICK, "--requests", "20").report

    assert (report["protocol"], report["target"]["path"]) == ("h2", "/page")
    assert "Every answer to the first requests had status 415: is that the page you mean (--path, -H)?" in report["notices"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--protocol", "http1"),
        ("--protocol", "h2c"),
        ("--protocol", "grpc"),
        ("--grpc-method", "shop.Cart/Get"),
        ("--grpc-method", "shop.Cart/Get", "--grpc-data", "{}"),
        ("--endpoint", "a=ADDRESS"),
    ],
    ids=" ".join,
)
def test_tls_that_nobody_spoke_of_is_told_in_a_sentence(
    certificates: Certificates, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with grpcio(tmp_path, certificate=certificates.server_files("localhost", tmp_path)) as address:
        given = [word.replace("ADDRESS", str(address)) for word in arguments]
        ended = kbalance("probe", f"http://localhost:{address.port}", *given)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"kbalance: http://localhost:{address.port} speaks TLS, and was asked without: write https://localhost:{address.port}"
        " (with --cacert FILE, or -k, where the certificate is of no public authority).\n"
    )


def test_a_server_of_pages_that_wants_tls_is_told(certificates: Certificates, tmp_path: Path) -> None:
    """It answers with status 400 and a page that says so."""
    with nginx(tmp_path, certificate=certificates.server_files("localhost", tmp_path)) as address:
        ended = kbalance("probe", f"http://localhost:{address.port}/page")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"kbalance: http://localhost:{address.port} speaks TLS, and was asked without: write https://")


# Streams


def test_a_method_that_streams_is_a_mistake_in_usage(tmp_path: Path) -> None:
    """It is known by reflection, whatever it would answer, and whether or not there is a message."""
    with grpc_go(tmp_path) as address:
        for method, who, data in (
            ("grpc.health.v1.Health/Watch", "server", ()),
            ("grpc.health.v1.Health/Watch", "server", ("--grpc-data", "hex:")),
            ("grpc.health.v1.Health/Watch", "server", ("--grpc-data", "{}")),
            ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "both ways", ()),
        ):
            ended = kbalance("probe", f"http://{address}", "--grpc-method", method, *data)

            assert (ended.code, ended.out) == (2, "")
            assert ended.err == (
                f"kbalance: {method} streams ({who}); kbalance makes unary calls only: name another with --grpc-method.\n"
            )


@pytest.mark.parametrize("endpoint", [False, True])
def test_a_stream_without_end_is_no_riddle(endpoint: bool) -> None:
    """Of a server without reflection; also where the endpoints are known and would each be measured."""

    def watch(request: bytes, context: Any) -> Iterator[bytes]:
        gone = threading.Event()
        context.add_callback(gone.set)
        yield b"\x08\x01"
        gone.wait(60)

    def register(server: Any) -> None:
        handlers = {"Watch": grpc.unary_stream_rpc_method_handler(watch)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Cart", handlers),))

    with serving(register) as port:
        known = ("--endpoint", f"a=127.0.0.1:{port}") if endpoint else ()
        ended = kbalance("probe", f"http://127.0.0.1:{port}/shop.Cart/Watch", "--protocol", "grpc", *known)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "kbalance: shop.Cart/Watch streams (it answered with a message and did not end); kbalance makes unary calls only: name"
        " another with --grpc-method.\n"
    )


# Servers that others wrote


def test_pods_of_grpcio_are_told_apart(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pods = [stack.enter_context(grpcio(tmp_path, name=f"pod-{n}", trailing=True, initial=False)) for n in (1, 2, 3)]
        named = [part for n, pod in enumerate(pods, 1) for part in ("--endpoint", f"pod-{n}={pod}")]
        report = kbalance("probe", f"http://{pods[0]}", *named, "--protocol", "grpc", *QUICK, "--requests", "30").report

    direct = next(row for row in report["profiles"] if row["profile"] == "per-endpoint")
    assert {e["name"]: (e["requests"], e["failed"]) for e in direct["endpoints"]} == {f"pod-{n}": (10, 0) for n in (1, 2, 3)}
    assert all(row["requests"]["failed"] == 0 for row in report["profiles"])


def test_pods_of_go_are_told_apart(tmp_path: Path) -> None:
    with ExitStack() as stack:
        pods = [stack.enter_context(go(tmp_path, name=f"pod-{n}")) for n in (1, 2, 3)]
        named = [part for n, pod in enumerate(pods, 1) for part in ("--endpoint", f"pod-{n}={pod}")]
        report = kbalance("probe", f"http://{pods[0]}", *named, "--protocol", "h2c", *QUICK, "--requests", "30").report

    direct = next(row for row in report["profiles"] if row["profile"] == "per-endpoint")
    assert {e["name"]: (e["requests"], e["failed"]) for e in direct["endpoints"]} == {f"pod-{n}": (10, 0) for n in (1, 2, 3)}
