"""A host name becomes addresses, within a bounded time."""

import socket
import threading

from kbalance.errors import DiscoveryError
from kbalance.model.target import Address, is_ip

FAMILY_CHECK_S = 1.0
"""How long the first address of a family may take to connect before the other family is preferred."""


def resolve(host: str, port: int, timeout_s: float) -> tuple[Address, ...]:
    """Where this host is, in the resolver's order; addresses of one family only.

    A name with IPv4 and IPv6 addresses is one server reached in two ways rather than two endpoints, so the family whose first
    address connects is taken, and the resolver's first one where neither does.

    Raises:
        DiscoveryError: the name does not resolve, or not in time.
    """
    if is_ip(host):
        return (Address(host, port),)
    found = _look_up(host, port, timeout_s)
    families = [[a for a in found if (":" in a.ip) == v6] for v6 in (":" in found[0].ip, ":" not in found[0].ip)]
    first, second = families
    if second and not _connects(first[0]) and _connects(second[0]):
        return tuple(second)
    return tuple(first)


def _look_up(host: str, port: int, timeout_s: float) -> list[Address]:
    # The resolver knows no time-out and holds the main thread against Ctrl-C, so it works in a thread that can be left behind.
    answer: list[Address] = []
    problem: list[OSError] = []

    def ask() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            problem.append(error if isinstance(error, OSError) else OSError(str(error)))
        else:
            answer.extend(dict.fromkeys(Address(str(entry[4][0]), port) for entry in entries))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if answer:
        return answer
    reason = (problem[0].strerror or str(problem[0])) if problem else f"no answer in {timeout_s:g} s"
    raise DiscoveryError(f"The name {host!r} does not resolve ({reason}); check its spelling, or give an IP address.")


def _connects(address: Address) -> bool:
    try:
        socket.create_connection(address, FAMILY_CHECK_S).close()
    except OSError:
        return False
    return True
