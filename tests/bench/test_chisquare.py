"""The textbook's test, against tables in textbooks."""

import pytest

from bench.accuracy import chisquare


@pytest.mark.parametrize(
    ("freedom", "alpha", "limit"),
    [(1, 0.05, 3.841), (2, 0.05, 5.991), (4, 0.01, 13.277), (9, 0.01, 21.666), (2, 0.001, 13.816), (30, 0.05, 43.773)],
)
def test_critical_values_are_those_of_every_table(freedom: int, alpha: float, limit: float) -> None:
    assert chisquare.critical(freedom, alpha) == pytest.approx(limit, abs=0.0006)


@pytest.mark.parametrize(
    ("freedom", "missed", "shift"),
    [(1, 0.2, 7.849), (2, 0.2, 9.635), (3, 0.2, 10.903), (5, 0.2, 12.828), (1, 0.1, 10.507), (2, 0.1, 12.654), (5, 0.1, 16.470)],
)
def test_noncentralities_are_those_of_haynam_govindarajulu_and_leone(freedom: int, missed: float, shift: float) -> None:
    """*Source*: 1962, "Tables of the cumulative non-central chi-square distribution", at alpha 5 %."""
    assert chisquare.noncentrality(freedom, 0.05, missed) == pytest.approx(shift, abs=0.0011)


def test_with_one_degree_of_freedom_it_is_a_squared_normal_variable() -> None:
    """z for 0.25 % and z for 5 %: the other side's tail is lost in the last digit."""
    assert chisquare.noncentrality(1, 0.005, 0.05) == pytest.approx((2.8070 + 1.6449) ** 2, abs=0.002)


@pytest.mark.parametrize(("freedom", "draws"), [(1, 87), (2, 107), (3, 121), (4, 133), (5, 143), (6, 151)])
def test_draws_for_a_medium_effect_are_those_of_cohen(freedom: int, draws: int) -> None:
    """*Source*: Cohen 1992, "A power primer", table 2: w = 0.3, alpha 5 %, power 80 %."""
    assert round(chisquare.noncentrality(freedom, 0.05, 0.2) / 0.3**2) == draws


def test_the_farther_from_even_the_fewer_connections() -> None:
    doubled, tripled = [0.5, 0.25, 0.25], [0.6, 0.2, 0.2]

    needed = [chisquare.connections_needed(shares, 0.005, 0.05) for shares in (doubled, tripled)]

    assert (chisquare.one_doubled(3), needed) == (doubled, [183, 72])
