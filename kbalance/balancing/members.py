"""One endpoint as a client that balances knows it, and the choice among several."""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from kbalance.balancing.endpoints import Endpoint
from kbalance.balancing.policy import Policy, make_endpoint_policy
from kbalance.model.words import EndpointPolicy

if TYPE_CHECKING:
    from kbalance.balancing.group import Group
    from kbalance.balancing.pool import Pooled


class Member:
    """An endpoint, what is under way there and how it has done."""

    __slots__ = (
        "answered",
        "busy",
        "ejected_until_s",
        "ejections",
        "endpoint",
        "failed",
        "failures",
        "group",
        "held",
        "idle",
        "leaving",
        "most",
        "near",
        "open",
        "opening",
        "shared",
        "since_s",
    )

    def __init__(self, group: "Group", endpoint: Endpoint | None, *, most: float, since_s: float, near: bool) -> None:
        """
        Args:
            endpoint: ``None``: wherever the resolver says that the host is.
            most: requests under way.
            since_s: when it joined; ``-inf``: it was there from the start.
        """
        self.group = group
        self.endpoint = endpoint
        self.most = most
        self.since_s = since_s
        self.near = near
        self.busy = 0
        """Requests under way."""
        self.open = 0
        """Connections, idle ones included."""
        self.idle: list[Pooled] = []
        """Connections that nobody uses, the one used last at the end."""
        self.shared: list[Pooled] = []
        """Connections that carry many requests at once and may take more."""
        self.opening: Any = None
        """A future, while somebody opens a connection that others may share."""
        self.answered = 0
        """Responses, whatever their status."""
        self.failed = 0
        """Requests that ended without one."""
        self.failures = 0
        """In a row."""
        self.ejections = 0
        self.ejected_until_s = 0.0
        """0: it is not ejected."""
        self.leaving = False
        """It gets no more requests, and its connections end when they are idle."""
        self.held: list[tuple[Policy, int]] = []
        """Policies that gave its slot and do not have it back, since it is full."""

    @property
    def full(self) -> bool:
        return self.busy >= self.most

    def weight(self, now: float, slow_start_s: float) -> float:
        """Of 1, while it starts slowly."""
        return 1.0 if slow_start_s <= 0 else min(1.0, max(0.1, (now - self.since_s) / slow_start_s))

    def __str__(self) -> str:
        return str(self.endpoint or self.group.origin.host)


class Choice:
    """A policy over some members, all of which may be chosen while they are not full."""

    def __init__(self, policy: EndpointPolicy, members: Sequence[Member], random: Random) -> None:
        self.members = members
        self._policy = make_endpoint_policy(policy, len(members), random, lambda slot: members[slot].busy)
        for slot, member in enumerate(members):
            if member.full:
                member.held.append((self._policy, slot))
            else:
                self._policy.release(slot)

    def take(self) -> Member | None:
        """The next one, busy with one request more; ``None``: all are full, or there is none."""
        policy = self._policy
        while (slot := policy.take()) is not None:
            member = self.members[slot]
            if member.busy < member.most:
                member.busy += 1
                if member.busy < member.most:
                    policy.release(slot)
                else:
                    member.held.append((policy, slot))
                return member
            member.held.append((policy, slot))
        return None


def give_back(member: Member) -> None:
    """One request less is under way there."""
    member.busy -= 1
    if member.held:
        held, member.held = member.held, []
        for policy, slot in held:
            policy.release(slot)
