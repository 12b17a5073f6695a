"""Is it luck? Tests for how connections were drawn, and what a fair draw looks like.

The unit is the draw: one connection that was attributed to one endpoint. Requests repeat the draw of their connection and are
never counted here, except where a proxy places each request by itself.
"""

import math
from collections.abc import Sequence

CONCENTRATION = 1.0
"""Of the Dirichlet part: 1 holds every way of sharing the traffic out for equally likely beforehand.

Less puts the weight on extreme choosers (0.5 finds one that never varies a draw earlier) and more on mild ones (10 finds it
seven draws later). Mild bias is the job of the part for a doubled endpoint, so this one can stay flat.
"""

DIRICHLET, DOUBLED, UNSEEN, STARVED = 0.4, 0.3, 0.15, 0.15
"""Shares of the parts of the mixture. A part with share w costs the factor 1/w when it is the right one, which is a few draws;
the last two grow fast and can afford the smaller shares."""

LITTLE = 0.2
"""Weight of the endpoint in the starved part."""

DOUBLE, QUARTER = 2.0, 0.25
"""Weights of one endpoint, the others having 1, that a run excludes before it stops early for evenness."""

MISSED_EARLY, MISSED_AT_END = 0.01, 0.01
"""Chances of missing an endpoint of double weight: of stopping early for evenness all the same, and of the plan's end finding no
bias. More for the early stop makes a fair run hardly shorter, and moves the plan's end away."""

LARGEST_LOG = 690.0
"""Of an e-value, so that it stays a finite float: e to the 690 is 1e299."""


def e_value(counts: Sequence[int]) -> float:
    """The evidence of these counts of connections against a fair draw; order does not matter, 1.0 means none."""
    n, draws = len(counts), sum(counts)
    if n < 2:
        return 1.0
    dirichlet = (
        math.lgamma(n * CONCENTRATION)
        - math.lgamma(n * CONCENTRATION + draws)
        + sum(math.lgamma(CONCENTRATION + c) - math.lgamma(CONCENTRATION) for c in counts)
        + draws * math.log(n)
    )
    return finite(_mixture(counts, draws, dirichlet, _log_sum_of_powers(counts, _LOG_2)))


class DrawTest:
    """A test of "each of n endpoints is drawn with probability 1/n", valid at every look.

    The e-value is a mixture of likelihood ratios, so under a fair draw it is a martingale of mean 1, and a fair chooser ever
    reaches 1/alpha with probability below alpha, however often one looks (Ville's inequality). Reject at 1/alpha. The parts:

    - Dirichlet(a, ..., a): any chooser at all; finds one that never varies within about ten draws. B(a + c) / B(a) * n^N.
    - one endpoint has double weight, 1/n each: (n / (n + 1))^N * mean of 2^c.
    - one endpoint is never drawn, 1/n each: (n / (n - 1))^N * (endpoints not seen yet) / n.
    - one endpoint has little weight w, 1/n each: (n / (n - 1 + w))^N * mean of w^c.

    The last three are causes that this program names. For ten endpoints they halve the draws that the Dirichlet part alone needs
    (simulated, alpha 0.5 %: unseen 88 against 162, doubled 274 against 661).

    Source: Lindon and Malek 2022, "Anytime-valid inference for multinomial count data", section 3, for the Dirichlet part.
    """

    __slots__ = ("_counts", "_dirichlet", "_draws", "_powers")

    def __init__(self, n: int) -> None:
        self._counts = [0] * n
        self._draws = 0
        self._dirichlet = 0.0
        self._powers = math.log(n) if n else 0.0

    def add(self, i: int) -> None:
        """Counts one connection for the endpoint of this index."""
        c, n, a = self._counts[i], len(self._counts), CONCENTRATION
        self._dirichlet += math.log(n * (a + c) / (n * a + self._draws))
        self._powers += math.log1p(math.exp(c * _LOG_2 - self._powers))
        self._counts[i] = c + 1
        self._draws += 1

    @property
    def counts(self) -> tuple[int, ...]:
        """Connections per endpoint."""
        return tuple(self._counts)

    @property
    def draws(self) -> int:
        """Connections in all."""
        return self._draws

    @property
    def log_e_value(self) -> float:
        """Natural logarithm of the e-value."""
        return _mixture(self._counts, self._draws, self._dirichlet, self._powers) if len(self._counts) > 1 else 0.0

    @property
    def e_value(self) -> float:
        """The evidence so far; 1.0 for fewer than two endpoints, where there is nothing to test."""
        return finite(self.log_e_value)


