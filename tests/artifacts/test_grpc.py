"""The texts for gRPC in Python and Node, run against servers of grpcio; those for Go and Java are compiled beside their kin."""

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbalance.analysis.artifacts import Setting
from tests.artifacts.conftest import run, text, tool
from tests.artifacts.settings import WEB
from tests.needs import unmet

grpc: Any = importlib.import_module("grpc") if importlib.util.find_spec("grpc") else None

METHOD = "/test.Who/Answers"
CALLS = 30
NODE = """
const { target, credentials, options } = require('./round_robin.js')
const grpc = require('@grpc/grpc-js')
const client = new grpc.Client(process.argv[2], credentials, options)
const call = () => new Promise((resolve, reject) => client.makeUnaryRequest(
  '/test.Who/Answers', v => v, v => v.toString(), Buffer.alloc(0), (error, answer) => error ? reject(error) : resolve(answer)))
async function main () {
  console.log(target)
  await new Promise((resolve, reject) => client.waitForReady(Date.now() + 10000, error => error ? reject(error) : resolve()))
  const seen = new Set()
  while (seen.size < 3) seen.add(await call())
  for (let i = 0; i < 30; i++) console.log(await call())
  client.close()
}
main()
"""


def _server(name: str, address: str, options: Sequence[tuple[str, Any]] = ()) -> tuple[Any, int]:
    """A server that answers every call with its name and the client's address."""
    server = grpc.server(ThreadPoolExecutor(2), options=list(options))

    def answer(request: bytes, context: Any) -> bytes:
        return f"{name} {context.peer()}".encode() if options else name.encode()

    handlers = {"Answers": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", handlers),))
    port = server.add_insecure_port(address)
    server.start()
    return server, port


def _stop(server: Any) -> None:
    server.stop(None).wait()


@pytest.fixture
def endpoints() -> Iterator[str]:
    """Three servers, as a target that lists their addresses."""
    if grpc is None:
        unmet("the package grpcio")
    with ExitStack() as stack:
        addresses = []
        for i in range(1, 4):
            server, port = _server(f"pod-{i}", f"127.0.1.{i}:0")
            stack.callback(_stop, server)
            addresses.append(f"127.0.1.{i}:{port}")
        yield f"ipv4:{','.join(addresses)}"


def executed(fix: str, name: str, setting: Setting) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(text(fix, name, setting), name, "exec"), space)
    return space


def test_a_python_channel_takes_the_endpoints_in_turn(endpoints: str) -> None:
    space = executed("client-side-balancing", "round_robin.py", WEB)
    space["channel"].close()
    assert space["TARGET"] == "dns:///web-headless.shop.svc.cluster.local:8080"

    with grpc.insecure_channel(endpoints, options=space["OPTIONS"]) as channel:
        call = channel.unary_unary(METHOD)
        seen: set[bytes] = set()
        while len(seen) < 3:
            seen.add(call(b"", timeout=10))
        answers = [call(b"", timeout=10) for _ in range(CALLS)]

    assert sorted(answers.count(name) for name in seen) == [10, 10, 10]


def test_a_python_channel_is_secure_for_https() -> None:
    if grpc is None:
        unmet("the package grpcio")
    space = executed("client-side-balancing", "round_robin.py", replace(WEB, scheme="https"))

    space["channel"].close()
    assert ("grpc.default_authority", "web.shop.svc.cluster.local:80") in space["OPTIONS"]


def test_a_python_server_ends_connections_and_no_call_fails() -> None:
    if grpc is None:
        unmet("the package grpcio")
    space = executed("shorter-lifetime", "max_age.py", replace(WEB, lifetime_s=0.3))
    space["server"].stop(None).wait()
    server, port = _server("pod-1", "127.0.1.1:0", space["OPTIONS"])

    peers: list[bytes] = []
    with grpc.insecure_channel(f"127.0.1.1:{port}") as channel:
        call = channel.unary_unary(METHOD)
        for _ in range(20_000):
            peers.append(call(b"", timeout=10))
            if len(set(peers)) == 3:
                break
    server.stop(None).wait()

    assert len(set(peers)) == 3


@pytest.fixture(scope="session")
def grpc_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = tool("npm")
    folder = tmp_path_factory.mktemp("grpc-js")
    run(npm, "install", "--no-audit", "--no-fund", "--prefix", folder, "@grpc/grpc-js@1")
    return folder


def test_a_node_client_takes_the_endpoints_in_turn(endpoints: str, grpc_js: Path, tmp_path: Path) -> None:
    (tmp_path / "round_robin.js").write_text(text("client-side-balancing", "round_robin.js", WEB))
    (tmp_path / "main.js").write_text(NODE)

    target, *answers = run(tool("node"), tmp_path / "main.js", endpoints, NODE_PATH=str(grpc_js / "node_modules")).splitlines()

    assert target == "dns:///web-headless.shop.svc.cluster.local:8080"
    assert sorted(answers.count(f"pod-{i}") for i in range(1, 4)) == [10, 10, 10]
