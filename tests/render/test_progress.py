import io
from collections.abc import Callable, Iterator

import pytest

from kbalance.render.progress import BAR, Progress, line


def _clock(*times: float) -> Callable[[], float]:
    """A clock that shows the given times, one per look."""
    ticks: Iterator[float] = iter(times)
    return lambda: next(ticks)


def _wide() -> int:
    return 80


class _Broken(io.StringIO):
    """A stream whose reader has gone."""

    attempts = 0

    def write(self, text: str) -> int:
        self.attempts += 1
        raise BrokenPipeError


def test_line_is_painted_in_place_and_cleared_at_the_end() -> None:
    stream = io.StringIO()

    with Progress(stream, True, _clock(0.0), _wide) as progress:
        progress.update("single", 5, 10, "2 failed")

    assert stream.getvalue() == f"\rsingle  [{'#' * 10}{' ' * 10}]  5/10  2 failed\x1b[K\r\x1b[K"


def test_paintings_keep_their_distance() -> None:
    stream = io.StringIO()

    with Progress(stream, True, _clock(0.0, 0.05, 0.0999, 0.1, 0.15), _wide) as progress:
        for done in range(5):
            progress.update("single", done, 10, "")

    assert [part.split()[-1] for part in stream.getvalue().split("\x1b[K") if part.strip()] == ["0/10", "3/10"]


def test_next_profile_is_shown_at_once() -> None:
    stream = io.StringIO()

    with Progress(stream, True, _clock(0.0, 0.01), _wide) as progress:
        progress.update("single", 10, 10, "")
        progress.update("pooled", 0, 10, "")

    assert "pooled" in stream.getvalue()


def test_nothing_is_written_when_disabled() -> None:
    stream = io.StringIO()

    with Progress(stream, False, _clock(), _wide) as progress:
        progress.update("single", 1, 10, "")

    assert stream.getvalue() == ""


def test_nothing_is_cleared_when_nothing_was_painted() -> None:
    stream = io.StringIO()

    with Progress(stream, True, _clock(), _wide):
        pass

    assert stream.getvalue() == ""


def test_line_comes_back_after_it_was_cleared_for_something_else() -> None:
    stream = io.StringIO()

    with Progress(stream, True, _clock(0.0, 0.01), _wide) as progress:
        progress.update("single", 1, 10, "")
        progress.clear()
        stream.write("a notice\n")
        progress.update("single", 2, 10, "")

    assert stream.getvalue().split("\n")[1].startswith("\rsingle")


def test_line_is_cleared_when_the_run_fails() -> None:
    stream = io.StringIO()

    def interrupted() -> None:
        with Progress(stream, True, _clock(0.0), _wide) as progress:
            progress.update("single", 1, 10, "")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_broken_stream_is_tried_once_and_left_alone() -> None:
    stream = _Broken()

    with Progress(stream, True, _clock(0.0, 1.0), _wide) as progress:
        progress.update("single", 1, 10, "")
        progress.update("single", 2, 10, "")

    assert stream.attempts == 1


def test_closed_or_missing_stream_is_survived() -> None:
    closed = io.StringIO()
    closed.close()

    for stream in (closed, None):
        with Progress(stream, True, _clock(0.0)) as progress:
            progress.update("single", 1, 10, "")


def test_stream_that_is_no_terminal_counts_as_eighty_columns() -> None:
    stream = io.StringIO()

    with Progress(stream, True, _clock(0.0)) as progress:
        progress.update("single", 1, 10, "x" * 100)

    assert stream.getvalue().split("\x1b")[0] == "\rsingle  1/10"


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, "single  [##########          ]  5/10  7 ms"),
        (30, "single  5/10  7 ms"),
        (15, "single  5/10"),
        (4, "sing"),
        (0, ""),
    ],
)
def test_narrow_terminal_loses_the_least_important_first(width: int, expected: str) -> None:
    assert line("single", 5, 10, "7 ms", width) == expected


def test_line_stays_one_printable_line() -> None:
    assert line("single", 5, 0, "a\nb\x1b[2J\u2713", 80) == f"single  [{' ' * BAR}]  5  a?b?[2J?"
