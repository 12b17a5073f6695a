import http.client
import socket
from collections import Counter

import pytest

from kbalance.testbed.l4 import Member
from kbalance.testbed.l7 import Proxy
from kbalance.testbed.pods import Pod
from kbalance.testbed.scenario import Fault

from .client import PATIENCE_S, connect, get, read_all
from .conftest import Background, StartPod


def _proxy(background: Background, *pods: Pod) -> Proxy:
    proxy = background.start(Proxy)
    proxy.set_members([Member(pod.name, pod.address) for pod in pods])
    return proxy


def test_requests_of_one_connection_take_turns_over_the_pods(start_pod: StartPod, background: Background) -> None:
    pods = [start_pod(n) for n in (1, 2, 3)]
    proxy = _proxy(background, *pods)

    connection = http.client.HTTPConnection(*proxy.address, timeout=PATIENCE_S)
    names = []
    for _ in range(9):
        connection.request("GET", "/hostname")
        names.append(connection.getresponse().read().decode())
    connection.close()

    assert names == ["pod-1", "pod-2", "pod-3"] * 3
    assert proxy.picks == Counter({"pod-1": 3, "pod-2": 3, "pod-3": 3})
    assert [pod.accepted for pod in pods] == [1, 1, 1]


def test_methods_bodies_and_headers_pass(start_pod: StartPod, background: Background) -> None:
    proxy = _proxy(background, start_pod())
    with connect(proxy.address) as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        sock.sendall(b"HEAD /hostname HTTP/1.0\r\n\r\n")
        answer = read_all(sock)
    assert b"Host: web\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK" in answer
    assert answer.endswith(b"Connection: close\r\nContent-Length: 5\r\n\r\n")


@pytest.mark.parametrize("announce", [True, False])
def test_pods_may_close_the_connections_that_the_proxy_keeps(start_pod: StartPod, background: Background, announce: bool) -> None:
    pod = start_pod(close_after_requests=2, announce_close=announce)
    proxy = _proxy(background, pod)
    assert [get(proxy.address) for _ in range(6)] == [(200, "pod-1")] * 6
    assert pod.accepted == 3


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.RESET, Fault.GARBAGE, Fault.CLOSE_EARLY])
def test_a_broken_pod_is_a_bad_gateway(start_pod: StartPod, background: Background, fault: Fault) -> None:
    assert get(_proxy(background, start_pod(fault=fault)).address)[0] == 502


def test_without_members_the_service_is_unavailable(background: Background) -> None:
    assert get(_proxy(background).address)[0] == 503


def test_nonsense_is_a_bad_request(background: Background) -> None:
    with connect(_proxy(background).address) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")
