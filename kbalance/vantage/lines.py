"""Records as lines of a Pod's log and back.

A line is ``kb NUMBER MARK JSON``. The number lets a reader that opens the log anew skip what it has and notice what was lost; the
mark says whether the text goes on in the next line, since container runtimes cut lines at 16 KiB. Anything else in a log is noise
of the image, kept for when something goes wrong.
"""

import json
from collections import deque
from collections.abc import Callable
from typing import get_args

from kbalance.errors import TrafficError
from kbalance.model.codec import decode, encode
from kbalance.model.record import Record

LONGEST = 12_000
"""Characters of one line."""
KEPT_NOISE = 20
"""Lines."""
_KINDS = {kind.__name__: kind for kind in get_args(Record)}


class Writer:
    """Turns records into lines."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._number = 0

    def tell(self, record: Record) -> None:
        """Writes one record, in as many lines as it takes."""
        text = json.dumps([type(record).__name__, encode(record)], separators=(",", ":"), ensure_ascii=True)
        parts = [text[at : at + LONGEST] for at in range(0, len(text), LONGEST)]
        for part in parts[:-1]:
            self._line("+", part)
        self._line(".", parts[-1])

    def _line(self, mark: str, part: str) -> None:
        self._write(f"kb {self._number} {mark} {part}\n")
        self._number += 1


class Reader:
    """Turns the lines of one log into records, each once however often the log is read from its start."""

    def __init__(self) -> None:
        self._next = 0
        self._parts: list[str] = []
        self.noise: deque[str] = deque(maxlen=KEPT_NOISE)
        """The last lines that were no record's."""

    def feed(self, line: bytes) -> Record | None:
        """The record that this line completes, if it does.

        Raises:
            TrafficError: lines are missing, or were written by another version.
        """
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        head, _, rest = text.partition(" ")
        number, _, rest = rest.partition(" ")
        if head != "kb" or not number.isdecimal():
            self.noise.append(text)
            return None
        if int(number) < self._next:
            return None
        if int(number) > self._next:
            raise TrafficError(
                "A part of the Pod's log is missing, so its results cannot be counted; run again with fewer --requests."
            )
        self._next += 1
        mark, _, part = rest.partition(" ")
        self._parts.append(part)
        return None if mark == "+" else self._complete()

    def _complete(self) -> Record:
        text, self._parts = "".join(self._parts), []
        try:
            kind, value = json.loads(text)
            record: Record = decode(_KINDS[kind], value)
        except (ValueError, KeyError) as error:
            raise TrafficError("The Pod's log holds what this version of kbalance did not write; run again.") from error
        return record
