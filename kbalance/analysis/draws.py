"""What chose the endpoint, inferred from one draw after the other; memory does not grow with them."""

import math
from collections.abc import Sequence

from kbalance.analysis.planning import REACH_DRAWS
from kbalance.analysis.samplesize import draws_to_fix, draws_to_miss, draws_to_tell
from kbalance.analysis.statistics import (
    MISSED_EARLY,
    DrawTest,
    TurnTest,
    chance_bounds,
    e_value,
    filled,
    finite,
    log_against_uneven,
    sticking,
)
from kbalance.model.report import Evidence
from kbalance.model.words import Placement

COVERAGE = 0.95
"""Of the bounds of the chances. They decide nothing, so they take nothing from alpha."""

LOOK_ALWAYS, LOOK_EVERY = 64, 16
"""The evidence is looked at after each of the first draws and then at every so many: a look costs as much as a draw."""


class Draws:
    """The connections of one profile that were attributed to one endpoint each, in the order in which they were opened.

    The test is of a fair draw among the endpoints that connections from here are to reach. Once one of them reaches another, the
    settings that said so do not hold here, and it is of a fair draw among all.

    Args:
        names: all endpoints.
        among: those that are to be reached from here; ``None``: all.
        tolerance: busiest load over the fair share that is still called even.
        alpha: chance of a false alarm.
    """

    def __init__(self, names: Sequence[str], among: Sequence[str] | None, *, tolerance: float, alpha: float) -> None:
        self._tolerance = tolerance
        self._alpha = alpha
        self._names = list(names)
        self._index = {name: i for i, name in enumerate(names)}
        self._drawn = [0] * len(names)
        self._before = -1
        self._repeats = 0
        self.lost = 0
        """Connections that went somewhere nobody knows: counted for whoever has fewest when the evidence is weighed, so that they
        can hide a bias but never make one."""
        self.several = 0
        """Connections that several endpoints answered, which are no draws."""
        self._peak, self._even = 0.0, False
        self._known_enough: int | None = None
        self._test(names if among is None else among)

    def add(self, name: str) -> None:
        """Counts one connection of an endpoint."""
        index = self._index[name]
        self._drawn[index] += 1
        self._repeats += index == self._before
        self._before = index
        position = self._position.get(name)
        if position is None:
            self._test(self._names)
            return
        self._tested.add(position)
        self._turns.add(position)
        # What was settled stays settled, whatever the connections still under way bring: the tests hold at every look.
        if self._tested.draws < LOOK_ALWAYS or self._tested.draws % LOOK_EVERY == 0:
            self._even = self._even or log_against_uneven(self._tested.counts, self.lost) >= -math.log(MISSED_EARLY)
            if not self.lost:
                self._peak = max(self._peak, self._tested.log_e_value)

    def learn(self, name: str) -> None:
        """One endpoint more than was known: the null has it from now on."""
        self._index[name] = len(self._names)
        self._names.append(name)
        self._drawn.append(0)
        self._test(self._names)

    @property
    def total(self) -> int:
        """Connections."""
        return sum(self._drawn)

    @property
    def among(self) -> int:
        """Endpoints among which the draw is tested."""
        return len(self._position)

    @property
    def settled(self) -> bool:
        """Whether more connections would not change the answer."""
        if self._peak >= -math.log(self._alpha):
            return self._shape_is_clear
        return (self._even and self._looks_even) or self._tested.draws >= self._enough

    def expected_share(self, name: str) -> float:
        """Of the connections, by the null."""
        return 1 / len(self._position) if name in self._position else 0.0

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Each endpoint's chance of being drawn, lower and upper; empty where nothing was tested."""
        if not self._is_tested:
            return {}
        return dict(zip(self._names, chance_bounds(self._drawn, COVERAGE), strict=True))

    def inferred(self, *, strangers: bool) -> tuple[Placement, Evidence]:
        """What chose the endpoint, and what that stands on.

        Args:
            strangers: whether somebody who is no endpoint answered, so that one endpoint is not always met.
        """
        tested = self._is_tested and self.among > 1
        against_uneven = log_against_uneven(self._tested.counts, self.lost) if tested else 0.0
        even = self._even or against_uneven >= -math.log(MISSED_EARLY)
        e = max(e_value(filled(self._tested.counts, self.lost)), finite(self._peak)) if tested else None
        enough = self.among > 1 and (even or self.total >= self._enough)
        placement = self._placement(e, enough=enough, strangers=strangers)
        unsettled = max(1, self._enough - self.total) if placement is Placement.UNKNOWN and e is not None else 0
        return placement, Evidence(
            e_value=e,
            connections=self.total,
            enough=enough,
            against_uneven=finite(max(against_uneven, -math.log(MISSED_EARLY)) if even else against_uneven) if tested else None,
            more=None if e is None else unsettled,
            alpha=self._alpha,
            coverage=COVERAGE if self._is_tested else None,
            sticking=sticking(self._drawn, self._repeats) if tested else None,
        )

    def _placement(self, e: float | None, *, enough: bool, strangers: bool) -> Placement:
        if self.several:
            return Placement.PER_REQUEST
        if e is None:
            return Placement.UNKNOWN
        if e >= 1 / self._alpha:
            return Placement.FIXED if max(self._drawn) == self.total and not strangers else Placement.BIASED
        if self._turns.e_value >= 1 / self._alpha:
            return Placement.EVEN
        # A bias that only the lost connections could make up for is neither shown nor excluded.
        open_to_doubt = e_value(self._tested.counts) >= 1 / self._alpha
        return Placement.RANDOM if enough and not open_to_doubt else Placement.UNKNOWN

    @property
    def _is_tested(self) -> bool:
        return len(self._names) > 1 and self.total > 0 and not self.several

    @property
    def _enough(self) -> int:
        """Connections by which the question is settled either way; worked out when somebody asks."""
        if self._known_enough is None:
            self._known_enough = draws_to_tell(self.among, self._tolerance, self._alpha) or REACH_DRAWS
        return self._known_enough

    @property
    def _looks_even(self) -> bool:
        """Whether the run's own connections lie within the tolerance."""
        counts = self._tested.counts
        return max(counts) * len(counts) <= self._tolerance * sum(counts)

    @property
    def _shape_is_clear(self) -> bool:
        """Whether an unfair draw is told from its likes: never from seldom, always from mostly."""
        counts, draws = self._tested.counts, self._tested.draws
        if 0 not in counts:
            return True
        return draws >= (draws_to_fix() if max(counts) == draws and len(counts) > 2 else draws_to_miss(len(counts)))

    def _test(self, among: Sequence[str]) -> None:
        """Begins the tests, of a fair draw among these; the evidence does not depend on the order, so what was drawn counts."""
        self._position = {name: i for i, name in enumerate(among)}
        self._tested, self._turns = DrawTest(len(among)), TurnTest(len(among))
        self._known_enough = None
        self._peak, self._even = 0.0, False
        for name, drawn in zip(self._names, self._drawn, strict=True):
            for _ in range(drawn):
                self._tested.add(self._position[name])
