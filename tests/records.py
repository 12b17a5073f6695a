"""Records as a worker tells them, for tests of whoever adds them up."""

from collections.abc import Iterator, Sequence

from kbalance.model.observation import ConnectionObservation
from kbalance.model.plan import Options
from kbalance.model.record import Calibrated, Ended, ProfileBegan, ProfileEnded, Record, Started
from kbalance.model.report import Vantage
from kbalance.model.words import Profile, Stop
from tests.builders import IDENTITY, PODS, answers, connection, traffic_plan

FRESH = Options(profiles=(Profile.SHORT_LIVED,), max_connections=500)


def worker(
    node: str, observations: Sequence[ConnectionObservation], options: Options = FRESH, stopped: Stop = Stop.DONE
) -> Iterator[Record]:
    """All that a worker tells that ran the short-lived profile alone."""
    yield Started(vantage=Vantage(kind="job", node=node, address="198.51.100.7"))
    yield Calibrated(plan=traffic_plan(options=options), identity=IDENTITY, statuses=(200,), local="198.51.100.7")
    yield ProfileBegan(profile=Profile.SHORT_LIVED)
    yield from observations
    yield ProfileEnded(stopped=stopped, duration_s=1.0)
    yield Ended(duration_s=1.5)


def drawn(*counts: int) -> list[ConnectionObservation]:
    """Fresh connections in turn over the endpoints, so many for each."""
    left = dict(zip(PODS, counts, strict=True))
    made: list[ConnectionObservation] = []
    while any(left.values()):
        for name in left:
            if left[name]:
                left[name] -= 1
                made.append(connection(answers(name), serial=len(made)))
    return made
