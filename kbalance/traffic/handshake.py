"""What a server chooses where it is offered both versions of HTTP; nothing is asked of it."""

import select
from collections.abc import Callable

from kbalance.errors import ExchangeError
from kbalance.model.target import Address
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
        conn = Dialled(address, tls)
    except ExchangeError:
        return None
    try:
        while not conn.is_open:
            if not wait.ready(conn):
                return None
            conn.advance()
        assert isinstance(conn.sock, ssl.SSLSocket)
        return conn.sock.selected_alpn_protocol()
    except ExchangeError:
        return None
    finally:
        conn.close()
