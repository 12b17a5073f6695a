import itertools
import random
from collections import Counter

import pytest

from kbalance.testbed.choosers import Chooser, chooser
from kbalance.testbed.scenario import ChooserKind

NAMES = ("a", "b", "c", "d", "e")


def _picks(choose: Chooser, times: int, source: str = "127.0.0.1") -> Counter[str]:
    return Counter(NAMES[choose(NAMES, source, {})] for _ in range(times))


def test_random_gives_every_pod_its_share() -> None:
    """Pearson's chi-square with 4 degrees of freedom; 23.51 would be exceeded by 1 of 10,000 seeds."""
    picks = _picks(chooser(ChooserKind.RANDOM, random.Random(5)), 5000)
    assert sum((picks[name] - 1000) ** 2 / 1000 for name in NAMES) < 23.51


def test_random_draws_are_independent_of_the_one_before() -> None:
    """The same on pairs of consecutive picks: 24 degrees of freedom, 1 of 10,000."""
    choose = chooser(ChooserKind.RANDOM, random.Random(6))
    draws = [choose(NAMES, "", {}) for _ in range(10001)]
    pairs = Counter(itertools.pairwise(draws))
    assert sum((pairs[i, j] - 400) ** 2 / 400 for i in range(5) for j in range(5)) < 58.61


def test_round_robin_takes_turns() -> None:
    choose = chooser(ChooserKind.ROUND_ROBIN, random.Random(0))
    assert [choose(NAMES, "", {}) for _ in range(7)] == [0, 1, 2, 3, 4, 0, 1]


def test_weights_hold_and_missing_ones_are_1() -> None:
    picks = _picks(chooser(ChooserKind.WEIGHTED, random.Random(7), (6, 0)), 9000)
    assert picks["b"] == 0
    assert picks["a"] == pytest.approx(6000, abs=4 * 45)
    assert picks["e"] == pytest.approx(1000, abs=4 * 30)


def test_all_weights_zero_is_no_error() -> None:
    assert chooser(ChooserKind.WEIGHTED, random.Random(0), (0,))(["a"], "", {}) == 0


def test_source_hash_is_fixed_per_source_and_varies_over_sources() -> None:
    choose = chooser(ChooserKind.SOURCE_HASH, random.Random(0))
    assert len(_picks(choose, 10, "127.0.2.1")) == 1
    assert len({choose(NAMES, f"127.0.2.{n}", {}) for n in range(50)}) == 5


def test_least_connections_prefers_the_idle_and_draws_among_equals() -> None:
    choose = chooser(ChooserKind.LEAST_CONNECTIONS, random.Random(0))
    held = {"a": 2, "b": 1, "c": 3, "d": 1, "e": 9}
    assert {choose(NAMES, "", held) for _ in range(50)} == {1, 3}
