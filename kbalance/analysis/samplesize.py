"""How many connections answer the question, and what luck makes of few of them."""

import math
from collections.abc import Callable, Iterator

from kbalance.analysis.statistics import DOUBLED, MISSED_AT_END, MISSED_EARLY

SELDOM = 0.1
"""Weight of an endpoint, the others having 1, that must be told from one that is never chosen."""

MISTAKEN = 0.01
"""Chance of taking seldom for never, and mostly for always."""

MISSED = MISSED_EARLY + MISSED_AT_END
"""Chance of missing an endpoint of double weight that a run accepts."""

MOST_DRAWS = 1_000_000
"""Beyond this many draws the question is given up as not answerable by experiment."""


def draws_to_tell(n: int, tolerance: float, alpha: float) -> int:
    """Connections after which a fair draw among n endpoints can be told from an unfair one; 0 for fewer than two endpoints.

    With so many, a fair chooser's busiest endpoint is above the tolerance with probability below alpha / 10, which leaves nearly
    all of alpha to the e-value, and an endpoint of double weight escapes the e-value at 1/alpha with probability below 1 %. Both
    are bounds (Boole's inequality over endpoints; the doubled part of the mixture alone, at the last look alone): the true rates
    are lower.
    """
    if n < 2:
        return 0
    looks_even = _smallest(lambda draws: chance_above(n, draws, tolerance) < alpha / 10)
    finds_doubled = _smallest(lambda draws: _chance_missed(n, draws, alpha) < MISSED_AT_END)
    return max(looks_even, finds_doubled)


def noticeable(n: int, tolerance: float) -> float:
    """How far from the fair share, as a part of it, is worth a word.

    Half of what is tolerated, or half of what double weight makes of it, 2n / (n + 1) - 1, where that is less: a sample of one
    endpoint of double weight of two (1.33 times its share) often shows 1.25 times or less.
    """
    return min((tolerance - 1) / 2, (n - 1) / (2 * (n + 1)))


