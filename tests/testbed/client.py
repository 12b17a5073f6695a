"""Blocking clients for the tests, as plain as can be."""

import http.client
import socket
import time
from collections.abc import Callable

from kbalance.model.target import Address

PATIENCE_S = 20.0
"""Only a broken test ever waits so long."""

GET = b"GET /hostname HTTP/1.1\r\nHost: web\r\n\r\n"


def connect(address: Address) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE_S)


def read_all(sock: socket.socket) -> bytes:
    """Until the end of the stream."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = sock.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    return data


def get(address: Address, path: str = "/hostname") -> tuple[int, str]:
    """Status and body, over a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def eventually(holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Poll until it holds."""
    due = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < due, "it never came true"
        time.sleep(0.005)
