"""Our transport beside stock httpx on the same servers, and what only ours promises."""

import asyncio
import contextlib
import gc
import gzip
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from kbalance.balancing import AsyncPoolTransport
from kbalance.balancing.link import HIGH_WATER
from kbalance.wire.dialled import READ_SIZE
from tests.balancing.clients import Seen, both, failing, ours, seen, stock
from tests.wire.certificates import Certificates
from tests.wire.server import PATIENCE_S, Script, always, answering, read_request, refusing, reset, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
LARGE = bytes(range(256)) * 12_000


def _sized(body: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"Content-Length: %d" % len(body), b"", body])


def _recording(requests: list[bytes], answer: bytes = OK) -> Script:
    """Gives the same answer always, and keeps what it was asked."""

    def script(sock: socket.socket) -> None:
        while request := read_request(sock):
            requests.append(request)
            sock.sendall(answer)

    return script


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until something has happened in it."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Any:
    """No descriptor survives a test, and none is closed by the garbage collector."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    # Fewer are no leak: what an earlier test left to a thread of its own ends when it ends.
    assert len(os.listdir("/proc/self/fd")) <= before


def _status(method: str, url: str, **options: Any) -> Callable[[httpx.AsyncClient], Awaitable[int]]:
    """A request that can be made more than once; ``parts`` become a body from a generator."""

    async def work(client: httpx.AsyncClient) -> int:
        given = dict(options)
        if "parts" in given:
            given["content"] = given.pop("parts")()
        return (await client.request(method, url, **given)).status_code

    return work


def _get(url: str, **options: Any) -> Callable[[httpx.AsyncClient], Awaitable[Seen]]:
    async def work(client: httpx.AsyncClient) -> Seen:
        return await seen(await client.get(url, **options))

    return work


# Requests, as the server gets them


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PURGE"])
def test_a_request_goes_out_byte_for_byte_as_from_httpx(method: str) -> None:
    requests: list[bytes] = []
    answer = OK.removesuffix(b"hello") if method == "HEAD" else OK
    with serving(_recording(requests, answer)) as server:
        both(_status(method, f"{server.url}/a b?c=d#e", headers=[(b"X", b"\xf6"), (b"x", b"2")]))
    assert requests[0] == requests[1]
    assert requests[0].startswith(method.encode() + b" /a%20b?c=d HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "options",
    [
        {"content": b"hello"},
        {"content": b""},
        {"json": {"a": 1}},
        {"data": {"a": "1"}},
        {"content": LARGE},
        {"content": b"hello", "headers": {"Expect": "100-continue"}},
        {"extensions": {"target": b"*"}},
    ],
    ids=["bytes", "empty", "json", "form", "large", "expect", "target"],
)
def test_a_body_goes_out_byte_for_byte_as_from_httpx(options: dict[str, Any]) -> None:
    requests: list[bytes] = []
    with serving(_recording(requests)) as server:
        both(_status("POST", server.url, **options))
    assert requests[0] == requests[1]


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "9"}], ids=["chunked", "sized"])
def test_a_body_from_a_generator(headers: dict[str, str]) -> None:
    requests: list[bytes] = []
    with serving(_recording(requests)) as server:

        async def work(client: httpx.AsyncClient) -> list[int]:
            bodies = [_parts(b"abc", b"", b"defghi"), _parts(b"123456789")]
            return [(await client.post(server.url, content=body, headers=headers)).status_code for body in bodies]

        assert both(work) == [200, 200]
        assert server.accepted == 2
    assert requests[:2] == requests[2:]


def test_a_large_body_from_a_generator() -> None:
    requests: list[bytes] = []
    with serving(_recording(requests)) as server:
        ours(_status("PUT", server.url, parts=lambda: _parts(LARGE, LARGE), headers={"Content-Length": str(2 * len(LARGE))}))
    assert requests[0].endswith(b"\r\n\r\n" + LARGE + LARGE)


def test_files_of_a_form() -> None:
    requests: list[bytes] = []
    with serving(_recording(requests)) as server:
        both(_status("POST", server.url, files={"f": ("n", LARGE)}, headers={"Content-Type": "multipart/form-data; boundary=b"}))
    assert requests[0] == requests[1]


@pytest.mark.parametrize(
    "options",
    [
        {"headers": [(b"X", b"a\r\nY: b")]},
        {"headers": [(b"X\r\nY", b"a")]},
        {"headers": [(b"X", b"\x00")]},
        {"headers": [(b"X Y", b"a")]},
        {"headers": [(b"Content-Length", b"x")]},
        {"headers": [(b"Transfer-Encoding", b"gzip")]},
        {"headers": [(b"Host", b"a"), (b"Host", b"b")]},
        {"extensions": {"target": b"/ HTTP/1.1\r\nX: y"}},
    ],
)
def test_what_would_break_out_of_its_place_is_refused(options: dict[str, Any]) -> None:
    with serving(always(OK)) as server:
        assert both(failing(_status("GET", server.url, **options))) is httpx.LocalProtocolError


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Content-Length": "4"}, "parts": lambda: _parts(b"12345")},
        {"headers": {"Content-Length": "6"}, "parts": lambda: _parts(b"12345")},
        {"headers": {"Content-Length": "6"}, "content": b"12345"},
        {"headers": {"Content-Length": "4"}, "content": b"12345"},
    ],
)
def test_a_body_that_is_not_as_long_as_announced_is_refused(options: dict[str, Any]) -> None:
    """Stock httpx lets h11's exception of the same name through."""
    with serving(always(OK)) as server:
        work = failing(_status("POST", server.url, **options))
        assert (ours(work), stock(work).__name__) == (httpx.LocalProtocolError, "LocalProtocolError")


