"""Can traffic start here? One connection is tried, and nothing is sent on it."""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from kbalance.model.target import Address


def reachable(addresses: Sequence[Address], timeout_s: float) -> bool:
    """Whether one of a few addresses accepts a connection within the time; all are tried at once."""
    if not addresses:
        return False
    with ThreadPoolExecutor(len(addresses)) as pool:
        tries = [pool.submit(_accepts, address, timeout_s) for address in addresses]
        return any(one.result() for one in as_completed(tries))


def _accepts(address: Address, timeout_s: float) -> bool:
    try:
        socket.create_connection(address, timeout_s).close()
    except OSError:
        return False
    return True
