"""Who answered, remembered by the bytes that decide it: most answers repeat themselves."""

from collections.abc import Callable

REMEMBERED = 4 << 20
"""Bytes of heads or bodies; counted in bytes, for a thousand bodies may be a few kilobytes or many megabytes."""


class Identify:
    """Wraps an extractor (raw bytes to a name) so that it runs once for each different head or body.

    Args:
        extract: gives an endpoint's name, another identity, or ``None``.
        from_head: whether it reads the head; otherwise the body.
    """

    __slots__ = ("_extract", "_known", "_size", "from_head")

    def __init__(self, extract: Callable[[bytes], str | None], *, from_head: bool) -> None:
        self._extract = extract
        self.from_head = from_head
        self._known: dict[bytes, str | None] = {}
        self._size = 0

    def __call__(self, raw: bytes) -> str | None:
        """Who gave the response with this head or body."""
        try:
            return self._known[raw]
        except KeyError:
            return self._learn(raw)

    def _learn(self, raw: bytes) -> str | None:
        self._size += len(raw)
        if self._size > REMEMBERED:
            self._known.clear()
            self._size = len(raw)
        who = self._known[raw] = self._extract(raw)
        return who
