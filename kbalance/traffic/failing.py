"""What a failure means: its name when nothing came, whether the request goes out again, and whether there have been enough."""

from kbalance.errors import ExchangeError
from kbalance.model.words import Failure
from kbalance.traffic.carrier import Carrier
from kbalance.traffic.poller import READ
from kbalance.wire.http1 import IDEMPOTENT

GIVE_UP_AFTER = 3
"""Failures in a row after which an endpoint gets no more direct requests: enough to name it, and bounded in time."""
FAILING_AFTER = 10
"""Failures before a profile can be stopped for failing too much."""
HOPELESS_AFTER = 3
"""Timeouts of a profile that never got an answer before it is stopped."""


class Patience:
    """Counts failures until there have been enough: of one endpoint where each is asked directly, else of the whole profile."""

    __slots__ = ("_failed", "_failures", "_in_a_row", "_timeouts")

    def __init__(self, slots: int) -> None:
        self._in_a_row = [0] * slots
        self._failed = 0
        """Requests; many of one connection may be one failure."""
        self._failures = 0
        self._timeouts = 0

    def succeeded(self, slot: int) -> None:
        self._in_a_row[slot] = 0

    def ends_with_slot(self, slot: int) -> bool:
        """Counts a failure of this slot; whether it has failed too often in a row."""
        self._in_a_row[slot] += 1
        return self._in_a_row[slot] >= GIVE_UP_AFTER

    def ends_with_profile(self, failure: Failure, ended: int, *, counts: bool = True) -> bool:
        """Counts a request that failed among so many that ended; whether it is one too many.

        Args:
            counts: whether it is a failure of its own, and not of a connection that carried others too.

        Ten timeouts are, whatever their share: they cost the most time. Three are where nothing was ever answered.
        """
        self._failed += 1
        self._failures += counts
        self._timeouts += counts and failure in (Failure.TIMEOUT, Failure.CONNECT_TIMEOUT)
        hopeless = self._timeouts >= HOPELESS_AFTER and self._failed == ended
        failing = self._failures >= FAILING_AFTER and (2 * self._failed > ended or self._timeouts >= FAILING_AFTER)
        return hopeless or failing


def stale(error: ExchangeError, method: str) -> bool:
    """Whether a request that met this failure on a connection which had answered before may be sent again, unasked."""
    return error.failure in (Failure.CLOSED, Failure.RESET) and method in IDEMPOTENT


def timed_out(carrier: Carrier, timeout_s: float) -> ExchangeError:
    """What to call it that nothing came for so long."""
    after = f"after {timeout_s:g} s"
    if carrier.conn.is_open:
        return ExchangeError(Failure.TIMEOUT, f"no complete answer {after}")
    # Only a TLS handshake waits for anything to read before the connection is open.
    handshaking = carrier.mask == READ
    return ExchangeError(Failure.CONNECT_TIMEOUT, f"{'no TLS handshake' if handshaking else 'not open'} {after}")
