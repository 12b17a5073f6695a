"""Header fields of HTTP/2: those of a request as they may be sent, those of a response as they may be taken (RFC 9113, 8)."""

import re
from collections.abc import Iterable, Sequence
from typing import NewType

from hpack import NeverIndexedHeaderTuple

from kbalance.model.words import Failure
from kbalance.wire.http2_events import Pairs

Fields = NewType("Fields", tuple[tuple[bytes, bytes], ...])
"""Of a request, checked, ``:method`` first; the same ones serve any number of requests."""

_CONNECTION_SPECIFIC = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_TAKEN_OUT = _CONNECTION_SPECIFIC | {b"host", b"http2-settings"}
_SECRET = frozenset({b"authorization", b"proxy-authorization"})
_SHORT_COOKIE = 20
"""A shorter one could be guessed from the sizes of compressed heads, where someone else makes requests on the same connection
(RFC 7541, 7.1.3); nghttp2 and h2 draw the line here too."""

_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_LOWER_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?:[^\x00\r\n\t ](?:[^\x00\r\n]*[^\x00\r\n\t ])?)?")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_STATUS = re.compile(rb"[1-9][0-9]{2}")
_LENGTH = re.compile(rb"[0-9]{1,18}")


def fields_of(method: bytes, scheme: bytes, authority: bytes, path: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """A request's fields, pseudo-header fields first.

    Args:
        authority: host and port; a Host header replaces it, since a user who gives one means it.
        headers: in any case; those that speak of an HTTP/1.1 connection, or that Connection names, are left out.

    Raises:
        ValueError: when a part cannot stand in a request.

    Source: RFC 9113, 8.2.2 (connection-specific fields), 8.3.1 (pseudo-header fields); RFC 9110, 7.6.1 (Connection).
    """
    given = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    hosts = [value for name, value in given if name == b"host"]
    if len(hosts) > 1:
        raise ValueError("more than one Host header")
    authority = hosts[0] if hosts else authority
    if method == b"CONNECT" or not _TOKEN.fullmatch(method):
        raise ValueError(f"cannot ask with the method {_words(method)}")
    for part in (scheme, authority, path):
        if not _TARGET.fullmatch(part):
            raise ValueError(f"cannot ask for {_words(scheme)}, {_words(authority)}, {_words(path)}")
    options = {word.strip(b" \t").lower() for name, value in given if name == b"connection" for word in value.split(b",")}
    left_out = _TAKEN_OUT | options
    fields = [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path)]
    fields += [_sent(*field) for field in given if field[0] not in left_out and _may_stand(*field)]
    return Fields(tuple(fields))


def _may_stand(name: bytes, value: bytes) -> bool:
    if not _LOWER_TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"cannot send the header {_words(name)} with value {_words(value)}")
    return name != b"te" or value.lower() == b"trailers"


def _sent(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    if name in _SECRET or (name == b"cookie" and len(value) < _SHORT_COOKIE):
        return NeverIndexedHeaderTuple(name, value)
    return name, value


class Malformed(Exception):
    """This is not part of a response; the stream is to be reset (RFC 9113, 8.1.1)."""

    def __init__(self, detail: str, failure: Failure = Failure.MALFORMED) -> None:
        super().__init__(detail)
        self.failure = failure


def status_of(fields: Sequence[tuple[bytes, bytes]]) -> int:
    """The status of a response's head, whose first field it is.

    Raises:
        Malformed: when there is none, or when it is 101, which HTTP/2 does not have (8.6).
    """
    if not fields or fields[0][0] != b":status":
        raise Malformed("a head without status")
    status = fields[0][1]
    if not _STATUS.fullmatch(status) or status == b"101":
        raise Malformed(f"status {_words(status)}")
    return int(status)


def sound(fields: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """The fields of trailers, or of a head behind its status.

    Blanks around a value are dropped, as HTTP/1.1 has it; RFC 9113, 8.2.1 forbids them, and servers send them all the same.

    Raises:
        Malformed: a name that is no lower-case token (so pseudo-header fields too), a value with what cannot stand in one, or
            a field that belongs to an HTTP/1.1 connection.
    """
    found = tuple((name, value.strip(b" \t")) for name, value in fields)
    for name, value in found:
        if not _LOWER_TOKEN.fullmatch(name) or not _VALUE.fullmatch(value) or name in _CONNECTION_SPECIFIC:
            raise Malformed(f"the field {_words(name)} with value {_words(value)}")
    return found


def declared_length(fields: Iterable[tuple[bytes, bytes]]) -> int | None:
    """What Content-Length says; ``None``: nothing.

    Raises:
        Malformed: it is not one number.
    """
    lengths = {value for name, value in fields if name == b"content-length"}
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        raise Malformed("Content-Length is not one number")
    return int(lengths.pop()) if lengths else None


def _words(data: bytes) -> str:
    return ascii(data[:60].decode("latin-1"))
