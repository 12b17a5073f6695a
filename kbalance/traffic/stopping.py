"""Whether a run is to end, and why."""

from kbalance.model.words import Stop

URGENT = frozenset({Stop.DEADLINE, Stop.INTERRUPTED})
"""Reasons that do not wait for the requests under way."""


class Stopping:
    """The first reason is the one that stands, but an urgent one hurries whatever came before it; from any thread."""

    __slots__ = ("urgent", "why")

    def __init__(self) -> None:
        self.why: Stop | None = None
        """Why nothing more is sent."""
        self.urgent = False

    def stop(self, why: Stop) -> None:
        self.urgent = self.urgent or why in URGENT
        if self.why is None:
            self.why = why
