"""Remembered blocks of header fields, against a decoder that remembers none."""

import pytest
from hpack import Decoder
from hpack.exceptions import HPACKError
from hypothesis import given
from hypothesis import strategies as st

from kbalance.wire.http2_compression import LARGEST_TABLE, Decompression
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
