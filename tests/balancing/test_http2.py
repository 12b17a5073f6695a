"""HTTP/2 through both transports, against Node's server, which nobody here wrote."""

import asyncio
import os
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from kbalance.balancing import (
    AsyncPoolTransport,
    BalancingTransport,
    Endpoint,
    Lifetime,
    PoolTransport,
    Standing,
    StaticEndpoints,
)
from kbalance.model.target import Address
from tests.artifacts.conftest import tool
from tests.balancing.clients import Seen, Threaded, ours, seen, stock
from tests.balancing.fleet import HOST, PATIENCE_S, ask, calling, fleet, got, until
from tests.peers.running import printing
from tests.wire.certificates import Certificates
from tests.wire.server import always, serving

NODE = """
const http2 = require('node:http2')
const fs = require('node:fs')
const [cert, key] = process.argv.slice(2)
const options = { settings: { maxConcurrentStreams: 20 }, maxSessionMemory: 100 }
const server = cert
  ? http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), ...options })
  : http2.createServer(options)
let sessions = 0
let refusals = 0
const waiting = []
const gathered = []
const held = []
const mine = session => ({ ':status': 200, 'x-pod-name': session.name, 'x-session': session.number })
const ok = (stream, body = 'hello') => { stream.respond(mine(stream.session)); stream.end(body) }
const paths = {
  '/': stream => ok(stream),
  '/none': stream => stream.respond({ ':status': 204 }, { endStream: true }),
  '/large': stream => ok(stream, Buffer.alloc(3000000, 'x')),
  '/echo': stream => { stream.respond(mine(stream.session)); stream.pipe(stream) },
  '/early': stream => { stream.respond({ ':status': 413 }); stream.end('too much') },
  '/hints': stream => {
    stream.additionalHeaders({ ':status': 103, link: '</a>' })
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end('hinted')
  },
  '/gather': stream => { if (gathered.push(stream) === 70) for (const one of gathered.splice(0)) ok(one) },
  '/hold': stream => held.push(stream),
  '/held': stream => ok(stream, String(held.length)),
  '/let-go': stream => { for (const one of [...held.splice(0), stream]) ok(one) },
  '/wait': stream => { waiting.push(stream); stream.session.waiting += 1 },
  '/waiting': stream => { stream.respond({ ...mine(stream.session), 'x-waiting': stream.session.waiting }); stream.end() },
  '/refuse-twice': stream => { if (refusals++ < 2) stream.close(7); else ok(stream) },
  '/refuse': stream => stream.close(7),
  '/leave': stream => { stream.session.close(); setImmediate(() => ok(stream)) },
  '/destroy': stream => stream.session.destroy(),
  '/half': stream => { stream.respond({ ':status': 200 }); stream.write('x', () => stream.destroy(new Error('broken'))) },
}
server.on('session', session => {
  session.number = ++sessions
  session.waiting = 0
  session.name = 'pod-' + session.socket.localAddress.split('.').pop()
  session.on('error', () => {})
})
server.on('stream', (stream, headers) => { stream.on('error', () => {}); paths[headers[':path']](stream) })
server.listen(0, '0.0.0.0', () => console.log(server.address().port))
process.stdin.on('end', () => process.exit()).resume()
"""

KINDS = pytest.mark.parametrize("kind", ["asyncio", "threads"])
H2C: dict[str, Any] = {"http1": False, "http2": True}


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    main = tmp_path_factory.mktemp("node") / "main.js"
    main.write_text(NODE)
    with printing([tool("node"), main], main.parent) as port:
        yield port


def source(port: int, pods: int = 1) -> StaticEndpoints:
    addresses = [Address(f"127.0.1.{number}", port) for number in range(1, pods + 1)]
    return StaticEndpoints({HOST: [Endpoint(address=one, name=str(one)) for one in addresses]})


def path(name: str) -> str:
    return f"http://{HOST}/{name}"


