"""The arithmetic of lifetimes, beside simulations of connections that come and go."""

from math import sqrt
from random import Random
from statistics import mean, stdev

import pytest

from kbalance.analysis.lifetime import (
    JITTER,
    LIFETIMES_S,
    advise,
    busiest_over,
    effective_draws,
    shortest,
)
from kbalance.analysis.samplesize import expected_busiest

QUARTER_S = 900.0


def births(lifetimes: float, jitter: float, phase: float, draw: Random) -> list[float]:
    """When one slot's connections begin within a window of so many lifetimes; the first is older than the window."""
    begun = [0.0]
    ends = phase * draw.uniform(1 - jitter, 1 + jitter)
    while ends < lifetimes:
        begun.append(ends)
        ends += draw.uniform(1 - jitter, 1 + jitter)
    return begun


def busiest(connections: int, n: int, lifetimes: float, jitter: float, draw: Random, *, together: bool) -> float:
    """One window: the busiest endpoint's time-averaged load over its fair share."""
    load = [0.0] * n
    common = draw.random()
    for _ in range(connections):
        begun = births(lifetimes, jitter, common if together else draw.random(), draw)
        for start, end in zip(begun, [*begun[1:], lifetimes], strict=True):
            load[draw.randrange(n)] += end - start
    return max(load) * n / (connections * lifetimes)


@pytest.mark.parametrize("lifetimes", [0.5, 1.0, 2.0, 7.5, 30.0])
@pytest.mark.parametrize("connections", [1, 10, 200])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_approximation_is_close_to_what_connections_do(n: int, connections: int, lifetimes: float) -> None:
    """With and without jitter, opened together or not: the average over a window is the same."""
    expected = busiest_over(connections, n, QUARTER_S / lifetimes, QUARTER_S)
    windows = max(60, min(1500, int(24_000 / (connections * (lifetimes + 1)))))

    for jitter, together in ((0.0, True), (0.0, False), (JITTER, False)):
        draw = Random(f"{n} {connections} {lifetimes} {jitter} {together}")
        seen = [busiest(connections, n, lifetimes, jitter, draw, together=together) for _ in range(windows)]

        noise = 4 * stdev(seen) / sqrt(windows)
        assert abs(mean(seen) - expected) < (0.1 if connections == 1 else 0.03) * expected + noise


def test_whole_lifetimes_seen_from_their_start_are_plain_draws() -> None:
    """The approximation's third of a draw per connection is what windows gain that begin in the middle of a lifetime."""
    assert effective_draws(10, 60.0, 900.0) == pytest.approx(10 * (15 + 1 / 3), rel=0.002)
    assert effective_draws(10, 1e9, 900.0) == pytest.approx(10)


def test_both_branches_meet_where_a_lifetime_fills_the_window() -> None:
    assert effective_draws(10, 900.0001, 900.0) == pytest.approx(effective_draws(10, 900.0, 900.0), rel=1e-6)


def test_the_longest_lifetime_that_keeps_to_the_tolerance_is_advised() -> None:
    advised = advise(10, 10, window_s=QUARTER_S, tolerance=1.5, connect_s=0.001)

    assert (advised.lifetime_s, advised.enough) == (60.0, True)
    assert advised.busiest == pytest.approx(1.41, abs=0.01)
    assert busiest_over(10, 10, 120.0, QUARTER_S) > 1.5
    assert advised.handshakes_per_s == pytest.approx(1 / 6)
    assert advised.life_share == pytest.approx(0.001 / 60)
    assert advised.waiting == pytest.approx(10)


def test_a_lifetime_never_outlasts_the_window() -> None:
    """Else a Pod that is added would stay idle for longer than anybody looks."""
    assert advise(10_000, 3, window_s=QUARTER_S, tolerance=1.5, connect_s=None).lifetime_s == 900.0
    assert advise(10_000, 3, window_s=400.0, tolerance=1.5, connect_s=None).lifetime_s == 300.0
    assert advise(10_000, 3, window_s=86_400.0, tolerance=1.5, connect_s=None).lifetime_s == 3600.0


def test_where_no_lifetime_is_enough_the_shortest_is_given_and_said_to_be_too_little() -> None:
    advised = advise(1, 10, window_s=QUARTER_S, tolerance=1.5, connect_s=0.001)

    assert (advised.lifetime_s, advised.enough) == (30.0, False)
    assert advised.busiest == pytest.approx(1.96, abs=0.01)


def test_a_window_shorter_than_every_lifetime_still_gets_one() -> None:
    advised = advise(10, 3, window_s=10.0, tolerance=1.5, connect_s=None)

    assert advised.lifetime_s == 30.0
    assert advised.busiest < expected_busiest(10, 3)


@pytest.mark.parametrize(
    ("connections", "n", "connect_s", "least"),
    [
        (10, 10, None, 30.0),
        (10, 10, 0.001, 30.0),  # 0.1 s would do
        (1, 10, 0.5, 60.0),  # 1 % of 50 s
        (20_000, 10, 0.001, 300.0),  # 2,000 connections per endpoint: 1 % of a CPU at 200 s
        (10_000_000, 10, 0.001, 3600.0),
    ],
)
def test_a_lifetime_is_long_enough_for_its_handshakes(connections: int, n: int, connect_s: float | None, least: float) -> None:
    assert shortest(connections, n, connect_s) == least


def test_longer_lives_are_never_more_even() -> None:
    loads = [busiest_over(10, 5, lifetime_s, QUARTER_S) for lifetime_s in LIFETIMES_S]

    assert loads == sorted(loads)


def test_jitter_is_for_the_handshakes() -> None:
    """Two hundred connections opened at once: without it all end in one moment, with it within a fifth of a lifetime, and after a
    few dozen lifetimes anywhere."""
    draw = Random(5)

    def most_at_once(jitter: float, generation: int) -> int:
        ends = [sum(draw.uniform(1 - jitter, 1 + jitter) for _ in range(generation)) % 1 for _ in range(200)]
        return max(sum(0 <= end - slot / 100 < 0.01 for end in ends) for slot in range(100))

    assert most_at_once(0.0, 1) == 200
    assert most_at_once(JITTER, 1) < 30
    assert most_at_once(JITTER, 40) < 12