def expected_busiest(connections: int, n: int) -> float:
    """The mean of (busiest endpoint's connections) / (connections / n) when each connection is a fair draw among n endpoints.

    The mean of the maximum is the sum over m of P(maximum > m). Up to 40 connections these are exact. Above, each is Levin's form
    with an Edgeworth correction (error below 0.001 of the result for n >= 3), and above 100 per endpoint the excess shrinks with
    the square root of the connections.

    Source: Levin 1981, "A representation for multinomial cumulative distribution functions", Annals of Statistics 9.
    """
    if n < 2 or connections < 1:
        return 1.0
    if connections > 100 * n:
        return 1 + (expected_busiest(100 * n, n) - 1) * math.sqrt(100 * n / connections)
    least = -(-connections // n)
    mean = float(least)
    for at_most in (_exact if connections <= 40 else _levin)(connections, n, least):
        if at_most > 1 - 1e-7:
            break
        mean += 1 - at_most
    return mean * n / connections


def draws_to_miss(n: int) -> int:
    """Connections that meet an endpoint of a tenth of the others' weight with 99 %: one that they leave out is never chosen.

    A fair draw that is refused because of an unseen endpoint is far from telling never from seldom.
    """
    return math.ceil(math.log(MISTAKEN) / math.log(1 - SELDOM / (n - 1 + SELDOM))) if n > 1 else 0


def draws_to_fix() -> int:
    """Connections of which one at least goes elsewhere with 99 % where one endpoint gets nine tenths of them."""
    return math.ceil(math.log(MISTAKEN) / math.log(0.9))


def expected_idle(connections: int, n: int) -> float:
    """The mean number of endpoints that get nothing when each connection is a fair draw among n: n (1 - 1/n)^connections."""
    return n * (1 - 1 / n) ** connections


def chance_above(n: int, draws: int, tolerance: float) -> float:
    """At most this is the probability that a fair draw's busiest endpoint is above the tolerance."""
    first = math.floor(tolerance * draws / n) + 1
    return n * math.fsum(_binomial_terms(draws, 1 / n, first, 1))


def _smallest(holds: Callable[[int], bool]) -> int:
    """The smallest number of draws for which a condition holds that goes on holding, by doubling and halving."""
    high = 1
    while not holds(high):
        high *= 2
        if high > MOST_DRAWS:
            return MOST_DRAWS
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _chance_missed(n: int, draws: int, alpha: float) -> float:
    """At most this is the probability that an endpoint of double weight stays below an e-value of 1/alpha."""
    needed = (math.log(n / (alpha * DOUBLED)) + draws * math.log((n + 1) / n)) / math.log(2)
    return math.fsum(_binomial_terms(draws, 2 / (n + 1), math.ceil(needed) - 1, -1))


def _binomial_terms(draws: int, p: float, start: int, step: int) -> list[float]:
    """Probabilities of start, start + step, ... successes, until they no longer count or the range ends."""
    terms: list[float] = []
    k = start if step > 0 else min(start, draws)
    mode = draws * p
    while 0 <= k <= draws:
        term = math.exp(
            math.lgamma(draws + 1) - math.lgamma(k + 1) - math.lgamma(draws - k + 1)
            + k * math.log(p) + (draws - k) * math.log1p(-p)
        )  # fmt: skip
        terms.append(term)
        if term < 1e-18 and (k - mode) * step > 0:
            break
        k += step
    return terms


def _exact(connections: int, n: int, least: int) -> Iterator[float]:
    """P(no endpoint gets more than m) for m = least and up: k! / k^k times x^k's coefficient in (sum of (k/n)^j x^j / j!)^n.

    Powers of a polynomial by Euler's recurrence (Knuth, TAOCP 2, 4.7). Its signs alternate: beyond 60 connections it loses all
    its digits.
    """
    ratio = connections / n
    scale = math.exp(math.lgamma(connections + 1) - connections * math.log(connections))
    for m in range(least, connections):
        q = [ratio**j / math.factorial(j) for j in range(m + 1)]
        p = [1.0]
        for i in range(1, connections + 1):
            p.append(sum((j * (n + 1) - i) * q[j] * p[i - j] for j in range(1, min(i, m) + 1)) / i)
        yield p[connections] * scale


def _levin(connections: int, n: int, least: int) -> Iterator[float]:
    """P(no endpoint gets more than m) for m = least and up, from n Poisson variables cut off at m, given their sum."""
    ratio = connections / n
    stirling = math.lgamma(connections + 1) - connections * math.log(connections) + connections
    sums = [0.0] * 5
    for m in range(connections):
        weight = math.exp(m * math.log(ratio) - ratio - math.lgamma(m + 1))
        # Moments about the mean of the uncut variable: about 0, the fourth would lose its digits.
        sums = [total + weight * (m - ratio) ** power for power, total in enumerate(sums)]
        if m >= least:
            mass, mean, second, third, fourth = sums[0], *(total / sums[0] for total in sums[1:])
            variance = second - mean**2
            skew = third - 3 * mean * second + 2 * mean**3
            tail = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
            spread = math.sqrt(n * variance)
            density = _edgeworth(
                -n * mean / spread,
                skewness=skew / variance**1.5 / math.sqrt(n),
                excess=(tail / variance**2 - 3) / n,
            )
            yield min(1.0, max(0.0, math.exp(stirling + n * math.log(mass)) * density / spread))


def _edgeworth(z: float, *, skewness: float, excess: float) -> float:
    """Density of a standardised sum at z, corrected for its third and fourth moments (Feller, volume 2, XVI.2)."""
    third = z**3 - 3 * z
    fourth = z**4 - 6 * z**2 + 3
    sixth = z**6 - 15 * z**4 + 45 * z**2 - 15
    correction = 1 + skewness / 6 * third + excess / 24 * fourth + skewness**2 / 72 * sixth
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * correction
