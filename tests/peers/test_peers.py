"""Each server answers a client that others wrote, as a server of its kind does."""

import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import httpx
import pytest

from kbalance.model.target import Address
from tests.artifacts.conftest import run, tool

from .calls import CHECK, ECHO, INFO, SERVING, caller, pairs
from .envoy import envoy
from .go import go
from .grpcio import grpcio
from .nghttpd import nghttpd
from .nginx import nginx
from .node import node
from .running import free, listening, printing

Server = Callable[..., AbstractContextManager[Address]]


def http2(address: Address) -> httpx.Client:
    return httpx.Client(http1=False, http2=True, base_url=f"http://{address}", trust_env=False)


def nghttp(address: Address, requests: int = 1) -> str:
    """What nghttp2's client says of frames."""
    return run(tool("nghttp"), "-nv", "-m", str(requests), f"http://{address}/")


@pytest.mark.parametrize("server", [go, nghttpd, nginx, node])
def test_a_server_says_its_name_over_http_2(server: Server, tmp_path: Path) -> None:
    with server(tmp_path, name="pod-7", ip="127.0.1.7") as address, http2(address) as client:
        answers = [client.get("/hostname") for _ in range(3)]

    assert address.ip == "127.0.1.7"
    assert [(answer.http_version, answer.status_code, answer.text) for answer in answers] == [("HTTP/2", 200, "pod-7")] * 3
    assert {answer.headers.get("x-pod-name") for answer in answers} == {None if server is nghttpd else "pod-7"}
    with pytest.raises(httpx.ConnectError), http2(address) as client:
        client.get("/")


@pytest.mark.parametrize("server", [go, nghttpd, nginx, node, grpcio, envoy])
def test_a_server_limits_the_streams_of_a_connection(server: Server, tmp_path: Path) -> None:
    with ExitStack() as stack:
        some: list[Sequence[Address]] = [[stack.enter_context(nghttpd(tmp_path))]] if server is envoy else []
        names = {} if server is not grpcio else {"max_concurrent_streams": 7}
        address = stack.enter_context(server(tmp_path, *some, **(names or {"max_streams": 7})))
        _, _, settings = nghttp(address).partition("recv SETTINGS frame")
    assert "[SETTINGS_MAX_CONCURRENT_STREAMS(0x03):7]" in settings


def test_nginx_ends_a_connection_after_its_requests(tmp_path: Path) -> None:
    with nginx(tmp_path, keepalive_requests=2) as address:
        said = nghttp(address, 6)
    assert "recv GOAWAY frame" in said
    assert said.count(":status: 200") == 2


@pytest.mark.parametrize(("initial", "trailing"), [(True, False), (False, True)])
def test_grpcio_says_its_name_in_metadata(tmp_path: Path, initial: bool, trailing: bool) -> None:
    with grpcio(tmp_path, name="pod-7", ip="127.0.1.7", initial=initial, trailing=trailing) as address, caller(address) as calls:
        said, call = calls.call(CHECK)
        echoed, _ = calls.call(ECHO, b"\x0a\x01x")
        unknown = calls.fail(INFO)

    assert (address.ip, said, echoed) == ("127.0.1.7", SERVING, b"\x0a\x01x")
    assert pairs(call.initial_metadata()).get("x-pod-name") == ("pod-7" if initial else None)
    assert pairs(call.trailing_metadata()).get("x-pod-name") == ("pod-7" if trailing else None)
    assert unknown.code().name == "UNIMPLEMENTED"


def test_grpcio_asks_clients_to_leave_and_cancels_at_the_end_of_its_grace(tmp_path: Path) -> None:
    with (
        grpcio(tmp_path, max_connection_age_ms=50, max_connection_age_grace_ms=50, delay_ms=60_000) as address,
        caller(address, enable_retries=0) as calls,
    ):
        error = calls.fail()
    assert error.code().name == "UNAVAILABLE"


def names_of_six_calls(address: Address) -> list[str]:
    with caller(address) as calls:
        return [pairs(calls.call()[1].initial_metadata())["x-pod-name"] for _ in range(6)]


def test_envoy_deals_with_each_call_or_with_each_connection(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstreams = [stack.enter_context(grpcio(tmp_path, name=f"pod-{number}")) for number in (1, 2, 3)]
        calls, connections = (stack.enter_context(envoy(tmp_path, upstreams, mode=mode)) for mode in ("http", "tcp"))
        by_call = names_of_six_calls(calls)
        by_connection = [names_of_six_calls(connections) for _ in range(3)]

    assert [by_call.count(f"pod-{number}") for number in (1, 2, 3)] == [2, 2, 2]
    assert sorted(by_connection) == [["pod-1"] * 6, ["pod-2"] * 6, ["pod-3"] * 6]


def test_envoy_ends_connections_as_told(tmp_path: Path) -> None:
    with nghttpd(tmp_path) as upstream, envoy(tmp_path, [upstream], max_requests_per_connection=2) as address:
        assert "recv GOAWAY frame" in nghttp(address, 6)


def test_a_program_that_ends_is_quoted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('not today')"]
    with pytest.raises(AssertionError, match="not today"), listening(command, tmp_path, free()):
        pass
    with pytest.raises(AssertionError, match="not today"), printing(command, tmp_path):
        pass


def test_a_server_ends_with_its_context(tmp_path: Path) -> None:
    with nginx(tmp_path) as address:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
