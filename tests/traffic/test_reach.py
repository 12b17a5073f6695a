"""Whether traffic can start here."""

import socket

from kbalance.model.target import Address
from kbalance.traffic.reach import reachable

from .servers import PATIENCE_S


def test_one_address_that_accepts_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        open_one, shut = Address(*server.getsockname()), Address(*closed.getsockname())

        assert reachable([shut, open_one], PATIENCE_S)
        assert not reachable([shut], PATIENCE_S)


def test_nowhere_to_try_is_out_of_reach() -> None:
    assert not reachable([], 1.0)
