"""Open loop: requests keep their schedule and latency counts from it. Closed loop: never more at once than planned."""

import threading
from time import perf_counter

import pytest

from kbalance.model.histogram import upper_us
from kbalance.model.words import Profile

from .runs import Ticking, finish, make_driver, plan
from .servers import PATIENCE_S, Gate, Server, steady


@pytest.mark.parametrize("profile", [Profile.SINGLE, Profile.POOLED, Profile.SHORT_LIVED, Profile.PER_ENDPOINT])
def test_no_request_goes_out_before_it_is_due(profile: Profile) -> None:
    arrivals: list[float] = []

    with Server(steady(before=lambda: arrivals.append(perf_counter()))) as server:
        spec = plan(profile, [server.address], 50, rate=250.0)
        began = perf_counter()
        _, sums = finish(make_driver(spec))

    assert sums.answered == 50
    assert all(arrival - began >= i / 250 for i, arrival in enumerate(arrivals))


@pytest.mark.parametrize("profile", [Profile.SINGLE, Profile.POOLED, Profile.SHORT_LIVED, Profile.PER_ENDPOINT])
def test_every_request_goes_out_when_it_is_due(profile: Profile) -> None:
    """By a clock that moves on to the next one's time with every answer, and stands if that does not go out."""
    clock = Ticking()
    arrivals: list[float] = []

    with Server(steady(before=lambda: arrivals.append(clock.now))) as server:
        spec = plan(profile, [server.address], 50, rate=1.0)
        (*_, last), _ = finish(make_driver(spec, clock=clock, tap=clock.tick))

    assert arrivals == [100.0 + i for i in range(50)]
    assert last.answers[-1].latency == {0: last.requests}


def test_latency_counts_from_the_intended_start_when_the_server_stalls() -> None:
    """Twenty requests are due within 0.2 s, but the first answer takes at least 0.3 s: all of them waited."""
    gate = Gate(sweeps=4)

    with Server(gate.script) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 20, rate=100.0), on_sweep=gate.on_sweep)
        (only,), _ = finish(driver)

    latencies = sorted(upper_us(b) / 1e6 for b, n in only.answers[0].latency.items() for _ in range(n))
    assert all(latency >= 0.3 - (19 - i) / 100 for i, latency in enumerate(latencies))


@pytest.mark.parametrize("profile", [Profile.POOLED, Profile.SHORT_LIVED, Profile.PER_ENDPOINT])
def test_closed_loop_keeps_exactly_the_planned_number_under_way(profile: Profile) -> None:
    """No answer comes before three requests are under way, and never is there a fourth."""
    meeting = threading.Barrier(3, timeout=PATIENCE_S)

    with Server(steady(before=meeting.wait)) as server:
        spec = plan(profile, [server.address] * 6, 30, slots=3 if profile is Profile.SHORT_LIVED else 6, concurrency=3)
        _, sums = finish(make_driver(spec))

    assert sums.answered == 30
    assert server.most_in_flight == 3


def test_open_loop_does_not_exceed_the_concurrency_when_it_catches_up() -> None:
    gate = Gate(sweeps=3)

    def until_behind() -> None:
        server.until_asked(3)
        gate.wait()

    with Server(steady(before=until_behind)) as server:
        driver = make_driver(plan(Profile.POOLED, server.address, 60, slots=8, concurrency=3, rate=400.0), on_sweep=gate.on_sweep)
        _, sums = finish(driver)

    assert sums.answered == 60
    assert server.most_in_flight == 3


def test_waiting_for_a_free_slot_does_not_spin() -> None:
    """A request is due all the time, but its connection is not free: the loop waits for the answer, not for the clock."""
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return perf_counter()

    gate = Gate(sweeps=4)

    with Server(gate.script) as server:
        spec = plan(Profile.SINGLE, server.address, 5, concurrency=4, rate=50.0)
        finish(make_driver(spec, clock=clock, on_sweep=gate.on_sweep))

    # Without waiting, 0.3 s are some hundred thousand looks; the last millisecond before a request is due takes some hundred.
    assert looks < 5000
