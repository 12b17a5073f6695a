"""What a TLS handshake alone shows: whether there is one, and what a server chooses of both versions of HTTP."""

import select
from collections.abc import Callable

from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.dialled import Dialled, Tls

SLICE_S = 0.1
"""After which it is looked whether somebody has ended the run meanwhile."""


class Wait:
    """Waits for a connection as long as there is time.

    Args:
        left_s: seconds that are left, asked again and again; 0 or less: it is over.
    """

    def __init__(self, left_s: Callable[[], float]) -> None:
        self._left_s = left_s

    def ready(self, conn: Dialled) -> bool:
        """Until the connection can go on; ``False``: not in time."""
        poller = select.poll()
        poller.register(conn.fileno(), select.POLLIN | (select.POLLOUT if conn.wants_write else 0))
        while (left_s := self._left_s()) > 0:
            if poller.poll(min(left_s, SLICE_S) * 1000):
                return True
        return False


def chosen_protocol(address: Address, tls: Tls, wait: Wait) -> str | None:
    """What the server chooses in the handshake, ``h2`` or ``http/1.1``; ``None``: nothing, or there was no handshake."""
    import ssl

    tls.offer(("h2", "http/1.1"))
    try:
        conn = _opened(address, tls, wait)
    except ExchangeError:
        return None
    if conn is None:
        return None
    assert isinstance(conn.sock, ssl.SSLSocket)
    chosen = conn.sock.selected_alpn_protocol()
    conn.close()
    return chosen


def speaks_tls(address: Address, name: str, wait: Wait) -> bool:
    """Whether a server does, whoever it says it is; one that refuses this client by TLS's own words does.

    Args:
        name: that is sent (SNI).
    """
    from kbalance.wire.tls import make_tls

    try:
        conn = _opened(address, make_tls(name, insecure=True, alpn=("h2", "http/1.1")), wait)
    except ExchangeError as error:
        return error.failure is Failure.TLS and "ALERT" in str(error)
    if conn is None:
        return False
    conn.close()
    return True


def _opened(address: Address, tls: Tls, wait: Wait) -> Dialled | None:
    """A connection after its handshake, which the caller closes; ``None``: it was not over in time.

    Raises:
        ExchangeError: there is none.
    """
    conn = Dialled(address, tls)
    try:
        while not conn.is_open and wait.ready(conn):
            conn.advance()
    finally:
        if not conn.is_open:
            conn.close()
    return conn if conn.is_open else None