@KINDS
def test_one_connection_of_each_endpoint_carries_what_is_asked_at_once(kind: str, port: int) -> None:
    with calling(kind, source(port, 3), at_once=16, **H2C) as caller:
        responses = [future.result(PATIENCE_S) for future in [caller.begin() for _ in range(300)]]
        connections = caller.snapshot().connections

    assert {response.http_version for response in responses} == {"HTTP/2"}
    assert Counter(response.headers["x-pod-name"] for response in responses) == {f"pod-{n}": 100 for n in (1, 2, 3)}
    assert (connections, len({response.headers["x-session"] for response in responses})) == (3, 3)


class Held(dict[str, float | None]):
    """Time-outs that hold their request when it has its place for a new connection, and is about to open one."""

    def __init__(self) -> None:
        super().__init__(connect=None)
        self.reached, self.let_go = threading.Event(), threading.Event()

    def get(self, name: str, default: float | None = None) -> float | None:  # type: ignore[override]
        if name == "connect":
            self.reached.set()
            assert self.let_go.wait(PATIENCE_S)
        return default


def test_a_thread_shares_what_another_opened_before_its_own_turn_to_open(port: int) -> None:
    held = Held()
    with BalancingTransport(source(port), http1=False, http2=True) as transport, ThreadPoolExecutor(1) as thread:
        late = thread.submit(transport.handle_request, httpx.Request("GET", path(""), extensions={"timeout": held}))
        assert held.reached.wait(PATIENCE_S)
        transport.handle_request(httpx.Request("GET", path(""))).read()
        held.let_go.set()
        late.result(PATIENCE_S).read()
        known = transport.snapshot()

    assert (known.connections, known.idle) == (1, 1)


@KINDS
def test_more_at_once_than_the_server_takes_on_a_connection(kind: str, port: int) -> None:
    """None of seventy is answered before all are there."""
    with calling(kind, source(port), at_once=70, **H2C) as caller:
        answers = ask(caller, 280, url=path("gather"))
        connections = caller.snapshot().connections

    assert answers == ["pod-1"] * 280
    # Twenty on each, and what begins before the server has said so is sent again.
    assert 4 <= connections <= 8


@KINDS
def test_alpn_decides(kind: str, certificates: Certificates, tmp_path: Path) -> None:
    cert, key = certificates.server_files("web.test", tmp_path)
    main = tmp_path / "main.js"
    main.write_text(NODE)
    with (
        printing([tool("node"), main, cert, key], main.parent) as port,
        serving(always(OK), certificates.server("old.test")) as old,
    ):
        hosts = StaticEndpoints({"web.test": [("127.0.0.1", port)], "old.test": [old.address]})
        with calling(kind, hosts, http2=True, verify=ssl.create_default_context(cafile=certificates.cacert)) as caller:
            new = [future.result(PATIENCE_S) for future in [caller.begin(url="https://web.test/") for _ in range(20)]]
            connections = caller.snapshot().connections

    assert ({r.http_version for r in new}, connections) == ({"HTTP/2"}, 1)


@KINDS
def test_a_server_without_http2_is_spoken_to_as_it_likes(kind: str, certificates: Certificates) -> None:
    context = certificates.server("old.test")
    context.set_alpn_protocols(["http/1.1"])
    verify = ssl.create_default_context(cafile=certificates.cacert)
    with (
        serving(always(OK), context) as old,
        calling(kind, StaticEndpoints({"old.test": [old.address]}), http2=True, verify=verify) as caller,
    ):
        versions = {f.result(PATIENCE_S).http_version for f in [caller.begin(url="https://old.test/") for _ in range(20)]}

    assert versions == {"HTTP/1.1"}


@KINDS
def test_bodies_larger_than_every_window(kind: str, port: int) -> None:
    body = os.urandom(3_000_000)
    with calling(kind, source(port), at_once=4, **H2C) as caller:
        echoed = [f.result(PATIENCE_S).content for f in [caller.begin("POST", path("echo"), content=body) for _ in range(4)]]
        large = [len(f.result(PATIENCE_S).content) for f in [caller.begin(url=path("large")) for _ in range(4)]]

    assert [one == body for one in echoed] == [True] * 4
    assert large == [3_000_000] * 4


@KINDS
def test_a_body_from_a_generator(kind: str, port: int) -> None:
    async def later() -> Any:
        for _ in range(50):
            yield b"x" * 10_000

    with calling(kind, source(port), **H2C) as caller:
        content = later() if kind == "asyncio" else iter([b"x" * 10_000] * 50)
        response = caller.begin("POST", path("echo"), content=content).result(PATIENCE_S)

    assert response.content == b"x" * 500_000