class TurnTest:
    """A test of the same null against choosers that go in turn and so look too even; valid at every look.

    Before each draw it bets on the endpoints that are behind: weight 4^-c each. In turn, that wins a constant factor each round
    (1.6 for two endpoints, 2.7 for three), and survives neighbours that swap places because they were opened at once, which a
    test on strict order would not. The final counts alone cannot do this: a fair draw of 300 between two ends even with 5 %.
    """

    __slots__ = ("_log_e", "_total", "_weights")

    def __init__(self, n: int) -> None:
        self._weights = [1.0] * n
        self._total = float(n)
        self._log_e = 0.0

    def add(self, i: int) -> None:
        """Counts one connection for the endpoint of this index."""
        weight = self._weights[i]
        # A weight that underflowed to 0 is a bet that was lost long ago; the floor keeps the logarithm finite.
        self._log_e += math.log(max(len(self._weights) * weight / self._total, 1e-300))
        self._weights[i] = weight / 4
        self._total -= weight * 3 / 4
        if self._total < 1e-6:
            self._rescale()

    def _rescale(self) -> None:
        """Only ratios of weights matter; the sum is made anew so that rounding errors cannot add up."""
        top = max(self._weights)
        self._weights = [w / top for w in self._weights]
        self._total = math.fsum(self._weights)

    @property
    def e_value(self) -> float:
        """The evidence so far that the draws are too even for luck."""
        return finite(self._log_e)


def log_against_uneven(counts: Sequence[int], lost: int = 0) -> float:
    """Natural logarithm of the evidence against "some endpoint has double the others' weight or more, or a quarter or less".

    For each endpoint the likelihood of a fair draw over that of its weight w, the others' being 1: ((n - 1 + w) / n)^N / w^c.
    Where its chance really is as far from fair as w makes it, or further, and whatever those of the others, this is a
    supermartingale that starts at 1, so it ever reaches 1/m with probability m at most (Ville's inequality), at every look. The
    smallest of all counts, that is the busiest endpoint's for double weight and the least busy one's for a quarter, for one of
    them must be the one. Lost draws count for the busiest.
    """
    n, draws = len(counts), sum(counts)
    if n < 2:
        return 0.0
    double = (draws + lost) * math.log((n - 1 + DOUBLE) / n) - (max(counts) + lost) * math.log(DOUBLE)
    quarter = draws * math.log((n - 1 + QUARTER) / n) - min(counts) * math.log(QUARTER)
    return min(double, quarter)


