"""Can traffic start here? One connection is tried, and nothing is sent on it."""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from kbalance.model.target import Address

TRIED = 4
"""Addresses, at most: of a failing endpoint and of a black hole others must not be the victims."""


def reachable(addresses: Sequence[Address], timeout_s: float) -> bool:
    """Whether one of the first few addresses accepts a connection within the time."""
    tried = addresses[:TRIED]
    if not tried:
        return False
    with ThreadPoolExecutor(len(tried)) as pool:
        tries = [pool.submit(_accepts, address, timeout_s) for address in tried]
        return any(one.result() for one in as_completed(tries))


def _accepts(address: Address, timeout_s: float) -> bool:
    try:
        socket.create_connection(address, timeout_s).close()
    except OSError:
        return False
    return True
