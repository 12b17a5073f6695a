"""The texts for HTTP/2 without TLS, run against three servers of Node that count connections; Python, Go and Node."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from kbalance.analysis.artifacts import Setting, artifacts
from kbalance.balancing import StaticEndpoints
from tests.artifacts.clients import NOBODY, REQUESTS, TURNS, WORKERS
from tests.artifacts.conftest import run, text, tool
from tests.artifacts.settings import WEB
from tests.artifacts.test_go import BALANCED, IN_TURN, PACKAGES, RETIRED, module
from tests.artifacts.test_python import loaded
from tests.peers.running import printing

Written = Callable[[str, str, Setting], Path]
URL = "http://web.shop.svc.cluster.local/"
SERVERS = """
const http2 = require('node:http2')
const seen = {}
const serve = (i, port, then) => {
  const name = `pod-${i}`
  seen[name] = { connections: 0, requests: 0, authorities: [] }
  const server = http2.createServer()
  server.on('session', () => seen[name].connections++)
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    if (headers[':path'] === '/seen') { stream.respond({ ':status': 200 }); stream.end(JSON.stringify(seen)); return }
    seen[name].requests++
    if (!seen[name].authorities.includes(headers[':authority'])) seen[name].authorities.push(headers[':authority'])
    if (headers[':path'] === '/leave') stream.session.close()
    const answer = () => { stream.respond({ ':status': 200 }); stream.end(name) }
    headers[':path'] === '/slow' ? setTimeout(answer, 150) : answer()
  })
  server.listen(port, `127.0.1.${i}`, () => then(server.address().port))
}
serve(1, 0, port => serve(2, port, () => serve(3, port, () => console.log(port))))
process.stdin.on('end', () => process.exit()).resume()
"""
NODE = """
const { Balancing } = require('./balancing_http2.js')
const lists = JSON.parse(process.argv[2])
let addresses
const client = new Balancing(async () => addresses)
async function main () {
  for (const [list, path, requests] of lists) {
    addresses = list
    await new Promise(resolve => setTimeout(resolve, 50))
    for (let i = 0; i < requests; i++) {
      const { stream } = await client.request({ ':path': path })
      stream.setEncoding('utf8')
      let body = ''
      for await (const part of stream) body += part
      console.log(body)
    }
  }
  client.close()
}
main()
"""


@dataclass
class Servers:
    """At 127.0.1.1 to .3, all on one port."""

    port: int
    addresses: Sequence[str] = ("127.0.1.1", "127.0.1.2", "127.0.1.3")

    @property
    def setting(self) -> Setting:
        return replace(
            WEB,
            grpc=False,
            http2=True,
            http1=False,
            endpoint_port=self.port,
            lifetime_s=0.2,
            refresh_s=30.0,
            connections=5,
        )

    def seen(self) -> dict[str, dict[str, object]]:
        """What each of them saw; asking costs the first a connection."""
        with httpx.Client(transport=httpx.HTTPTransport(http1=False, http2=True)) as client:
            told: dict[str, dict[str, object]] = client.get(f"http://127.0.1.1:{self.port}/seen").json()
        first = told["pod-1"]
        return told | {"pod-1": first | {"connections": int(str(first["connections"])) - 1}}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    (tmp_path / "servers.js").write_text(SERVERS)
    with printing([tool("node"), tmp_path / "servers.js"], tmp_path) as port:
        yield Servers(port)


def balanced(servers: Servers, answers: Sequence[str]) -> None:
    """After `TURNS` requests one after the other: in turn, on one connection to each."""
    counts = [answers.count(f"pod-{i}") for i in (1, 2, 3)]
    assert sum(counts) == len(answers) == TURNS
    assert max(counts) - min(counts) <= 1
    seen = servers.seen()
    assert [one["connections"] for one in seen.values()] == [1, 1, 1]
    assert all(one["authorities"] == ["web.shop.svc.cluster.local"] for one in seen.values())


def test_a_balancing_transport_for_python_takes_the_endpoints_in_turn(servers: Servers, written: Written) -> None:
    chosen = loaded(written("client-side-balancing", "balancing_transport.py", servers.setting))
    addresses = [servers.addresses[0], NOBODY, *servers.addresses[1:]]

    with httpx.Client(transport=chosen.BalancingTransport(lambda: addresses)) as client:
        balanced(servers, [client.get(URL).text for _ in range(TURNS)])


def test_a_balancing_transport_for_asyncio_takes_the_endpoints_in_turn(servers: Servers, written: Written) -> None:
    chosen = loaded(written("client-side-balancing", "balancing_transport_async.py", servers.setting))

    async def resolve() -> list[str]:
        return [servers.addresses[0], NOBODY, *servers.addresses[1:]]

    async def main() -> list[str]:
        async with httpx.AsyncClient(transport=chosen.BalancingTransport(resolve)) as client:
            return [(await client.get(URL)).text for _ in range(TURNS)]

    balanced(servers, asyncio.run(main()))


def test_kbalance_s_own_client_takes_the_endpoints_in_turn(servers: Servers, written: Written) -> None:
    chosen = loaded(written("client-side-balancing", "kbalance_client.py", servers.setting))
    source = StaticEndpoints({chosen.HOST: [(ip, servers.port) for ip in servers.addresses]})

    with chosen.make_client(source) as client:
        balanced(servers, [client.get(URL).text for _ in range(TURNS)])


@pytest.mark.parametrize("name", ["retiring_transport.py", "kbalance_recycling.py"])
def test_connections_of_python_end_and_no_request_fails(servers: Servers, written: Written, name: str) -> None:
    chosen = loaded(written("shorter-lifetime", name, servers.setting))
    make = chosen.make_client if hasattr(chosen, "make_client") else lambda: httpx.Client(transport=chosen.RetiringTransport())

    with make() as client, ThreadPoolExecutor(WORKERS) as pool:
        work = [pool.submit(client.get, f"http://127.0.1.2:{servers.port}/slow") for _ in range(WORKERS * REQUESTS)]
        answers = [one.result().text for one in work]

    assert answers == ["pod-2"] * (WORKERS * REQUESTS)
    assert int(str(servers.seen()["pod-2"]["connections"])) >= 4


def test_clients_of_python_in_turn_open_a_connection_each(servers: Servers, written: Written) -> None:
    setting = replace(servers.setting, namespace=None, service="127.0.1.2", port=servers.port)
    chosen = loaded(written("round-robin-pool", "clients_in_turn.py", setting))

    answers = [chosen.next_client().get("/").text for _ in range(20)]
    for client in chosen.clients:
        client.close()

    assert answers == ["pod-2"] * 20
    assert servers.seen()["pod-2"]["connections"] == 5


@pytest.fixture
def go(tmp_path: Path, servers: Servers) -> Callable[..., list[str]]:
    """Runs a program of the texts for Go, filled in for these servers."""

    def lines(package: str, main: str, *arguments: str) -> list[str]:
        folder = tmp_path / "go"
        folder.mkdir()
        module(folder, {package: PACKAGES[package]}, servers.setting, main)
        assert run(tool("gofmt"), "-l", ".", cwd=folder) == ""
        return run(tool("go"), "run", ".", *arguments, cwd=folder, GOFLAGS="-mod=mod").splitlines()

    return lines


def test_a_balancing_transport_for_go_takes_the_endpoints_in_turn(servers: Servers, go: Callable[..., list[str]]) -> None:
    addresses = ",".join([servers.addresses[0], NOBODY, *servers.addresses[1:]])

    balanced(servers, go("balancing", BALANCED, addresses, "", str(TURNS)))


def test_a_retiring_transport_for_go_opens_new_connections(servers: Servers, go: Callable[..., list[str]]) -> None:
    main = RETIRED.replace("one := http.DefaultTransport.(*http.Transport).Clone()", "one := made()").replace(
        "client.Transport.(*retiring.Transport).Make = func", "made := client.Transport.(*retiring.Transport).Make\n"
        "\tclient.Transport.(*retiring.Transport).Make = func",
    )  # fmt: skip

    answers = go("retiring", main, f"http://127.0.1.2:{servers.port}")

    assert answers == ["pod-2"] * (WORKERS * REQUESTS)
    assert int(str(servers.seen()["pod-2"]["connections"])) >= 4


def test_transports_of_go_in_turn_open_a_connection_each(servers: Servers, go: Callable[..., list[str]]) -> None:
    assert go("inturn", IN_TURN, f"http://127.0.1.2:{servers.port}") == ["pod-2"] * 20
    assert servers.seen()["pod-2"]["connections"] == 5


@pytest.fixture
def node(tmp_path: Path, servers: Servers) -> Callable[..., list[str]]:
    """Runs Node's text with lists of addresses, each with a path and a number of requests."""

    def lines(setting: Setting, *lists: tuple[Sequence[str], str, int]) -> list[str]:
        (tmp_path / "balancing_http2.js").write_text(text("client-side-balancing", "balancing_http2.js", setting))
        (tmp_path / "main.js").write_text(NODE)
        return run(tool("node"), tmp_path / "main.js", json.dumps(lists)).splitlines()

    return lines


