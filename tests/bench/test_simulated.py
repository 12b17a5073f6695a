"""Both error rates, from few enough runs for a test."""

from bench.accuracy.simulated import simulate


def test_double_weight_is_found_and_a_fair_draw_left_alone() -> None:
    done = simulate(3, 40)

    assert simulate(3, 3) == simulate(3, 3)
    assert done.false_alarms <= 3  # more come with a probability of one in ten thousand if one run in a hundred may
    assert done.missed <= 5  # likewise if two may
    # Either is settled long before the most that is planned for three endpoints, 420.
    assert max(done.doubled_drawn, done.fair_drawn) < 250
