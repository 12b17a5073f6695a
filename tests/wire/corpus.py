"""Odd responses, and where our reader means to judge them differently from h11."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Odd:
    """The bytes that a server sends before it closes."""

    name: str
    raw: bytes
    method: str = "GET"
    differs: str = ""
    """Why our reading differs from h11's; empty when it must not."""


def _ok(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", body])


def _chunked(body: bytes, *lines: bytes) -> bytes:
    return _ok(b"Transfer-Encoding: chunked", *lines, body=body)


_NORMALIZED = "h11 rewrites this header once it has understood it; we hand on what came"

ODD = (
    Odd("sized", _ok(b"Content-Length: 5", body=b"hello")),
    Odd("empty", _ok(b"Content-Length: 0")),
    Odd("leading zeros in the length", _ok(b"Content-Length: 005", body=b"hello")),
    Odd("until close", _ok(body=b"hello")),
    Odd("until close, nothing", _ok()),
    Odd("until close after 1.0", b"HTTP/1.0 200 OK\r\n\r\nhello"),
    Odd("no reason, no blank", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    Odd("no reason", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    Odd("reason beyond ASCII", b"HTTP/1.1 200 sch\xf6n\ttab\r\nContent-Length: 0\r\n\r\n"),
    Odd("value beyond ASCII", _ok(b"Content-Length: 0", b"X: \xff\xfe")),
    Odd("status 999", b"HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n"),
    Odd("status 099", b"HTTP/1.1 099 ?\r\nContent-Length: 0\r\n\r\n"),
    Odd("status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
    Odd("status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n"),
    Odd("status with a sign", b"HTTP/1.1 +20 OK\r\n\r\n"),
    Odd("two blanks before the status", b"HTTP/1.1  200 OK\r\n\r\n"),
    Odd("lower-case http", b"http/1.1 200 OK\r\n\r\n"),
    Odd("a blank line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
    Odd("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", differs="we speak HTTP/1 only (RFC 9110, 2.5)"),
    Odd("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Odd("HTTP/1.10", b"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Odd("ICY", b"ICY 200 OK\r\n\r\n"),
    Odd("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    Odd("TLS alert", b"\x15\x03\x01\x00\x02\x02\x0a"),
    Odd("nothing", b""),
    Odd("half a status line", b"HTTP/1.1 20"),
    Odd("half a head", b"HTTP/1.1 200 OK\r\nContent-Le"),
    Odd("a head without its blank line", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
    Odd("half a body", _ok(b"Content-Length: 5", body=b"hel")),
    Odd("more than the body", _ok(b"Content-Length: 5", body=b"hello, world")),
    Odd("two responses", _ok(b"Content-Length: 5", body=b"hello") * 2),
    # Lines
    Odd("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 5\nX: y\n\nhello"),
    Odd("LF and CRLF mixed", b"HTTP/1.1 200 OK\r\nContent-Length: 5\nX: y\r\n\nhello"),
    Odd("bare CR in a value", _ok(b"Content-Length: 0", b"X: a\rb")),
    Odd("CR before the CRLF", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\r\n\r\n"),
    Odd("CR before the CRLF of the status line", b"HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\n\r\n"),
    Odd("NUL in a value", _ok(b"Content-Length: 0", b"X: a\x00b")),
    Odd("control character in a value", _ok(b"Content-Length: 0", b"X: a\x01b")),
    Odd(
        "vertical tab in a value",
        _ok(b"Content-Length: 0", b"X: a\x0bb"),
        differs="h11 refuses the two control characters that Python counts as blanks and takes the others; we take all but NUL, "
        "CR and LF, as RFC 9110, 5.5 allows",
    ),
    Odd("folded", _ok(b"Content-Length: 0", b"X: a  ", b"  b ", b"\tc  ")),
    Odd("folded, nothing on the line", _ok(b"Content-Length: 0", b"X: a", b" ", b"Y: b")),
    Odd("folded at once", b"HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 0\r\n\r\n"),
    Odd("folded length", _ok(b"Content-Length:", b" 5", body=b"hello")),
    Odd("blanks around a value", _ok(b"Content-Length: \t 5 \t", body=b"hello")),
    Odd("no blank before a value", _ok(b"Content-Length:5", body=b"hello")),
    Odd("empty value", _ok(b"X:", b"Y: ", b"Content-Length: 0")),
    Odd("blank before the colon", _ok(b"Content-Length : 5", body=b"hello")),
    Odd("no colon", _ok(b"nonsense", b"Content-Length: 0")),
    Odd("no name", _ok(b": value", b"Content-Length: 0")),
    Odd("name with a blank", _ok(b"X Y: z", b"Content-Length: 0")),
    Odd("name beyond ASCII", _ok(b"X\xe9: z", b"Content-Length: 0")),
    Odd("the same header twice", _ok(b"Set-Cookie: a", b"Content-Length: 0", b"set-cookie: b")),
    # Lengths
    Odd("the same length twice", _ok(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), differs=_NORMALIZED),
    Odd("the same length in a list", _ok(b"Content-Length: 5, 5", body=b"hello"), differs=_NORMALIZED),
    Odd("two lengths", _ok(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    Odd("two lengths in a list", _ok(b"Content-Length: 5, 6", body=b"hello!")),
    Odd("5 and 05", _ok(b"Content-Length: 5", b"Content-Length: 05", body=b"hello")),
    Odd("negative length", _ok(b"Content-Length: -5", body=b"hello")),
    Odd("signed length", _ok(b"Content-Length: +5", body=b"hello")),
    Odd("hexadecimal length", _ok(b"Content-Length: 0x5", body=b"hello")),
    Odd("no length in the length", _ok(b"Content-Length:", body=b"hello")),
    Odd("a comma behind the length", _ok(b"Content-Length: 5,", body=b"hello")),
    Odd("length with an underscore", _ok(b"Content-Length: 1_0", body=b"0123456789")),
    Odd("a length beyond 2^64", _ok(b"Content-Length: 99999999999999999999", body=b"hello")),
    # Bodies that there are not
    Odd("HEAD, sized", _ok(b"Content-Length: 5"), method="HEAD"),
    Odd("HEAD, chunked", _chunked(b""), method="HEAD"),
    Odd("HEAD, nothing said", _ok(), method="HEAD"),
    Odd("HEAD with a body", _ok(b"Content-Length: 5", body=b"hello"), method="HEAD"),
    Odd("204", b"HTTP/1.1 204 No Content\r\n\r\n"),
    Odd("204, chunked", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    Odd("204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    Odd("304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    Odd("204 with a bad length", b"HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n"),
    Odd("205 until close", b"HTTP/1.1 205 Reset Content\r\n\r\nhello"),
    # Before the response
    Odd("100", b"HTTP/1.1 100 Continue\r\n\r\n" + _ok(b"Content-Length: 5", body=b"hello")),
    Odd("102, 103, 103", b"HTTP/1.1 102 P\r\n\r\n" + b"HTTP/1.1 103 E\r\nLink: a\r\n\r\n" * 2 + _ok(b"Content-Length: 0")),
    Odd("100 with a length", b"HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\n" + _ok(b"Content-Length: 0")),
    Odd("100 and no more", b"HTTP/1.1 100 Continue\r\n\r\n"),
    Odd("101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    # Chunks
    Odd("one chunk", _chunked(b"5\r\nhello\r\n0\r\n\r\n")),
    Odd("chunks", _chunked(b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n")),
    Odd("no chunk", _chunked(b"0\r\n\r\n")),
    Odd("sizes in both cases and with zeros", _chunked(b"00A\r\n0123456789\r\n00b\r\n0123456789a\r\n000\r\n\r\n")),
    Odd("extensions", _chunked(b'5;a=b;c="d;\xe9"\r\nhello\r\n0;last\r\n\r\n')),
    Odd("a blank behind the size", _chunked(b"5 \r\nhello\r\n0\t\r\n\r\n")),
    Odd("a blank before the size", _chunked(b" 5\r\nhello\r\n0\r\n\r\n")),
    Odd(
        "a blank before an extension",
        _chunked(b"5 ; a\r\nhello\r\n0\r\n\r\n"),
        differs="RFC 9112, 7.1.1 lets a recipient take it, and some servers send it",
    ),
    Odd(
        "CR in an extension",
        _chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
        differs="somebody in between may take a bare CR for the end of the line: no border may hang on it (RFC 9112, 2.2)",
    ),
    Odd("LF behind the size", _chunked(b"5\nhello\r\n0\r\n\r\n")),
    Odd("LF behind the chunk", _chunked(b"5\r\nhello\n0\r\n\r\n")),
    Odd("chunk longer than it says", _chunked(b"4\r\nhello\r\n0\r\n\r\n")),
    Odd("chunk shorter than it says", _chunked(b"6\r\nhello\r\n0\r\n\r\n")),
    Odd("no size", _chunked(b"\r\nhello\r\n0\r\n\r\n")),
    Odd("size of 0x", _chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    Odd("negative size", _chunked(b"-5\r\nhello\r\n0\r\n\r\n")),
    Odd("size of 21 digits", _chunked(b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n")),
    Odd(
        "size of 17 digits",
        _chunked(b"0" * 16 + b"5\r\nhello\r\n0\r\n\r\n"),
        differs="16 digits say every size below 2^64; h11 reads 20",
    ),
    Odd("cut in a size", _chunked(b"5")),
    Odd("cut in a chunk", _chunked(b"5\r\nhel")),
    Odd("cut behind a chunk", _chunked(b"5\r\nhello\r")),
    Odd("cut before the last chunk", _chunked(b"5\r\nhello\r\n")),
    Odd("cut in the end", _chunked(b"5\r\nhello\r\n0\r\n")),
    Odd("more behind the last chunk", _chunked(b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1")),
    Odd("trailers", _chunked(b"5\r\nhello\r\n0\r\nA: b\r\nC:d \r\n\r\n", b"Trailer: A, C")),
    Odd("folded trailers, ended by LF", _chunked(b"0\r\nA: b\n  c\nD: e\n\n")),
    Odd("a blank line of LF for trailers", _chunked(b"0\r\n\n")),
    Odd("a bad trailer", _chunked(b"0\r\nnonsense\r\n\r\n")),
    Odd("trailers cut", _chunked(b"0\r\nA: b\r\n")),
    # Codings
    Odd("Chunked", _ok(b"Transfer-Encoding: Chunked", body=b"0\r\n\r\n"), differs=_NORMALIZED),
    Odd("gzip", _ok(b"Transfer-Encoding: gzip", body=b"hello")),
    Odd("gzip, chunked", _ok(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    Odd("chunked, chunked", _ok(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n")),
    Odd("chunked on two lines", _ok(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Odd("identity", _ok(b"Transfer-Encoding: identity", body=b"hello")),
    Odd("no coding", _ok(b"Transfer-Encoding:", b"Content-Length: 5", body=b"hello")),
    Odd("xchunked", _ok(b"Transfer-Encoding: xchunked", body=b"hello")),
    Odd(
        "an empty member and chunked",
        _ok(b"Transfer-Encoding: , chunked", body=b"0\r\n\r\n"),
        differs="a recipient ignores empty members of a list (RFC 9110, 5.6.1.2)",
    ),
    Odd(
        "chunked and a length",
        _ok(b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"5\r\nhello\r\n0\r\n\r\n"),
        differs="same body, but the connection is not used again: the two sides may disagree on its end (RFC 9112, 6.1)",
    ),
    Odd("chunked and a bad length", _chunked(b"0\r\n\r\n", b"Content-Length: x")),
    Odd("chunked in 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    # Whether it can be used again
    Odd("close", _ok(b"Connection: close", b"Content-Length: 0")),
    Odd("Close among others", _ok(b"Connection: x, Close", b"Content-Length: 0")),
    Odd("close on a second line", _ok(b"Connection: keep-alive", b"Connection: close", b"Content-Length: 0")),
    Odd("closed", _ok(b"Connection: closed", b"Content-Length: 0")),
    Odd("1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Odd(
        "1.0 kept alive",
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n",
        differs="h11 never uses such a connection again; RFC 9112, 9.3 and old servers do",
    ),
)
