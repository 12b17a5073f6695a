"""Who joins a Service, looked at again and again."""

import threading

import pytest

from kbalance.errors import DiscoveryError
from kbalance.kube import joining
from kbalance.kube.joining import Joining
from kbalance.model.target import Address, EndpointFacts, Facts
from kbalance.model.words import FactsSource

PATIENCE_S = 20.0


def endpoint(name: str, *, ready: bool = True) -> EndpointFacts:
    return EndpointFacts(name=name, address=Address(f"127.0.1.{name[-1]}", 80), ready=ready)


class Cluster:
    """Gives each of some readings in turn, the last one for ever; an error is raised."""

    def __init__(self, *readings: tuple[EndpointFacts, ...] | DiscoveryError) -> None:
        self._readings = list(readings)
        self.last = threading.Event()

    def read(self) -> Facts:
        reading = self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]
        if len(self._readings) == 1 and self._seen_last():
            self.last.set()
        if isinstance(reading, DiscoveryError):
            raise reading
        return Facts(source=FactsSource.API, endpoints=reading)

    _left = 2

    def _seen_last(self) -> bool:
        """Whether the last reading was taken at least twice, so that the first of them is settled."""
        self._left -= 1
        return self._left <= 0


def watched(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> Joining:
    """Looked at until the last reading was taken, in no time."""
    monkeypatch.setattr(joining, "EVERY_S", 0.001)
    ticks = iter(range(100_000))
    watching = Joining(cluster.read, clock=lambda: float(next(ticks)))
    watching.start()
    assert cluster.last.wait(PATIENCE_S)
    watching.stop()
    return watching


def test_who_is_ready_later_has_joined_and_when_it_was_first_seen_so(monkeypatch: pytest.MonkeyPatch) -> None:
    old, starting, new = endpoint("web-1"), endpoint("web-2", ready=False), endpoint("web-2")

    found = watched(monkeypatch, Cluster((old,), (old, starting), (old, new)))

    assert found.since == {"web-2": 2.0}
    assert dict(found.endpoints()) == {"web-1": Address("127.0.1.1", 80), "web-2": Address("127.0.1.2", 80)}
    assert found.names == {"127.0.1.1:80": "web-1", "127.0.1.2:80": "web-2"}


def test_who_left_again_still_joined_but_is_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = endpoint("web-1"), endpoint("web-2")

    found = watched(monkeypatch, Cluster((old,), (old, new), (old,)))

    assert (dict(found.since), [name for name, _ in found.endpoints()]) == ({"web-2": 1.0}, ["web-1"])


def test_a_reading_that_fails_is_counted_and_the_next_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = endpoint("web-1"), endpoint("web-2")

    found = watched(monkeypatch, Cluster((old,), DiscoveryError("silent"), (old, new)))

    assert (found.troubles, dict(found.since), found.blind) == (["silent"], {"web-2": 2.0}, False)


def test_a_first_reading_that_fails_makes_nobody_new_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there before is not known, so nobody can be called new."""
    found = watched(monkeypatch, Cluster(DiscoveryError("silent"), (endpoint("web-1"),), (endpoint("web-1"),)))

    assert found.since == {}


def test_one_that_was_never_started_can_be_stopped() -> None:
    Joining(lambda: Facts(source=FactsSource.API)).stop()
