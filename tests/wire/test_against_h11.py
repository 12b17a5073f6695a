"""Our reader beside h11: the same bytes mean the same, however they are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.corpus import ODD, Odd
from tests.wire.outcome import Read, Refused, by_h11, cut, ours

_TOKEN = st.text("abcXYZ019-_!~", min_size=1, max_size=12).map(str.encode)
_VALUE = st.text('abc XYZ,;=\t"é', max_size=20).map(lambda text: text.strip(" \t").encode("latin-1"))
_FRAMING = (b"content-length", b"transfer-encoding", b"connection")
_FIELDS = st.lists(st.tuples(_TOKEN.filter(lambda name: name.lower() not in _FRAMING), _VALUE), max_size=5)
_BODY = st.binary(max_size=200)


def _lines(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)


@st.composite
def _chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    chunks = draw(st.lists(st.binary(min_size=1, max_size=60), max_size=5))
    extension = draw(st.sampled_from([b"", b";a", b';a="b"']))
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return b"Transfer-Encoding: chunked\r\n", body + b"0\r\n" + _lines(draw(_FIELDS)) + b"\r\n"


_SIZED = _BODY.map(lambda body: (b"Content-Length: %d\r\n" % len(body), body))
_UNTIL_CLOSE = _BODY.map(lambda body: (b"", body))


@st.composite
def _responses(draw: st.DrawFn) -> tuple[str, bytes]:
    """A method, and a valid response to it."""
    method = draw(st.sampled_from(["GET", "HEAD", "POST"]))
    status = draw(st.sampled_from([200, 204, 301, 304, 404, 500]))
    framing, body = draw(st.one_of(_SIZED, _chunked(), _UNTIL_CLOSE))
    if method == "HEAD" or status in (204, 304):
        body = b""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * draw(st.integers(0, 2))
    head = b"HTTP/1.1 %d %b\r\n" % (status, draw(_VALUE)) + _lines(draw(_FIELDS)) + framing + b"\r\n"
    return method, interim + head + body


_CUTS = st.lists(st.integers(0, 600), max_size=8)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_odd_responses_mean_the_same_or_the_table_says_why_not(odd: Odd) -> None:
    same = ours([odd.raw], odd.method) == by_h11([odd.raw], odd.method)
    assert same is (not odd.differs)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_a_cut_anywhere_changes_nothing(odd: Odd) -> None:
    whole = ours([odd.raw], odd.method)
    # Whether surplus has come by the end of the response depends on the cut; that nothing is read of it does not.
    results = {ours(cut(odd.raw, [place]), odd.method) for place in range(len(odd.raw))}
    results.add(ours([odd.raw[i : i + 1] for i in range(len(odd.raw))], odd.method))
    assert {_without_surplus(result) for result in results} <= {_without_surplus(whole)}


def _without_surplus(outcome: Read | Refused) -> object:
    return (outcome.status, outcome.fields, outcome.body, outcome.trailers) if isinstance(outcome, Read) else outcome


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_without_the_close_only_a_body_until_close_is_still_open(odd: Odd) -> None:
    same = ours([odd.raw], odd.method, closing=False) == by_h11([odd.raw], odd.method, closing=False)
    assert same is (not odd.differs)


@given(response=_responses(), places=_CUTS)
def test_a_valid_response_reads_the_same_as_in_h11_and_uncut(response: tuple[str, bytes], places: list[int]) -> None:
    method, raw = response
    expected = by_h11([raw], method)
    assert isinstance(expected, Read)
    assert ours([raw], method) == expected
    assert ours(cut(raw, places), method) == expected


@given(response=_responses(), places=_CUTS, more=st.binary(min_size=1, max_size=20))
def test_surplus_is_never_part_of_a_response_and_ends_the_connection(
    response: tuple[str, bytes], places: list[int], more: bytes
) -> None:
    method, raw = response
    alone = ours([raw], method, closing=False)
    if isinstance(alone, Read):
        followed = ours([raw + more], method, closing=False)
        assert followed == Read(**{**alone.__dict__, "reusable": False})


@given(
    response=_responses(),
    edits=st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=4),
    places=_CUTS,
)
@settings(max_examples=300)
def test_mutated_bytes_are_refused_or_read_whatever_the_cut(
    response: tuple[str, bytes], edits: list[tuple[int, bytes, int]], places: list[int]
) -> None:
    """Nothing but `ExchangeError` comes out, and where h11 takes the bytes too, it sees the same body."""
    method, raw = response
    for place, new, gone in edits:
        raw = raw[:place] + new + raw[place + gone :]
    outcome = ours([raw], method)
    assert _without_surplus(ours(cut(raw, places), method)) == _without_surplus(outcome)
    reference = by_h11([raw], method)
    if isinstance(outcome, Read) and isinstance(reference, Read):
        assert (outcome.status, outcome.body) == (reference.status, reference.body)
