"""One vantage point's records, added up."""

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from kbalance.analysis import planning
from kbalance.analysis.expectation import Expectation, expectation
from kbalance.analysis.fold import ProfileFold
from kbalance.model.observation import ConnectionObservation
from kbalance.model.plan import Options, ProfilePlan
from kbalance.model.record import (
    AtOnce,
    Calibrated,
    Ended,
    FirstAnswers,
    GaveUp,
    ProfileBegan,
    ProfileEnded,
    Progressed,
    Record,
    Started,
    WatchBegan,
    WatchEnded,
)
from kbalance.model.report import ProfileReport, Vantage
from kbalance.model.target import Facts
from kbalance.model.words import FactsSource, Protocol, Stop


class Account:
    """Takes records in order and can be settled at any time: what was cut off counts as interrupted.

    Args:
        options: this vantage point's own share of what the user asked for.
        zones: node to zone.
    """

    def __init__(self, facts: Facts, options: Options, zones: Mapping[str, str] | None = None) -> None:
        self._facts = facts
        self._zones = zones or {}
        self._names = tuple(e.name for e in facts.ready)
        self._learned = facts.source is FactsSource.ANSWERS
        self._options = options
        self._folds: list[tuple[ProfileFold, Stop, float]] = []
        self._open: ProfileFold | None = None
        self._latest_s = 0.0
        self.vantage: Vantage | None = None
        self.calibrated: Calibrated | None = None
        self.gave_up: GaveUp | None = None
        self.at_once: AtOnce | None = None
        self.ended: Ended | None = None
        self.watch_began: WatchBegan | None = None
        self.watch_ended: WatchEnded | None = None
        self.firsts: list[FirstAnswers] = []

    def add(self, record: Record) -> None:
        """Counts one record."""
        match record:
            case ConnectionObservation():
                if self._open is not None:
                    self._open.add(record)
                    self._latest_s = max(self._latest_s, record.opened_s + record.age_s)
            case Started():
                self.vantage = record.vantage
            case Calibrated():
                self.calibrated = record
            case ProfileBegan():
                # A worker that died in the middle of the profile before never ended it.
                self._close(Stop.INTERRUPTED, self._latest_s)
                self._open, self._latest_s = self._fold(record), 0.0
            case ProfileEnded():
                self._close(record.stopped, record.duration_s)
            case GaveUp():
                self.gave_up = record
            case AtOnce():
                self.at_once = record
            case FirstAnswers():
                self.firsts.append(record)
            case WatchBegan():
                self.watch_began = record
            case WatchEnded():
                self.watch_ended = record
            case Ended():
                self.ended = record
            case Progressed():
                pass
            case _:
                assert_never(record)

    @property
    def expected(self) -> Expectation:
        """Who is to be reached from here; all, where here is several places."""
        return expectation(self._facts, self.place)

    @property
    def place(self) -> Vantage | None:
        """The vantage point, with the zone of its node."""
        vantage = self.vantage
        if vantage is None or vantage.zone is not None:
            return vantage
        return replace(vantage, zone=self._zones.get(vantage.node or ""))

    @property
    def certain(self) -> bool:
        """Whether more connections of the profile under way would not change the answer."""
        return self._open is not None and self._open.certain

    @property
    def partial(self) -> bool:
        """Whether less was measured than was planned, because somebody or the deadline ended it."""
        cut = any(stopped in (Stop.INTERRUPTED, Stop.DEADLINE) for _, stopped, _ in self._folds)
        return cut or self._open is not None or self.ended is None or len(self._folds) < len(self._planned)

    def settle(self) -> tuple[ProfileReport, ...]:
        """A report for each profile that began, in the order in which they did."""
        folds = list(self._folds)
        if self._open is not None:
            folds.append((self._open, Stop.INTERRUPTED, self._latest_s))
        everyone = tuple(sorted({name for fold, _, _ in folds for name in fold.seen})) if self._learned else ()
        return tuple(fold.settle(stopped, duration_s, everyone) for fold, stopped, duration_s in folds)

    @property
    def _protocol(self) -> Protocol:
        return self.calibrated.plan.request.protocol if self.calibrated is not None else Protocol.HTTP1

    @property
    def _planned(self) -> tuple[ProfilePlan, ...]:
        return self.calibrated.plan.profiles if self.calibrated is not None else ()

    def _fold(self, began: ProfileBegan) -> ProfileFold:
        plan = next(p for p in self._planned if p.profile is began.profile)
        alpha = planning.alpha_share(began.profile, self._options)
        among = None if self._learned else self.expected.among
        return ProfileFold(
            plan,
            self._names,
            tolerance=self._options.tolerance,
            alpha=alpha,
            among=among,
            learned=self._learned,
            protocol=self._protocol,
        )

    def _close(self, stopped: Stop, duration_s: float) -> None:
        if self._open is not None:
            self._folds.append((self._open, stopped, duration_s))
        self._open = None