def chance_bounds(counts: Sequence[int], coverage: float) -> tuple[tuple[float, float], ...]:
    """Bounds of each endpoint's chance of being drawn, lower and upper, that are all right at every look with this probability.

    Each is the set of chances p that a beta-binomial mixture does not reject, that is for which
    B(a + c, b + N - c) / B(a, b) / p^c / (1 - p)^(N - c) stays below n / (1 - coverage). With a : b = 1 : n - 1 the mixture has
    its mean at a fair draw; the n is Boole's, for all endpoints at once.

    Source: Robbins 1970, "Statistical methods related to the law of the iterated logarithm" (mixture confidence sequences).
    """
    n, draws = len(counts), sum(counts)
    if n < 2 or not draws:
        return ((0.0, 1.0),) * n
    a, b = 1.0, n - 1.0
    limit = math.log(n / (1 - coverage))
    known: dict[int, tuple[float, float]] = {}

    def excluded(p: float, c: int, mixture: float) -> bool:
        hits = c * math.log(p) if c else 0.0
        return mixture - hits - ((draws - c) * math.log1p(-p) if c < draws else 0.0) >= limit

    def edge(inside: float, outside: float, c: int, mixture: float) -> float:
        for _ in range(30):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if excluded(middle, c, mixture) else (middle, outside)
        return outside

    for c in set(counts):
        mixture = log_beta(a + c, b + draws - c) - log_beta(a, b)
        share = min(max(c / draws, 1e-9), 1 - 1e-9)
        known[c] = (
            0.0 if c == 0 else edge(share, 1e-12, c, mixture),
            1.0 if c == draws else edge(share, 1 - 1e-12, c, mixture),
        )
    return tuple(known[c] for c in counts)


def sticking(counts: Sequence[int], repeats: int) -> float:
    """How many standard deviations more often than by luck a draw met the endpoint of the draw before it.

    Given the counts, every order is equally likely where draws are independent, however biased. `repeats` then has the mean
    sum c (c - 1) / N, and the variance of the number of runs (Barton and David 1957, "Multiple runs"); normal for large N.
    """
    draws = sum(counts)
    squares = sum(c * c for c in counts)
    if draws < 3 or squares == draws * draws:
        return 0.0
    cubes = sum(c**3 for c in counts)
    mean = (squares - draws) / draws
    variance = (squares * (squares + draws * (draws + 1)) - 2 * draws * cubes - draws**3) / (draws**2 * (draws - 1))
    return (repeats - mean) / math.sqrt(variance) if variance > 0 else 0.0


def filled(counts: Sequence[int], lost: int) -> tuple[int, ...]:
    """The counts after giving lost draws, one each, to whoever has fewest.

    Connections that failed or were not identified went somewhere. Every part of the e-value is Schur-convex in the counts, so the
    most even filling gives the smallest e-value: the one that can be claimed whatever became of the lost draws.
    """
    order = sorted(range(len(counts)), key=lambda i: counts[i])
    level = list(counts)
    for size in range(1, len(order) + 1):
        room = (level[order[size]] - level[order[size - 1]]) * size if size < len(order) else lost
        each, rest = divmod(min(room, lost), size)
        for position, i in enumerate(order[:size]):
            level[i] += each + (position < rest)
        lost -= min(room, lost)
        if not lost:
            break
    return tuple(level)


def finite(log_e_value: float) -> float:
    """The e-value, kept below infinity."""
    return math.exp(min(log_e_value, LARGEST_LOG))


_LOG_2 = math.log(2)


def log_beta(a: float, b: float) -> float:
    """Logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _mixture(counts: Sequence[int], draws: int, dirichlet: float, powers: float) -> float:
    """Logarithm of the e-value from the logarithms of its parts."""
    n = len(counts)
    little = _log_sum_of_powers(counts, math.log(LITTLE))
    parts = [
        math.log(DIRICHLET) + dirichlet,
        math.log(DOUBLED) + draws * math.log(n / (n + 1)) + powers - math.log(n),
        math.log(STARVED) + draws * math.log(n / (n - 1 + LITTLE)) + little - math.log(n),
    ]
    if unseen := counts.count(0):
        parts.append(math.log(UNSEEN) + draws * math.log(n / (n - 1)) + math.log(unseen / n))
    return log_sum(parts)


def log_sum(terms: Sequence[float]) -> float:
    """Logarithm of the sum of terms that are given by their logarithms."""
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms))


def _log_sum_of_powers(counts: Sequence[int], log_base: float) -> float:
    """Logarithm of the sum of base^c."""
    top = max(counts) if log_base > 0 else min(counts)
    return top * log_base + math.log(sum(math.exp((c - top) * log_base) for c in counts))