def test_a_balancing_client_for_node_takes_the_endpoints_in_turn(servers: Servers, node: Callable[..., list[str]]) -> None:
    addresses = [servers.addresses[0], NOBODY, *servers.addresses[1:]]

    balanced(servers, node(servers.setting, (addresses, "/", TURNS)))


def test_a_balancing_client_for_node_follows_the_list(servers: Servers, node: Callable[..., list[str]]) -> None:
    one, two, three = servers.addresses
    hasty = replace(servers.setting, refresh_s=0.02)

    answers = node(hasty, ([one, three], "/", 10), ([one, two], "/", 10))

    assert sorted(set(answers[:10])) == ["pod-1", "pod-3"]
    assert sorted(set(answers[10:])) == ["pod-1", "pod-2"]


def test_a_balancing_client_for_node_survives_goaway(servers: Servers, node: Callable[..., list[str]]) -> None:
    answers = node(servers.setting, (servers.addresses[1:2], "/leave", 5))

    assert answers == ["pod-2"] * 5
    assert servers.seen()["pod-2"]["connections"] == 5


def test_clients_of_http1_are_left_out_where_nobody_may_answer_them(servers: Servers) -> None:
    def names(setting: Setting) -> set[str]:
        return {one.name for one in artifacts("client-side-balancing", setting)}

    http1 = {"BalancingClient.java", "balancing.js"}
    http = {"balancing_transport.go", "balancing_transport.py", "kbalance_client.py", "balancing_http2.js"}
    assert names(servers.setting) & (http | http1) == http
    assert names(replace(servers.setting, http1=True)) >= http | http1
    assert names(replace(servers.setting, grpc=True)) & (http | http1) == set()
    assert "kbalance_grpc_aio.py" in names(replace(servers.setting, grpc=True)) - names(servers.setting)
    assert "balancing_http2.js" not in names(WEB)


def test_httpx_offers_http2_over_tls() -> None:
    secure = replace(WEB, grpc=False, http2=True, scheme="https")
    told = text("client-side-balancing", "balancing_transport.py", secure)

    assert "functools.partial(httpx.HTTPTransport, http2=True)" in told
    assert "BalancingTransport(source or by_api(), http2=True)" in text("client-side-balancing", "kbalance_client.py", secure)
