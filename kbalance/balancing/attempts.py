"""One request's attempts: what they have met, and whether there is another one."""

import httpx

from kbalance.balancing.group import Group
from kbalance.balancing.incoming import to_httpx
from kbalance.balancing.members import Member
from kbalance.balancing.pool import Pooled
from kbalance.errors import ExchangeError
from kbalance.model.words import Failure
from kbalance.wire.http1 import IDEMPOTENT

CONNECT_ATTEMPT_S = 1.0
"""For a connection, while there are other endpoints to try: inside a cluster a slower one has lost its SYN or its host."""
UNPROCESSED_MOST = 10
"""Times that a server may send one request back untouched; it goes away once, or is full for a moment."""
UNOPENED_MOST = 10
"""Endpoints to which no connection opened; a list from DNS may be some seconds behind, and nothing was sent to any of them."""
_BROKE = (Failure.CLOSED, Failure.RESET)


class Unanswered(ExchangeError):
    """A stream broke before the head of its response.

    Args:
        unprocessed: the server says that it has done nothing with the request.
        unsent: nothing of it went out, not even a part of a body that can be made once only.
    """

    def __init__(self, failure: Failure, detail: str, *, unprocessed: bool = False, unsent: bool = False) -> None:
        super().__init__(failure, detail)
        self.unprocessed = unprocessed
        self.unsent = unsent


class Attempts:
    """Where a request has been."""

    __slots__ = ("_at_hand", "_error", "_group", "_may_repeat", "_unopened", "_unprocessed", "careful", "made", "stale", "tried")

    def __init__(self, group: Group, method: str, *, at_hand: bool) -> None:
        """
        Args:
            at_hand: its body can be sent once more.
        """
        self._group = group
        self._at_hand = at_hand
        self._unprocessed = 0
        self._unopened = 0
        self._may_repeat = at_hand and method in IDEMPOTENT
        group.earn()
        self._error: Exception | None = None
        self.tried: list[Member] = []
        """Members that will not do any more."""
        self.stale: Member | None = None
        """Where only a new connection will do: an old one had been closed by the server."""
        self.careful = not self._may_repeat
        """Whether it may not be sent twice, so that a connection is worth a closer look."""
        self.made = 0
        """Times that it was sent in vain."""

    def connect_s(self, member: Member, left_s: float) -> float:
        """Seconds that a connection to this member may take, of those that are left for all."""
        more = self._unopened + 1 < UNOPENED_MOST and self._group.has_other((*self.tried, member))
        return min(left_s, CONNECT_ATTEMPT_S) if more else left_s

    def hopeless(self) -> Exception:
        """Why nobody is left to try."""
        if isinstance(self._error, ExchangeError):
            return to_httpx(self._error)
        return self._error or httpx.ConnectError(f"{self._group.origin} has no endpoint that is ready")

    def not_opened(self, member: Member, error: Exception, now: float) -> bool:
        """No connection opened, so nothing was sent; whether another member is to be tried."""
        self._failed(member, error, now)
        self._group.refresh(now)
        self._unopened += 1
        return self._elsewhere(member, error, self._unopened < UNOPENED_MOST and self._group.behaviour.retries.attempts > 1)

    def broke(self, link: Pooled, error: ExchangeError, now: float) -> bool:
        """The exchange failed; whether there is another attempt.

        A connection that was idle and ends without a byte of an answer was most likely closed by the server before it saw the
        request; that is nobody's failure, and costs nothing of the budget (RFC 9112, 9.3.1). Neither does a stream with which the
        server says that it did nothing (RFC 9113, 8.7), whatever its method.
        """
        unanswered = isinstance(error, Unanswered) if link.mux is not None else link.untouched and error.failure in _BROKE
        if isinstance(error, Unanswered) and (error.unsent or (error.unprocessed and self._at_hand)):
            self._unprocessed += 1
            if self._unprocessed <= UNPROCESSED_MOST:
                return True
        if unanswered and link.answered and link.ended and self.stale is None:
            self.stale = link.member
            if not self._may_repeat:
                self._note(link.member, error)
            return self._may_repeat
        self._failed(link.member, error, now)
        self.made += 1
        allowed = unanswered and self._may_repeat and self.made < self._group.behaviour.retries.attempts
        # What is sent twice is work for the Service twice, so that it has to be afforded.
        return allowed and self._group.allows_retry(now) and self._elsewhere(link.member, error, allowed)

    def _failed(self, member: Member, error: Exception, now: float) -> None:
        self._group.failed(member, now, str(error))
        self._note(member, error)

    def _note(self, member: Member, error: Exception) -> None:
        self._error = error
        self._group.hooks.failed(self._group.origin, str(member), error)

    def over(self) -> None:
        """Lets go of the errors that were met, whose frames hold this."""
        self._error = None

    def _elsewhere(self, member: Member, error: Exception, allowed: bool) -> bool:
        self.tried.append(member)
        group = self._group
        again = allowed and group.has_other(self.tried)
        if again:
            group.hooks.retried(group.origin, str(member), error)
        return again