@KINDS
def test_an_early_answer_ends_the_upload(kind: str, port: int) -> None:
    with calling(kind, source(port), **H2C) as caller:
        response = caller.begin("POST", path("early"), content=bytes(5_000_000)).result(PATIENCE_S)
        after = got(caller.begin())

    assert (response.status_code, after) == (413, "pod-1")


@KINDS
def test_a_stream_that_is_left_early_leaves_the_connection_alone(kind: str, port: int) -> None:
    with calling(kind, source(port), **H2C) as caller:
        pieces = [caller.peek(path("large")).result(PATIENCE_S) for _ in range(30)]
        response = caller.begin().result(PATIENCE_S)
        connections = caller.snapshot().connections

    assert {piece[:1] for piece in pieces} == {b"x"}
    assert (response.status_code, connections) == (200, 1)


@KINDS
def test_a_time_out_ends_its_stream_only(kind: str, port: int) -> None:
    with calling(kind, source(port), **H2C) as caller:
        first = caller.begin().result(PATIENCE_S).headers["x-session"]
        waiting = [caller.begin(url=path("wait"), timeout=1) for _ in range(3)]
        until(lambda: caller.begin(url=path("waiting")).result(PATIENCE_S).headers["x-waiting"] == "3")
        late = [got(future) for future in waiting]
        after = caller.begin().result(PATIENCE_S).headers["x-session"]

    assert (late, after) == (["ReadTimeout"] * 3, first)


@KINDS
def test_a_connection_on_which_nothing_comes_any_more_is_left(kind: str, port: int) -> None:
    with calling(kind, source(port), **H2C) as caller:
        first = caller.begin().result(PATIENCE_S).headers["x-session"]
        late = got(caller.begin(url=path("wait"), timeout=httpx.Timeout(PATIENCE_S, read=0.1)))
        after = caller.begin().result(PATIENCE_S).headers["x-session"]
        connections = caller.snapshot().connections

    assert (late, after != first, connections) == ("ReadTimeout", True, 1)


@KINDS
def test_a_server_that_goes_away_is_left_and_loses_nothing(kind: str, port: int) -> None:
    with calling(kind, source(port), at_once=8, **H2C) as caller:
        futures = [caller.begin(url=path("leave" if n % 10 == 5 else "")) for n in range(100)]
        answers = [got(future) for future in futures]
        sessions = {caller.begin().result(PATIENCE_S).headers["x-session"] for _ in range(3)}

    assert (answers, len(sessions)) == (["pod-1"] * 100, 1)


@KINDS
def test_what_the_server_did_not_touch_is_sent_again_whatever_it_is(kind: str, port: int) -> None:
    with calling(kind, source(port), **H2C) as caller:
        assert got(caller.begin("POST", path("refuse-twice"))) == "pod-1"
        assert got(caller.begin("POST", path("refuse"))) == "RemoteProtocolError"


@KINDS
def test_a_connection_that_breaks_loses_nothing_that_may_be_repeated(kind: str, port: int) -> None:
    with calling(kind, source(port, 3), **H2C) as caller:
        ask(caller, 6)
        answers = [got(caller.begin(method, path("destroy"))) for method in ("POST", "GET")]
        after = Counter(ask(caller, 30))

    # Every endpoint breaks it, so that a GET is tried at three.
    assert answers[0] in ("RemoteProtocolError", "ReadError")
    assert answers[1] in ("RemoteProtocolError", "ReadError")
    assert sum(after[f"pod-{n}"] for n in (1, 2, 3)) == 30


@KINDS
def test_a_body_that_breaks_off_is_an_error(kind: str, port: int) -> None:
    with calling(kind, source(port), **H2C) as caller:
        assert got(caller.begin(url=path("half"))) == "RemoteProtocolError"


@KINDS
def test_connections_end_after_so_many_requests(kind: str, port: int) -> None:
    with calling(kind, source(port), lifetime=Lifetime(requests=10, jitter=0.0), **H2C) as caller:
        sessions = Counter(caller.begin().result(PATIENCE_S).headers["x-session"] for _ in range(40))

    assert list(sessions.values()) == [10] * 4


