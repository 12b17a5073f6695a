"""Who takes the next request: one small class per policy over slots 0..n-1, no I/O.

Every policy answers two calls: ``release(slot)`` says that a slot is free, ``take()`` gives a free slot and makes it busy, or
``None``. Both are atomic under CPython's interpreter lock only where one built-in call does the work; callers that share a
policy between threads hold a lock around each call.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Protocol, assert_never

from kbalance.model.words import EndpointPolicy, PoolPolicy


class Policy(Protocol):
    """Which free slot is next."""

    def release(self, slot: int) -> None: ...
    def take(self) -> int | None: ...


class RoundRobin:
    """The next free slot in turn: each slot is used once before any is used again, unless it is busy when its turn comes.

    Free slots are the bits of one number, so that finding the next one takes the same time however many are busy.
    """

    def __init__(self, slots: int, turn: int = 0) -> None:
        """
        Args:
            turn: the slot that is first; a random one keeps many clients from marching in step.
        """
        self._bits = [1 << slot for slot in range(slots)]
        self._free = 0
        self._turn = turn

    def release(self, slot: int) -> None:
        self._free |= self._bits[slot]

    def take(self) -> int | None:
        free = self._free
        if not free:
            return None
        later = free >> self._turn
        slot = (later & -later).bit_length() - 1 + self._turn if later else (free & -free).bit_length() - 1
        self._free = free ^ self._bits[slot]
        self._turn = slot + 1
        return slot


class Lifo:
    """The slot that was freed last: what most client pools do, which keeps few connections warm."""

    def __init__(self) -> None:
        self._free: list[int] = []

    def release(self, slot: int) -> None:
        self._free.append(slot)

    def take(self) -> int | None:
        return self._free.pop() if self._free else None


class Fifo:
    """The slot that has been free longest."""

    def __init__(self) -> None:
        self._free: deque[int] = deque()

    def release(self, slot: int) -> None:
        self._free.append(slot)

    def take(self) -> int | None:
        return self._free.popleft() if self._free else None


class RandomChoice:
    """Any free slot, all alike."""

    def __init__(self, random: Random) -> None:
        self._free: list[int] = []
        self._random = random

    def release(self, slot: int) -> None:
        self._free.append(slot)

    def take(self) -> int | None:
        free = self._free
        if not free:
            return None
        pick = self._random.randrange(len(free))
        free[pick], free[-1] = free[-1], free[pick]
        return free.pop()


class First:
    """The free slot with the lowest number."""

    def __init__(self) -> None:
        self._free = 0

    def release(self, slot: int) -> None:
        self._free |= 1 << slot

    def take(self) -> int | None:
        free = self._free
        if not free:
            return None
        lowest = free & -free
        self._free = free ^ lowest
        return lowest.bit_length() - 1


class TwoChoices:
    """The less loaded of two free slots drawn at random.

    Source: Mitzenmacher, The Power of Two Choices in Randomized Load Balancing (IEEE TPDS 12, 2001): the longest queue grows as
    log log n rather than as log n / log log n.
    """

    def __init__(self, random: Random, load: Callable[[int], float]) -> None:
        """
        Args:
            load: of a slot, when it is asked about.
        """
        self._free: list[int] = []
        self._random = random
        self._load = load

    def release(self, slot: int) -> None:
        self._free.append(slot)

    def take(self) -> int | None:
        free, draw = self._free, self._random.random
        if not free:
            return None
        pick = int(draw() * len(free))
        if len(free) > 1:
            other = int(draw() * (len(free) - 1))
            other += other >= pick
            if self._load(free[other]) < self._load(free[pick]):
                pick = other
        free[pick], free[-1] = free[-1], free[pick]
        return free.pop()


def make_endpoint_policy(policy: EndpointPolicy, slots: int, random: Random, load: Callable[[int], float]) -> Policy:
    """The policy of this name over endpoints 0..slots-1, none of them free at first; it starts anywhere."""
    match policy:
        case EndpointPolicy.ROUND_ROBIN:
            return RoundRobin(slots, random.randrange(slots) if slots else 0)
        case EndpointPolicy.RANDOM:
            return RandomChoice(random)
        case EndpointPolicy.TWO_CHOICES:
            return TwoChoices(random, load)
        case _:
            assert_never(policy)


def make_policy(policy: PoolPolicy, slots: int, random: Random) -> Policy:
    """The policy of this name over slots 0..slots-1, all of them busy at first."""
    match policy:
        case PoolPolicy.ROUND_ROBIN:
            return RoundRobin(slots)
        case PoolPolicy.LIFO:
            return Lifo()
        case PoolPolicy.FIFO:
            return Fifo()
        case PoolPolicy.RANDOM:
            return RandomChoice(random)
        case _:
            assert_never(policy)
