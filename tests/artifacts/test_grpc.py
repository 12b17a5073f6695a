"""The texts for gRPC in Python and Node, run against servers of grpcio; those for Go and Java are compiled beside their kin."""

import asyncio
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kbalance.analysis.artifacts import Setting
from kbalance.balancing import StaticEndpoints
from tests.artifacts.conftest import PATH, run, text, tool
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
NODE_SERVER = """
const { options } = require('./max_age.js')
const grpc = require('@grpc/grpc-js')
const server = new grpc.Server(options)
const bytes = { requestSerialize: v => v, requestDeserialize: v => v, responseSerialize: v => v, responseDeserialize: v => v }
const method = { path: '/test.Who/Answers', requestStream: false, responseStream: false, ...bytes }
server.addService({ Answers: method }, { Answers: (call, done) => done(null, Buffer.from(call.getPeer())) })
server.bindAsync('127.0.1.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => console.log(port))
process.stdin.on('end', () => process.exit()).resume()
"""
XDS = """
import grpc
channel = grpc.insecure_channel("xds:///web.shop.svc.cluster.local:80")
try:
    channel.unary_unary("/test.Who/Answers")(b"", timeout=60)
except grpc.RpcError as error:
    print(error.details())
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


def test_a_python_server_says_which_pod_it_is_beside_what_its_handlers_say(monkeypatch: pytest.MonkeyPatch) -> None:
    if grpc is None:
        unmet("the package grpcio")
    monkeypatch.setenv("POD_NAME", "web-1")
    space = executed("tell-who-answers", "pod_name_grpc.py", WEB)

    def answer(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("mine", "1"),))
        if request == b"fail":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        return b"ok"

    server = grpc.server(ThreadPoolExecutor(2), interceptors=[space["PodName"]()])
    handlers = {"Answers": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", handlers),))
    port = server.add_insecure_port("127.0.1.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.1.1:{port}") as channel:
        said, call = channel.unary_unary(METHOD).with_call(b"", timeout=10)
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary(METHOD)(b"fail", timeout=10)
        with pytest.raises(grpc.RpcError) as unknown:
            channel.unary_unary("/test.Who/Nobody")(b"", timeout=10)
    server.stop(None).wait()

    assert (said, dict(call.trailing_metadata())) == (b"ok", {"mine": "1", "x-pod-name": "web-1"})
    assert dict(failed.value.trailing_metadata()) == {"mine": "1", "x-pod-name": "web-1"}
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


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


def _balanced(space: dict[str, Any], servers: Sequence[tuple[Any, int]], first: int) -> tuple[StaticEndpoints, list[Any]]:
    """A list of so many of these servers, and all of their addresses."""
    addresses = [(f"127.0.1.{i}", port) for i, (_, port) in enumerate(servers, 1)]
    return StaticEndpoints({space["HOST"]: addresses[:first]}), addresses


@pytest.fixture
def servers() -> Iterator[list[tuple[Any, int]]]:
    """Three of them, each with its port."""
    if grpc is None:
        unmet("the package grpcio")
    with ExitStack() as stack:
        made = [_server(f"pod-{i}", f"127.0.1.{i}:0") for i in range(1, 4)]
        for server, _ in made:
            stack.callback(_stop, server)
        yield made


async def _until(call: Any, names: set[bytes]) -> None:
    """Calls until all of these have answered, and then none of the others does."""
    seen: set[bytes] = set()
    while not names <= seen:
        seen.add(await call(b"", timeout=10))


def test_a_channel_by_addresses_takes_them_in_turn_and_follows_the_list(servers: list[tuple[Any, int]]) -> None:
    space = executed("client-side-balancing", "kbalance_grpc_aio.py", WEB)
    source, addresses = _balanced(space, servers, 2)

    async def main() -> tuple[list[bytes], list[bytes]]:
        async with space["Balanced"](source) as channel:
            call = channel.unary_unary(METHOD)
            await _until(call, {b"pod-1", b"pod-2"})
            before = [await call(b"", timeout=10) for _ in range(CALLS)]
            # One leaves and one comes; the stub stays the same.
            source.update(space["HOST"], addresses[1:])
            await _until(call, {b"pod-3"})
            await _until(call, {b"pod-2"})
            return before, [await call(b"", timeout=10) for _ in range(CALLS)]

    before, after = asyncio.run(main())

    assert {name: before.count(name) for name in set(before)} == {b"pod-1": 15, b"pod-2": 15}
    assert {name: after.count(name) for name in set(after)} == {b"pod-2": 15, b"pod-3": 15}


@pytest.mark.parametrize("kind", ["unary_unary", "stream_stream"])
def test_a_call_under_way_outlives_its_channel(kind: str) -> None:
    """Its endpoint leaves the list, its channel is replaced, and only then does it end."""
    if grpc is None:
        unmet("the package grpcio")
    space = executed("client-side-balancing", "kbalance_grpc_aio.py", WEB)

    async def main() -> tuple[list[bytes], bytes, int]:
        go = asyncio.Event()

        async def unary(name: bytes, request: bytes, context: Any) -> bytes:
            if request == b"wait":
                await go.wait()
            return name

        async def stream(name: bytes, requests: Any, context: Any) -> Any:
            async for request in requests:
                yield await unary(name, request, context)

        started = []
        for i in (1, 2):
            server = grpc.aio.server()
            name = f"pod-{i}".encode()
            handlers = {
                "Answers": grpc.unary_unary_rpc_method_handler(partial(unary, name)),
                "Streams": grpc.stream_stream_rpc_method_handler(partial(stream, name)),
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", handlers),))
            started.append((server, server.add_insecure_port(f"127.0.1.{i}:0")))
            await server.start()
        source, addresses = _balanced(space, started, 1)
        async with space["Balanced"](source) as channel:
            if kind == "unary_unary":
                waiting = channel.unary_unary(METHOD)(b"wait", timeout=30)
                answer = asyncio.ensure_future(_awaited(waiting))
            else:
                waiting = channel.stream_stream("/test.Who/Streams")(iter([b"", b"wait"]), timeout=30)
                assert await waiting.read() == b"pod-1"
                answer = asyncio.ensure_future(waiting.read())
            await asyncio.sleep(0)
            source.update(space["HOST"], addresses[1:])
            other = channel.unary_unary(METHOD)
            while await other(b"", timeout=10) != b"pod-2":
                pass
            retired = len(channel._retired)
            go.set()
            late = await answer
            if kind == "stream_stream":
                assert await waiting.read() is grpc.aio.EOF
            while channel._retired:
                await asyncio.sleep(0)
            new = [await other(b"", timeout=10) for _ in range(3)]
        for server, _ in started:
            await server.stop(None)
        return new, late, retired

    assert asyncio.run(main()) == ([b"pod-2"] * 3, b"pod-1", 1)


async def _awaited(call: Any) -> Any:
    return await call


def test_the_recipe_of_the_documentation_is_the_text() -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "balancing-grpc-aio.py"
    checkout = Setting(service="checkout", namespace="shop", port=80, endpoint_port=9000, grpc=True, http2=True)

    assert page.read_text(encoding="utf-8") == text("client-side-balancing", "kbalance_grpc_aio.py", checkout)


def test_a_channel_by_addresses_waits_for_the_first_list_and_says_when_there_is_none() -> None:
    if grpc is None:
        unmet("the package grpcio")
    space = executed("client-side-balancing", "kbalance_grpc_aio.py", WEB)

    async def main() -> None:
        async with space["Balanced"](StaticEndpoints({space["HOST"]: []}), first_s=0.05):
            pass

    with pytest.raises(TimeoutError, match=r"the endpoints of web\.shop\.svc\.cluster\.local are not known after 0\.05 s"):
        asyncio.run(main())


def test_the_list_is_of_one_family() -> None:
    if grpc is None:
        unmet("the package grpcio")
    space = executed("client-side-balancing", "kbalance_grpc_aio.py", replace(WEB, scheme="https"))
    target, known = space["_target"], space["Known"]
    endpoints = StaticEndpoints({"h": [("198.51.100.2", 9000), ("198.51.100.1", 9000), ("2001:db8::1", 9000)]}).known("h")

    assert target(endpoints) == "ipv4:198.51.100.1:9000,198.51.100.2:9000"
    assert target(known(endpoints=endpoints.endpoints[2:])) == "ipv6:[2001:db8::1]:9000"
    assert target(known(endpoints=())) is None


def test_a_node_server_ends_connections_and_no_call_fails(grpc_js: Path, tmp_path: Path) -> None:
    if grpc is None:
        unmet("the package grpcio")
    (tmp_path / "max_age.js").write_text(text("shorter-lifetime", "max_age.js", replace(WEB, lifetime_s=0.3)))
    (tmp_path / "main.js").write_text(NODE_SERVER)
    command = [tool("node"), str(tmp_path / "main.js")]
    environment = {"NODE_PATH": str(grpc_js / "node_modules"), "PATH": PATH}
    peers: set[bytes] = set()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as node:
        assert node.stdout is not None
        port = int(node.stdout.readline())
        with grpc.insecure_channel(f"127.0.1.1:{port}") as channel:
            call = channel.unary_unary(METHOD)
            for _ in range(20_000):
                peers.add(call(b"", timeout=10))
                if len(peers) == 3:
                    break
        node.communicate()

    assert len(peers) == 3


def test_grpc_reads_the_bootstrap_and_looks_for_the_control_plane(tmp_path: Path) -> None:
    """Nobody is there; a file that it could not read would be told at once."""
    if grpc is None:
        unmet("the package grpcio")
    (tmp_path / "xds-bootstrap.sh").write_text(text("meshed-client", "xds-bootstrap.sh", replace(WEB, grpc=True)))
    (tmp_path / "main.py").write_text(XDS)
    named = "XDS_SERVER=127.0.1.99:1 XDS_NODE=client-1"
    command = f"export {named}; . ./xds-bootstrap.sh && exec {sys.executable} main.py"

    said = run("bash", "-ec", command, cwd=tmp_path)
    (tmp_path / "xds-bootstrap.sh").write_text('export GRPC_XDS_BOOTSTRAP="$PWD/main.py"\n')
    wrong = run("bash", "-ec", command, cwd=tmp_path)

    written = json.loads((tmp_path / "xds-bootstrap.json").read_text())
    assert (written["xds_servers"][0]["server_uri"], written["node"]["id"]) == ("127.0.1.99:1", "client-1")
    assert "127.0.1.99:1" in said
    assert "JSON" in wrong
