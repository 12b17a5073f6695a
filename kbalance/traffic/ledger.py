"""The order of observations: numbers are given at opening, and observations come out by number, whoever ends first."""

from collections.abc import Iterator

from kbalance.model.observation import ConnectionObservation


class Ledger:
    """Holds back the observations that ended before an older one did."""

    def __init__(self) -> None:
        self._opened = 0
        self._next = 0
        self._early: dict[int, ConnectionObservation] = {}

    def open(self) -> int:
        """The serial number of a new connection."""
        self._opened += 1
        return self._opened - 1

    def close(self, observation: ConnectionObservation) -> None:
        self._early[observation.serial] = observation

    def __bool__(self) -> bool:
        """Whether `in_order` has something to give."""
        return self._next in self._early

    def in_order(self) -> Iterator[ConnectionObservation]:
        """Gives out, once each, all observations that no open connection precedes."""
        while (observation := self._early.pop(self._next, None)) is not None:
            self._next += 1
            yield observation
