"""The same over IPv6, over TLS, with other methods, with large bodies, and on the portable poller."""

import ssl
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from kbalance.model.histogram import upper_us
from kbalance.model.words import Closer, Failure, Profile
from kbalance.traffic.poller import Epoll, Poller, Selector, make_poller
from kbalance.wire.dialled import Tls

from .runs import Ticking, Total, finish, make_driver, plan
from .servers import PATIENCE_S, Peer, Server, answer, hang, in_turn, sends, steady


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of `test.invalid` with its key in one file, and the authority's."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("test.invalid").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return folder / "server.pem", folder / "ca.pem"


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0])
    return context


@pytest.fixture
def client_tls(certificate: tuple[Path, Path]) -> Tls:
    return Tls(ssl.create_default_context(cafile=str(certificate[1])), "test.invalid")


@pytest.mark.parametrize("profile", list(Profile))
def test_ipv6(profile: Profile) -> None:
    with Server(steady(), ip="::1") as server:
        _, sums = finish(make_driver(plan(profile, [server.address] * 3, 30, slots=1 if profile is Profile.SINGLE else 3)))

    assert sums.answered == server.requests == 30


@pytest.mark.parametrize("profile", list(Profile))
def test_tls(profile: Profile, server_tls: ssl.SSLContext, client_tls: Tls) -> None:
    with Server(steady(), tls=server_tls) as server:
        spec = plan(profile, [server.address] * 3, 30, slots=1 if profile is Profile.SINGLE else 3)
        _, sums = finish(make_driver(spec, tls=client_tls))

    assert sums.answered == server.requests == 30
    assert sums.unanswered == {}


def test_a_certificate_that_nobody_vouches_for_is_a_tls_failure(server_tls: ssl.SSLContext) -> None:
    with Server(steady(), tls=server_tls) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 2), tls=Tls(ssl.create_default_context(), "test.invalid"))
        observations, sums = finish(driver)

    assert sums.unanswered == {Failure.TLS: 2}
    assert sums.opened == 0
    assert "certificate" in observations[0].detail


def test_a_handshake_that_never_ends_is_a_connect_timeout(client_tls: Tls) -> None:
    with Server(hang) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 2), tls=client_tls, timeout_s=0.2)
        observations, sums = finish(driver)

    assert sums.unanswered == {Failure.CONNECT_TIMEOUT: 2}
    assert {o.detail for o in observations} == {"no TLS handshake after 0.2 s"}


def test_half_of_a_pool_that_fails_to_open_is_opened_again_when_needed(server_tls: ssl.SSLContext, client_tls: Tls) -> None:
    """Every second connection of the first six is closed within the handshake, before the second answer is taken in."""
    closed = threading.Semaphore(0)
    answers = iter(range(30))

    def tap(*_: object) -> None:
        if next(answers) == 0:
            assert all(closed.acquire(timeout=PATIENCE_S) for _ in range(3))

    def script(peer: Peer) -> None:
        if peer.index < 6 and peer.index % 2:
            peer.sock.close()
            closed.release()
            return
        peer.sock = server_tls.wrap_socket(peer.sock, server_side=True)
        steady()(peer)

    with Server(script) as server:
        driver = make_driver(plan(Profile.POOLED, server.address, 30, slots=6, concurrency=2), tls=client_tls, tap=tap)
        observations, sums = finish(driver)

    assert (sums.answered, sums.unanswered) == (30, {})
    broken = [o for o in observations if o.connect_s is None]
    assert [(o.requests, o.closed_by) for o in broken] == [(0, Closer.FAILURE)] * 3
    assert sums.opened == 6


def test_the_schedule_of_held_connections_starts_when_the_first_is_open(server_tls: ssl.SSLContext, client_tls: Tls) -> None:
    """A client that holds connections has them before its first request: opening them, for a second, is no latency."""
    clock = Ticking()
    opened = threading.Event()

    def script(peer: Peer) -> None:
        if peer.index == 0:
            clock.tick()
            opened.set()
        assert opened.wait(PATIENCE_S)
        peer.sock = server_tls.wrap_socket(peer.sock, server_side=True)
        steady()(peer)

    with Server(script) as server:
        spec = plan(Profile.POOLED, server.address, 8, slots=2, rate=1.0)
        observations, sums = finish(make_driver(spec, tls=client_tls, clock=clock, tap=clock.tick))

    latencies = sum((Counter(a.latency) for o in observations for a in o.answers), Counter[int]())
    assert sums.answered == 8
    assert max(map(upper_us, latencies)) == 0


