"""The reusable client side: which endpoint or connection is next, and httpx transports over kbalance's own connection.

What the probe measures as a cure is what users can ship. httpx is loaded with the first transport that is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbalance.balancing.endpoints import (
        Elsewhere,
        Endpoint,
        Following,
        Known,
        News,
        Origin,
        Source,
        StaticEndpoints,
        Tell,
        Trouble,
    )
    from kbalance.balancing.group import State
    from kbalance.balancing.hooks import Hooks
    from kbalance.balancing.names import DnsEndpoints
    from kbalance.balancing.settings import Ejection, Lifetime, Retries, Zone
    from kbalance.balancing.slices import EndpointSlices
    from kbalance.balancing.snapshot import EndpointSnapshot, HostSnapshot, Snapshot, Standing
    from kbalance.balancing.transports import (
        AsyncBalancingTransport,
        AsyncPoolTransport,
        AsyncRecyclingTransport,
        AsyncRoundRobinPoolTransport,
        BalancingTransport,
        PoolTransport,
        RecyclingTransport,
        RoundRobinPoolTransport,
    )

_HOMES = {
    "endpoints": "Elsewhere Endpoint Following Known News Origin Source StaticEndpoints Tell Trouble",
    "group": "State",
    "hooks": "Hooks",
    "names": "DnsEndpoints",
    "settings": "Ejection Lifetime Retries Zone",
    "slices": "EndpointSlices",
    "snapshot": "EndpointSnapshot HostSnapshot Snapshot Standing",
    "transports": "AsyncBalancingTransport AsyncPoolTransport AsyncRecyclingTransport AsyncRoundRobinPoolTransport"
    " BalancingTransport PoolTransport RecyclingTransport RoundRobinPoolTransport",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AsyncBalancingTransport",
    "AsyncPoolTransport",
    "AsyncRecyclingTransport",
    "AsyncRoundRobinPoolTransport",
    "BalancingTransport",
    "DnsEndpoints",
    "Ejection",
    "Elsewhere",
    "Endpoint",
    "EndpointSlices",
    "EndpointSnapshot",
    "Following",
    "Hooks",
    "HostSnapshot",
    "Known",
    "Lifetime",
    "News",
    "Origin",
    "PoolTransport",
    "RecyclingTransport",
    "Retries",
    "RoundRobinPoolTransport",
    "Snapshot",
    "Source",
    "Standing",
    "State",
    "StaticEndpoints",
    "Tell",
    "Trouble",
    "Zone",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
