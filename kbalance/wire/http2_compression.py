"""Header fields compressed and back, each block once as long as it means the same (RFC 7541).

`hpack` does it, in some 15 us a head. A client that repeats its request, and a server its answer, send the same bytes again and
again, which mean the same until one of them changes the table that blocks refer to; so long a dictionary knows them. nginx
changes it with every answer and never refers to it: what refers to nothing means the same for ever, and on any connection.
"""

from collections import defaultdict, deque
from typing import TypeVar

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.hpack import decode_integer
from hpack.table import HeaderTable

from kbalance.model.words import Failure
from kbalance.wire.http2_events import Pairs
from kbalance.wire.http2_fields import Fields, declared_length, sound, status_of
from kbalance.wire.http2_frames import ErrorCode, Violation

MOST_REMEMBERED = 256
"""Blocks of each side, on a connection and over all of them; none longer than the next."""
LONGEST_REMEMBERED = 4096
LARGEST_TABLE = 4096
"""The protocol's default; a server that allows more must not decide how much memory our compression takes."""
_MOST_ENTRIES = LARGEST_TABLE // 32
"""Of a table: each counts as 32 bytes more than it has (RFC 7541, 4.1)."""
_STATIC = len(HeaderTable.STATIC_TABLE)

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Mark = tuple[object, int, int]


def _mark(table: HeaderTable) -> _Mark:
    """Two equal ones mean that nothing was added between: an entry that is added is a new object at the front."""
    entries = table.dynamic_entries
    return (entries[0] if entries else None, len(entries), table.maxsize)


def _same(one: _Mark, other: _Mark) -> bool:
    return one[0] is other[0] and one[1:] == other[1:]


def _added(data: bytes) -> list[bool] | None:
    """Whether each field of a sound block is added to the table; ``None``: the block depends on the table, or resizes it.

    Source: RFC 7541, 6 (the first bits tell kinds of fields apart).
    """
    at, added = 0, []
    while at < len(data):
        indexed, adds = data[at] & 0x80, data[at] & 0xC0 == 0x40
        if not indexed and data[at] & 0xE0 == 0x20:
            return None
        index, used = decode_integer(data[at:], 7 if indexed else 6 if adds else 4)
        if index > _STATIC:
            return None
        at += used
        for _ in range(0 if indexed else 1 if index else 2):
            length, used = decode_integer(data[at:], 7)
            at += used + length
        added.append(adds)
    return added


class Block:
    """The fields of one block, looked at as a head and as trailers when first wanted so."""

    __slots__ = ("_head", "_trailers", "fields")

    def __init__(self, fields: Pairs) -> None:
        self.fields = fields
        self._head: tuple[int, Pairs, int | None] | None = None
        self._trailers: Pairs | None = None

    @property
    def head(self) -> tuple[int, Pairs, int | None]:
        """Status, the other fields, and the announced length of the body.

        Raises:
            Malformed: this is no head.
        """
        if self._head is None:
            status, fields = status_of(self.fields), sound(self.fields[1:])
            self._head = (status, fields, declared_length(fields))
        return self._head

    @property
    def trailers(self) -> Pairs:
        """
        Raises:
            Malformed: they are not sound.
        """
        if self._trailers is None:
            self._trailers = sound(self.fields)
        return self._trailers


_standing: defaultdict[int, dict[bytes, tuple[Block, Pairs]]] = defaultdict(dict)
"""Blocks that mean the same whatever the table, and what each adds to it; by the largest head that is taken."""
_first: dict[Fields, bytes] = {}
"""What a connection's first head becomes, with a table that is as large as the protocol has it."""


class Decompression:
    """The server's blocks, in the order in which they came."""

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._decoder = Decoder(max_head)
        self.known: dict[bytes, Block] = {}
        """For who is in a hurry; a block that is not there goes to `decode`."""
        self._standing = _standing[max_head]
        self._missing: deque[tuple[bytes, bytes]] = deque(maxlen=_MOST_ENTRIES)
        """Added since the decoder saw its table; what is more than fits into one would be gone again."""

    def decode(self, data: bytes) -> Block:
        """
        Raises:
            Violation: it cannot be decoded, or is too large; the connection cannot go on, since later blocks refer to it.
        """
        if (block := self.known.get(data)) is not None:
            return block
        if (standing := self._standing.get(data)) is not None:
            block, new = standing
            if new:
                self._missing += new
                self.known.clear()
            else:
                _remember(self.known, data, block)
            return block
        table = self._decoder.header_table
        while self._missing:
            table.add(*self._missing.popleft())
        before = _mark(table)
        try:
            block = Block(tuple((bytes(name), bytes(value)) for name, value in self._decoder.decode(data, raw=True)))
        except OversizedHeaderListError as error:
            detail = f"more than {self._max_head} bytes of headers"
            raise Violation(ErrorCode.ENHANCE_YOUR_CALM, detail, Failure.TOO_LARGE) from error
        except (HPACKError, IndexError) as error:
            detail = f"header fields that cannot be decoded: {error}"
            raise Violation(ErrorCode.COMPRESSION_ERROR, detail) from error
        changed = not _same(before, _mark(table))
        if changed:
            self.known.clear()
        if len(data) <= LONGEST_REMEMBERED:
            if not changed:
                _remember(self.known, data, block)
            if (added := _added(data)) is not None:
                fields = zip(block.fields, added, strict=True)
                _remember(self._standing, data, (block, tuple(field for field, adds in fields if adds)))
        return block


class Compression:
    """Our heads, in the order in which they go out."""

    def __init__(self) -> None:
        self._encoder: Encoder | None = None
        """``None`` as long as nothing went out but a head that another connection began with too."""
        self._begun: Fields | None = None
        """That one."""
        self._known: dict[Fields, bytes] = {}

    def resize(self, size: int) -> None:
        """The server's table may be so large."""
        encoder, size = self._started(), min(size, LARGEST_TABLE)
        # Told the same size twice, hpack would forget what it has not said yet.
        if size != encoder.header_table_size:
            encoder.header_table_size = size
            # It would say all sizes there were, also those that are not allowed any more; the smallest and the last one matter
            # (RFC 7541, 4.2).
            encoder.table_size_changes = sorted({min(encoder.table_size_changes), size})
            self._known.clear()

    def encode(self, fields: Fields) -> bytes:
        data = self._known.get(fields)
        if data is not None:
            return data
        fresh = self._encoder is None and self._begun is None
        if fresh and (data := _first.get(fields)) is not None:
            self._begun = fields
            return data
        encoder = self._started()
        resized = bool(encoder.table_size_changes)
        before = _mark(encoder.header_table)
        data = encoder.encode(fields)
        if len(data) > LONGEST_REMEMBERED:
            self._known.clear()
            return data
        if fresh:
            _remember(_first, fields, data)
        if not _same(before, _mark(encoder.header_table)):
            self._known.clear()
        elif not resized:
            _remember(self._known, fields, data)
        return data

    def _started(self) -> Encoder:
        """The encoder, which has seen what went out."""
        if self._encoder is None:
            self._encoder = Encoder()
            if self._begun is not None:
                self._encoder.encode(self._begun)
        return self._encoder


def _remember(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    known[key] = value
