"""What a server chooses where it is offered both versions of HTTP; nothing is asked of it."""

import select
from collections.abc import Callable

from kbalance.errors import ExchangeError
from kbalance.model.target import Address
from kbalance.wire.dialled import Dialled, Tls


def chosen_protocol(address: Address, tls: Tls, timeout_s: float, clock: Callable[[], float]) -> str | None:
    """What the server chooses in the handshake, ``h2`` or ``http/1.1``; ``None``: nothing, or there was no handshake."""
    import ssl

    tls.offer(("h2", "http/1.1"))
    until = clock() + timeout_s
    try:
        conn = Dialled(address, tls)
    except ExchangeError:
        return None
    try:
        while not conn.is_open:
            if not ready(conn, until - clock()):
                return None
            conn.advance()
        assert isinstance(conn.sock, ssl.SSLSocket)
        return conn.sock.selected_alpn_protocol()
    except ExchangeError:
        return None
    finally:
        conn.close()


def ready(conn: Dialled, longest_s: float) -> bool:
    """Waits until the connection can go on; ``False``: not within this time."""
    poller = select.poll()
    poller.register(conn.fileno(), select.POLLIN | (select.POLLOUT if conn.wants_write else 0))
    return longest_s > 0 and bool(poller.poll(longest_s * 1000))
