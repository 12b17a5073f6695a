"""Records through a Pod's log: cut, mixed with noise, read twice, torn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbalance.errors import TrafficError
from kbalance.model.record import GaveUp, Record
from kbalance.vantage.lines import LONGEST, Reader, Writer
from tests.records import drawn, worker

RECORDS = tuple(worker("node-a", drawn(30, 40, 30)))


def lines(records: tuple[Record, ...] = RECORDS) -> list[bytes]:
    written: list[str] = []
    writer = Writer(written.append)
    for record in records:
        writer.tell(record)
    return [line.encode() for line in written]


def read(given: list[bytes]) -> tuple[Record, ...]:
    reader = Reader()
    return tuple(record for line in given if (record := reader.feed(line)) is not None)


def test_records_come_back_in_order() -> None:
    assert read(lines()) == RECORDS


def test_a_long_record_is_cut_into_lines_that_a_container_runtime_keeps_whole() -> None:
    long = GaveUp(kind="TrafficError", message="é" * LONGEST)

    cut = lines((long,))

    assert len(cut) > 2
    assert max(map(len, cut)) < 16 * 1024
    assert read(cut) == (long,)


@given(st.lists(st.integers(0, len(lines())), max_size=4))
def test_a_log_that_broke_and_was_read_anew_counts_nothing_twice(breaks: list[int]) -> None:
    written = lines()
    given = [line for end in breaks for line in written[:end]] + written

    assert read(given) == RECORDS


def test_noise_of_the_image_is_kept_and_not_counted() -> None:
    reader = Reader()
    said = [b"Traceback (most recent call last):", b"kb is no number", *lines(), b"\xff\xfe"]

    records = tuple(record for line in said if (record := reader.feed(line)) is not None)

    assert records == RECORDS
    assert list(reader.noise) == ["Traceback (most recent call last):", "kb is no number", "��"]


def test_a_missing_line_is_noticed() -> None:
    written = lines()

    with pytest.raises(TrafficError, match="missing"):
        read(written[:3] + written[4:])


def test_what_another_version_wrote_is_refused() -> None:
    with pytest.raises(TrafficError, match="did not write"):
        read([b'kb 0 . ["Started",[1,2,3,4]]\n'])
