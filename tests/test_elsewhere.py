"""Several workers' records become one report, whatever the order in which they arrive."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, zip_longest

import pytest

from kbalance.errors import DiscoveryError, TrafficError
from kbalance.model.record import GaveUp, Record
from kbalance.model.report import Report, Vantage
from kbalance.model.target import Facts
from kbalance.model.words import Placement, Stop
from kbalance.pipeline import Subject, measure_elsewhere
from tests.builders import TARGET, facts
from tests.records import FRESH, drawn, worker

ZONES = {"node-a": "zone-a", "node-b": "zone-b"}


def report(told: Sequence[Sequence[Record]], *, interleaved: bool = False, known: Facts | None = None) -> Report:
    """What comes of these workers' records."""
    stood = known or facts()
    marked = [[(number, record) for record in records] for number, records in enumerate(told)]
    mixed = (one for several in zip_longest(*marked) for one in several if one is not None)
    stream: Iterable[tuple[int, Record]] = mixed if interleaved else chain(*marked)
    subject = Subject(target=TARGET, addresses=(), read_facts=lambda: stood, vantage=Vantage(kind="job"), zones=ZONES)
    return measure_elsewhere(subject, FRESH, len(told), lambda _: stream, _clock().__next__)


def _clock() -> Iterator[float]:
    yield from (0.0, 2.0)


def test_the_order_in_which_logs_arrive_changes_nothing() -> None:
    told = [list(worker("node-a", drawn(60, 50, 40))), list(worker("node-b", drawn(40, 50, 70)))]

    mixed = report(told, interleaved=True)

    assert mixed == replace(report(told), started=mixed.started)


def test_counts_are_the_sums_of_the_workers() -> None:
    merged = report([list(worker("node-a", drawn(60, 50, 40))), list(worker("node-b", drawn(40, 50, 70)))])

    (whole,) = merged.profiles
    assert [load.connections for load in whole.endpoints] == [100, 100, 110]
    assert [(v.vantage.node, v.vantage.zone) for v in merged.vantages] == [("node-a", "zone-a"), ("node-b", "zone-b")]
    assert [v.profiles[0].connections.opened for v in merged.vantages] == [150, 160]
    assert not merged.partial


def test_two_clients_each_kept_on_one_endpoint_are_no_biased_balancer() -> None:
    """Thrown together, their connections look like a chooser that leaves one endpoint out."""
    told = (("node-a", drawn(60, 0, 0)), ("node-b", drawn(0, 60, 0)))
    merged = report([list(worker(node, connections, stopped=Stop.CERTAIN)) for node, connections in told])

    assert merged.profiles[0].placement is Placement.BIASED
    assert merged.diagnosis.cause == "source-hash"
    assert any(text.startswith("From node-b") for text in merged.diagnosis.findings[0].evidence)


def test_a_worker_that_is_lost_is_named_and_the_others_count() -> None:
    lost = GaveUp(kind="DiscoveryError", message="Pod x was killed.")

    merged = report([list(worker("node-a", drawn(100, 100, 100))), [lost]])

    assert any("Pod x was killed." in notice for notice in merged.notices)
    assert merged.profiles[0].requests.answered == 300


def test_a_worker_that_is_lost_halfway_makes_the_run_partial() -> None:
    cut = [*list(worker("node-b", drawn(50, 50, 50)))[:-2], GaveUp(kind="DiscoveryError", message="Pod x was killed.")]

    merged = report([list(worker("node-a", drawn(100, 100, 100))), cut])

    assert merged.partial
    assert merged.profiles[0].requests.answered == 450
    assert merged.profiles[0].stopped is Stop.INTERRUPTED


def test_where_all_are_lost_the_first_reason_is_the_error() -> None:
    with pytest.raises(DiscoveryError, match="No node takes it"):
        report([[GaveUp(kind="DiscoveryError", message="No node takes it.")], [GaveUp(kind="TrafficError", message="No.")]])


def test_a_run_that_was_ended_before_anything_was_measured_says_so() -> None:
    with pytest.raises(TrafficError, match="Nothing was measured"):
        report([[]])


def test_nobody_is_sent_where_nobody_would_answer() -> None:
    def send(_: Facts) -> Iterable[tuple[int, Record]]:
        raise AssertionError("nobody was to be sent")

    empty = replace(facts(), endpoints=())
    subject = Subject(target=TARGET, addresses=(), read_facts=lambda: empty)

    assert measure_elsewhere(subject, FRESH, 1, send, _clock().__next__).diagnosis.cause == "no-endpoints"
