import json
import socket
import time

import pytest

from kbalance.testbed.pods import GARBAGE, Pod
from kbalance.testbed.scenario import Fault, Identity

from .client import GET, connect, eventually, get, read_all, read_until
from .conftest import Background, StartPod

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\npod-1"


def test_a_pod_says_its_name_as_agnhost_and_podinfo_do(start_pod: StartPod) -> None:
    pod = start_pod()

    with connect(pod.address) as sock:
        sock.sendall(GET)
        assert read_until(sock, b"pod-1") == ANSWER

    assert get(pod.address, "/hostname?x=1") == (200, "pod-1")
    assert json.loads(get(pod.address, "/api/info")[1])["hostname"] == "pod-1"
    assert get(pod.address, "/")[1].startswith("NOW: ")
    assert pod.answered == pod.accepted == 4


def test_header_identity_is_on_every_answer(start_pod: StartPod) -> None:
    pod = start_pod(identity=Identity.HEADER)
    with connect(pod.address) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"\r\nX-Pod-Name: pod-1\r\n" in read_all(sock)


@pytest.mark.parametrize("identity", [Identity.NONE, Identity.ECHO])
@pytest.mark.parametrize("path", ["/", "/hostname", "/api/info", "/debug"])
def test_a_pod_without_identity_never_says_its_name(start_pod: StartPod, identity: Identity, path: str) -> None:
    pod = start_pod(identity=identity)
    with connect(pod.address) as sock:
        sock.sendall(b"GET %s HTTP/1.0\r\nHost: web.shop\r\n\r\n" % path.encode())
        answer = read_all(sock)
    assert b"pod-1" not in answer
    assert (b"Host: web.shop" in answer) == (identity is Identity.ECHO)


def test_echo_repeats_the_request_and_its_host(start_pod: StartPod) -> None:
    pod = start_pod()
    request = b"POST /echo?a=b HTTP/1.0\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc"
    with connect(pod.address) as sock:
        sock.sendall(request)
        assert read_all(sock).partition(b"\r\n\r\n")[2] == request


