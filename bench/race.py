"""Contenders run in turn, round after round, and are compared within each round.

A shared machine changes its speed from one second to the next, so that only ratios of neighbours in time mean anything; their
median over the rounds forgets the rounds that somebody else disturbed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from statistics import median
from time import perf_counter

from bench.errors import NotMeasured
from bench.servers import Kind

RATE = "req/s"
"""The unit of what the server could hold back."""


class Bound(Enum):
    """On which side of its number a target is met."""

    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a ratio should be."""

    bound: Bound
    ratio: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.bound is Bound.AT_LEAST else ratio <= self.ratio

    def __str__(self) -> str:
        return f"{self.bound.value} {self.ratio:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Something that can be measured."""

    name: str
    run: Callable[[], float]
    """One take.

    Raises:
        NotMeasured: it could not run.
    """
    program: str = ""
    """What must be installed for it, beside the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """One row: a contender over another one."""

    peer: str
    target: Target | None = None
    """``None``: for information."""
    ours: str | None = None
    """``None``: the first contender of the race."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Contenders that share their rounds."""

    name: str
    unit: str
    contenders: tuple[Contender, ...]
    """The first is kbalance, and maybe others."""
    rows: tuple[Versus, ...]
    takes: int = 1
    """Turns for each contender in a round; more where a turn is short."""
    most_rounds: int | None = None
    """For what is long and does not vary."""
    server: Kind = Kind.NGINX


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came out of one comparison."""

    race: str
    unit: str
    ours_name: str
    peer_name: str
    target: Target | None
    ours: float | None = None
    """Median over all takes; ``None``: not measured."""
    peer: float | None = None
    ratios: tuple[float, ...] = ()
    """One per take, ours over the peer's."""
    ours_busy: float = 0.0
    """Share of a core that the server used meanwhile; near 1 the server is what was measured."""
    peer_busy: float = 0.0
    problem: str = ""
    """Why there are no ratios."""

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """``None`` where there was no target or no measurement."""
        return None if self.target is None or self.ratio is None else self.target.met(self.ratio)


class _Lane:
    """One contender's takes; after a failure it has no more."""

    def __init__(self, contender: Contender, server_cpu_s: Callable[[], float]) -> None:
        self.name = contender.name
        self.values: list[float] = []
        self.problem = ""
        self._contender = contender
        self._server_cpu_s = server_cpu_s
        self._busy: list[float] = []

    def take(self) -> None:
        if self.problem:
            return
        began, used_s = perf_counter(), self._server_cpu_s()
        try:
            self.values.append(self._contender.run())
        except NotMeasured as error:
            self.problem = str(error)
        else:
            self._busy.append((self._server_cpu_s() - used_s) / (perf_counter() - began))

    @property
    def value(self) -> float | None:
        return median(self.values) if self.values else None

    @property
    def busy(self) -> float:
        return median(self._busy) if self._busy else 0.0


def hold(race: Race, rounds: int, server_cpu_s: Callable[[], float]) -> tuple[Row, ...]:
    """Runs a race; a contender that fails drops out and leaves the others running.

    Args:
        server_cpu_s: CPU time that the server used so far.
    """
    lanes = {contender.name: _Lane(contender, server_cpu_s) for contender in race.contenders}
    for _ in range(min(rounds, race.most_rounds or rounds) * race.takes):
        for lane in lanes.values():
            lane.take()
    first = race.contenders[0].name
    return tuple(_row(race, lanes[versus.ours or first], lanes[versus.peer], versus.target) for versus in race.rows)


def unheld(race: Race, problem: str) -> tuple[Row, ...]:
    """The rows of a race whose server is not there."""
    first = race.contenders[0].name
    return tuple(
        Row(race=race.name, unit=race.unit, ours_name=v.ours or first, peer_name=v.peer, target=v.target, problem=problem)
        for v in race.rows
    )


def _row(race: Race, ours: _Lane, peer: _Lane, target: Target | None) -> Row:
    problem = ours.problem or peer.problem
    return Row(
        race=race.name,
        unit=race.unit,
        ours_name=ours.name,
        peer_name=peer.name,
        target=target,
        ours=ours.value,
        peer=peer.value,
        ratios=() if problem else tuple(a / b for a, b in zip(ours.values, peer.values, strict=True)),
        ours_busy=ours.busy,
        peer_busy=peer.busy,
        problem=problem,
    )
