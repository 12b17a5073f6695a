"""Who takes the next request."""

from collections import Counter
from random import Random

import pytest

from kbalance.balancing.policy import Policy, make_policy
from kbalance.model.words import PoolPolicy


def _policy(which: PoolPolicy, slots: int = 4, seed: int = 1) -> Policy:
    """One with every slot free, released in order."""
    policy = make_policy(which, slots, Random(seed))
    for slot in range(slots):
        policy.release(slot)
    return policy


def _in_turn(policy: Policy, times: int) -> list[int | None]:
    """One request at a time, each slot free again before the next."""
    taken = []
    for _ in range(times):
        slot = policy.take()
        assert slot is not None
        policy.release(slot)
        taken.append(slot)
    return list(taken)


@pytest.mark.parametrize("which", PoolPolicy)
def test_every_slot_is_busy_at_first(which: PoolPolicy) -> None:
    assert make_policy(which, 3, Random(1)).take() is None


@pytest.mark.parametrize("which", PoolPolicy)
def test_no_slot_is_given_twice_and_none_is_lost(which: PoolPolicy) -> None:
    policy = _policy(which)
    taken = [policy.take() for _ in range(5)]
    assert (sorted(slot for slot in taken if slot is not None), taken[-1]) == ([0, 1, 2, 3], None)


@pytest.mark.parametrize("which", PoolPolicy)
def test_a_released_slot_can_be_taken_again(which: PoolPolicy) -> None:
    policy = _policy(which)
    for _ in range(4):
        policy.take()
    policy.release(2)
    assert [policy.take(), policy.take()] == [2, None]


def test_round_robin_is_even() -> None:
    assert _in_turn(_policy(PoolPolicy.ROUND_ROBIN), 10) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_round_robin_skips_what_is_busy_and_goes_on_behind_it() -> None:
    policy = _policy(PoolPolicy.ROUND_ROBIN)
    held = [policy.take(), policy.take()]
    later = _in_turn(policy, 4)
    policy.release(0)
    assert (held, later, _in_turn(policy, 4)) == ([0, 1], [2, 3, 2, 3], [0, 2, 3, 0])


def test_round_robin_of_one() -> None:
    assert _in_turn(_policy(PoolPolicy.ROUND_ROBIN, slots=1), 3) == [0, 0, 0]


def test_round_robin_goes_on_behind_the_only_free_slot() -> None:
    policy = _policy(PoolPolicy.ROUND_ROBIN)
    for _ in range(4):
        policy.take()
    policy.release(2)
    only = policy.take()
    for slot in range(4):
        policy.release(slot)
    assert (only, _in_turn(policy, 4)) == (2, [3, 0, 1, 2])


def test_round_robin_stays_even_when_requests_overlap() -> None:
    policy = _policy(PoolPolicy.ROUND_ROBIN)
    counts: Counter[int] = Counter()
    busy = [policy.take(), policy.take()]
    for _ in range(400):
        slot = busy.pop(0)
        assert slot is not None
        counts[slot] += 1
        policy.release(slot)
        busy.append(policy.take())
    assert counts == {0: 100, 1: 100, 2: 100, 3: 100}


def test_lifo_stays_with_the_one_used_last() -> None:
    assert _in_turn(_policy(PoolPolicy.LIFO), 4) == [3, 3, 3, 3]


def test_lifo_gives_the_one_released_last() -> None:
    policy = _policy(PoolPolicy.LIFO)
    taken = [policy.take() for _ in range(4)]
    for slot in (1, 3, 0):
        policy.release(slot)
    assert (taken, [policy.take() for _ in range(4)]) == ([3, 2, 1, 0], [0, 3, 1, None])


def test_fifo_gives_the_one_free_longest() -> None:
    policy = _policy(PoolPolicy.FIFO)
    taken = [policy.take() for _ in range(4)]
    for slot in (1, 3, 0):
        policy.release(slot)
    assert (taken, [policy.take() for _ in range(4)]) == ([0, 1, 2, 3], [1, 3, 0, None])


def test_random_is_repeatable_and_even_in_the_long_run() -> None:
    """Pearson's chi-square with 3 degrees of freedom; 21.1 would be exceeded by 1 of 10,000 seeds."""
    taken = _in_turn(_policy(PoolPolicy.RANDOM), 4000)
    counts = Counter(taken)
    assert taken == _in_turn(_policy(PoolPolicy.RANDOM), 4000)
    assert sum((counts[slot] - 1000) ** 2 / 1000 for slot in range(4)) < 21.1
