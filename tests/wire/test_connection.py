"""One connection on real sockets, against servers that do what each test says."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.connection import KEPT_BODY, Connection
from kbalance.wire.dialled import Tls
from kbalance.wire.tls import make_tls
from tests.wire.certificates import Certificates
from tests.wire.server import PATIENCE_S, always, answering, read_request, refusing, reset, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def _wait(connection: Connection) -> None:
    """Until the socket is ready for what the connection wants."""
    fd = connection.fileno()
    readable = [fd] if connection.is_open or not connection.wants_write else []
    ready = select.select(readable, [fd] if connection.wants_write else [], [], PATIENCE_S)
    assert any(ready), "the server does not go on"


def _open(connection: Connection) -> Connection:
    while not connection.is_open:
        _wait(connection)
        connection.advance()
    return connection


def _answer(connection: Connection) -> None:
    """Drives the connection until the response is complete."""
    while connection.awaiting:
        _wait(connection)
        if not connection.is_open:
            connection.advance()
        elif connection.wants_write:
            connection.flush()
        if connection.is_open:
            connection.receive()


def _ask(connection: Connection, data: bytes = GET, method: str = "GET") -> tuple[int, bytes, bool]:
    connection.send(data, method)
    _answer(connection)
    assert connection.head is not None
    return connection.head.status, connection.body, connection.reusable


def _failure(work: Callable[[], object]) -> Failure:
    with pytest.raises(ExchangeError) as caught:
        work()
    return caught.value.failure


@contextmanager
def _connected(address: Address, tls: Tls | None = None) -> Iterator[Connection]:
    connection = Connection(address, tls)
    try:
        yield _open(connection)
    finally:
        connection.close()


# Opening and closing


def test_it_opens_asks_and_says_what_it_is() -> None:
    with serving(always(OK)) as server:
        connection = Connection(server.address)
        lines = [repr(connection)]
        _open(connection)
        lines.append(repr(connection))
        connection.send(GET, "GET")
        lines.append(repr(connection))
        _answer(connection)
        lines.append(repr(connection))
        local = connection.local_address()
        connection.close()
        lines.append(repr(connection))

    at = f"<Connection tcp {server.address}"
    assert lines == [
        f"{at} opening, 0 answered>",
        f"{at} open, 0 answered>",
        f"{at} open, 0 answered, awaiting>",
        f"{at} open, 1 answered>",
        f"{at} closed, 1 answered>",
    ]
    assert local.ip == "127.0.0.1"
    assert connection.fileno() == -1


def test_a_request_may_be_sent_before_the_connection_is_open() -> None:
    with serving(always(OK)) as server, contextlib.closing(Connection(server.address)) as connection:
        assert _ask(connection) == (200, b"hello", True)


def test_many_exchanges_on_one_connection() -> None:
    with serving(always(OK)) as server, _connected(server.address) as connection:
        answers = [_ask(connection) for _ in range(3)]
        assert (answers, connection.answered, server.accepted) == ([(200, b"hello", True)] * 3, 3, 1)


def test_nobody_listens() -> None:
    def dial() -> None:
        with contextlib.closing(Connection(refusing())) as connection:
            _open(connection)

    assert _failure(dial) is Failure.REFUSED


def test_a_request_sent_where_nobody_listens() -> None:
    def dial() -> None:
        with contextlib.closing(Connection(refusing())) as connection:
            _ask(connection)

    assert _failure(dial) is Failure.REFUSED


def test_no_way_there() -> None:
    """The kernel refuses a broadcast address at once, without a packet."""
    assert _failure(lambda: Connection(Address("255.255.255.255", 80))) is Failure.UNREACHABLE


# Answers


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", (200, b"hello", True)),
        (b"HTTP/1.1 100 C\r\n\r\n" + OK, (200, b"hello", True)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", True)),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", (200, b"hello", False)),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", (200, b"", False)),
        (OK + b"HTTP/1.1 200 OK\r\n", (200, b"hello", False)),
    ],
)
def test_an_answer_and_whether_another_may_follow(answer: bytes, expected: tuple[int, bytes, bool]) -> None:
    with serving(answering(answer)) as server, _connected(server.address) as connection:
        assert _ask(connection) == expected


def test_head_and_get_with_the_same_head_on_one_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: same-head\r\n\r\n"

    def script(sock: socket.socket) -> None:
        while request := read_request(sock):
            sock.sendall(head + (b"" if request.startswith(b"HEAD") else b"hello"))

    with serving(script) as server, _connected(server.address) as connection:
        asked = [("HEAD", b""), ("GET", b"hello"), ("HEAD", b""), ("GET", b"hello")]
        bodies = [(method, _ask(connection, GET.replace(b"GET", method.encode()), method)[1]) for method, _ in asked]
    assert bodies == asked


def test_an_answer_in_every_two_pieces_after_one_in_a_piece() -> None:
    """A head that was seen before is recognised from its bytes alone, so a cut must never look like a whole answer."""
    head = b"HTTP/1.1 200 OK\r\nX: cuts\r\nContent-Length: "
    # Two bytes shorter than what stands before its blank line: where a missing blank line is taken for one at -1, that fits.
    answer = head + b"%d\r\n\r\n" % len(head) + b"x" * len(head)
    ours, theirs = socket.socketpair()
    with ours, theirs, serving(always(OK)) as server, _connected(server.address) as connection:
        connection.sock.close()
        ours.setblocking(False)
        connection.sock = ours
        results = []
        for place in range(len(answer)):
            connection.send(GET, "GET")
            theirs.recv(65536)
            for part in (answer[:place], answer[place:]):
                theirs.sendall(part)
                if part:
                    connection.receive()
            results.append((connection.awaiting, connection.body, connection.reusable))
    assert set(results) == {(False, b"x" * len(head), True)}


def test_of_a_large_body_only_the_start_is_kept() -> None:
    body = bytes(range(256)) * 2048
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with serving(always(answer)) as server, _connected(server.address) as connection:
        assert _ask(connection) == (200, body[:KEPT_BODY], True)
        assert _ask(connection) == (200, body[:KEPT_BODY], True)


def test_a_subclass_may_take_the_parts_of_a_body() -> None:
    class Whole(Connection):
        def absorb(self, data: bytes) -> bool:
            self.body += b"".join(event for event in self.events(data) if isinstance(event, bytes))
            return not self.awaiting

    body = b"x" * (3 * KEPT_BODY)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with serving(always(answer)) as server, contextlib.closing(Whole(server.address)) as connection:
        assert _ask(connection) == (200, body, True)


# Requests that do not go out at once


def test_a_large_request_goes_out_piece_by_piece() -> None:
    body = bytes(range(256)) * 40_000
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    got: list[bytes] = []

    def script(sock: socket.socket) -> None:
        while request := read_request(sock):
            got.append(request)
            sock.sendall(OK)

    with serving(script) as server, _connected(server.address) as connection:
        connection.send(head + body, "POST")
        pending = connection.wants_write
        _answer(connection)
        second = _ask(connection, head + body, "POST")
    assert pending
    assert second == (200, b"hello", True)
    assert got == [head + body] * 2


def test_a_request_in_parts() -> None:
    got: list[bytes] = []

    def script(sock: socket.socket) -> None:
        got.append(read_request(sock))
        sock.sendall(OK)

    with serving(script) as server, _connected(server.address) as connection:
        connection.send(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", "POST")
        connection.send_more(b"ab")
        connection.send_more(b"cd")
        _answer(connection)
    assert got == [b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"]


def test_an_answer_to_half_a_request_ends_the_connection() -> None:
    """Even when its head was seen before: what is left of the request would be taken for the next one."""
    over = threading.Event()

    def script(sock: socket.socket) -> None:
        for _ in range(2):
            sock.recv(100)
            sock.sendall(OK)
        over.wait(PATIENCE_S)

    with serving(script) as server, _connected(server.address) as connection:
        assert _ask(connection) == (200, b"hello", True)
        connection.send(b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000), "POST")
        select.select([connection.fileno()], [], [], PATIENCE_S)
        whole = connection.receive()
        over.set()
        assert (whole, connection.body, connection.reusable) == (True, b"hello", False)


def test_an_answer_before_a_reset_is_still_read() -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
    gone = threading.Event()

    def script(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(refusal)
        reset(sock)
        gone.set()

    with serving(script) as server, _connected(server.address) as connection:
        connection.send(b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000), "POST")
        gone.wait(PATIENCE_S)
        _answer(connection)
        assert (connection.head and connection.head.status, connection.body, connection.reusable) == (413, b"no", False)


def test_a_reset_while_sending_is_a_reset() -> None:
    gone = threading.Event()

    def script(sock: socket.socket) -> None:
        sock.recv(100)
        reset(sock)
        gone.set()

    def ask() -> None:
        connection.send(b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000), "POST")
        gone.wait(PATIENCE_S)
        _answer(connection)

    with serving(script) as server, _connected(server.address) as connection:
        assert _failure(ask) is Failure.RESET


# Ends


def test_a_reset_while_waiting() -> None:
    def script(sock: socket.socket) -> None:
        read_request(sock)
        reset(sock)

    with serving(script) as server, _connected(server.address) as connection:
        assert _failure(lambda: _ask(connection)) is Failure.RESET
        assert connection.untouched


@pytest.mark.parametrize(("answer", "untouched"), [(b"", True), (b"H", False), (OK[:-1], False)])
def test_a_close_while_waiting(answer: bytes, untouched: bool) -> None:
    with serving(answering(answer)) as server, _connected(server.address) as connection:
        assert _failure(lambda: _ask(connection)) is Failure.CLOSED
        assert connection.untouched is untouched


def test_untouched_is_about_the_response_that_is_awaited() -> None:
    with serving(always(OK)) as server, _connected(server.address) as connection:
        before = connection.untouched
        connection.send(GET, "GET")
        sent = connection.untouched
        _answer(connection)
        assert (before, sent, connection.untouched) == (False, True, False)


@pytest.mark.parametrize(("more", "failure"), [(b"", Failure.CLOSED), (b"HTTP/1.1 408 Late\r\n\r\n", Failure.MALFORMED)])
def test_what_comes_while_nothing_is_awaited(more: bytes, failure: Failure) -> None:
    asked = threading.Event()

    def script(sock: socket.socket) -> None:
        answering(OK)(sock)
        asked.wait(PATIENCE_S)
        sock.sendall(more)

    with serving(script) as server, _connected(server.address) as connection:
        _ask(connection)
        asked.set()
        _wait(connection)
        assert _failure(connection.receive) is failure


def test_garbage_for_an_answer() -> None:
    with serving(answering(b"SSH-2.0-x\r\n")) as server, _connected(server.address) as connection:
        assert _failure(lambda: _ask(connection)) is Failure.MALFORMED


def test_limits_are_the_callers() -> None:
    def ask(max_head: int, max_body: int) -> Callable[[], object]:
        def work() -> None:
            with contextlib.closing(Connection(server.address, max_head=max_head, max_body=max_body)) as connection:
                _ask(connection)

        return work

    odd = b"HTTP/1.1 200 OK\r\nX: limits\r\nContent-Length: 5\r\n\r\nhello"
    with serving(always(odd)) as server:
        assert [_failure(ask(20, 100)), _failure(ask(100, 4))] == [Failure.TOO_LARGE] * 2


# TLS


def _trusting(certificates: Certificates, name: str = "web.test") -> Tls:
    return make_tls(name, cacert=certificates.cacert)


def test_tls_opens_asks_and_says_what_it_is(certificates: Certificates) -> None:
    with (
        serving(always(OK), certificates.server()) as server,
        _connected(server.address, _trusting(certificates)) as connection,
    ):
        answers = [_ask(connection), _ask(connection)]
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert (connection.sock.selected_alpn_protocol(), connection.sock.version()) == ("http/1.1", "TLSv1.3")
        assert repr(connection) == f"<Connection tls {server.address} open, 2 answered>"
    assert answers == [(200, b"hello", True)] * 2


def test_the_descriptor_stays_the_same(certificates: Certificates) -> None:
    with (
        serving(always(OK), certificates.server()) as server,
        contextlib.closing(Connection(server.address, _trusting(certificates))) as connection,
    ):
        before = connection.fileno()
        _open(connection)
        assert connection.fileno() == before


def test_a_request_given_before_the_handshake_goes_out_after_it(certificates: Certificates) -> None:
    with (
        serving(always(OK), certificates.server()) as server,
        contextlib.closing(Connection(server.address, _trusting(certificates))) as connection,
    ):
        assert _ask(connection) == (200, b"hello", True)


def test_the_name_is_sent_and_an_address_is_not(certificates: Certificates) -> None:
    seen: list[str | None] = []
    context = certificates.server()
    context.sni_callback = lambda sock, name, context: seen.append(name)
    with serving(always(OK), context) as server:
        for name in ("web.test", "127.0.0.1"):
            with _connected(server.address, _trusting(certificates, name)) as connection:
                _ask(connection)
    assert seen == ["web.test", None]


@pytest.mark.parametrize(
    ("trusted", "expired", "name", "words"),
    [
        (False, False, "web.test", "unable to get local issuer certificate"),
        (True, True, "web.test", "certificate has expired"),
        (True, False, "other.test", "Hostname mismatch, certificate is not valid for 'other.test'."),
        (True, False, "127.0.0.2", "IP address mismatch, certificate is not valid for '127.0.0.2'."),
    ],
)
def test_a_certificate_that_proves_nothing(
    certificates: Certificates, trusted: bool, expired: bool, name: str, words: str
) -> None:
    context = certificates.server(trusted=trusted, expired=expired)
    with (
        serving(always(OK), context) as server,
        contextlib.closing(Connection(server.address, _trusting(certificates, name))) as connection,
        pytest.raises(ExchangeError) as caught,
    ):
        _open(connection)
    assert caught.value.failure is Failure.TLS
    assert words in str(caught.value)


def test_insecure_takes_any_certificate(certificates: Certificates) -> None:
    with (
        serving(always(OK), certificates.server(trusted=False)) as server,
        _connected(server.address, make_tls("other.test", insecure=True)) as connection,
    ):
        assert _ask(connection) == (200, b"hello", True)


def test_a_client_certificate_is_shown(certificates: Certificates) -> None:
    tls = make_tls("web.test", cacert=certificates.cacert, cert=certificates.client_cert, key=certificates.client_key)
    with (
        serving(always(OK), certificates.asking_for_client()) as server,
        _connected(server.address, tls) as connection,
    ):
        assert _ask(connection) == (200, b"hello", True)


def test_tls_with_somebody_who_speaks_http(certificates: Certificates) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(OK)

    with serving(script) as server, contextlib.closing(Connection(server.address, _trusting(certificates))) as connection:
        assert _failure(lambda: _open(connection)) is Failure.TLS


def test_a_reset_in_the_handshake(certificates: Certificates) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(1)
        reset(sock)

    with serving(script) as server, contextlib.closing(Connection(server.address, _trusting(certificates))) as connection:
        assert _failure(lambda: _open(connection)) is Failure.RESET


def test_a_name_that_cannot_be_sent() -> None:
    tls = make_tls("web.test")
    failures = [_failure(partial(Connection, Address("127.0.0.1", 1), Tls(tls.context, name))) for name in ("", ".a")]
    assert failures == [Failure.TLS, Failure.TLS]


@pytest.mark.parametrize("size", [16 * 1024, 100_000, 3_000_000])
def test_a_burst_of_tls_records_is_read_to_the_end(certificates: Certificates, size: int) -> None:
    """Nothing may stay inside the TLS object: the server is silent afterwards, and no poller would report it."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    with (
        serving(always(answer), certificates.server()) as server,
        _connected(server.address, _trusting(certificates)) as connection,
    ):
        assert [_ask(connection), _ask(connection)] == [(200, b"x" * min(size, KEPT_BODY), True)] * 2


def test_a_large_request_over_tls(certificates: Certificates) -> None:
    body = b"x" * 5_000_000
    with (
        serving(always(OK), certificates.server()) as server,
        _connected(server.address, _trusting(certificates)) as connection,
    ):
        request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        assert [_ask(connection, request, "POST") for _ in range(2)] == [(200, b"hello", True)] * 2


def test_a_close_without_goodbye_over_tls(certificates: Certificates) -> None:
    with (
        serving(answering(OK[:-1]), certificates.server()) as server,
        _connected(server.address, _trusting(certificates)) as connection,
    ):
        assert _failure(lambda: _ask(connection)) is Failure.CLOSED


def test_a_pause_of_the_server_costs_no_turns() -> None:
    """Without data, reading says so rather than waiting, until this server's patience ended with the connection."""
    with serving(always(OK)) as server, _connected(server.address) as connection:
        assert not connection.receive()
