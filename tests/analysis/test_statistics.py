import math
from itertools import pairwise, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbalance.analysis.statistics import DrawTest, TurnTest, chance_bounds, e_value, filled, log_against_uneven, sticking

COUNTS = st.lists(st.integers(0, 60), min_size=2, max_size=8)


def reaches(test: DrawTest | TurnTest, draws: list[int], bound: float) -> int | None:
    """After how many draws the e-value first reaches a bound."""
    for position, i in enumerate(draws, start=1):
        test.add(i)
        if test.e_value >= bound:
            return position
    return None


@given(st.lists(st.integers(0, 3), max_size=200))
def test_e_value_does_not_depend_on_the_order(draws: list[int]) -> None:
    test = DrawTest(4)
    for i in draws:
        test.add(i)

    counts = tuple(draws.count(i) for i in range(4))
    assert test.counts == counts
    assert math.log(test.e_value) == pytest.approx(math.log(e_value(counts)), abs=1e-6)


@given(COUNTS, st.randoms())
def test_e_value_does_not_depend_on_the_names(counts: list[int], random: Random) -> None:
    shuffled = random.sample(counts, len(counts))

    assert e_value(shuffled) == pytest.approx(e_value(counts))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_e_value_has_mean_one_under_a_fair_draw(n: int) -> None:
    """Over all sequences of six draws, which makes it a test martingale."""
    values = [e_value([outcome.count(i) for i in range(n)]) for outcome in product(range(n), repeat=6)]

    assert sum(values) / len(values) == pytest.approx(1.0)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_turn_test_has_mean_one_under_a_fair_draw(n: int) -> None:
    values = []
    for outcome in product(range(n), repeat=6):
        test = TurnTest(n)
        for i in outcome:
            test.add(i)
        values.append(test.e_value)

    assert sum(values) / len(values) == pytest.approx(1.0)


def test_one_endpoint_alone_is_no_evidence() -> None:
    test = DrawTest(1)
    test.add(0)

    assert (test.e_value, e_value([50]), e_value([])) == (1.0, 1.0, 1.0)


def test_overwhelming_evidence_stays_finite() -> None:
    test, turns = DrawTest(3), TurnTest(3)
    for i in range(20_000):
        test.add(0)
        turns.add(i % 3)

    assert 1e200 < test.e_value < math.inf
    assert 1e200 < turns.e_value < math.inf
    assert e_value([20_000, 0, 0]) == test.e_value


@pytest.mark.parametrize(
    ("n", "draws", "at_most"),
    [(3, [0] * 40, 10), (5, [0] * 40, 8), (3, [0, 1] * 20, 22), (5, [0, 1, 2, 3] * 20, 40), (10, list(range(9)) * 20, 90)],
    ids=["one of three", "one of five", "three less one", "five less one", "ten less one"],
)
def test_gross_unfairness_is_found_within_a_few_dozen_draws(n: int, draws: list[int], at_most: int) -> None:
    found = reaches(DrawTest(n), draws, 200)

    assert found is not None
    assert found <= at_most


@pytest.mark.parametrize(("n", "at_most"), [(2, 24), (3, 18), (10, 15)])
def test_turns_are_told_from_luck_within_a_few_rounds(n: int, at_most: int) -> None:
    found = reaches(TurnTest(n), [i % n for i in range(100)], 200)

    assert found is not None
    assert found <= at_most


def test_turns_are_recognised_where_neighbours_swap_places() -> None:
    draws = [i % 3 for i in range(60)]
    for i in range(0, 60, 4):
        draws[i], draws[i + 1] = draws[i + 1], draws[i]

    assert reaches(TurnTest(3), draws, 200) is not None


def test_a_fair_draw_is_seldom_taken_for_turns() -> None:
    """At 1/alpha = 200, fewer than alpha = 0.5 % of runs; of 400 runs, 6 or more have a chance below 2 %."""
    random = Random(5)

    runs = [reaches(TurnTest(3), random.choices(range(3), k=300), 200) for _ in range(400)]

    assert sum(found is not None for found in runs) < 6


