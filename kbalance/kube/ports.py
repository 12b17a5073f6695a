"""Which port of the EndpointSlices a URL's port leads to: pure.

EndpointSlices name ports and have the Pods' numbers; only the Service knows its own numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kbalance.kube import convert

Object = Mapping[str, Any]


def names(slices: Sequence[Object]) -> frozenset[str]:
    """The names of all TCP ports."""
    return frozenset(convert.tcp_ports(slices))


def needs_service(slices: Sequence[Object]) -> bool:
    """Whether the slices leave a choice."""
    return len(names(slices)) > 1


def port_behind(slices: Sequence[Object], number: int, service: Object | None = None) -> str | int | None:
    """The port as `convert.usable` wants it; ``None``: only the Service could tell.

    Args:
        slices: all EndpointSlices of the Service.
        number: the URL's port.
        service: the Service object, where it is needed and may be read.

    Raises:
        DiscoveryError: the Service has no such port.
    """
    numbers = convert.tcp_ports(slices)
    if not numbers:
        # A headless Service without ports, or one without endpoints.
        return number
    if len(numbers) == 1:
        return next(iter(numbers))
    own = sorted(name for name, found in numbers.items() if set(found) == {number})
    if service is None:
        return own[0] if len(own) == 1 else None
    if convert.headless(service) and own:
        # Its name leads to the Pods, and nothing translates.
        return own[0]
    return str(convert.service_port(service, number).get("name") or "")
