"""The two e-values of these tests: rare when nothing is wrong, sure when something is."""

from math import exp
from random import Random

from . import chance

CHOICES = ["a", "b", "c"]


def _draws(random: Random, draws: int, first: int = 1) -> list[str]:
    return random.choices(CHOICES, [first, 1, 1], k=draws)


def _unfair(drawn: list[str]) -> float:
    return chance.unfair([drawn.count(c) for c in CHOICES])


def _different(one: list[str], other: list[str]) -> float:
    return chance.different(zip(one, other, strict=True), CHOICES)


def test_an_e_value_averages_at_most_one_over_fair_draws() -> None:
    """Exactly one for `unfair`: summed over all sequences of four draws, weighted by their chance."""
    sequences = [[a, b, c, d] for a in CHOICES for b in CHOICES for c in CHOICES for d in CHOICES]

    mean = sum(exp(_unfair(s)) for s in sequences) / len(sequences)
    pairs = [(one, other) for one in sequences for other in sequences]
    mean_of_two = sum(exp(_different(one, other)) for one, other in pairs) / len(pairs)

    assert (round(mean, 9), mean_of_two <= 1 + 1e-9) == (1.0, True)


def test_fair_draws_are_not_called_unfair_or_different() -> None:
    random = Random(1)

    values = [(_unfair(_draws(random, 300)), _different(_draws(random, 300), _draws(random, 300))) for _ in range(200)]

    assert max(map(max, values)) < chance.CERTAIN


def test_a_pod_at_double_weight_is_found() -> None:
    """600 draws against fairness, and 2000 pairs against a fair sample, suffice for three pods."""
    random = Random(2)

    values = [
        (_unfair(_draws(random, 600, first=2)), _different(_draws(random, 2000, first=2), _draws(random, 2000)))
        for _ in range(20)
    ]

    assert min(map(min, values)) > chance.CERTAIN


def test_a_rule_chain_with_the_same_probability_at_every_rule_is_found() -> None:
    """An easy mistake: 1/3, 2/9 and 4/9."""
    drawn = Random(3).choices(CHOICES, [3, 2, 4], k=1000)

    assert _unfair(drawn) > chance.CERTAIN
