"""Nothing is left open, however a run ends. That warnings are errors adds: no socket is left to the garbage collector."""

import gc
import os
from collections.abc import Callable, Iterator

import pytest

from kbalance.model.words import Profile, Stop
from kbalance.traffic.poller import Epoll, Poller, Selector

from .runs import finish, make_driver, plan
from .servers import Server, answer, hang, in_turn, refusing, sends, steady


def descriptors() -> dict[str, str]:
    """Of this process, with what each leads to."""
    names = os.listdir("/proc/self/fd")
    return {name: os.readlink(f"/proc/self/fd/{name}") for name in names if os.path.islink(f"/proc/self/fd/{name}")}


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    # What was there before may go meanwhile: other tests' libraries close theirs when they like.
    assert descriptors().items() <= before.items()


@pytest.mark.parametrize("poller", [Epoll, Selector])
@pytest.mark.parametrize("profile", list(Profile))
def test_after_a_run_with_failures_of_all_kinds(profile: Profile, poller: Callable[[], Poller]) -> None:
    faults = in_turn(steady(answer(close=True)), hang, sends(b"junk", stay=True), sends(b"", reset=True), steady())
    with Server(faults) as server, refusing() as dead:
        spec = plan(profile, [server.address, dead, server.address], 20, slots=1 if profile is Profile.SINGLE else 3)
        finish(make_driver(spec, timeout_s=0.2, poller=poller))


@pytest.mark.parametrize("profile", list(Profile))
def test_after_an_interruption(profile: Profile) -> None:
    def tap(*_: object) -> None:
        driver.stop(Stop.INTERRUPTED)

    with Server(steady()) as server:
        driver = make_driver(plan(profile, [server.address] * 3, 50, slots=1 if profile is Profile.SINGLE else 3), tap=tap)
        finish(driver)


@pytest.mark.parametrize("profile", [Profile.SHORT_LIVED, Profile.POOLED])
def test_when_the_iterator_is_closed_early(profile: Profile) -> None:
    with Server(in_turn(sends(b""), steady())) as server:
        run = make_driver(plan(profile, server.address, 500, slots=4)).run()
        next(run)
        run.close()
        for peer in list(server.peers):
            peer.until_closed()


def test_when_a_callback_raises() -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug elsewhere")

    with Server(steady()) as server:
        driver = make_driver(plan(Profile.POOLED, server.address, 50, slots=4), tap=broken)
        with pytest.raises(RuntimeError):
            list(driver.run())


def test_a_driver_that_never_runs_opens_nothing() -> None:
    with Server(steady()) as server:
        make_driver(plan(Profile.POOLED, server.address, 50, slots=4))
        make_driver(plan(Profile.POOLED, server.address, 50, slots=4)).run()

    assert server.peers == []
