"""How many failures are enough."""

from kbalance.model.words import Failure
from kbalance.traffic.failing import Patience


def test_patience_with_a_slot_ends_after_three_failures_in_a_row() -> None:
    patience = Patience(slots=2)

    assert [patience.ends_with_slot(0) for _ in range(3)] == [False, False, True]
    assert not patience.ends_with_slot(1)


def test_a_success_makes_patience_with_a_slot_new() -> None:
    patience = Patience(slots=1)
    patience.ends_with_slot(0)
    patience.ends_with_slot(0)

    patience.succeeded(0)

    assert [patience.ends_with_slot(0) for _ in range(3)] == [False, False, True]


def test_patience_with_a_profile_ends_when_more_than_half_of_its_requests_fail_and_not_before_the_tenth_failure() -> None:
    mostly, half = Patience(slots=1), Patience(slots=1)

    assert [mostly.ends_with_profile(Failure.RESET, ended=n) for n in range(1, 11)] == [False] * 9 + [True]
    assert not any(half.ends_with_profile(Failure.RESET, ended=2 * n) for n in range(1, 50))
