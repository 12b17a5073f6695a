"""Did a chance change between two runs? E-values for two samples, valid whatever made either run stop.

A run stops once its answer is certain, so how many draws there are depends on what was drawn. Tests that take the sizes for given
(Fisher's, a permutation, a Bayes factor under a prior for the null) then alarm too often, because the run that stopped early did
so for looking extreme: simulated with this program's own rule for stopping, Fisher's test at 1 % alarmed in 2 to 3 % of pairs
with the same mildly unequal chances. What holds at every size is universal inference:

    E = mixture over alternatives of the likelihood of both samples / largest likelihood that the null allows.

Whatever the true chances under the null are, the denominator is at least their likelihood, so E is at most a mixture of
likelihood ratios against the truth. That is a martingale of mean 1 in the draws of both runs, one after the other, and reaches
1/alpha with probability below alpha at any time of stopping (Ville's inequality). It needs no conditioning, no large samples and
no knowledge of how the runs decided to stop. Its price against a test for fixed sizes is a factor of ten to thirty.

Source: Wasserman, Ramdas and Balakrishnan 2020, "Universal inference", PNAS 117, section 8 (the sequential form).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from kbalance.analysis.statistics import finite, log_beta, log_sum


class _Chance(Enum):
    """What a chance may be under the alternative."""

    NEVER = 0
    FAIR = 1
    """The fair share itself, 1/parts."""
    ALWAYS = 2
    ANY = 3
    """Every chance equally likely."""
    NEAR = 4
    """Around the fair share: Beta(1, parts - 1), one coordinate of a flat Dirichlet."""


_RISES = (
    (0.20, _Chance.FAIR, _Chance.ALWAYS),
    (0.25, _Chance.FAIR, _Chance.ANY),
    (0.15, _Chance.NEVER, _Chance.FAIR),
    (0.10, _Chance.NEVER, _Chance.ANY),
    (0.10, _Chance.NEAR, _Chance.FAIR),
    (0.10, _Chance.ANY, _Chance.ANY),
    (0.10, _Chance.NEAR, _Chance.NEAR),
)
"""The mixture over alternatives: share, chance before, chance after. They are what fixes and faults do: one side is fair more
often than not. A pair with share w costs the factor 1/w where it is the right one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """One endpoint's part of a sample, or the failures among attempts."""

    hits: float
    """Draws that went to it. Fractions are allowed: a draw that failed for a third of its requests counts as a third, and as the
    logarithm is concave, the e-values stay valid for draws between 0 and 1 with the same mean."""
    draws: float
    parts: int
    """Into how many parts a fair draw would divide; 1/parts is the chance that the mixture expects most."""
    scale: float = 1.0
    """What a chance is multiplied with before it is compared: the number of endpoints, where loads over the fair share are."""

    @property
    def level(self) -> float:
        """The scaled chance as it looks."""
        return self.hits / self.draws * self.scale if self.draws else 0.0


def rise(before: Trials, after: Trials) -> float:
    """The evidence that the scaled chance is higher in the second sample, as the logarithm of an e-value.

    Null: it is not higher.
    """
    if not before.draws or not after.draws:
        return 0.0
    most = _free(before) + _free(after) if after.level <= before.level else _common(before, after)
    return _alternatives(before, after) - most


def some_rise(before: Sequence[Trials], after: Sequence[Trials]) -> float:
    """The e-value that somebody's chance is higher in the second sample; both stand in the same order.

    Null: no chance is higher, for connections that is that all are the same. The mean of the evidence over all of them.
    """
    pairs = Counter(zip(before, after, strict=True))
    return sum(m * finite(rise(old, new)) for (old, new), m in pairs.items()) / len(before) if before else 1.0


def highest_rise(before: Sequence[Trials], after: Sequence[Trials]) -> float:
    """The e-value that the highest chance is higher in the second sample, whoever has it.

    Null: it is not higher. Then nobody of the second sample has a higher chance than whoever truly had the highest in the first,
    so the mean of the evidence over the second sample, against that one, is an e-value; which one it is nobody knows, so the
    smallest over the first sample is claimed.
    """
    return _surest(after, before, lambda new, old: rise(old, new))


def lowest_fall(before: Sequence[Trials], after: Sequence[Trials]) -> float:
    """The e-value that the lowest chance is lower in the second sample, whoever has it; as `highest_rise`."""
    return _surest(after, before, lambda new, old: rise(new, old))


def trials(counts: Sequence[float], scale: float = 1.0) -> tuple[Trials, ...]:
    """Every endpoint's part of the draws."""
    draws = sum(counts)
    return tuple(Trials(hits=c, draws=draws, parts=len(counts), scale=scale) for c in counts)


