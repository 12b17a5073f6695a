"""Remembered blocks of header fields, against a decoder that remembers none."""

from collections.abc import Sequence

import pytest
from hpack import Decoder
from hpack.exceptions import HPACKError
from hypothesis import given
from hypothesis import strategies as st

from kbalance.wire.http2_compression import LARGEST_TABLE, Compression, Decompression
from kbalance.wire.http2_fields import fields_of
from kbalance.wire.http2_frames import Violation


def _string(text: bytes) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text


OK = b"\x88"
DATE = b"\x61" + _string(b"Thu, 26 Nov 2026 08:00:00 GMT")
SERVER = b"\x76" + _string(b"nginx")
OWN = b"\x40" + _string(b"x-pod-name") + _string(b"web-1")
UNINDEXED = b"\x00" + _string(b"x-pod-name") + _string(b"web-2")
NEVER = b"\x1f\x00" + _string(b"secret")
"""Its index takes a second byte."""
LONG = b"\x40" + _string(b"x-long") + b"\x7f\xff\x1f" + b"x" * 4222
"""Larger than the table, which it empties."""
RESIZED, EMPTIED = b"\x3f\xe1\x1f", b"\x20"
NEWEST, THIRD, NONE = b"\xbe", b"\xc0", b"\xff\x7f"
"""Fields by their place in the table; the last has never anything in it."""

PARTS = (DATE, SERVER, OWN, UNINDEXED, NEVER, LONG, NEWEST, THIRD, NONE)


@given(
    st.lists(
        st.builds(
            lambda size, parts: size + OK + b"".join(parts),
            st.sampled_from((b"", b"", b"", RESIZED, EMPTIED)),
            st.lists(st.sampled_from(PARTS), max_size=4),
        ),
        min_size=1,
        max_size=6,
    ).flatmap(lambda blocks: st.lists(st.sampled_from(blocks), max_size=30))
)
def test_a_block_means_what_it_would_mean_if_none_were_remembered(blocks: list[bytes]) -> None:
    reference, ours = Decoder(1 << 16), Decompression(1 << 16)
    for block in blocks:
        try:
            expected = tuple((bytes(name), bytes(value)) for name, value in reference.decode(block, raw=True))
        except HPACKError:
            with pytest.raises(Violation):
                ours.decode(block)
            return
        assert ours.decode(block).fields == expected


def test_a_block_that_changes_the_table_and_refers_to_nothing_is_decoded_once() -> None:
    ours = Decompression(1 << 16)
    block = OK + DATE + SERVER + OWN + UNINDEXED

    first = ours.decode(block)

    assert all(ours.decode(block) is first for _ in range(1000))
    assert ours.decode(NEWEST).fields == ((b"x-pod-name", b"web-1"),)


def test_what_was_remembered_fills_the_table_and_no_more() -> None:
    reference, ours = Decoder(), Decompression(1 << 16)
    small = b"\x40" + _string(b"a") + _string(b"")
    for _ in range(LARGEST_TABLE):
        reference.decode(small)
        ours.decode(small)
    oldest = b"\xff" + bytes([LARGEST_TABLE // 33 + 61 - 127])

    assert ours.decode(oldest).fields == tuple(reference.decode(oldest, raw=True))
    with pytest.raises(Violation):
        ours.decode(b"\xff" + bytes([oldest[1] + 1]))


HEADS = [
    fields_of(b"GET", b"http", b"web", path, [(b"a", value)]) for path in (b"/", b"/a") for value in (b"1", b"2", b"x" * 5000)
]
SIZES = (0, 64, LARGEST_TABLE)


@given(st.lists(st.lists(st.sampled_from((*HEADS, *SIZES)), max_size=12), max_size=4))
def test_heads_are_read_as_they_were_meant_on_every_connection(connections: Sequence[Sequence[object]]) -> None:
    for told in connections:
        ours, theirs = Compression(), Decoder()
        for one in told:
            if isinstance(one, int):
                ours.resize(one)
                theirs.max_allowed_table_size = one
            else:
                assert tuple(theirs.decode(ours.encode(one), raw=True)) == one  # type: ignore[arg-type]


def test_a_connection_begins_as_the_one_before() -> None:
    first, second = Compression(), Compression()

    assert [second.encode(head) for head in HEADS] == [first.encode(head) for head in HEADS]


def test_what_refers_to_nothing_is_known_on_the_next_connection() -> None:
    first, second = Decompression(1 << 16), Decompression(1 << 16)

    assert second.decode(OK + OWN) is first.decode(OK + OWN)
    assert second.decode(NEWEST).fields == ((b"x-pod-name", b"web-1"),)
    assert Decompression(1 << 15).decode(OK + OWN) is not first.decode(OK + OWN)
