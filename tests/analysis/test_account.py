"""Records of one vantage point, added up."""

from itertools import takewhile

from kbalance.analysis.account import Account
from kbalance.model.record import GaveUp, ProfileEnded
from kbalance.model.words import Placement, Stop
from tests.builders import facts
from tests.records import FRESH, drawn, worker


def account(*records: object) -> Account:
    made = Account(facts(), FRESH)
    for record in records:
        made.add(record)  # type: ignore[arg-type]
    return made


def test_a_whole_run_is_settled_into_its_profiles() -> None:
    made = account(*worker("node-a", drawn(100, 100, 100)))

    (fresh,) = made.settle()

    assert not made.partial
    assert [load.connections for load in fresh.endpoints] == [100, 100, 100]
    assert (fresh.stopped, fresh.duration_s) == (Stop.DONE, 1.0)


def test_a_run_that_broke_off_keeps_what_it_told() -> None:
    told = takewhile(lambda record: not isinstance(record, ProfileEnded), worker("node-a", drawn(10, 10, 10)))

    made = account(*told)

    (fresh,) = made.settle()
    assert made.partial
    assert (fresh.stopped, fresh.requests.answered) == (Stop.INTERRUPTED, 30)


def test_it_is_certain_once_the_evidence_is_overwhelming() -> None:
    told = list(worker("node-a", drawn(60, 0, 0)))[:-2]

    assert not account(*told[:5]).certain
    assert account(*told).certain


def test_a_worker_that_gave_up_says_why() -> None:
    made = account(GaveUp(kind="TrafficError", message="No."))

    assert made.gave_up == GaveUp(kind="TrafficError", message="No.")
    assert made.settle() == ()
    assert made.partial


def test_always_the_same_endpoint_is_no_luck() -> None:
    (fresh,) = account(*worker("node-a", drawn(0, 40, 0))).settle()

    assert fresh.placement is Placement.FIXED
