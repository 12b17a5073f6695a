import socket

import pytest

from kbalance.testbed.sockets import Port, local_ip

from .client import connect


def test_an_address_that_is_not_ours_falls_back_to_the_one_that_every_system_has() -> None:
    assert local_ip("198.51.100.1") == "127.0.0.1"
    assert local_ip("127.0.0.1") == "127.0.0.1"


def test_the_preferred_port_is_taken_only_if_it_is_free() -> None:
    first = Port("127.0.0.1")
    second = Port("127.0.0.1", first.address.port)
    taken = first.address.port
    first.close()
    third = Port("127.0.0.1", taken)

    assert second.address.port != taken == third.address.port
    second.close()
    third.close()


def test_a_port_that_does_not_listen_refuses_and_belongs_to_us() -> None:
    port = Port("127.0.0.1")
    with pytest.raises(ConnectionRefusedError):
        connect(port.address)
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(port.address)
    port.close()
