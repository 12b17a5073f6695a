"""The sans-IO core: what it sends, what it reads, and where it stops reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbalance import __version__
from kbalance.errors import ExchangeError, TargetError
from kbalance.model.plan import RequestSpec
from kbalance.model.words import Failure
from kbalance.wire.http1 import (
    CHUNKED,
    MAX_CHUNK_LINE,
    UNTIL_CLOSE,
    End,
    Event,
    Head,
    ResponseParser,
    encode,
    parse_head,
)

GET = RequestSpec(method="GET", authority="web:8080", path="/")
AGENT = f"User-Agent: kbalance/{__version__}\r\n"


def _spec(
    *, method: str = "GET", path: str = "/", headers: tuple[tuple[str, str], ...] = (), body: bytes = b"", nonce: str = ""
) -> RequestSpec:
    return RequestSpec(method=method, authority="web:8080", path=path, headers=headers, body=body, nonce=nonce)


def _read(raw: bytes, method: str = "GET", *, max_head: int = 1000, max_body: int = 1000) -> list[Event]:
    parser = ResponseParser(max_head=max_head, max_body=max_body)
    parser.start(method)
    return parser.receive(raw)


def _failure(raw: bytes, *, max_head: int = 1000, max_body: int = 1000, bytewise: bool = False) -> tuple[Failure, str]:
    parser = ResponseParser(max_head=max_head, max_body=max_body)
    parser.start("GET")
    parts = [raw[i : i + 1] for i in range(len(raw))] if bytewise else [raw] if raw else []
    with pytest.raises(ExchangeError) as caught:
        _feed(parser, [*parts, b""])
    return caught.value.failure, str(caught.value)


def _feed(parser: ResponseParser, parts: list[bytes]) -> None:
    for part in parts:
        parser.receive(part)


def _sized(length: int) -> Head:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d" % length
    return Head(200, b"OK", ((b"Content-Length", b"%d" % length),), length, True, raw)


# What is sent


def test_a_plain_request() -> None:
    assert encode(GET).decode() == f"GET / HTTP/1.1\r\nHost: web:8080\r\n{AGENT}Accept: */*\r\n\r\n"


def test_the_last_request_asks_to_close() -> None:
    assert encode(GET, close=True).decode() == (
        f"GET / HTTP/1.1\r\nHost: web:8080\r\n{AGENT}Accept: */*\r\nConnection: close\r\n\r\n"
    )


def test_the_nonce_has_a_header_of_its_own() -> None:
    assert encode(_spec(nonce="n1")).decode() == (
        f"GET / HTTP/1.1\r\nHost: web:8080\r\n{AGENT}Accept: */*\r\nX-Kbalance-Nonce: n1\r\n\r\n"
    )


def test_given_headers_replace_ours_whatever_their_case() -> None:
    given = (("hOST", "other"), ("user-agent", "me"), ("X", "1"), ("X", "2"), ("Connection", "keep-alive"))
    assert encode(_spec(headers=given), close=True) == (
        b"GET / HTTP/1.1\r\nAccept: */*\r\nhOST: other\r\nuser-agent: me\r\nX: 1\r\nX: 2\r\nConnection: keep-alive\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "body", "line"),
    [
        ("POST", b"", "Content-Length: 0\r\n"),
        ("PUT", b"", "Content-Length: 0\r\n"),
        ("PATCH", b"ab", "Content-Length: 2\r\n"),
        ("GET", b"abc", "Content-Length: 3\r\n"),
        ("DELETE", b"", ""),
    ],
)
def test_a_body_is_counted(method: str, body: bytes, line: str) -> None:
    sent = encode(_spec(method=method, body=body))
    assert sent.decode() == f"{method} / HTTP/1.1\r\nHost: web:8080\r\n{AGENT}Accept: */*\r\n{line}\r\n{body.decode()}"


def test_a_given_length_that_is_right_is_sent_once() -> None:
    sent = encode(_spec(method="POST", headers=(("content-length", "2"),), body=b"ab"))
    assert sent.lower().count(b"content-length: 2\r\n") == sent.lower().count(b"content-length") == 1


def test_text_beyond_ascii_goes_out_as_latin_1() -> None:
    assert b"X: sch\xf6n\r\n" in encode(_spec(headers=(("X", "schön"),)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (_spec(method="GET /\r\nX:"), "'GET /\\r\\nX:' is not an HTTP method; give one like GET."),
        (_spec(method=""), "'' is not an HTTP method; give one like GET."),
        (_spec(path=""), "The path '' is empty or has characters that must be percent-encoded."),
        (_spec(path="/a b"), "The path '/a b' is empty or has characters that must be percent-encoded."),
        (
            _spec(path="/ HTTP/1.1\r\nX: y"),
            "The path '/ HTTP/1.1\\r\\nX: y' is empty or has characters that must be percent-encoded.",
        ),
        (_spec(path="/ü"), "The path '/ü' is empty or has characters that must be percent-encoded."),
        (_spec(headers=(("X:", "y"),)), "'X:' is not a header name; give headers as 'Name: value'."),
        (_spec(headers=(("", "y"),)), "'' is not a header name; give headers as 'Name: value'."),
        (_spec(headers=(("X", "y\r\nZ: 1"),)), "The value of header X has characters that cannot stand in a header."),
        (_spec(headers=(("X", "y\nZ: 1"),)), "The value of header X has characters that cannot stand in a header."),
        (_spec(headers=(("X", "\x00"),)), "The value of header X has characters that cannot stand in a header."),
        (_spec(headers=(("X", "€"),)), "The value of header X has characters that cannot stand in a header."),
        (_spec(nonce="a\r\n"), "The value of header X-Kbalance-Nonce has characters that cannot stand in a header."),
        (
            _spec(headers=(("Content-Length", "5"),), body=b"ab"),
            "The header content-length does not describe the 2 bytes of the body; leave it out, it is counted.",
        ),
        (
            _spec(headers=(("Transfer-Encoding", "chunked"),)),
            "The header transfer-encoding does not describe the 0 bytes of the body; leave it out, it is counted.",
        ),
    ],
)
def test_what_would_break_out_of_its_place_is_refused(spec: RequestSpec, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        encode(spec)
    assert str(caught.value) == message


@given(name=st.text(max_size=8), value=st.text(max_size=20), path=st.text(max_size=20), method=st.text(max_size=8))
def test_a_request_has_as_many_lines_as_headers_or_is_refused(name: str, value: str, path: str, method: str) -> None:
    try:
        sent = encode(_spec(method=method, path=path, headers=((name, value),)))
    except TargetError:
        return
    assert sent.count(b"\n") == sent.count(b"\r\n") == len(sent.split(b"\r\n")) - 1
    assert sent.endswith(b"\r\n\r\n")
    assert sent.index(b"\r\n\r\n") == len(sent) - 4


# Heads


def test_a_head_with_everything() -> None:
    raw = b"HTTP/1.1 404 Not Found\r\nX-Pod: web-1 \r\nContent-Length: 3\r\nConnection: close"
    fields = ((b"X-Pod", b"web-1"), (b"Content-Length", b"3"), (b"Connection", b"close"))
    assert parse_head(raw, "GET") == Head(404, b"Not Found", fields, 3, False, raw)


def test_a_folded_line_becomes_one() -> None:
    head = parse_head(b"HTTP/1.1 204 N\r\nX: a\r\n\t b\r\n  c", "GET")
    assert head.fields == ((b"X", b"a b c"),)


@pytest.mark.parametrize(
    ("lines", "method", "expected"),
    [
        (b"200 OK\r\nContent-Length: 7", "GET", (7, True)),
        (b"200 OK", "GET", (UNTIL_CLOSE, False)),
        (b"200 OK\r\nTransfer-Encoding: chunked", "GET", (CHUNKED, True)),
        (b"200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7", "GET", (CHUNKED, False)),
        (b"200 OK\r\nContent-Length: 7", "HEAD", (0, True)),
        (b"200 OK", "HEAD", (0, True)),
        (b"204 N\r\nContent-Length: 7", "GET", (0, True)),
        (b"304 N\r\nTransfer-Encoding: chunked", "GET", (0, True)),
        (b"100 C", "GET", (0, True)),
        (b"200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 7", "GET", (7, False)),
    ],
)
def test_length_and_reuse_follow_from_the_head(lines: bytes, method: str, expected: tuple[int, bool]) -> None:
    head = parse_head(b"HTTP/1.1 " + lines, method)
    assert (head.length, head.reusable) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"200 OK\r\nContent-Length: 7", (7, False, 0)),
        (b"200 OK\r\nContent-Length: 7\r\nConnection: keep-alive", (7, True, 0)),
        (b"200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive", (CHUNKED, False, 0)),
    ],
)
def test_http_1_0_keeps_alive_when_it_says_so(lines: bytes, expected: tuple[int, bool, int]) -> None:
    head = parse_head(b"HTTP/1.0 " + lines, "GET")
    assert (head.length, head.reusable, head.minor) == expected


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "not a status line: 'SSH-2.0-OpenSSH\\r\\n'"),
        (b"\x00", "not a status line: '\\x00'"),
        (b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00@\x00", "a frame of HTTP/2"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "not a status line: 'HTTP/2.0 200 OK\\r\\n\\r\\n'"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "not a status line: 'HTTP/1.1 2x0 OK'"),
        (b"HTTP/1.1 101 S\r\n\r\n", "status 101, which was not asked for"),
        (b"HTTP/1.1 200 OK\r\nX\r\n\r\n", "not a header line: 'X'"),
        (b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "not a header line: 'X : y'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", "Content-Length is not one number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "Content-Length is not one number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding 'gzip' was not asked for"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n", "Transfer-Encoding '' was not asked for"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", "not a chunk size: 'z'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab", "a chunk is longer than it said"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA\r\n\r\n", "not a header line: 'A'"),
    ],
)
def test_what_is_not_http_is_malformed(raw: bytes, words: str) -> None:
    assert _failure(raw) == (Failure.MALFORMED, words)


def test_a_long_wrong_line_is_quoted_in_part() -> None:
    assert _failure(b"x" * 100) == (Failure.MALFORMED, f"not a status line: '{'x' * 60}'")


# Bodies


def test_a_sized_body_in_one_piece_and_byte_by_byte() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    assert _read(raw) == [_sized(3), b"abc", End()]

    parser = ResponseParser()
    parser.start("GET")
    assert [event for i in range(len(raw)) for event in parser.receive(raw[i : i + 1])] == [_sized(3), b"a", b"b", b"c", End()]


def test_a_chunked_body_with_extensions_and_trailers() -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
    events = _read(raw + b"\r\n\r\n3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nSum: 1\r\n Two\r\nB: 2\r\n\r\n")
    head = Head(200, b"OK", ((b"Transfer-Encoding", b"chunked"),), CHUNKED, True, raw)
    assert events == [head, b"abc", b"0123456789", End(((b"Sum", b"1 Two"), (b"B", b"2")))]


def test_a_body_until_close_ends_with_the_close() -> None:
    parser = ResponseParser()
    parser.start("GET")
    head = Head(200, b"OK", (), UNTIL_CLOSE, False, b"HTTP/1.1 200 OK")
    assert parser.receive(b"HTTP/1.1 200 OK\r\n\r\na") == [head, b"a"]
    assert parser.receive(b"b") == [b"b"]
    assert parser.receive(b"") == [End()]


def test_interim_responses_come_first() -> None:
    raw = b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    statuses = [event.status if isinstance(event, Head) else event for event in _read(raw)]
    assert statuses == [100, 103, 200, b"x", End()]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_what_comes_behind_a_response_is_surplus(method: str) -> None:
    parser = ResponseParser()
    parser.start(method)
    status = b"200" if method == "HEAD" else b"204"
    events = parser.receive(b"HTTP/1.1 %b X\r\nContent-Length: 3\r\n\r\nabc" % status)
    assert (len(events), parser.surplus) == (2, b"abc")


def test_several_responses_in_turn() -> None:
    parser = ResponseParser()
    for body in (b"a", b"b"):
        parser.start("GET")
        assert parser.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + body) == [_sized(1), body, End()]
        assert parser.surplus == b""


def test_nothing_is_read_that_was_not_asked_for() -> None:
    parser = ResponseParser()
    assert parser.receive(b"") == []
    with pytest.raises(ExchangeError) as caught:
        parser.receive(b"HTTP/1.1 408 Too late\r\n\r\n")
    assert (caught.value.failure, str(caught.value)) == (Failure.MALFORMED, "nothing was asked")


# The close at each point


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
    ],
)
def test_a_close_before_the_end_is_told_from_one_before_the_start(raw: bytes) -> None:
    expected = ["closed before the answer"] + ["closed within the answer"] * (len(raw) - 1)
    assert [_failure(raw[:n]) for n in range(len(raw))] == [(Failure.CLOSED, words) for words in expected]


def test_untouched_until_the_first_byte() -> None:
    parser = ResponseParser()
    parser.start("GET")
    before = parser.untouched
    parser.receive(b"H")
    assert (before, parser.untouched) == (True, False)


# Limits


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100 + b"\r\n\r\n", "more than 100 bytes of headers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100, "more than 100 bytes of headers"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 6, "more than 100 bytes of headers"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"y" * 60 + b"\r\n\r\n",
            "more than 100 bytes of headers",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", "a body of 11 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 11, "a body of more than 10 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nB\r\n", "a body of more than 10 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n5\r\n",
            "a body of more than 10 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * MAX_CHUNK_LINE + b"\r\n",
            f"a chunk size line of more than {MAX_CHUNK_LINE} bytes",
        ),
    ],
)
def test_beyond_a_limit_is_too_large(raw: bytes, words: str, bytewise: bool) -> None:
    assert _failure(raw, max_head=100, max_body=10, bytewise=bytewise) == (Failure.TOO_LARGE, words)


@pytest.mark.parametrize("bytewise", [False, True])
def test_what_just_fits_is_read(bytewise: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    line = b"1;" + b"x" * (MAX_CHUNK_LINE - 2) + b"\r\n"
    raw = head + line + b"a\r\n9\r\n012345678\r\n0\r\n\r\n"
    parser = ResponseParser(max_head=len(head), max_body=10)
    parser.start("GET")
    events = [e for part in ([raw[i : i + 1] for i in range(len(raw))] if bytewise else [raw]) for e in parser.receive(part)]
    assert b"".join(event for event in events if isinstance(event, bytes)) == b"a012345678"
    assert events[-1] == End()
