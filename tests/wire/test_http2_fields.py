"""The fields of a request in HTTP/2: what is kept, translated, left out, and refused."""

import pytest
from hpack import NeverIndexedHeaderTuple

from kbalance.wire.http2_fields import fields_of

PSEUDO = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"web.test"), (b":path", b"/a?b"))


def asked(*headers: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return fields_of(b"GET", b"https", b"web.test", b"/a?b", headers)


def test_names_are_lowered_and_values_stripped() -> None:
    assert asked((b"User-Agent", b" kbalance\t"), (b"X-Empty", b""), (b"Content-Length", b"0")) == (
        *PSEUDO,
        (b"user-agent", b"kbalance"),
        (b"x-empty", b""),
        (b"content-length", b"0"),
    )


def test_a_host_header_is_the_authority() -> None:
    assert asked((b"Host", b"other.test:8080"))[2:] == ((b":authority", b"other.test:8080"), PSEUDO[3])


def test_what_speaks_of_the_connection_is_left_out() -> None:
    headers = [
        (b"Connection", b"Close, X-Hop"),
        (b"Keep-Alive", b"5"),
        (b"Proxy-Connection", b"x"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"x"),
        (b"X-Hop", b"x"),
        (b"TE", b"gzip"),
    ]
    assert asked(*headers, (b"TE", b"Trailers"), (b"X-Kept", b"1")) == (*PSEUDO, (b"te", b"Trailers"), (b"x-kept", b"1"))


def test_secrets_stay_out_of_the_compression() -> None:
    fields = asked((b"Authorization", b"Bearer x"), (b"Cookie", b"a=b"), (b"Cookie", b"a=" + b"b" * 30), (b"X", b"y"))

    assert [isinstance(field, NeverIndexedHeaderTuple) for field in fields[4:]] == [True, True, False, False]


@pytest.mark.parametrize(
    "field",
    [
        (b"", b"x"),
        (b"na me", b"x"),
        (b":path", b"/other"),
        (b"name", b"x\r\ny: z"),
        (b"name", b"x\0"),
        (b"n\xe9", b"x"),
    ],
)
def test_a_field_that_cannot_stand_in_a_request_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="cannot send the header"):
        asked(field)


@pytest.mark.parametrize(
    ("method", "authority", "path"),
    [
        (b"CONNECT", b"web.test", b"/"),
        (b"GE T", b"web.test", b"/"),
        (b"GET", b"", b"/"),
        (b"GET", b"web.test", b""),
        (b"GET", b"web.test", b"/ /"),
        (b"GET", b"web.test", b"/\n"),
    ],
)
def test_a_request_that_cannot_be_is_refused(method: bytes, authority: bytes, path: bytes) -> None:
    with pytest.raises(ValueError, match="cannot ask"):
        fields_of(method, b"http", authority, path, [])


def test_two_hosts_are_refused() -> None:
    with pytest.raises(ValueError, match="more than one Host"):
        asked((b"Host", b"a"), (b"host", b"b"))
