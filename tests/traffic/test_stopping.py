"""A run ends when it is told to, soon enough, and still accounts for everything."""

import os
import signal
import threading
from time import perf_counter

import pytest

from kbalance.model.words import Profile, Stop

from .runs import Ticking, finish, make_driver, plan
from .servers import PATIENCE_S, Gate, Peer, Server, answer, hang, steady

TIMEOUT_S = 30.0
"""Of requests; a run that waited for it would be noticed."""


def test_interrupted_from_another_thread_it_ends_at_once_and_accounts_for_everything() -> None:
    with Server(hang) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 50, slots=4), timeout_s=TIMEOUT_S)
        began = perf_counter()
        with server.when_asked(4, lambda: driver.stop(Stop.INTERRUPTED)):
            observations, sums = finish(driver)
        took = perf_counter() - began

    assert took < TIMEOUT_S
    assert driver.stopped is Stop.INTERRUPTED
    assert [o.abandoned for o in observations] == [1, 1, 1, 1]
    assert sums.requests == server.requests == 4


def test_interrupted_from_a_signal_handler_it_ends_at_once() -> None:
    with Server(hang) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 50), timeout_s=TIMEOUT_S)
        before = signal.signal(signal.SIGUSR1, lambda *_: driver.stop(Stop.INTERRUPTED))
        try:
            began = perf_counter()
            with server.when_asked(1, lambda: os.kill(os.getpid(), signal.SIGUSR1)):
                _, sums = finish(driver)
            took = perf_counter() - began
        finally:
            signal.signal(signal.SIGUSR1, before)

    assert took < TIMEOUT_S
    assert (driver.stopped, sums.abandoned) == (Stop.INTERRUPTED, 1)


def test_interrupted_while_connections_linger_it_does_not_wait_for_them() -> None:
    """The server ignores the wish to close."""

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.reply(answer())

    def after_all() -> None:
        if driver.ended == 1:
            driver.stop(Stop.INTERRUPTED)

    with Server(script) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 2, rate=1 / TIMEOUT_S), on_sweep=after_all)
        began = perf_counter()
        _, sums = finish(driver)

    assert perf_counter() - began < TIMEOUT_S
    assert (sums.answered, sums.abandoned) == (1, 0)


def test_certain_lets_requests_under_way_finish() -> None:
    """They are answered when it was stopped."""
    stopped = threading.Event()

    def stop() -> None:
        driver.stop(Stop.CERTAIN)
        stopped.set()

    with Server(steady(before=lambda: stopped.wait(PATIENCE_S))) as server:
        driver = make_driver(plan(Profile.POOLED, server.address, 50, slots=4))
        with server.when_asked(4, stop):
            _, sums = finish(driver)

    assert driver.stopped is Stop.CERTAIN
    assert (sums.answered, sums.abandoned) == (4, 0)


def test_an_urgent_reason_hurries_a_run_that_is_draining_but_the_first_reason_stands() -> None:
    with Server(hang) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 50), timeout_s=TIMEOUT_S)

        def stop_twice() -> None:
            driver.stop(Stop.CERTAIN)
            driver.stop(Stop.INTERRUPTED)

        began = perf_counter()
        with server.when_asked(1, stop_twice):
            _, sums = finish(driver)

    assert perf_counter() - began < TIMEOUT_S
    assert (driver.stopped, sums.abandoned) == (Stop.CERTAIN, 1)


def test_a_request_that_meets_a_close_while_the_run_drains_is_abandoned() -> None:
    """It may not go out again, and no harm was done to it."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.reply(answer())
        peer.request()
        driver.stop(Stop.CERTAIN)

    with Server(script) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 50))
        (only,), sums = finish(driver)

    assert (only.requests, only.abandoned, only.retried) == (2, 1, 0)
    assert sums.unanswered == {}


def test_the_deadline_abandons_what_is_under_way() -> None:
    clock = Ticking()
    with Server(hang) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 50, slots=3)
        driver = make_driver(spec, timeout_s=TIMEOUT_S, deadline=clock.now + 0.5, clock=clock)
        with server.when_asked(3, clock.tick):
            _, sums = finish(driver)

    assert (driver.stopped, sums.abandoned, sums.requests) == (Stop.DEADLINE, 3, 3)


@pytest.mark.parametrize("profile", list(Profile))
def test_no_connection_is_opened_after_the_deadline(profile: Profile) -> None:
    with Server(steady()) as server:
        driver = make_driver(plan(profile, [server.address], 5), deadline=perf_counter())
        observations, _ = finish(driver)

    assert observations == []
    assert driver.stopped is Stop.DEADLINE


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("why", [Stop.CERTAIN, Stop.INTERRUPTED])
def test_a_run_stopped_before_it_started_makes_no_traffic(profile: Profile, why: Stop) -> None:
    with Server(steady()) as server:
        driver = make_driver(plan(profile, [server.address], 5))
        driver.stop(why)
        observations, _ = finish(driver)

    assert observations == []
    assert driver.stopped is why


def test_stopping_between_observations_ends_the_run() -> None:
    """What the pipeline does when the answer is certain."""
    with Server(steady()) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 1000, slots=2))
        seen = 0
        for observation in driver.run():
            seen += observation.requests
            if observation.serial == 20:
                driver.stop(Stop.CERTAIN)

    assert driver.stopped is Stop.CERTAIN
    assert seen == driver.ended == server.requests < 1000


def test_progress_is_reported_while_nothing_happens() -> None:
    seen: list[int] = []
    gate = Gate(sweeps=3)

    def on_sweep() -> None:
        seen.append(driver.ended)
        gate.on_sweep()

    with Server(gate.script) as server:
        driver = make_driver(plan(Profile.SINGLE, server.address, 5), on_sweep=on_sweep)
        finish(driver)

    assert seen[:3] == [0, 0, 0]
