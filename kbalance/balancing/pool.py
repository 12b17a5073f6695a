"""The connections of a transport: who has which, which may stay, which must go. No I/O but closing, which never waits.

Nothing here takes a lock; the asyncio transport needs none, and the threaded one holds its own around every call.
"""

import math
import select
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol

from kbalance.balancing.group import Group
from kbalance.balancing.hooks import Hooks
from kbalance.balancing.members import Member, give_back
from kbalance.balancing.settings import Lifetime
from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.wire.connection import Connection
from kbalance.wire.dialled import Tls

if TYPE_CHECKING:
    import httpx

    from kbalance.balancing.multiplex import Multiplex

NO_LIMIT = 1 << 62
"""Bodies are streamed, so their size is the reader's business."""


def readable(descriptor: int) -> bool:
    """Whether the kernel has something for this socket, be it the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class Pooled(Connection):
    """A connection that belongs to a pool."""

    __slots__ = ("deadline", "ends_s", "error", "idle", "last", "left", "member", "mux", "parts", "streams")

    def __init__(self, member: Member, address: Address, tls: Tls | None) -> None:
        super().__init__(address, tls, max_body=NO_LIMIT)
        self.member = member
        self.error: ExchangeError | httpx.TransportError | None = None
        """Why it is of no more use."""
        self.idle = False
        self.deadline = math.inf
        """On the pool's clock: of the wait that is under way, or of idleness."""
        self.last = False
        """Not to be used again, whatever the response says: this side asked to close, or its request is only half sent."""
        self.ends_s = math.inf
        """When it is too old."""
        self.left = -1
        """Requests until its life is over; negative: no limit."""
        self.mux: Multiplex | None = None
        """What carries its streams; ``None``: HTTP/1.1, one request at a time."""
        self.streams = 0
        """Requests that use it."""
        self.parts: deque[bytes] = deque()
        """Of the body, not taken yet."""

    def lively(self, careful: bool) -> bool:
        """Whether the server has not ended it while it was idle, as far as this side knows.

        Args:
            careful: the request may not be repeated, so that asking the kernel is worth its time.
        """
        return self.error is None and not (careful and readable(self.fileno()))

    @property
    def ended(self) -> bool:
        """Whether the whole connection broke, rather than a stream of it."""
        return self.mux is None or self.error is not None

    @property
    def spare(self) -> int:
        """Requests more that it may carry at once."""
        return (1 if self.mux is None else self.mux.most) - self.streams

    def absorb(self, data: bytes) -> bool:
        """Keeps all parts of the body."""
        self.parts.extend(event for event in self.events(data) if isinstance(event, bytes))
        return not self.awaiting

    def take_body(self) -> bytes:
        """The body of a complete response."""
        if not self.parts:
            return self.body
        body = b"".join(self.parts)
        self.parts.clear()
        return body

    def shut(self) -> None:
        """Closes; never fails."""
        self.close()


class Wish(Protocol):
    """What a request wants of its connection."""

    tried: list[Member]
    """Members that will not do any more."""
    stale: Member | None
    """Where only a new connection will do."""
    careful: bool
    """Whether it may not be sent twice."""


Lease = tuple[Member, Pooled | None]
"""A member, busy with a request, and its connection for that, or a place for a new one."""


class Waiter:
    """A request that waits until a member or a place comes free."""

    __slots__ = ("group", "lease", "wake", "wish")

    def __init__(self, group: Group, wish: Wish, wake: Callable[[], None]) -> None:
        """
        Args:
            wake: called once, when ``lease`` is there or will never be.
        """
        self.group = group
        self.wish = wish
        self.wake = wake
        self.lease: Lease | None = None

    @property
    def hopeless(self) -> bool:
        """Whether there is nobody left whom it could wait for."""
        return not self.group.has_other(self.wish.tried)