def test_bytes_that_were_asked_to_be_chunked_are_not_counted_too() -> None:
    """Stock httpx sends both framings."""
    requests: list[bytes] = []
    with serving(_recording(requests)) as server:
        ours(_status("POST", server.url, content=b"hello", headers={"Transfer-Encoding": "chunked"}))
    head, _, body = requests[0].lower().partition(b"\r\n\r\n")
    assert (b"transfer-encoding: chunked" in head, b"content-length" in head, body) == (True, False, b"5\r\nhello\r\n0\r\n\r\n")


def test_a_header_smuggled_inside_another_is_refused_after_the_same_bytes_were_sent_openly() -> None:
    with serving(always(OK)) as server:

        async def work(client: httpx.AsyncClient) -> type[Exception]:
            client.headers.clear()
            await client.get(server.url, headers=[(b"X", b"a"), (b"Y", b"b")])
            return await failing(_status("GET", server.url, headers=[(b"X", b"a\r\nY: b")]))(client)

        assert both(work) is httpx.LocalProtocolError


def test_a_tunnel_another_scheme_and_a_synchronous_body_are_refused() -> None:
    with serving(always(OK)) as server:
        assert ours(failing(_status("CONNECT", server.url))) is httpx.LocalProtocolError
        assert both(failing(_status("GET", "ftp://127.0.0.1/"))) is httpx.UnsupportedProtocol
        assert both(failing(_status("POST", server.url, content=iter([b"a"])))) is RuntimeError


# Responses


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        _sized(b"", b"X: y", b"x: z", b"Content-Type: text/plain; charset=latin-1"),
        _sized(LARGE),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(LARGE), LARGE),
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 500 Sch\xf6n\r\nContent-Length: 0\r\n\r\n",
        _sized(gzip.compress(b"hello"), b"Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(gzip.compress(LARGE)), gzip.compress(LARGE)),
    ],
)
def test_a_response_looks_the_same_and_the_connection_is_kept(answer: bytes) -> None:
    with serving(always(answer)) as server:

        async def work(client: httpx.AsyncClient) -> list[Seen]:
            return [await seen(await client.get(server.url)) for _ in range(3)]

        both(work)
        assert server.accepted == 2


def test_head_looks_the_same_and_the_connection_is_kept() -> None:
    with serving(always(OK.removesuffix(b"hello"))) as server:

        async def work(client: httpx.AsyncClient) -> list[Seen]:
            return [await seen(await client.head(server.url)) for _ in range(3)]

        both(work)
        assert server.accepted == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        OK.replace(b"Con", b"Connection: close\r\nCon"),
    ],
)
def test_a_response_that_ends_its_connection(answer: bytes) -> None:
    with serving(answering(answer)) as server:

        async def work(client: httpx.AsyncClient) -> list[Seen]:
            return [await seen(await client.get(server.url)) for _ in range(2)]

        both(work)
        assert server.accepted == 4