@pytest.mark.parametrize(
    ("counts", "lost", "expected"),
    [((5, 0, 2), 0, (5, 0, 2)), ((5, 0, 2), 4, (5, 3, 3)), ((5, 0, 2), 100, (35, 36, 36)), ((1,), 3, (4,)), ((4, 4), 1, (5, 4))],
)
def test_lost_draws_go_to_whoever_has_fewest(counts: tuple[int, ...], lost: int, expected: tuple[int, ...]) -> None:
    assert filled(counts, lost) == expected


@given(st.lists(st.integers(0, 12), min_size=2, max_size=4), st.integers(0, 6), st.randoms())
def test_no_other_filling_gives_less_evidence(counts: list[int], lost: int, random: Random) -> None:
    other = list(counts)
    for _ in range(lost):
        other[random.randrange(len(other))] += 1

    assert sum(filled(counts, lost)) == sum(other)
    assert e_value(filled(counts, lost)) <= e_value(other) * (1 + 1e-9)


@pytest.mark.parametrize(("n", "weight"), [(2, 2.0), (3, 2.0), (4, 3.0), (2, 0.25), (3, 0.25), (4, 0.1)])
def test_evidence_for_evenness_has_mean_one_at_most_where_it_is_wrong(n: int, weight: float) -> None:
    """Over all sequences of six draws with one endpoint of double weight or more, or of a quarter or less."""
    chances = [weight / (n - 1 + weight), *[1 / (n - 1 + weight)] * (n - 1)]
    mean = sum(
        math.prod(chances[i] for i in outcome) * math.exp(log_against_uneven([outcome.count(i) for i in range(n)]))
        for outcome in product(range(n), repeat=6)
    )

    assert mean <= 1.0 + 1e-12


@given(COUNTS, st.integers(0, 20))
def test_lost_draws_never_make_evidence_for_evenness(counts: list[int], lost: int) -> None:
    assert log_against_uneven(counts, lost) <= log_against_uneven(counts) + 1e-9


@pytest.mark.parametrize("weights", [(1, 1), (2, 1, 1), (1, 1, 1, 1, 1), (6, 1, 1, 1)])
def test_bounds_of_chances_are_right_at_every_look(weights: tuple[int, ...]) -> None:
    """Of 200 runs of 200 draws, looked at after every fifth; at 95 % coverage 22 wrong ones have a chance below 0.1 %."""
    random, n = Random(5), len(weights)
    chances = [w / sum(weights) for w in weights]
    wrong = 0
    for _ in range(200):
        counts = [0] * n
        for draw in range(1, 201):
            counts[random.choices(range(n), weights)[0]] += 1
            if draw % 5 == 0 and any(
                not low <= p <= high for p, (low, high) in zip(chances, chance_bounds(counts, 0.95), strict=True)
            ):
                wrong += 1
                break

    assert wrong < 22


@given(COUNTS)
def test_bounds_hold_the_share_and_follow_the_names(counts: list[int]) -> None:
    bounds = chance_bounds(counts, 0.95)

    draws = sum(counts)
    assert all(low <= c / max(1, draws) <= high for c, (low, high) in zip(counts, bounds, strict=True) if draws)
    assert chance_bounds(counts[::-1], 0.95) == bounds[::-1]


def test_more_draws_bring_the_bounds_closer() -> None:
    widths = [chance_bounds((k, k, k), 0.95)[0][1] - chance_bounds((k, k, k), 0.95)[0][0] for k in (1, 10, 100, 1000)]

    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.1


def test_sticking_is_standard_normal_for_independent_draws_however_biased() -> None:
    random = Random(2)
    values = []
    for _ in range(1000):
        draws = random.choices(range(4), (5, 2, 1, 1), k=60)
        repeats = sum(a == b for a, b in pairwise(draws))
        values.append(sticking([draws.count(i) for i in range(4)], repeats))
    mean = sum(values) / len(values)

    assert mean == pytest.approx(0, abs=0.15)
    assert math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("counts", "repeats", "expected"), [((50, 50), 98, 9.9), ((50, 50), 0, -9.9), ((5, 0), 4, 0.0)])
def test_sticking_of_the_extremes(counts: tuple[int, ...], repeats: int, expected: float) -> None:
    """All of one and then all of the other; strictly in turn; and nobody else to stick to."""
    assert sticking(counts, repeats) == pytest.approx(expected, abs=0.4)