def bounds(counts: Sequence[float], alpha: float) -> tuple[float, float] | None:
    """Bounds of the largest chance over its fair share, right at every look with probability 1 - alpha; ``None``: no draws.

    The upper one needs no correction for the number of endpoints: it fails only where the one of the true busiest endpoint does.
    """
    n, draws = len(counts), sum(counts)
    if not draws:
        return None
    parts = set(trials(counts))
    low = max(_bound(t, alpha / 2 / n, outside=0.0) for t in parts)
    high = max(_bound(t, alpha / 2, outside=1.0) for t in parts)
    return max(1.0, low * n), min(float(n), high * n)


def chance_in_order(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The probability that one sample's order statistic is below another's when both are drawn from one distribution.

    Exact and free of any distribution (a precedence test): the i-th and j-th smallest are in this order if and only if of the
    i + j - 1 smallest values of both together at least i are the first sample's, a hypergeometric tail. Where that is likelier
    than not, 1.0 is said: nobody asks for more.

    Args:
        before: Rank, from 1, and size of the first sample.
        after: The same of the second.
    """
    (i, n), (j, m) = before, after
    taken, tail = i + j - 1, 0.0
    if i <= taken * n / (n + m):
        return 1.0
    for k in range(max(i, taken - m), min(n, taken) + 1):
        term = math.exp(_log_choose(n, k) + _log_choose(m, taken - k) - _log_choose(n + m, taken))
        tail += term
        # Beyond the mean every term is smaller than the one before.
        if term < 1e-17 * tail:
            break
    return min(1.0, tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _surest(mixed: Sequence[Trials], unknown: Sequence[Trials], evidence: Callable[[Trials, Trials], float]) -> float:
    """The mean over one sample's endpoints, and of that the smallest over the other's; equal ones are weighed once."""
    if not mixed or not unknown:
        return 1.0
    each = Counter(mixed)
    return min(sum(m * finite(evidence(one, other)) for one, m in each.items()) for other in set(unknown)) / len(mixed)


# --- likelihoods, as logarithms


def _alternatives(before: Trials, after: Trials) -> float:
    """The mixture's likelihood of both samples."""
    old, new = ({chance: _given(t, chance) for chance in _Chance} for t in (before, after))
    return log_sum([math.log(share) + old[first] + new[then] for share, first, then in _RISES])


def _given(t: Trials, chance: _Chance) -> float:
    hits, misses = t.hits, t.draws - t.hits
    match chance:
        case _Chance.NEVER:
            return _at(t, 0.0)
        case _Chance.FAIR:
            return _at(t, 1 / t.parts)
        case _Chance.ALWAYS:
            return _at(t, 1.0)
        case _Chance.ANY:
            return log_beta(hits + 1, misses + 1)
        case _Chance.NEAR:
            around = max(1, t.parts - 1)
            return log_beta(hits + 1, misses + around) - log_beta(1, around)
        case _:
            assert_never(chance)


def _at(t: Trials, chance: float) -> float:
    """The likelihood of a chance."""
    hits, misses = t.hits, t.draws - t.hits
    if (hits and chance <= 0) or (misses and chance >= 1):
        return -math.inf
    return (hits * math.log(chance) if hits else 0.0) + (misses * math.log1p(-chance) if misses else 0.0)


def _free(t: Trials) -> float:
    """The largest likelihood of any chance."""
    return _at(t, t.hits / t.draws)


def _common(a: Trials, b: Trials) -> float:
    """The largest likelihood of one scaled chance for both."""
    if a.scale == b.scale:
        chance = (a.hits + b.hits) / (a.draws + b.draws)
        return _at(a, chance) + _at(b, chance)
    level = _peak(a, b)
    return _at(a, level / a.scale) + _at(b, level / b.scale)


def _peak(a: Trials, b: Trials) -> float:
    """Where the likelihood of a common level, which is concave in it, is largest: by halving on its slope."""

    def down(t: Trials, level: float) -> float:
        misses = t.draws - t.hits
        return misses / (t.scale - level) if level < t.scale else math.inf if misses else 0.0

    low, high = 0.0, min(a.scale, b.scale)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (a.hits + b.hits) / middle > down(a, middle) + down(b, middle) else (low, middle)
    return low


_PARTS = ((0.4, _Chance.FAIR), (0.2, _Chance.ANY), (0.2, _Chance.NEAR), (0.1, _Chance.NEVER), (0.1, _Chance.ALWAYS))
"""The mixture for the bounds of one chance."""


def _bound(t: Trials, alpha: float, *, outside: float) -> float:
    """The furthest chance towards 0 or 1 that the draws leave possible: there the mixture is 1/alpha times as likely."""
    inside = t.hits / t.draws
    least = log_sum([math.log(share) + _given(t, chance) for share, chance in _PARTS]) + math.log(alpha)
    if _at(t, outside) > least:
        return outside
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if _at(t, middle) > least else (inside, middle)
    return outside
