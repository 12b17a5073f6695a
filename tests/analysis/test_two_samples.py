"""E-values for two samples: right by their definition, and by simulation at the sizes that runs have."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from random import Random

import pytest

from kbalance.analysis.statistics import DrawTest
from kbalance.analysis.two_samples import (
    Trials,
    bounds,
    chance_in_order,
    highest_rise,
    lowest_fall,
    rise,
    some_rise,
    trials,
)

STOPS_AT = 400.0
"""E-value at which short-lived stops with the default alpha."""


def drawn(rng: Random, weights: Sequence[float], most: int, *, stops: bool = True) -> list[int]:
    """Fresh connections as a run makes them: until its own answer is certain, or all."""
    test = DrawTest(len(weights))
    for i in rng.choices(range(len(weights)), weights, k=most):
        test.add(i)
        if stops and test.e_value >= STOPS_AT:
            break
    return list(test.counts)


def _binomial(chance: float, draws: int, hits: int) -> float:
    return math.comb(draws, hits) * chance**hits * (1 - chance) ** (draws - hits)


@pytest.mark.parametrize(("before", "after"), [(3, 3), (1, 12), (12, 1), (8, 8), (0, 5)])
@pytest.mark.parametrize("chance", [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("lower", [0.0, 0.2])
def test_mean_is_at_most_one_when_the_chance_did_not_rise(before: int, after: int, chance: float, lower: float) -> None:
    """Exactly, over every outcome."""
    after_chance = max(0.0, chance - lower)
    mean = sum(
        _binomial(chance, before, x) * _binomial(after_chance, after, y) * math.exp(rise(_of(x, before), _of(y, after)))
        for x, y in product(range(before + 1), range(after + 1))
    )

    assert mean <= 1 + 1e-9


def _of(hits: float, draws: float, parts: int = 3, scale: float = 1.0) -> Trials:
    return Trials(hits=hits, draws=draws, parts=parts, scale=scale)


def test_mean_is_at_most_one_where_the_numbers_of_endpoints_differ() -> None:
    """Fair shares of three and of six: the same scaled chance."""
    mean = sum(
        _binomial(1 / 3, 9, x) * _binomial(1 / 6, 12, y) * math.exp(rise(_of(x, 9, 3, 3.0), _of(y, 12, 6, 6.0)))
        for x, y in product(range(10), range(13))
    )

    assert mean <= 1 + 1e-9


def test_mean_is_at_most_one_for_draws_that_fail_by_halves() -> None:
    """Half a failure, always: the same mean as a coin, and less variation."""
    assert rise(_of(5, 10), _of(50, 100)) <= 0


def test_nothing_drawn_is_no_evidence() -> None:
    assert rise(_of(0, 0), _of(7, 7)) == 0.0
    assert some_rise([], []) == highest_rise([], trials([1, 2])) == lowest_fall(trials([1, 2]), []) == 1.0


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("weight", [1.0, 1.4, 3.0])
def test_false_alarms_are_rarer_than_alpha_whenever_the_runs_stop(n: int, weight: float) -> None:
    """300 pairs of every kind, long against long and against short, at 5 %."""
    rng, weights, most = Random(n), [weight] + [1.0] * (n - 1), 20 * n + 60
    tests: list[Callable[[Sequence[Trials], Sequence[Trials]], float]] = [some_rise, highest_rise, lowest_fall]
    alarms = [0, 0, 0]
    runs = 300 if n < 50 else 40

    for turn in range(runs):
        before, after = drawn(rng, weights, most), drawn(rng, weights, most if turn % 2 else 25)
        for i, test in enumerate(tests):
            alarms[i] += test(trials(before, n), trials(after, n)) >= 20

    # Three standard errors above 5 %.
    assert max(alarms) <= runs * (0.05 + 3 * math.sqrt(0.05 * 0.95 / runs))


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
def test_affinity_that_is_gone_is_found(n: int) -> None:
    """25 connections on one endpoint, then fair ones: in all but one of 100."""
    rng, fixed = Random(n), [25] + [0] * (n - 1)

    found = sum(some_rise(trials(drawn(rng, [1.0] * n, 20 * n + 200)), trials(fixed)) >= 300 for _ in range(100))

    assert found >= 99


def test_whoever_is_busiest_is_found_under_another_name() -> None:
    before, after = trials([100, 105, 99], 3), trials([0, 0, 30], 3)

    assert highest_rise(before, after) > 1000
    assert highest_rise(after, before) < 1
    assert lowest_fall(trials([100, 105, 99], 3), trials([0, 60, 50], 3)) > 1000


def test_affinity_to_another_endpoint_is_no_less_even() -> None:
    assert highest_rise(trials([30, 0, 0]), trials([0, 30, 0])) < 1
    assert some_rise(trials([30, 0, 0]), trials([0, 30, 0])) > 1000


@pytest.mark.parametrize("weights", [[1, 1, 1], [3, 1, 1], [1, 1], [1] * 10])
def test_bounds_hold_at_every_look(weights: list[float]) -> None:
    """The largest chance is inside after 5, 15, ... draws, in 90 % of 100 runs and more."""
    rng, n = Random(5), len(weights)
    truth = max(weights) / sum(weights) * n

    missed = 0
    for _ in range(100):
        counts, inside = [0] * n, True
        for draw, i in enumerate(rng.choices(range(n), weights, k=100)):
            counts[i] += 1
            if draw % 10 == 5:
                low, high = bounds(counts, 0.1) or (0.0, 0.0)
                inside = inside and low <= truth <= high
        missed += not inside

    assert missed <= 10


def test_bounds_close_in() -> None:
    wide, narrow = bounds([5, 5, 5], 0.01), bounds([500, 500, 500], 0.01)

    assert wide is not None
    assert narrow is not None
    assert 1.0 == narrow[0] <= narrow[1] < 1.2 < wide[1]
    assert bounds([0, 0], 0.01) is None
    low, high = bounds([14, 0, 0], 0.01) or (0.0, 0.0)
    assert low == pytest.approx(1.6, abs=0.2)
    assert high == 3.0


@pytest.mark.parametrize(("i", "n", "j", "m"), [(2, 2, 1, 3), (3, 4, 2, 4), (5, 5, 3, 6)])
def test_order_of_quantiles_is_as_likely_as_counting_says(i: int, n: int, j: int, m: int) -> None:
    """Every arrangement of the two samples is equally likely; those with this order are counted."""
    orders = [o for o in product((0, 1), repeat=n + m) if sum(o) == m]
    below = sum(_position(o, 0, i) < _position(o, 1, j) for o in orders) / len(orders)

    assert chance_in_order((i, n), (j, m)) in (pytest.approx(below), 1.0 if below > 0.4 else -1)


def _position(order: Sequence[int], which: int, rank: int) -> int:
    return [place for place, one in enumerate(order) if one == which][rank - 1]


def test_order_of_quantiles_of_huge_samples_takes_no_time() -> None:
    assert chance_in_order((900_000, 1_000_000), (500_000, 1_000_000)) == pytest.approx(0.0, abs=1e-100)