def test_a_request_that_ends_its_connection() -> None:
    with serving(always(OK)) as server:

        async def work(client: httpx.AsyncClient) -> list[Seen]:
            headers = {"Connection": "close"}
            return [await seen(await client.get(server.url, headers=headers)) for _ in range(2)]

        both(work)
        assert server.accepted == 4


def test_a_streamed_response_in_raw_bytes_decoded_bytes_and_lines() -> None:
    compressed = gzip.compress(b"one\ntwo\nthree")
    answer = _sized(compressed, b"Content-Encoding: gzip")
    with serving(always(answer)) as server:

        async def work(client: httpx.AsyncClient) -> list[object]:
            got: list[object] = []
            async with client.stream("GET", server.url) as response:
                got.append(b"".join([part async for part in response.aiter_raw()]))
            async with client.stream("GET", server.url) as response:
                got.append(b"".join([part async for part in response.aiter_bytes(3)]))
            async with client.stream("GET", server.url) as response:
                got.append([line async for line in response.aiter_lines()])
            return got

        assert both(work) == [compressed, b"one\ntwo\nthree", ["one", "two", "three"]]


def test_a_response_may_be_read_while_it_comes() -> None:
    """Server and client take turns, so a transport that waited for the whole body would wait for ever."""
    went_on = threading.Semaphore(0)

    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"a", b"b", b"c"):
            went_on.acquire(timeout=PATIENCE_S)
            sock.sendall(b"1\r\n" + part + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        read_request(sock)

    with serving(script) as server:

        async def work(client: httpx.AsyncClient) -> list[bytes]:
            got = []
            async with client.stream("GET", server.url) as response:
                went_on.release()
                async for part in response.aiter_raw():
                    got.append(part)
                    if len(got) < 3:
                        went_on.release()
            return got

        assert both(work) == [b"a", b"b", b"c"]


def test_a_slow_reader_slows_the_server() -> None:
    """No more waits in memory than the high-water mark and what one more read brings."""
    body = LARGE * 5
    transport = AsyncPoolTransport()
    with serving(always(_sized(body))) as server:

        async def work(client: httpx.AsyncClient) -> tuple[int, bool]:
            async with client.stream("GET", server.url) as response:
                (link,) = transport._connections.links
                await _until(lambda: link._paused)
                held = sum(map(len, link.parts))
                return held, await response.aread() == body

        held, whole = ours(work, transport)
    assert whole
    assert HIGH_WATER < held <= HIGH_WATER + READ_SIZE


def test_a_stream_that_is_left_early_ends_its_connection() -> None:
    with serving(always(_sized(LARGE))) as server:

        async def work(client: httpx.AsyncClient) -> int:
            async with client.stream("GET", server.url) as response:
                async for _ in response.aiter_raw():
                    break
            return (await client.get(server.url)).status_code

        both(work)
        assert server.accepted == 4


def test_a_stream_that_is_closed_while_it_is_awaited_does_not_hang() -> None:
    with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", b"")) as server:

        async def work(client: httpx.AsyncClient) -> object:
            async with client.stream("GET", server.url) as response:
                parts = response.aiter_raw()
                await anext(parts)
                reading = asyncio.ensure_future(anext(parts))
                await _until(lambda: all(link.waiting for link in transport._connections.links))
                await response.stream.aclose()  # type: ignore[union-attr]
                return (await asyncio.gather(reading, return_exceptions=True))[0]

        transport = AsyncPoolTransport()
        assert isinstance(ours(work, transport), httpx.ReadError)


# Redirects, cookies and the rest of the client


def test_the_client_s_own_work_goes_on_as_before() -> None:
    def script(sock: socket.socket) -> None:
        while request := read_request(sock):
            if request.startswith(b"GET /start"):
                sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /end\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
            elif b"authorization: basic" not in request.lower():
                sock.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
            else:
                sock.sendall(_sized(b"cookie" if b"ookie: a=b" in request else b"none"))

    with serving(script) as server:

        async def work(client: httpx.AsyncClient) -> list[tuple[int, str, int]]:
            responses = [
                await client.get(f"{server.url}/start", follow_redirects=True, auth=("u", "p")),
                await client.get(f"{server.url}/start"),
                await client.get(f"{server.url}/end"),
            ]
            return [(r.status_code, r.text, len(r.history)) for r in responses]

        assert both(work) == [(200, "cookie", 1), (302, "", 0), (401, "", 0)]
        assert server.accepted == 2


# Errors, by class


def _resetting(answer: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)
        reset(sock)

    return script


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (answering(b""), httpx.RemoteProtocolError),
        (answering(OK[:-1]), httpx.RemoteProtocolError),
        (answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"), httpx.RemoteProtocolError),
        (answering(b"SSH-2.0-x\r\n"), httpx.RemoteProtocolError),
        (_resetting(b""), httpx.ReadError),
        (_resetting(OK[:-1]), httpx.ReadError),
    ],
)
def test_a_broken_exchange(script: Script, expected: type[Exception]) -> None:
    with serving(script) as server:
        assert both(failing(_get(server.url))) is expected


