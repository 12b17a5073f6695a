"""What tells the four profiles apart: how many places for connections there are, where each leads, and who is next.

single        one slot, opened with its first request
pooled        K slots opened at the start; the pool's policy picks, and round-robin gives equal parts
short-lived   one slot per concurrent request; the plan's lifetime makes each connection short
per-endpoint  one slot per endpoint, opened at the start, each with its exact part of the requests
stock         K slots, of which the first that has room for one more request is taken, and opened when it is first needed
"""

import math
from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

from kbalance.balancing.policy import First, Policy, RoundRobin, make_policy
from kbalance.model.plan import ProfilePlan
from kbalance.model.target import Address
from kbalance.model.words import PoolPolicy, Profile
from kbalance.traffic.carrier import Carrier

C = TypeVar("C", bound=Carrier)


class Slots(Generic[C]):
    """The slots of a profile and what fills them; a slot is free, busy, or has had its part of the requests."""

    take: Callable[[], int | None]
    """Gives the slot for the next request, busy from now on."""
    release: Callable[[int], None]
    """Says that a slot is free again."""

    def __init__(self, plan: ProfilePlan, random: Random) -> None:
        self._plan = plan
        self.carrier: list[C | None] = [None] * plan.slots
        self._direct = plan.profile is Profile.PER_ENDPOINT
        self._held = self._direct or plan.profile is Profile.POOLED
        self._parts: list[int] = []
        """Requests that each slot will still get; empty where that is left to the policy."""
        self._policy = self._make_policy(random)
        self._share_out()
        if not self._held:
            for slot in range(plan.slots):
                self.offer(slot)

    def _make_policy(self, random: Random) -> Policy:
        match self._plan.profile:
            case Profile.POOLED:
                return make_policy(self._plan.pool_policy, self._plan.slots, random)
            case Profile.STOCK:
                return First()
        return RoundRobin(self._plan.slots)

    def _share_out(self) -> None:
        # Bound directly where no part is counted: a call less for each request.
        self.take, self.release = self._policy.take, self._policy.release
        in_turn = self._plan.profile is Profile.POOLED and self._plan.pool_policy is PoolPolicy.ROUND_ROBIN
        if self._direct or in_turn or self._plan.slots == 1:
            share, more = divmod(self._plan.requests, self._plan.slots)
            self._parts = [share + (slot < more) for slot in range(self._plan.slots)]
            self.take, self.release = self._take_part, self._release_part

    def _take_part(self) -> int | None:
        slot = self._policy.take()
        if slot is not None:
            self._parts[slot] -= 1
        return slot

    def _release_part(self, slot: int) -> None:
        if self._parts[slot] > 0:
            self._policy.release(slot)

    def offer(self, slot: int) -> None:
        """The slot may be taken from now on."""
        self.release(slot)

    def vacate(self, carrier: C) -> None:
        """This connection takes nothing more; the slot is filled anew with the next request for it."""
        if self.carrier[carrier.slot] is carrier:
            self.carrier[carrier.slot] = None

    def held_from_start(self) -> list[int]:
        """Slots whose connection is opened before the first request; each is released once that is decided."""
        if not self._held:
            return []
        return [slot for slot in range(self._plan.slots) if self.to_come(slot) > 0]

    def to_come(self, slot: int) -> float:
        """Requests that this slot will still get at most; infinite where that is left to the policy."""
        return self._parts[slot] if self._parts else math.inf

    def address(self, slot: int) -> Address:
        return self._plan.addresses[slot if self._direct else 0]

    def endpoint(self, slot: int) -> str | None:
        """The endpoint that this slot dials directly; ``None``: something on the way chooses."""
        names = self._plan.endpoints
        return names[slot if self._direct else 0] if names else None

    def withdraw(self, slot: int) -> int:
        """The slot gets nothing more; returns the requests that this saves."""
        saved, self._parts[slot] = self._parts[slot], 0
        return saved


class SharedSlots(Slots[C]):
    """Slots each of which takes several requests at once."""

    def __init__(self, plan: ProfilePlan, random: Random) -> None:
        self._under_way = [0] * plan.slots
        self._most = [plan.streams] * plan.slots
        self._offered = [False] * plan.slots
        self.recycles = plan.lifetime.requests is not None
        """Whether connections are given up after some requests, whatever is still to come."""
        super().__init__(plan, random)

    def _share_out(self) -> None:
        super()._share_out()
        # Parts are counted here, and the policy is asked directly: four calls less for each request.
        self.take, self.release = self._take_shared, self._release_shared

    def _take_shared(self) -> int | None:
        parts = self._parts
        while (slot := self._policy.take()) is not None:
            self._offered[slot] = False
            if parts:
                if not parts[slot]:  # it was withdrawn meanwhile
                    continue
                parts[slot] -= 1
            self._under_way[slot] += 1
            self.offer(slot)
            return slot
        return None

    def _release_shared(self, slot: int) -> None:
        self._under_way[slot] -= 1
        self.offer(slot)

    def offer(self, slot: int) -> None:
        if self._offered[slot] or self._under_way[slot] >= self._most[slot] or (self._parts and self._parts[slot] <= 0):
            return
        self._offered[slot] = True
        self._policy.release(slot)

    def limit(self, slot: int, most: int) -> None:
        """The server takes so many requests at once on this slot's connection."""
        self._most[slot] = min(self._plan.streams, most)
        self.offer(slot)
