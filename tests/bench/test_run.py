"""From arrangements to trials."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from bench.accuracy.run import Failed, tried
from bench.accuracy.trial import Arrangement, NotArranged, Probe, Trial

REPORT: dict[str, Any] = {
    "diagnosis": {
        "cause": "connection-pinning",
        "confidence": "certain",
        "severity": "risk",
        "findings": [{"cause": "connection-pinning"}, {"cause": "small-sample"}],
    },
    "profiles": [
        {
            "profile": "single",
            "requests": {"sent": 100},
            "connections": {"opened": 1, "failed": 0},
            "evidence": {"connections": 1},
        },
        {
            "profile": "short-lived",
            "requests": {"sent": 300},
            "connections": {"opened": 290, "failed": 10},
            "evidence": {"connections": 288},
        },
    ],
}


def _arrangement(stand: Callable[[], AbstractContextManager[Probe]], scenario: str = "plain", runs: int = 2) -> Arrangement:
    return Arrangement(scenario=scenario, dataplane="iptables", pods=3, expected=("connection-pinning",), runs=runs, stand=stand)


def test_each_arrangement_is_stood_up_once_and_probed_with_other_seeds() -> None:
    happened: list[object] = []

    def probe(seed: int) -> Any:
        happened.append(seed)
        return REPORT

    @contextmanager
    def stand() -> Iterator[Probe]:
        happened.append("up")
        yield probe
        happened.append("down")

    trials = list(tried([_arrangement(stand)], None, lambda line: None))

    assert happened == ["up", 1, 2, "down"]
    assert [(t.seed, t.cause, t.findings, t.requests, t.connections, t.drawn) for t in trials if isinstance(t, Trial)] == [
        (seed, "connection-pinning", ("connection-pinning", "small-sample"), 400, 301, 288) for seed in (1, 2)
    ]


@pytest.mark.parametrize("error", [NotArranged("it is biased"), AssertionError("it is biased"), OSError("it is biased")])
def test_what_cannot_be_stood_up_is_told_and_the_rest_goes_on(error: Exception) -> None:
    @contextmanager
    def broken() -> Iterator[Probe]:
        raise error
        yield

    @contextmanager
    def whole() -> Iterator[Probe]:
        yield lambda seed: {}

    failed, done = tried([_arrangement(broken, "headless"), _arrangement(whole, runs=1)], None, lambda line: None)

    assert failed == Failed(scenario="headless", dataplane="iptables", pods=3, why="it is biased")
    assert isinstance(done, Trial)
    assert (done.cause, done.connections) == ("no-report", 0)