class Pool:
    """Connections to the members of groups, within limits over all of them."""

    def __init__(self, limits: "httpx.Limits", lifetime: Lifetime, keep_open: int, random: Random, hooks: Hooks) -> None:
        """
        Args:
            keep_open: idle connections of each member that outlast the limit of idleness.
        """
        most, most_idle, expiry_s = limits.max_connections, limits.max_keepalive_connections, limits.keepalive_expiry
        self._most = math.inf if most is None else most
        self._most_idle = self._most if most_idle is None else most_idle
        self._expiry_s = math.inf if expiry_s is None else expiry_s
        self._lifetime = lifetime
        self._keep_open = keep_open
        self._random = random
        self._hooks = hooks
        self.links: set[Pooled] = set()
        """Those that are open."""
        self.taken = 0
        """Open connections, and places taken for those that will be; never above the limit."""
        self.idle = 0
        self.queue: deque[Waiter] = deque()
        self._stacks: dict[Member, None] = {}
        """Members with idle connections."""

    @property
    def busy(self) -> int:
        return self.taken - self.idle

    def lease(self, group: Group, now: float, wish: Wish) -> Lease | None:
        """A member, busy with the request from now on, and its idle connection, or a place for a new one.

        Returns:
            ``None`` when all members are full, or there is no room for another connection.
        """
        if self.taken >= self._most and not self.idle and not group.multiplexed:
            # Asked first, so that nobody's turn is used up in vain.
            return None
        member = group.take(now, wish.tried)
        if member is None:
            return None
        fresh = wish.stale is member
        if not fresh and member.shared and (link := self.share(member, now)) is not None:
            return member, link
        if member.idle:
            if fresh:
                self.close_idle(member)
            elif (link := self._take(member, now, wish.careful)) is not None:
                return member, link
        if self.taken < self._most or self._make_room():
            self.taken += 1
            return member, None
        give_back(member)
        return self._share_elsewhere(group, now, wish) if group.multiplexed else None

    def _share_elsewhere(self, group: Group, now: float, wish: Wish) -> Lease | None:
        """A connection that carries many requests, at whichever member: there may be fewer of them than members."""
        for member in group.members:
            if member.shared and not member.full and member not in wish.tried and member is not wish.stale:
                link = self.share(member, now)
                if link is not None:
                    member.busy += 1
                    return member, link
        return None

    def share(self, member: Member, now: float) -> Pooled | None:
        """A connection there that carries many requests at once, and one more from now on."""
        for link in list(member.shared):
            if link.spare > 0 and link.reusable and now < link.ends_s and link.left and link.lively(False):
                if link.idle:
                    link.idle = False
                    member.idle.remove(link)
                    self.idle -= 1
                return self._used(link)
        return None

    def _used(self, link: Pooled) -> Pooled:
        link.streams += 1
        link.left -= 1
        return link

    def _take(self, member: Member, now: float, careful: bool) -> Pooled | None:
        """The idle connection that was used last, if it has some life left."""
        while member.idle:
            link = member.idle.pop()
            link.idle = False
            self.idle -= 1
            if now < link.ends_s and link.lively(careful) and link.spare:
                return self._used(link)
            self._drop(link)
        return None

    def _make_room(self) -> bool:
        """Closes a connection that is idle at some other member; whether there was one."""
        for member in self._stacks:
            if member.idle:
                self.discard_idle(member.idle[0])
                return True
        return False

    def opened(self, link: Pooled, now: float) -> None:
        """A connection is open, in the place that was taken for it, and used by the request that is under way at its member."""
        self.links.add(link)
        link.member.open += 1
        link.ends_s = now + self._lifetime.drawn_age_s(self._random)
        link.left = self._lifetime.drawn_requests(self._random)
        self._used(link)
        if link.mux is None:
            link.member.group.alone = True
        else:
            link.member.shared.append(link)
            link.member.group.multiplexed = True

    def joined(self) -> None:
        """A place is not needed: somebody else opened a connection for many."""
        self.taken -= 1

    def not_opened(self, member: Member) -> None:
        """It came to nothing: place and member are free again."""
        self.taken -= 1
        give_back(member)
        self._leave(member)

    def release(self, link: Pooled, now: float) -> bool:
        """An exchange is over: its connection is kept, if it can be used again; whether it is idle now."""
        member = link.member
        if link not in self.links:
            link.shut()
            return False
        give_back(member)
        link.streams -= 1
        keep = link.reusable and not link.last and not member.leaving and link.left and now < link.ends_s
        if not keep and link in member.shared:
            member.shared.remove(link)
        if link.streams:
            return False
        if not keep or self.idle >= self._most_idle:
            self._drop(link)
            return False
        link.idle = True
        link.deadline = min(link.ends_s, now + self._expiry_s)
        if not member.idle:
            self._stacks.pop(member, None)
            self._stacks[member] = None
        member.idle.append(link)
        self.idle += 1
        return True

    def discard(self, link: Pooled) -> None:
        """Closes a connection in use by one request, which is over."""
        link.reusable = False
        self.release(link, 0.0)

    def discard_idle(self, link: Pooled) -> None:
        """Closes a connection that nobody uses."""
        if link.idle:
            link.idle = False
            link.member.idle.remove(link)
            self.idle -= 1
            self._drop(link)

    def _drop(self, link: Pooled) -> None:
        link.shut()
        self.links.remove(link)
        self.taken -= 1
        member = link.member
        if link in member.shared:
            member.shared.remove(link)
        member.open -= 1
        if not member.idle:
            self._stacks.pop(member, None)
        self._leave(member)
        self._hooks.closed(member.group.origin, str(member))

    def _leave(self, member: Member) -> None:
        if member.leaving and not member.open:
            member.group.gone(member)

    def close_idle(self, member: Member) -> None:
        """Closes what nobody uses there."""
        for link in list(member.idle):
            self.discard_idle(link)

    def expire(self, now: float) -> float:
        """Closes what has been idle for too long or is too old; when there will be more of that."""
        following = math.inf
        for member in list(self._stacks):
            spare = member.open - self._keep_open
            for at, link in enumerate(list(member.idle)):
                # Those that were used last are kept.
                due = link.deadline if at < spare else link.ends_s
                if due <= now:
                    self.discard_idle(link)
                else:
                    following = min(following, due)
        return following

    def returns_s(self, now: float) -> float:
        """When an endpoint that was ejected may serve somebody who waits; one that might already lacks a place, not time."""
        return min((due_s for waiter in self.queue if (due_s := waiter.group.returns_s) > now), default=math.inf)

    def put_back(self, lease: Lease, now: float) -> None:
        """Nobody wants it any more."""
        member, link = lease
        if link is None:
            return self.not_opened(member)
        link.left += 1
        self.release(link, now)

    def serve(self, now: float) -> None:
        """Gives what is free to those that wait, in their order, but for those whose members are all full; those that have
        nothing to wait for any more are woken without."""
        full: set[Group] = set()
        for waiter in list(self.queue):
            if waiter.hopeless:
                self.queue.remove(waiter)
                waiter.wake()
                continue
            if waiter.group in full:
                continue
            waiter.lease = self.lease(waiter.group, now, waiter.wish)
            if waiter.lease is not None:
                self.queue.remove(waiter)
                waiter.wake()
            elif not waiter.wish.tried:
                full.add(waiter.group)
