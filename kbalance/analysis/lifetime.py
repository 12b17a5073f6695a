"""How long connections should live: arithmetic of draws over a window of time.

A kept connection is a draw that stands until the connection ends. With c clients that keep k connections each and end them at the
age T, the load of N = c k connections is drawn anew piece by piece, and what an autoscaler or an SLO sees is its average over a
window W. The shorter T, the more draws are in that average, and the more handshakes are paid for.
"""

import math
from dataclasses import dataclass

from kbalance.analysis.samplesize import expected_busiest

LIFETIMES_S = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
"""What people write into settings, shortest first."""

JITTER = 0.1
"""Share by which a lifetime varies each way, as gRPC servers vary MAX_CONNECTION_AGE (gRFC A9)."""

HANDSHAKE_SHARE = 0.01
"""Of a connection's life, and of one CPU of each endpoint, that handshakes may take at most."""

TIME_WAIT_S = 60.0
"""For which Linux keeps the port of a connection on the side that closed it (TCP_TIMEWAIT_LEN)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """An advised lifetime, and what it does and costs."""

    lifetime_s: float
    draws: float
    """Equal draws that even out as well as the connections do over the window."""
    busiest: float
    """Busiest endpoint's load over its fair share, on average over the window."""
    enough: bool
    """Whether that keeps to the tolerance; if not, it is the shortest lifetime that is worth its handshakes."""
    handshakes_per_s: float
    """Over all clients."""
    life_share: float | None
    """Of a connection's life that its handshake takes; ``None``: how long one takes was not measured."""
    waiting: float
    """Sockets in TIME_WAIT at a time, over all machines that close."""


def advise(connections: int, n: int, *, window_s: float, tolerance: float, connect_s: float | None) -> Renewal:
    """The longest usual lifetime whose expected busiest endpoint over the window keeps to the tolerance.

    Never longer than the window, though a crowd of connections would be even without: a Pod that is added gets its share of kept
    connections within one lifetime, and until then scaling out changes nothing. Never shorter than `shortest`.

    Args:
        connections: N, of all clients together.
        n: endpoints.
        connect_s: how long opening a connection took, TLS included; ``None``: not known.
    """
    least = shortest(connections, n, connect_s)
    usable = [t for t in LIFETIMES_S if least <= t <= max(least, window_s)]
    fit = [t for t in usable if busiest_over(connections, n, t, window_s) <= tolerance]
    lifetime_s = max(fit, default=least)
    return Renewal(
        lifetime_s=lifetime_s,
        draws=effective_draws(connections, lifetime_s, window_s),
        busiest=busiest_over(connections, n, lifetime_s, window_s),
        enough=bool(fit),
        handshakes_per_s=connections / lifetime_s,
        life_share=None if connect_s is None else connect_s / lifetime_s,
        waiting=connections * TIME_WAIT_S / lifetime_s,
    )


def shortest(connections: int, n: int, connect_s: float | None) -> float:
    """The shortest usual lifetime below which handshakes cost more than they help.

    Half a minute at least: each connection then has two predecessors in TIME_WAIT already. Longer where the measured time to
    connect is more than 1 % of a connection's life, connect / T, or where it would be, if it were all work of the
    endpoint, more than 1 % of a CPU of each, N connect / (n T). An hour at most: so many connections even out without a lifetime.
    """
    wanted_s = (connect_s or 0.0) * max(1.0, connections / max(1, n)) / HANDSHAKE_SHARE
    return next((t for t in LIFETIMES_S if t >= wanted_s), LIFETIMES_S[-1])


def effective_draws(connections: int, lifetime_s: float, window_s: float) -> float:
    """The number of equal draws whose shares vary as much as those of connections that live so long, averaged over a window.

    A connection that is alive for the part w of the window weighs w; draws of unequal weight even out like 1 / (sum of w^2) equal
    ones (Kish 1965, "Survey Sampling"). For a window that begins at any age of a connection, with r = W / T, the mean of the
    sum is, per connection held,

        1 - r / 3             for r < 1 (the window meets one end of a connection at most),
        1 / r - 1 / (3 r^2)   otherwise,

    which is 2/r^2 times the integral of (r - s)(1 - s) over s from 0 to min(r, 1): the chance that the connection has not ended
    after s lifetimes, over all pairs of moments in the window. So N connections count as N (r + 1/3) draws for long windows, and
    as N for short ones. Jitter of 10 % changes a third of a percent of it: it is no help to the average, but to the handshakes.
    """
    r = window_s / lifetime_s
    return connections / (1 - r / 3 if r < 1 else 1 / r - 1 / (3 * r * r))


def busiest_over(connections: int, n: int, lifetime_s: float, window_s: float) -> float:
    """The mean over a window of the busiest endpoint's load over its fair share.

    `expected_busiest` at `effective_draws`, on a line between the whole numbers beside it. Beside simulations of 3, 5 and 10
    endpoints it is within 3 % for ten connections and more, and within 10 % for a single one (tests/analysis/test_lifetime.py).
    """
    draws = effective_draws(connections, lifetime_s, window_s)
    below = math.floor(draws)
    low, high = expected_busiest(below, n), expected_busiest(below + 1, n)
    return low + (draws - below) * (high - low)
