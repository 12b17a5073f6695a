"""The schedule of an open loop: when each request is due, whatever became of those before it."""

import math


class Pace:
    """Equal intervals from a start that can still be moved until the first request went out."""

    __slots__ = ("_interval_s", "_started")

    def __init__(self, rate: float) -> None:
        """
        Args:
            rate: requests per second.
        """
        self._interval_s = 1.0 / rate
        self._started = 0.0

    def start(self, now: float) -> None:
        self._started = now

    def due(self, nth: int) -> float:
        """When the request with this number, counted from 0, is to go out."""
        return self._started + nth * self._interval_s


def pause_s(until_due: float) -> float:
    """Whole milliseconds are slept, the rest is polled away: the pacer must not add its own lag to a latency."""
    # Half a millisecond keeps the poller, which rounds up, from making 67.00000000000001 ms into 68.
    return max(0, math.floor(until_due * 1000) - 0.5) / 1000
