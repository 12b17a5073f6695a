"""Odd responses from a real server, as stock httpx and our transport read them."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.balancing.clients import Seen, ours, seen, stock
from tests.wire.corpus import ODD, Odd
from tests.wire.outcome import Refused
from tests.wire.outcome import ours as parsed
from tests.wire.server import Serving, read_request, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    """Answers ``/N`` with the N-th odd response, and closes."""

    def script(sock: socket.socket) -> None:
        path = read_request(sock).split(b" ")[1]
        sock.sendall(ODD[int(path.strip(b"/"))].raw)

    with serving(script) as running:
        yield running


def _asking(server: Serving, odd: Odd) -> tuple[Seen | None, Seen | None]:
    """What stock httpx sees and what we see; ``None`` for an error of the server's making."""

    async def ask(client: httpx.AsyncClient) -> Seen | None:
        try:
            return await seen(await client.request(odd.method, f"{server.url}/{ODD.index(odd)}"))
        except httpx.RemoteProtocolError:
            return None

    return stock(ask), ours(ask)


@pytest.mark.parametrize("odd", [odd for odd in ODD if not odd.differs], ids=lambda odd: odd.name)
def test_odd_responses_look_the_same(odd: Odd, server: Serving) -> None:
    expected, got = _asking(server, odd)
    assert got == expected


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd.differs], ids=lambda odd: odd.name)
def test_where_we_differ_the_transport_is_our_reader(odd: Odd, server: Serving) -> None:
    _, got = _asking(server, odd)
    expected = parsed([odd.raw], odd.method)
    if isinstance(expected, Refused):
        assert got is None
    else:
        assert got is not None
        assert (got.status, got.content) == (expected.status, expected.body)
        assert tuple((name.lower(), value) for name, value in got.headers) == expected.fields