def test_large_bodies_over_tls(server_tls: ssl.SSLContext, client_tls: Tls) -> None:
    with Server(steady(answer(b"x" * 1_000_000)), tls=server_tls) as server:
        _, sums = finish(make_driver(plan(Profile.POOLED, server.address, 8, slots=2), tls=client_tls))

    assert sums.answered == 8


def test_head_is_answered_without_a_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    with Server(steady(head)) as server:
        (only,), sums = finish(make_driver(plan(Profile.SINGLE, server.address, 5), method="HEAD"))

    assert sums.answered == only.requests == 5


def test_post_carries_its_body_each_time() -> None:
    with Server(steady()) as server:
        finish(make_driver(plan(Profile.SHORT_LIVED, server.address, 3), method="POST", body=b"payload"))

    assert [peer.requests[0].rpartition(b"\r\n\r\n")[2] for peer in server.peers] == [b"payload"] * 3


@pytest.mark.parametrize("profile", list(Profile))
def test_large_bodies_both_ways(profile: Profile) -> None:
    sent = b"q" * 5_000_000
    with Server(steady(answer(b"a" * 3_000_000))) as server:
        _, sums = finish(make_driver(plan(profile, [server.address], 4), method="POST", body=sent))

    assert sums.answered == 4
    assert all(len(r) > len(sent) for peer in server.peers for r in peer.requests)


def test_an_answer_before_the_whole_request_was_taken_ends_the_connection() -> None:
    """What is left of the request would stand before the next one."""
    seen = threading.Event()

    def hasty(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.sock.sendall(answer(status=b"413 Too Large"))
        assert seen.wait(PATIENCE_S)

    with Server(in_turn(hasty, steady())) as server:
        spec = plan(Profile.SINGLE, server.address, 3)
        driver = make_driver(spec, method="POST", body=b"q" * 20_000_000, tap=lambda *_: seen.set())
        observations, sums = finish(driver)

    assert [o.requests for o in observations] == [1, 2]
    assert (sums.answered, sums.unanswered) == (3, {})


def test_a_chunked_answer_of_many_pieces() -> None:
    pieces = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3\r\nabc\r\n" * 50_000 + b"0\r\n\r\n"
    with Server(steady(pieces)) as server:
        _, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 3)))

    assert sums.answered == 3


def test_a_body_until_close() -> None:
    with Server(sends(b"HTTP/1.0 200 OK\r\n\r\nall the rest")) as server:
        observations, sums = finish(make_driver(plan(Profile.SINGLE, server.address, 3)))

    assert sums.answered == 3
    assert [o.closed_by for o in observations] == [Closer.SERVER, Closer.SERVER, Closer.CLIENT]


def _everything(poller: Callable[[], Poller]) -> list[Total]:
    """The sums of a run of each profile, with failures among the answers."""

    def script(peer: Peer) -> None:
        (sends(b"") if peer.index == 1 else sends(b"junk", stay=True) if peer.index == 2 else steady())(peer)

    sums = []
    for profile in Profile:
        with Server(script) as server:
            spec = plan(profile, [server.address] * 3, 30, slots=1 if profile is Profile.SINGLE else 3, concurrency=1)
            sums.append(finish(make_driver(spec, poller=poller, timeout_s=2.0))[1])
    return sums


def test_the_portable_poller_gives_the_same_results() -> None:
    assert _everything(Selector) == _everything(make_poller)


@pytest.mark.parametrize("poller", [Epoll, Selector])
def test_large_bodies_and_timeouts_on_either_poller(poller: Callable[[], Poller]) -> None:
    """Time passes once the first request is there."""
    clock = Ticking()
    with Server(in_turn(hang, steady(answer(b"a" * 3_000_000)))) as server:
        spec = plan(Profile.SHORT_LIVED, server.address, 4)
        driver = make_driver(spec, poller=poller, method="POST", body=b"q" * 2_000_000, timeout_s=0.5, clock=clock)
        with server.when_asked(1, clock.tick):
            _, sums = finish(driver)

    assert sums.unanswered == {Failure.TIMEOUT: 1}
    assert sums.answered == 3


def test_runs_in_several_threads_do_not_disturb_each_other() -> None:
    """Each driver has a poller and sockets of its own."""
    results: list[Total] = []
    with Server(steady()) as server:

        def run() -> None:
            results.append(finish(make_driver(plan(Profile.SHORT_LIVED, server.address, 50, slots=2)))[1])

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [sums.answered for sums in results] == [50, 50, 50]
