"""The endpoints behind one origin: who is there, who is next, who failed. No I/O, no clock; its user holds a lock where threads
share it."""

import logging
import math
from collections.abc import Collection, Iterable
from enum import StrEnum
from random import Random

from kbalance.balancing.endpoints import Elsewhere, Endpoint, Following, Known, News, Origin, Trouble
from kbalance.balancing.hooks import Hooks
from kbalance.balancing.members import Choice, Member, give_back
from kbalance.balancing.settings import Behaviour

log = logging.getLogger("kbalance.balancing")

REFRESH_S = 5.0
"""Between two looks that unreachable endpoints bring about: a host that is gone is met by every client of its Pods."""
SLOW_START_DRAWS = 16
"""Endpoints that start slowly are passed over at most so often; then one of them takes the request."""


class State(StrEnum):
    """What is known of an origin's endpoints."""

    WAITING = "waiting"
    """Nothing yet."""
    KNOWN = "known"
    STALE = "stale"
    """Known once; the source cannot ask at the moment."""
    FALLBACK = "fallback"
    """The source could not ask so far; requests go wherever the host's name leads."""
    ELSEWHERE = "elsewhere"
    """Not the source's; requests go through the ordinary transport."""


class Group:
    """The endpoints of one origin, as members that come, go, fail and return."""

    def __init__(self, origin: Origin, behaviour: Behaviour, random: Random, hooks: Hooks) -> None:
        self.origin = origin
        self.behaviour = behaviour
        self.hooks = hooks
        self.following: Following | None = None
        self.state = State.WAITING
        self.reason = ""
        """Why it is stale, a fallback or elsewhere."""
        self.multiplexed = False
        """Whether some connection carries many requests at once."""
        self.alone = False
        """Whether some connection carries one at a time."""
        self.told_s = -math.inf
        """When the source confirmed last what it told."""
        self.members: tuple[Member, ...] = ()
        """Those that the source lists, ejected ones included."""
        self.leaving: list[Member] = []
        """Those that it lists no more and that still have connections."""
        self._random = random
        self._refreshed_s = -math.inf
        self.returns_s = math.inf
        """When the next ejected one may come back."""
        self._available: list[Member] = []
        self._near: Choice | None = None
        self._slow_until_s = -math.inf
        retries = behaviour.retries
        self._tokens = self._most_tokens = 10 * max(retries.least_per_s, float(retries.share > 0))
        self._refilled_s: float | None = None
        self._arrange()

    # Who is there

    def settle(self, addresses: Iterable[Endpoint | None], now: float) -> None:
        """These are the members, once and for all: for an origin that has no source."""
        self.state = State.KNOWN
        self._replace([self._joined(one, -math.inf) for one in addresses])
        self.told_s = now

    def hear(self, news: News, now: float) -> list[Member]:
        """Takes in what the source told; the members that have left, whose idle connections are to be closed."""
        match news:
            case Known():
                return self._know(news, now)
            case Elsewhere():
                return self._elsewhere(news, now)
            case Trouble():
                self._trouble(news)
                return []

    def _know(self, news: Known, now: float) -> list[Member]:
        first = self.state in (State.WAITING, State.FALLBACK, State.ELSEWHERE)
        if self.state is State.STALE:
            log.info("%s: the source of endpoints answers again", self.origin)
        self.state, self.reason, self.told_s = State.KNOWN, "", now
        listed = {one.address: one for one in news.endpoints}
        known = {m.endpoint.address: m for m in (*self.leaving, *self.members) if m.endpoint is not None}
        if not first and listed == {m.endpoint.address: m.endpoint for m in self.members if m.endpoint is not None}:
            return []
        kept = [self._kept(known.get(address), endpoint, -math.inf if first else now) for address, endpoint in listed.items()]
        return self._replace(kept)

    def _kept(self, known: Member | None, endpoint: Endpoint, since_s: float) -> Member:
        if known is None:
            return self._joined(endpoint, since_s)
        known.endpoint, known.leaving, known.near = endpoint, False, self._is_near(endpoint)
        if known.ejected_until_s:
            self.returns_s = min(self.returns_s, known.ejected_until_s)
        return known

    def _joined(self, endpoint: Endpoint | None, since_s: float) -> Member:
        most = self.behaviour.per_endpoint
        return Member(self, endpoint, most=math.inf if most is None else most, since_s=since_s, near=self._is_near(endpoint))

    def _is_near(self, endpoint: Endpoint | None) -> bool:
        zone = self.behaviour.zone
        return zone is not None and endpoint is not None and endpoint.zone == zone.name

    def _elsewhere(self, news: Elsewhere, now: float) -> list[Member]:
        if self.state is not State.ELSEWHERE:
            log.info("%s is left to the ordinary transport: %s", self.origin, news.reason)
        self.state, self.reason, self.told_s = State.ELSEWHERE, news.reason, now
        return self._replace([])

    def _trouble(self, news: Trouble) -> None:
        self.hooks.trouble(self.origin, news.reason)
        if self.state in (State.WAITING, State.FALLBACK):
            return self.fall_back(news.reason)
        if self.state is State.KNOWN:
            log.warning("%s: keeping %d endpoints that may be out of date: %s", self.origin, len(self.members), news.reason)
            self.state = State.STALE
        self.reason = news.reason

    def fall_back(self, reason: str) -> None:
        """Nothing could be learnt so far: requests go where the name leads, which is not balanced, and not an outage either."""
        if self.state is not State.FALLBACK:
            log.warning("%s is not balanced, its requests go where the name leads: %s", self.origin, reason)
            self.state = State.FALLBACK
            self._replace([self._joined(None, -math.inf)])
        self.reason = reason

    def _replace(self, members: list[Member]) -> list[Member]:
        """These are the members from now on; those that left."""
        left = [m for m in self.members if m not in members]
        joined = [m for m in members if m not in self.members]
        for member in left:
            member.leaving = True
        self.members = tuple(members)
        self.leaving = [m for m in (*self.leaving, *left) if m.leaving and (m.open or m.busy)]
        if any(m.since_s > -math.inf for m in joined):
            self._slow_until_s = max(m.since_s for m in members) + self.behaviour.slow_start_s
        self._arrange()
        if left or joined:
            log.debug("%s: %d endpoints, %d joined, %d left", self.origin, len(members), len(joined), len(left))
            self.hooks.endpoints(self.origin, [str(m) for m in joined], [str(m) for m in left])
        return left

    def reset(self) -> None:
        """Every connection is gone, and with it what was under way."""
        self.leaving = []
        for member in self.members:
            member.busy = member.open = 0
            member.idle, member.held, member.shared, member.opening = [], [], [], None
        self._arrange()

    def end(self) -> None:
        """Nobody looks any more; may wait for a call of the source that is under way, and may be asked again if it failed."""
        if self.following is not None:
            self.following.close()
            self.following = None

    @property
    def needed(self) -> bool:
        """Whether something would be lost with it."""
        return self.following is not None or any(m.open or m.busy for m in (*self.members, *self.leaving))

    def gone(self, member: Member) -> None:
        """A member that leaves has no connection any more."""
        if member in self.leaving:
            self.leaving.remove(member)

    def _arrange(self) -> None:
        """Who may be chosen."""
        for member in self.members:
            member.held = []
        # Where all are ejected nobody is.
        self._available = [m for m in self.members if not m.ejected_until_s] or list(self.members)
        self._choice = Choice(self.behaviour.policy, self._available, self._random)
        near = [m for m in self._available if m.near]
        zone = self.behaviour.zone
        enough = zone is not None and near and len(near) >= zone.least_share * sum(m.near for m in self.members)
        self._near = Choice(self.behaviour.policy, near, self._random) if enough else None

    # Who is next

    def take(self, now: float, tried: Collection[Member] = ()) -> Member | None:
        """The member for the next request, which is under way there from now on; ``None``: all that could take it are full.

        Args:
            tried: members that this request has met; only others will do.
        """
        if now >= self.returns_s:
            self._readmit(now)
        return self._another(tried) if tried else self._next(now)

    def _next(self, now: float) -> Member | None:
        near = self._near
        choice = self._choice if near is None or self._overflows(near) else near
        member = choice.take()
        if member is None and choice is near:
            choice = self._choice
            member = choice.take()
        if now >= self._slow_until_s or member is None:
            return member
        most = max(m.weight(now, self.behaviour.slow_start_s) for m in choice.members)
        for _ in range(SLOW_START_DRAWS):
            if self._random.random() * most < member.weight(now, self.behaviour.slow_start_s):
                break
            give_back(member)
            member = choice.take()
            assert member is not None
        return member

    def _overflows(self, near: Choice) -> bool:
        zone = self.behaviour.zone
        assert zone is not None
        return zone.most_busy is not None and sum(m.busy for m in near.members) >= zone.most_busy * len(near.members)

    def _another(self, tried: Collection[Member]) -> Member | None:
        """Any other than these, the near ones first and the least busy of them; an ejected one rather than nobody."""
        free = [m for m in self._available if m not in tried and not m.full]
        free = free or [m for m in self.members if m not in tried and not m.full]
        if not free:
            return None
        prefer = self._near is not None and any(m.near for m in free)
        least = min(m.busy for m in free if m.near or not prefer)
        member = self._random.choice([m for m in free if m.busy == least and (m.near or not prefer)])
        member.busy += 1
        return member

    def has_other(self, tried: Collection[Member]) -> bool:
        """Whether there is a member that was not tried, full or ejected as it may be."""
        return any(m not in tried for m in self.members)

    # Who failed

    def succeeded(self, member: Member, status: int, now: float) -> None:
        """A response came."""
        member.answered += 1
        if status in self.behaviour.ejection.statuses:
            return self._count(member, now, f"status {status}")
        if member.failures:
            member.failures = 0
            member.ejections = 0

    def failed(self, member: Member, now: float, why: str) -> None:
        """A request ended without a response, or no connection opened."""
        member.failed += 1
        self._count(member, now, why)

    def refresh(self, now: float) -> None:
        """A member was not to be reached: there may be news that did not come."""
        if self.following is not None and now >= self._refreshed_s + REFRESH_S:
            self._refreshed_s = now
            try:
                self.following.refresh()
            except Exception:
                log.exception("%s: its source of endpoints failed", self.origin)

    def _count(self, member: Member, now: float, why: str) -> None:
        member.failures += 1
        rule = self.behaviour.ejection
        ejected = len(self.members) - len(self._available)
        allowed = int(rule.share * len(self.members))
        if not rule.after or member.failures < rule.after or member.ejected_until_s or member.leaving or ejected >= allowed:
            return
        member.ejections += 1
        for_s = min(rule.for_s * member.ejections, rule.longest_s)
        member.ejected_until_s = now + for_s
        self.returns_s = min(self.returns_s, member.ejected_until_s)
        log.warning("%s: %s is left alone for %g s after %d failures (%s)", self.origin, member, for_s, member.failures, why)
        self.hooks.ejected(self.origin, str(member), for_s)
        self._arrange()

    def _readmit(self, now: float) -> None:
        for member in self.members:
            if member.ejected_until_s and member.ejected_until_s <= now:
                member.ejected_until_s = 0.0
                member.failures = self.behaviour.ejection.after - 1
                log.info("%s: %s is tried again", self.origin, member)
                self.hooks.returned(self.origin, str(member))
        self.returns_s = min((m.ejected_until_s for m in self.members if m.ejected_until_s), default=math.inf)
        self._arrange()

    def allows_retry(self, now: float) -> bool:
        """Takes one retry out of what the budget has left."""
        if self._tokens < 1:
            self._refill(now)
        if self._tokens < 1:
            return False
        self._refill(now)
        self._tokens -= 1
        return True

    def _refill(self, now: float) -> None:
        if self._refilled_s is not None:
            more = (now - self._refilled_s) * self.behaviour.retries.least_per_s
            self._tokens = min(self._most_tokens, self._tokens + more)
        self._refilled_s = now

    def earn(self) -> None:
        """A request was made, which earns a share of a retry."""
        if self._tokens < self._most_tokens:
            self._tokens += self.behaviour.retries.share
