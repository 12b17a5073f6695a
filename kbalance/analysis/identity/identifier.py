"""What the driver asks after every answer: who gave it?"""

import re
from dataclasses import dataclass

from kbalance.analysis.identity.extract import Extractor, Family
from kbalance.analysis.identity.known import NOBODY, Known
from kbalance.analysis.identity.sample import Part

_NAME = re.compile(r"[A-Za-z0-9\[][\w.:\[\]/-]{0,252}")
_POD_NAME = re.compile(r"(?=.*\d)(?=.*-|[0-9a-f]{12}$)[a-z0-9][a-z0-9.-]{0,252}")
"""A whole body has to look more like a generated name: ``OK`` or ``Forbidden`` are names of nobody."""
_LINE = re.compile(r"[^\r\n]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """Tells who gave an answer, from the raw bytes of one part of it."""

    extractor: Extractor
    known: Known
    """What values mean, learned ones included."""
    strangers: re.Pattern[str] | None
    """What a value that means no endpoint must look like to name somebody else; ``None``: it never does."""

    @property
    def part(self) -> Part:
        return self.extractor.part

    @property
    def source(self) -> str:
        return self.extractor.source

    def __call__(self, raw: bytes) -> str | None:
        """An endpoint's name, or what somebody else calls themselves; ``None``: it cannot be told."""
        value = self.extractor.extract(raw)
        if value is None:
            return None
        return self.known.find(value) or self._stranger(value)

    def _stranger(self, value: str) -> str | None:
        named = self.strangers is not None and self.strangers.fullmatch(value) and value not in self.known.shared
        return value if named and value.casefold() not in NOBODY else None


def stranger_pattern(extractor: Extractor, *, vouched: bool) -> re.Pattern[str] | None:
    """What a value from this place must look like to name somebody who is no endpoint.

    Args:
        vouched: whether the user chose the place, so that stranger looks are to be expected.
    """
    if extractor.family is Family.WORD:
        return None
    if extractor.family is Family.BODY:
        return _NAME if vouched else _POD_NAME
    return _LINE if vouched else _NAME
