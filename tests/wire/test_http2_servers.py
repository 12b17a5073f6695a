"""HTTP/2 with servers that others wrote, over real sockets: Node (nghttp2), Go, nginx."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.wire.http2_events import GoingAway, Lost
from kbalance.wire.tls import make_tls
from tests.peers.go import go
from tests.peers.nginx import nginx
from tests.peers.node import node
from tests.wire.certificates import Certificates
from tests.wire.http2_talk import PATIENCE_S, Answer, Talk


@contextmanager
def connected(address: Address) -> Iterator[Talk]:
    with socket.create_connection(address, PATIENCE_S) as sock:
        yield Talk(sock)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with node(tmp_path_factory.mktemp("node")) as address:
        yield address


@pytest.fixture
def talk(server: Address) -> Iterator[Talk]:
    with connected(server) as talk:
        yield talk


def bodies(answers: list[Answer]) -> list[bytes]:
    """Of complete answers."""
    assert [answer.broken for answer in answers if not answer.ended] == []
    return [answer.body for answer in answers]


def test_many_streams_with_more_than_their_windows(talk: Talk) -> None:
    answers = [talk.ask("/large") for _ in range(50)]
    talk.finish()
    assert set(bodies(answers)) == {b"x" * 300_000}

    more = [talk.ask("/large") for _ in range(talk.connection.room)]
    talk.finish()
    assert len(bodies(more)) == 60
    assert more[-1].heads[0].fields[0] == (b"x-pod-name", b"pod-1")


def test_node_over_tls(certificates: Certificates, tmp_path: Path) -> None:
    tls = make_tls("web.test", cacert=certificates.cacert, alpn=("h2", "http/1.1"))
    with (
        node(tmp_path, certificate=certificates.server_files("web.test", tmp_path)) as address,
        socket.create_connection(address, PATIENCE_S) as plain,
        tls.context.wrap_socket(plain, server_hostname=tls.name) as sock,
    ):
        talk = Talk(sock, b"https")
        answers = [talk.ask("/"), talk.ask("/large"), talk.ask("/echo", "POST", b"y" * 200_000)]
        talk.finish()

        assert sock.selected_alpn_protocol() == "h2"
        assert bodies(answers) == [b"pod-1", b"x" * 300_000, b"y" * 200_000]


def test_bodies_go_both_ways_at_once(talk: Talk) -> None:
    contents = [bytes([number]) * 1_000_000 for number in range(3)]

    answers = [talk.ask("/echo", "POST", content) for content in contents]
    talk.finish()

    assert bodies(answers) == contents


def test_heads_before_the_head_and_trailers_after_the_body(talk: Talk) -> None:
    answer = talk.ask("/hints")
    talk.finish()

    assert [head.status for head in answer.heads] == [103, 200]
    assert (answer.body, answer.trailers) == (b"hinted", {b"grpc-status": b"0"})


def test_answers_without_a_body(talk: Talk) -> None:
    answers = [talk.ask("/none"), talk.ask("/length", "HEAD"), talk.ask("/", "HEAD")]
    talk.finish()

    assert [(answer.status, answer.ended, answer.body) for answer in answers] == [(204, True, b""), *[(200, True, b"")] * 2]


def test_a_refused_stream_may_be_asked_again_and_a_failed_one_not(talk: Talk) -> None:
    refused, failed, good = talk.ask("/refuse"), talk.ask("/fail"), talk.ask("/")
    talk.finish()

    assert refused.broken is not None
    assert failed.broken is not None
    assert (refused.broken.failure, refused.broken.unprocessed) == (Failure.RESET, True)
    assert (failed.broken.failure, failed.broken.unprocessed) == (Failure.RESET, False)
    assert good.ended


def test_an_answer_before_the_body_has_gone_out(talk: Talk) -> None:
    early = talk.ask("/early", "POST", bytes(5_000_000))
    talk.finish()
    after = talk.ask("/")
    talk.finish()

    assert (early.status, early.body, early.ended) == (413, b"too much", True)
    assert after.ended


def test_pings_and_lowered_limits(talk: Talk) -> None:
    answers = [talk.ask("/ping"), talk.ask("/shrink")]
    talk.finish()
    room = talk.connection.room
    answers.append(talk.ask("/echo", "POST", bytes(1000)))
    talk.finish()

    assert bodies(answers) == [b"12345678", b"pod-1", bytes(1000)]
    assert room == 2


def test_a_cancelled_stream_leaves_the_others_alone(talk: Talk) -> None:
    talk.ask("/large")
    talk.turn()
    talk.connection.reset(1)
    others = [talk.ask("/large") for _ in range(5)]
    talk.finish()

    assert set(bodies(others)) == {b"x" * 300_000}


def test_a_server_that_goes_away_first_and_answers_then(talk: Talk) -> None:
    waiting, going, late = talk.ask("/wait"), talk.ask("/goaway"), talk.ask("/")
    talk.finish()

    assert talk.farewells == [GoingAway(3, 0, "the server goes away: NO_ERROR, 'bye'")]
    assert bodies([waiting, going]) == [b"pod-1", b"pod-1"]
    assert late.broken is not None
    assert late.broken.unprocessed


def test_a_session_that_closes_gracefully(talk: Talk) -> None:
    answer = talk.ask("/close")
    talk.until_closed()

    assert bodies([answer]) == [b"pod-1"]
    assert isinstance(talk.farewells[0], GoingAway)
    assert isinstance(talk.farewells[-1], Lost)


def test_a_session_that_is_torn_down(talk: Talk) -> None:
    answer = talk.ask("/destroy")
    talk.until_closed()

    assert answer.broken is not None
    assert not answer.broken.unprocessed


def test_gos_shutdown_finishes_what_is_under_way(tmp_path: Path) -> None:
    """It sends GOAWAY with the highest number, and with the true one later."""
    with go(tmp_path) as address, connected(address) as talk:
        answers = [talk.ask("/wait"), talk.ask("/echo", "POST", b"z" * 500_000), talk.ask("/shutdown")]
        talk.until_closed()

        assert bodies(answers) == [b"waited", b"z" * 500_000, b"last words"]
        assert answers[0].trailers == {b"x-checksum": b"1"}
        assert [type(farewell) for farewell in talk.farewells[:-1]] in ([GoingAway], [GoingAway] * 2)


def test_nginx_that_takes_ten_requests_on_a_connection(tmp_path: Path) -> None:
    with nginx(tmp_path, keepalive_requests=10) as address, connected(address) as talk:
        answers = [talk.ask("/") for _ in range(16)]
        talk.until_closed()

    assert set(bodies(answers[:10])) == {b"pod-1"}
    assert [answer.broken.unprocessed for answer in answers[10:] if answer.broken is not None] == [True] * 6


def test_a_server_of_http_1_is_told_at_once(tmp_path: Path) -> None:
    with nginx(tmp_path, http2=False) as address, connected(address) as talk:
        answer = talk.ask("/")
        talk.finish()

    assert answer.broken is not None
    assert answer.broken.detail.startswith("not HTTP/2: 'HTTP/1.1 400 Bad Request")