def test_requests_may_be_cut_anywhere(start_pod: StartPod) -> None:
    pod = start_pod()
    with connect(pod.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"POST /hostname HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody":
            sock.sendall(bytes([byte]))
        assert read_until(sock, b"pod-1") == ANSWER


def test_pipelined_requests_are_answered_in_order(start_pod: StartPod) -> None:
    pod = start_pod(fault=Fault.SLOW, delay_ms=5)
    chunked = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    with connect(pod.address) as sock:
        sock.sendall(GET + b"\r\n" + chunked + b"HEAD /hostname HTTP/1.1\r\nConnection: close\r\n\r\n" + GET)
        answer = read_all(sock)

    first, head, last = answer[: len(ANSWER)], answer[len(ANSWER) :].partition(b"HTTP/1.1 200 OK")[2], answer[-200:]
    assert first == ANSWER
    assert b"abcdeHTTP/1.1 200 OK" in head
    assert last.endswith(b"Connection: close\r\nContent-Length: 5\r\n\r\n")
    assert pod.answered == 3


@pytest.mark.parametrize(
    "request_",
    [b"hello\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"x" * 70000],
    ids=["no-request", "version", "length", "too-large"],
)
def test_what_is_not_http_is_answered_with_400(start_pod: StartPod, request_: bytes) -> None:
    pod = start_pod()
    with connect(pod.address) as sock:
        sock.sendall(request_)
        assert read_all(sock).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_other_methods_are_not_allowed(start_pod: StartPod) -> None:
    pod = start_pod()
    with connect(pod.address) as sock:
        sock.sendall(b"DELETE / HTTP/1.0\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 405 ")


def test_a_half_closed_client_gets_its_answer(start_pod: StartPod) -> None:
    pod = start_pod(fault=Fault.SLOW, delay_ms=5)
    with connect(pod.address) as sock:
        sock.sendall(GET)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).endswith(b"pod-1")


def test_slow_waits_before_each_answer(start_pod: StartPod) -> None:
    pod = start_pod(fault=Fault.SLOW, delay_ms=60)
    started = time.monotonic()
    assert get(pod.address) == (200, "pod-1")
    assert time.monotonic() - started >= 0.06


def test_error_500_is_a_complete_answer(start_pod: StartPod) -> None:
    assert get(start_pod(fault=Fault.ERROR_500).address) == (500, "pod-1")


def test_a_refusing_pod_keeps_its_port_and_listens_again_when_told(start_pod: StartPod, background: Background) -> None:
    pod = start_pod()
    with connect(pod.address) as held:
        held.sendall(GET)
        read_until(held, b"pod-1")

        background.call(pod.set_fault, Fault.REFUSE)

        with pytest.raises(ConnectionResetError):
            held.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(pod.address)
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(pod.address)
    background.call(pod.set_fault, Fault.NONE)
    assert get(pod.address) == (200, "pod-1")


def test_a_pod_may_refuse_from_the_start(start_pod: StartPod) -> None:
    with pytest.raises(ConnectionRefusedError):
        connect(start_pod(fault=Fault.REFUSE).address)


def test_reset_comes_after_the_request(start_pod: StartPod) -> None:
    with connect(start_pod(fault=Fault.RESET).address) as sock:
        sock.sendall(GET)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_hanging_pod_never_answers_and_forgets_clients_that_leave(start_pod: StartPod) -> None:
    pod = start_pod(fault=Fault.HANG)
    with connect(pod.address) as sock:
        sock.sendall(GET)
        eventually(lambda: len(pod.connections) == 1)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert len(pod.connections) == 1
    eventually(lambda: not pod.connections)


def test_garbage_is_not_http(start_pod: StartPod) -> None:
    with connect(start_pod(fault=Fault.GARBAGE).address) as sock:
        sock.sendall(GET)
        assert read_all(sock) == GARBAGE


def test_a_dripping_pod_sends_byte_by_byte(start_pod: StartPod) -> None:
    """Seen by how long it takes: a slow reader finds several bytes at a time."""
    started = time.monotonic()
    with connect(start_pod(fault=Fault.DRIP, drip_ms=3).address) as sock:
        sock.sendall(GET)
        assert read_until(sock, b"pod-1") == ANSWER
    assert time.monotonic() - started >= 0.003 * (len(ANSWER) - 2)


def test_close_early_sends_half_of_the_promised_body(start_pod: StartPod) -> None:
    with connect(start_pod(fault=Fault.CLOSE_EARLY).address) as sock:
        sock.sendall(GET)
        assert read_all(sock) == ANSWER[:-3]


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_can_come_and_go_while_a_pod_runs(start_pod: StartPod, background: Background, fault: Fault) -> None:
    pod = start_pod()
    background.call(pod.set_fault, fault, 1)
    background.call(pod.set_fault, Fault.NONE)
    assert get(pod.address) == (200, "pod-1")


@pytest.mark.parametrize("announce", [True, False])
def test_a_connection_ends_after_its_requests(start_pod: StartPod, announce: bool) -> None:
    pod = start_pod(close_after_requests=2, announce_close=announce)
    with connect(pod.address) as sock:
        sock.sendall(GET * 3)
        answers = read_all(sock)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"Connection: close") == announce


def asked(pod: Pod) -> socket.socket:
    """A connection with a request; called in the pod's loop, it is there before the connection has an age."""
    sock = connect(pod.address)
    sock.sendall(GET)
    return sock


def test_a_connection_ends_at_its_age(start_pod: StartPod, background: Background) -> None:
    pod = start_pod(close_after_s=0.2)
    started = time.monotonic()
    with background.call(asked, pod) as sock:
        assert read_all(sock) == ANSWER
    assert time.monotonic() - started >= 0.2


def test_a_connection_that_is_too_old_still_finishes_its_answer(start_pod: StartPod, background: Background) -> None:
    pod = start_pod(close_after_s=0.1, fault=Fault.SLOW, delay_ms=200)
    with background.call(asked, pod) as sock:
        assert b"Connection: close" in read_all(sock)
