"""What may be wrong with the embedded API itself."""

from enum import StrEnum


class Outage(StrEnum):
    """Whether the API can be reached."""

    NONE = "none"
    AWAY = "away"
    """Connections are cut, and new ones refused: its process ended."""
    SILENT = "silent"
    """Nothing is answered and no stream says anything, but connections stand: the network loses every packet."""


class WatchEnd(StrEnum):
    """How watches end that did not come to their time."""

    CLEAN = "clean"
    """As if their time were over."""
    RESET = "reset"
    ERROR = "error"
    """With an event that says that something is wrong in the server."""
