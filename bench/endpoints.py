"""The server's many addresses as endpoints of one host."""

from bench.errors import NotMeasured
from bench.servers import ADDRESSES
from kbalance.balancing import Snapshot, StaticEndpoints

HOST = "http://web/"
"""Which no resolver knows, so that an answer comes from an endpoint."""


def listed(endpoints: int, port: int) -> StaticEndpoints:
    """So many endpoints of the host, each at an address of its own."""
    return StaticEndpoints({"web": [(address, port) for address in ADDRESSES[:endpoints]]})


def even(snapshot: Snapshot, endpoints: int) -> None:
    """Raises `NotMeasured` unless all endpoints took turns."""
    answered = [one.answered for host in snapshot.hosts for one in host.endpoints]
    # Several requests are under way, so that turns begin in order and need not end so.
    if len(answered) != endpoints or min(answered) < max(answered) - 32:
        raise NotMeasured(f"kbalance: not in turn, {min(answered)}..{max(answered)} requests at {len(answered)} endpoints")
