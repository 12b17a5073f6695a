"""How many connections the textbook's test needs: Pearson's chi-square, its size fixed beforehand and looked at once.

It is the yardstick for kbalance's own test, which may be looked at after every connection. Power is that of the noncentral
chi-square distribution, a mixture of central ones with Poisson weights.

Source: Cohen 1988, "Statistical power analysis for the behavioral sciences", chapter 7; Johnson, Kotz and Balakrishnan 1995,
"Continuous univariate distributions" 2, 29.3 (the mixture).
"""

import math
from collections.abc import Callable, Sequence


def connections_needed(shares: Sequence[float], alpha: float, missed: float) -> int:
    """Draws with which a test against equal shares has these two errors where the true shares are these.

    Args:
        alpha: chance of calling a fair draw unfair.
        missed: chance of not calling these shares unfair.
    """
    n = len(shares)
    effect = sum((share - 1 / n) ** 2 * n for share in shares)
    return math.ceil(noncentrality(n - 1, alpha, missed) / effect)


def one_doubled(n: int) -> list[float]:
    """The shares where one endpoint of n has double weight."""
    return [2 / (n + 1), *[1 / (n + 1)] * (n - 1)]


def noncentrality(freedom: int, alpha: float, missed: float) -> float:
    """The noncentrality at which the test at `alpha` misses with probability `missed`."""
    limit = critical(freedom, alpha)
    return _root(lambda shift: below(limit, freedom, shift) - missed)


def critical(freedom: int, alpha: float) -> float:
    """What a central chi-square exceeds with probability `alpha`."""
    return _root(lambda x: 1 - alpha - below(x, freedom))


def below(x: float, freedom: int, shift: float = 0.0) -> float:
    """The probability that a chi-square, central or shifted, is at most x."""
    if shift == 0.0:
        return _regularised(freedom / 2, x / 2)
    # Weights grow until half the shift and then fall; ten standard deviations beyond that nothing is left.
    last = int(shift / 2 + 10 * math.sqrt(shift / 2) + 20)
    weights = (math.exp(j * math.log(shift / 2) - shift / 2 - math.lgamma(j + 1)) for j in range(last + 1))
    return math.fsum(weight * _regularised(freedom / 2 + j, x / 2) for j, weight in enumerate(weights))


def _regularised(a: float, x: float) -> float:
    """The lower incomplete gamma function over the complete one, by its series.

    Source: Abramowitz and Stegun, 6.5.29.
    """
    if x <= 0:
        return 0.0
    term = math.exp(a * math.log(x) - x - math.lgamma(a + 1))
    total, k = term, 0
    while term > total * 1e-16:
        k += 1
        term *= x / (a + k)
        total += term
    return min(1.0, total)


def _root(falling: Callable[[float], float]) -> float:
    """Where a function that falls from above zero is zero."""
    low, high = 0.0, 1.0
    while falling(high) > 0:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return high