def test_nobody_listens() -> None:
    assert both(failing(_get(f"http://{refusing()}/"))) is httpx.ConnectError


def test_a_name_that_nobody_knows_and_one_with_two_addresses() -> None:
    """The resolver is the loop's, so a loop may bring its own."""

    class Loop(asyncio.SelectorEventLoop):
        async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
            if host not in ("two.test", b"two.test"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1")]

    async def work(closed: int, port: int, transport: httpx.AsyncBaseTransport) -> list[object]:
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            return [
                await failing(_get("http://none.test/"))(client),
                await failing(_get(f"http://two.test:{closed}/"))(client),
                (await client.get(f"http://two.test:{port}/")).status_code,
            ]

    # One that is bound and does not listen refuses, and nobody else is given its port.
    with serving(always(OK)) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        for transport in (httpx.AsyncHTTPTransport(trust_env=False), AsyncPoolTransport()):
            with asyncio.Runner(loop_factory=Loop) as runner:
                got = runner.run(work(silent.getsockname()[1], server.address.port, transport))
            assert got == [httpx.ConnectError, httpx.ConnectError, 200]


def test_a_name_of_this_host() -> None:
    with serving(always(OK)) as server:
        assert both(_status("GET", f"http://localhost:{server.address.port}/")) == 200


def test_an_early_answer_to_a_large_body() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    def script(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(refusal)
        reset(sock)

    with serving(script) as server:
        work = _status("POST", server.url, content=bytes(20_000_000))
        assert ours(work) == 413


def test_an_early_answer_to_an_endless_body() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    def script(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(OK)
        while sock.recv(65536):
            pass

    with serving(script) as server:
        assert ours(_status("POST", server.url, parts=endless)) == 200


def test_a_body_whose_maker_fails() -> None:
    async def failing_body() -> AsyncIterator[bytes]:
        yield b"abc"
        raise KeyError

    with serving(always(OK)) as server:
        assert both(failing(_status("POST", server.url, parts=failing_body))) is KeyError


# Timeouts


def _deaf(over: threading.Event) -> Script:
    """Accepts, and then neither reads nor answers."""

    def script(sock: socket.socket) -> None:
        over.wait(PATIENCE_S)

    return script


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("read", {}, httpx.ReadTimeout),
        ("write", {"content": bytes(20_000_000)}, httpx.WriteTimeout),
        ("write", {"parts": lambda: _parts(bytes(20_000_000))}, httpx.WriteTimeout),
    ],
    ids=["read", "write", "write a stream"],
)
def test_a_silent_server(kind: str, options: dict[str, Any], expected: type[Exception]) -> None:
    over = threading.Event()
    with serving(_deaf(over)) as server:
        limits = httpx.Timeout(PATIENCE_S, **{kind: 0.05})
        work = failing(_status("POST", server.url, timeout=limits, **options))
        got = ours(work)
        over.set()
    assert got is expected


def test_a_silent_server_looks_the_same_to_httpx() -> None:
    over = threading.Event()
    with serving(_deaf(over)) as server:
        assert both(failing(_get(server.url, timeout=httpx.Timeout(PATIENCE_S, read=0.05)))) is httpx.ReadTimeout
        over.set()


def test_a_body_that_stops_in_the_middle() -> None:
    over = threading.Event()

    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(OK[:-1])
        over.wait(PATIENCE_S)

    with serving(script) as server:
        assert both(failing(_get(server.url, timeout=httpx.Timeout(PATIENCE_S, read=0.05)))) is httpx.ReadTimeout
        over.set()


def test_a_handshake_that_does_not_go_on() -> None:
    over = threading.Event()
    with serving(_deaf(over)) as server:
        url = server.url.replace("http", "https")
        assert both(failing(_get(url, timeout=httpx.Timeout(PATIENCE_S, connect=0.05)))) is httpx.ConnectTimeout
        over.set()


def test_a_pool_that_stays_full() -> None:
    limits = httpx.Limits(max_connections=1)
    transports = (httpx.AsyncHTTPTransport(limits=limits, trust_env=False), AsyncPoolTransport(limits=limits))
    with serving(always(_sized(LARGE))) as server:

        async def work(client: httpx.AsyncClient) -> type[Exception]:
            async with client.stream("GET", server.url):
                return await failing(_get(server.url, timeout=httpx.Timeout(PATIENCE_S, pool=0.05)))(client)

        assert [ours(work, transport) for transport in transports] == [httpx.PoolTimeout] * 2


def test_time_that_passes_between_exchanges_is_nobody_s_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one timer finds a connection that is idle, or whose body nobody reads just now, and leaves it alone."""
    clock, passed_s = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(passed_s))

    async def time_passes() -> None:
        """Much of it, in which the loop comes to what is due."""
        passed_s.append(2 * PATIENCE_S)
        for _ in range(3):
            await asyncio.sleep(0)

    with serving(always(_sized(LARGE))) as server:

        async def work(client: httpx.AsyncClient) -> tuple[int, int]:
            async with client.stream("GET", server.url, timeout=PATIENCE_S) as response:
                await time_passes()
                size = len(await response.aread())
            await time_passes()
            return size, len((await client.get(server.url)).content)

        got = ours(work, limits=httpx.Limits(keepalive_expiry=None))
        assert (got, server.accepted) == ((len(LARGE), len(LARGE)), 1)


# The pool


def test_sequential_requests_share_a_connection_and_concurrent_ones_do_not() -> None:
    ready = threading.Barrier(8, timeout=PATIENCE_S)

    def script(sock: socket.socket) -> None:
        while request := read_request(sock):
            if b"/together" in request:
                ready.wait()
            sock.sendall(OK)

    transport = AsyncPoolTransport()
    with serving(script) as server:

        async def work(client: httpx.AsyncClient) -> tuple[list[int], list[str]]:
            lines = [repr(transport)]
            for _ in range(3):
                await client.get(server.url)
            counts = [server.accepted]
            await asyncio.gather(*(client.get(f"{server.url}/together") for _ in range(8)))
            counts.append(server.accepted)
            await asyncio.gather(*(client.get(f"{server.url}/together") for _ in range(8)))
            counts.append(server.accepted)
            async with client.stream("GET", server.url):
                lines.append(repr(transport))
            return counts, lines

        counts, lines = ours(work, transport)
    assert counts == [1, 8, 8]
    assert [*lines, repr(transport)] == [
        "<AsyncPoolTransport 0 busy, 0 idle, 0 waiting>",
        "<AsyncPoolTransport 0 busy, 8 idle, 0 waiting>",
        "<AsyncPoolTransport 0 busy, 0 idle, 0 waiting>",
    ]


def test_many_loops_over_few_connections() -> None:
    transport = AsyncPoolTransport(limits=httpx.Limits(max_connections=3))
    with serving(always(OK)) as server:

        async def work(client: httpx.AsyncClient) -> int:
            async def loop() -> list[bytes]:
                return [(await client.get(server.url)).content for _ in range(20)]

            return sum(len(done) for done in await asyncio.gather(*(loop() for _ in range(10))))

        assert (ours(work, transport), server.accepted) == (200, 3)


def test_room_is_made_by_closing_what_is_idle_elsewhere() -> None:
    transport = AsyncPoolTransport(limits=httpx.Limits(max_connections=1))
    with serving(always(OK)) as here, serving(always(OK)) as there:

        async def work(client: httpx.AsyncClient) -> list[int]:
            return [(await client.get(url)).status_code for url in (here.url, there.url, there.url, here.url)]

        assert (ours(work, transport), here.accepted, there.accepted) == ([200] * 4, 2, 1)


def test_no_more_stay_idle_than_allowed() -> None:
    transport = AsyncPoolTransport(limits=httpx.Limits(max_keepalive_connections=2))
    with serving(always(OK)) as server:

        async def work(client: httpx.AsyncClient) -> str:
            await asyncio.gather(*(client.get(server.url) for _ in range(5)))
            return repr(transport)

        assert ours(work, transport) == "<AsyncPoolTransport 0 busy, 2 idle, 0 waiting>"


def test_an_idle_connection_is_closed_in_time() -> None:
    transport = AsyncPoolTransport(limits=httpx.Limits(keepalive_expiry=0.02))
    with serving(always(OK)) as server:

        async def work(client: httpx.AsyncClient) -> list[str]:
            await client.get(server.url)
            lines = [repr(transport)]
            await _until(lambda: not transport._connections.links)
            return [*lines, repr(transport)]

        assert ours(work, transport) == [
            "<AsyncPoolTransport 0 busy, 1 idle, 0 waiting>",
            "<AsyncPoolTransport 0 busy, 0 idle, 0 waiting>",
        ]


@pytest.mark.parametrize("more", [b"", b"HTTP/1.1 408 Late\r\n\r\n"], ids=["close", "unasked"])
def test_an_idle_connection_that_ends_is_let_go_of(more: bytes) -> None:
    transport = AsyncPoolTransport()
    asked = threading.Event()

    def script(sock: socket.socket) -> None:
        answering(OK)(sock)
        asked.wait(PATIENCE_S)
        sock.sendall(more)

    with serving(script) as server:

        async def work(client: httpx.AsyncClient) -> int:
            await client.get(server.url)
            asked.set()
            await _until(lambda: not transport._connections.links)
            return (await client.get(server.url)).status_code

        assert (ours(work, transport), server.accepted) == (200, 2)


# Sending again


def _closing_under(requests: list[bytes], times: int) -> Script:
    """Answers the first request on each of so many connections, and closes under the second."""
    left = [times]

    def script(sock: socket.socket) -> None:
        left[0] -= 1
        while request := read_request(sock):
            requests.append(request)
            if left[0] >= 0 and len(requests) > 1:
                return
            sock.sendall(OK)

    return script


def test_a_request_under_which_an_idle_connection_closes_is_sent_again() -> None:
    requests: list[bytes] = []
    with serving(_closing_under(requests, 1)) as server:

        async def work(client: httpx.AsyncClient) -> list[int]:
            return [(await client.get(server.url)).status_code for _ in range(2)]

        assert (ours(work), len(requests), server.accepted) == ([200, 200], 3, 2)


def test_it_is_sent_again_once() -> None:
    requests: list[bytes] = []
    with serving(_closing_under(requests, 9)) as server:

        async def work(client: httpx.AsyncClient) -> type[Exception]:
            await client.get(server.url)
            return await failing(_get(server.url))(client)

        assert (ours(work), len(requests), server.accepted) == (httpx.RemoteProtocolError, 3, 2)


@pytest.mark.parametrize("options", [{"method": "POST"}, {"method": "PUT", "content": _parts(b"a")}], ids=["post", "stream"])
def test_what_may_have_been_done_or_cannot_be_repeated_is_not_sent_again(options: dict[str, Any]) -> None:
    requests: list[bytes] = []
    with serving(_closing_under(requests, 1)) as server:

        async def work(client: httpx.AsyncClient) -> type[Exception]:
            await client.get(server.url)
            return await failing(lambda client: client.request(url=server.url, **options))(client)

        assert (ours(work), len(requests), server.accepted) == (httpx.RemoteProtocolError, 2, 1)


# Cancelling and closing


@pytest.mark.parametrize("stage", ["connecting", "sending", "waiting", "reading", "queueing"])
def test_a_cancelled_request_takes_its_connection_with_it(stage: str) -> None:
    over = threading.Event()

    def script(sock: socket.socket) -> None:
        if stage in ("connecting", "sending"):
            over.wait(PATIENCE_S)
        elif read_request(sock):
            sock.sendall(OK[:-1] if stage == "reading" else b"")
            over.wait(PATIENCE_S)

    transport = AsyncPoolTransport(limits=httpx.Limits(max_connections=1))
    with serving(script) as server:

        async def work(client: httpx.AsyncClient) -> tuple[list[bool], str]:
            url = server.url.replace("http", "https") if stage == "connecting" else server.url
            content = bytes(20_000_000) if stage == "sending" else b""
            tasks = [asyncio.ensure_future(client.put(url, content=content)) for _ in range(2 if stage == "queueing" else 1)]
            await _until(lambda: any(link.waiting for link in (*transport._connections.links, *transport._connections.dialling)))
            await _until(lambda: len(transport._connections.pool.queue) == len(tasks) - 1)
            for task in reversed(tasks):
                task.cancel()
            await asyncio.wait(tasks)
            return [task.cancelled() for task in tasks], repr(transport)

        cancelled, line = ours(work, transport)
        over.set()
    assert (all(cancelled), line) == (True, "<AsyncPoolTransport 0 busy, 0 idle, 0 waiting>")


def test_a_place_given_to_a_cancelled_request_goes_to_the_next() -> None:
    transport = AsyncPoolTransport(limits=httpx.Limits(max_connections=1))
    with serving(always(OK)) as server:

        async def work(client: httpx.AsyncClient) -> list[object]:
            tasks = [asyncio.ensure_future(client.get(server.url)) for _ in range(4)]
            await _until(lambda: len(transport._connections.pool.queue) == 3)
            waiter = transport._connections.pool.queue[0]
            await _until(lambda: waiter.lease is not None)
            tasks[1].cancel()
            return [
                type(got) if isinstance(got, BaseException) else got.status_code
                for got in await asyncio.gather(*tasks, return_exceptions=True)
            ]

        assert ours(work, transport) == [200, asyncio.CancelledError, 200, 200]


def test_closing_ends_what_is_under_way() -> None:
    over = threading.Event()
    transport = AsyncPoolTransport()
    with serving(_deaf(over)) as server:

        async def work(client: httpx.AsyncClient) -> tuple[object, str]:
            task = asyncio.ensure_future(failing(_get(server.url))(client))
            await _until(lambda: any(link.waiting and link.is_open for link in transport._connections.links))
            await transport.aclose()
            return await task, repr(transport)

        got = ours(work, transport)
        over.set()
    assert got == (httpx.ReadError, "<AsyncPoolTransport 0 busy, 0 idle, 0 waiting>")


def test_a_transport_may_move_to_another_loop() -> None:
    with serving(always(OK)) as server:
        transport = AsyncPoolTransport()

        async def work() -> int:
            response = await transport.handle_async_request(httpx.Request("GET", server.url))
            return len(await response.aread())

        with contextlib.closing(asyncio.new_event_loop()) as first, contextlib.closing(asyncio.new_event_loop()) as second:
            sizes = [first.run_until_complete(work()), second.run_until_complete(work()), second.run_until_complete(work())]
            second.run_until_complete(transport.aclose())
    assert (sizes, server.accepted) == ([5, 5, 5], 2)


# TLS


def test_https_looks_the_same(certificates: Certificates) -> None:
    def context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=certificates.cacert)

    names: list[str | None] = []
    at_server = certificates.server()
    at_server.sni_callback = lambda sock, name, context: names.append(name)
    with serving(always(_sized(LARGE)), at_server) as server:

        async def work(client: httpx.AsyncClient) -> list[object]:
            return [
                await _get(server.url)(client),
                await _get(server.url)(client),
                await _status("POST", server.url, content=LARGE)(client),
            ]

        transports = (httpx.AsyncHTTPTransport(verify=context(), trust_env=False), AsyncPoolTransport(verify=context()))
        expected, got = (ours(work, transport) for transport in transports)
        assert (got == expected, server.accepted) == (True, 2)

        async def named(client: httpx.AsyncClient) -> int:
            return await _status("GET", server.url, extensions={"sni_hostname": "web.test"})(client)

        assert ours(named, AsyncPoolTransport(verify=context())) == 200
    assert names == [None, None, "web.test"]


def test_a_certificate_that_proves_nothing_is_a_connect_error(certificates: Certificates) -> None:
    with serving(always(OK), certificates.server(trusted=False)) as server:
        assert both(failing(_get(server.url))) is httpx.ConnectError
