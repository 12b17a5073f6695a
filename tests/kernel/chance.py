"""How surely counts are not luck: e-values, which exceed 1e6 by luck with a probability of at most 1e-6 (Markov).

They hold for any number of draws, small ones too, so the tests' false alarms are bounded rather than approximated. Kept
apart from `kbalance.analysis`, so that the two cannot share a mistake.
"""

from collections.abc import Iterable, Sequence
from math import lgamma, log

CERTAIN = log(1e6)
"""Logarithm of the e-value above which a test calls it law; for false alarms in one of a million runs."""


def unfair(counts: Sequence[int]) -> float:
    """Logarithm of the e-value against a fair draw per connection.

    The likelihood of the draws averaged over all shares (uniform Dirichlet) over their likelihood under equal shares.

    *Source*: Lindon and Malek 2022, "Anytime-valid inference for multinomial count data".
    """
    n, total = len(counts), sum(counts)
    return lgamma(n) - lgamma(n + total) + sum(lgamma(1 + c) for c in counts) + total * log(n)


def different(pairs: Iterable[tuple[str, str]], choices: Sequence[str]) -> float:
    """Logarithm of the e-value against two samples having the same shares, whatever these are; a pair is one of each.

    Each pair is judged by shares p and q learned from the pairs before: p(x) q(y) over m(x) m(y) with m = (p + q) / 2.
    If both draws have shares s, then E[p/m] + E[q/m] = 2, so that the product of both has a mean of at most 1.

    *Source*: Turner, Ly and Gruenwald 2024, "Generic E-variables for exact sequential k-sample tests".
    """
    seen = [dict.fromkeys(choices, 1), dict.fromkeys(choices, 1)]
    e_value = 0.0
    for pair in pairs:
        for own, other, drawn in zip(seen, reversed(seen), pair, strict=True):
            # Both samples have equally many draws, so counts stand for shares.
            e_value += log(2 * own[drawn] / (own[drawn] + other[drawn]))
        for own, drawn in zip(seen, pair, strict=True):
            own[drawn] += 1
    return e_value