@KINDS
def test_streams_are_finished_at_an_endpoint_that_leaves(kind: str, port: int) -> None:
    listed = source(port, 2)
    with (
        calling(kind, listed, at_once=20, **H2C) as caller,
        calling(kind, source(port), **H2C) as other,
    ):
        ask(caller, 2)
        futures = [caller.begin(url=path("hold")) for _ in range(10)]
        until(lambda: other.begin(url=path("held")).result(PATIENCE_S).text == "10")
        listed.update(HOST, [("127.0.1.2", port)])
        until(lambda: any(e.standing is Standing.LEAVING for e in caller.snapshot().hosts[0].endpoints))
        other.begin(url=path("let-go")).result(PATIENCE_S)
        counts = Counter(got(future) for future in futures)
        until(lambda: caller.snapshot().connections == 1)
        after = set(ask(caller, 5))

    assert (counts, after) == ({"pod-1": 5, "pod-2": 5}, {"pod-2"})


@KINDS
def test_closing_ends_what_is_under_way(kind: str, port: int) -> None:
    with calling(kind, source(port), **H2C) as caller:
        futures = [caller.begin(url=path("wait")) for _ in range(5)]
        until(lambda: sum(e.busy for h in caller.snapshot().hosts for e in h.endpoints) == 5)
        caller.close()

        assert [got(future) for future in futures] == ["ReadError"] * 5


@KINDS
def test_nobody_listening_is_told_to_all_who_wait_for_the_same_connection(kind: str) -> None:
    with fleet(1) as pods:
        gone = pods.pods[1].address
    with calling(kind, StaticEndpoints({HOST: [gone]}), **H2C) as caller:
        assert ask(caller, 20) == ["ConnectError"] * 20


@KINDS
def test_a_server_of_http1_is_a_breach_of_protocol(kind: str) -> None:
    with serving(always(OK)) as server, calling(kind, StaticEndpoints({HOST: [server.address]}), **H2C) as caller:
        assert ask(caller, 1) == ["RemoteProtocolError"]


@KINDS
def test_it_looks_the_same_as_by_httpx(kind: str, port: int) -> None:
    url = f"http://127.0.0.1:{port}"

    async def work(client: httpx.AsyncClient) -> list[Seen]:
        gets = [await seen(await client.get(f"{url}{one}")) for one in ("/", "/none", "/hints", "/large", "/early")]
        posts = [await seen(await client.post(f"{url}/echo", content=content)) for content in (b"", b"abc", b"x" * 200_000)]
        return [*gets, await seen(await client.head(f"{url}/")), *posts]

    transport = AsyncPoolTransport(**H2C) if kind == "asyncio" else Threaded(PoolTransport(**H2C))
    expected = stock(work, httpx.AsyncHTTPTransport(http1=False, http2=True, trust_env=False))
    got = ours(work, transport)

    def comparable(one: Seen) -> tuple[object, ...]:
        # The reason phrase is HTTP/1.1's, and sessions and dates differ.
        return one.version, one.status, [f for f in one.headers if f[0] not in (b"date", b"x-session")], one.content

    assert [comparable(one) for one in got] == [comparable(one) for one in expected]


def test_neither_protocol_is_no_choice() -> None:
    with pytest.raises(ValueError, match="neither"):
        BalancingTransport(StaticEndpoints({}), http1=False)


def test_what_cannot_stand_in_a_request_is_refused(port: int) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        await client.get(f"http://127.0.0.1:{port}/", headers={"x": "a\r\nb"})

    with pytest.raises(httpx.LocalProtocolError):
        ours(work, AsyncPoolTransport(**H2C))


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Pod-Name: there\r\n\r\nok"


def test_many_tasks_of_one_loop_share_connections(port: int) -> None:
    async def work() -> set[str]:
        transport = AsyncPoolTransport(**H2C)
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            answers = await asyncio.gather(*(client.get(f"http://127.0.0.1:{port}/") for _ in range(15)))
        return {answer.headers["x-session"] for answer in answers}

    assert len(asyncio.run(work())) == 1
