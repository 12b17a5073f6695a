"""One line that says what is going on, painted in place on stderr and gone at the end."""

import os
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

INTERVAL_S = 0.1
"""Between two paintings; faster than that is work for the terminal that nobody can read."""
BAR = 20
"""Width of the bar, where there is room."""


class Progress:
    """Shows how far a profile has come, while it is entered; a stream that fails is left alone from then on."""

    def __init__(
        self,
        stream: TextIO | None,
        enabled: bool,
        clock: Callable[[], float],
        columns: Callable[[], int] | None = None,
    ) -> None:
        """
        Args:
            stream: Where the line is painted; ``None`` where a process has no stderr.
            clock: Seconds, only ever forward.
            columns: Width of the terminal, asked before each painting; the stream's own by default.
        """
        self._stream = stream
        self._live = enabled and stream is not None
        self._clock = clock
        self._columns = columns or self._terminal_columns
        self._painted = False
        self._profile: str | None = None
        self._due_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clear()

    def update(self, profile: str, done: int, total: int, extra: str = "") -> None:
        """Paints the state unless the last painting was a moment ago; a new profile is shown at once."""
        if not self._live:
            return
        now_s = self._clock()
        if profile == self._profile and now_s < self._due_s:
            return
        self._profile, self._due_s = profile, now_s + INTERVAL_S
        # The last column stays free: a character there makes some terminals wrap, and the line could not be erased.
        self._write("\r" + line(profile, done, total, extra, max(self._columns() - 1, 0)) + "\x1b[K")
        self._painted = self._live

    def clear(self) -> None:
        """Takes the line away, so that something else can be printed; the next update brings it back."""
        if self._painted:
            self._write("\r\x1b[K")
        self._painted, self._profile = False, None

    def _write(self, text: str) -> None:
        stream = self._stream
        if stream is None or not self._live:
            return
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            # ValueError is how a closed stream answers, and one whose encoding cannot carry the text.
            self._live = False

    def _terminal_columns(self) -> int:
        try:
            # Of this stream: the usual shutil.get_terminal_size asks stdout, which is often a file.
            return (os.get_terminal_size(self._stream.fileno()).columns if self._stream else 0) or 80
        except (OSError, ValueError):
            return 80


def line(profile: str, done: int, total: int, extra: str, width: int) -> str:
    """The state in at most `width` columns, the least important part left out first."""
    count = f"{done}/{total}" if total else str(done or "")
    said = "".join(c if c.isascii() and c.isprintable() else "?" for c in extra)
    drawn = f"[{'#' * _filled(done, total):<{BAR}}]"
    forms = ((profile, drawn, count, said), (profile, count, said), (profile, count))
    texts = ["  ".join(part for part in parts if part) for parts in forms]
    return next((text for text in texts if len(text) <= width), texts[-1][:width])


def _filled(done: int, total: int) -> int:
    return min(BAR, max(0, BAR * done // total)) if total > 0 else 0
