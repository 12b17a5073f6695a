import random
import socket
import threading
from collections.abc import Callable, Sequence

import pytest

from kbalance.testbed.choosers import chooser
from kbalance.testbed.l4 import Balancer, Member
from kbalance.testbed.pods import Pod
from kbalance.testbed.scenario import ChooserKind, Fault
from kbalance.testbed.sockets import harden

from .client import GET, PATIENCE_S, connect, eventually, get, read_all, read_until
from .conftest import Background, StartPod

StartBalancer = Callable[..., Balancer]


def _members(pods: Sequence[Pod]) -> list[Member]:
    return [Member(pod.name, pod.address) for pod in pods]


@pytest.fixture
def start_balancer(background: Background) -> StartBalancer:
    def start(*pods: Pod, kind: ChooserKind = ChooserKind.RANDOM, **fields: object) -> Balancer:
        choose = chooser(kind, random.Random(1))
        balancer = background.start(lambda: Balancer(choose, **fields))  # type: ignore[arg-type]
        background.call(balancer.set_members, _members(pods))
        return balancer

    return start


def test_each_connection_goes_to_the_pod_that_was_picked_for_it(start_pod: StartPod, start_balancer: StartBalancer) -> None:
    pods = [start_pod(n) for n in (1, 2, 3)]
    balancer = start_balancer(*pods)

    names = [get(balancer.address)[1] for _ in range(120)]

    assert balancer.address.ip in ("127.96.0.10", "127.0.0.1")
    assert {pod.name: names.count(pod.name) for pod in pods} == dict(balancer.picks)
    assert min(balancer.picks.values()) > 20


def test_a_connection_stays_on_its_pod(start_pod: StartPod, start_balancer: StartBalancer) -> None:
    balancer = start_balancer(*[start_pod(n) for n in (1, 2, 3)])
    with connect(balancer.address) as sock:
        sock.sendall(GET)
        first = sock.recv(4096)
        for _ in range(20):
            sock.sendall(GET)
            assert sock.recv(4096) == first


def test_established_connections_keep_a_removed_pod_and_new_ones_do_not_get_it(
    start_pod: StartPod, start_balancer: StartBalancer, background: Background
) -> None:
    old, new = start_pod(1), start_pod(2)
    balancer = start_balancer(old)
    with connect(balancer.address) as held:
        held.sendall(GET)
        read_until(held, b"pod-1")

        background.call(balancer.set_members, _members([new]))

        assert {get(balancer.address)[1] for _ in range(5)} == {"pod-2"}
        held.sendall(GET)
        read_until(held, b"pod-1")
        assert balancer.held["pod-1"] == 1
    eventually(lambda: balancer.held.total() == 0)


def test_affinity_holds_until_the_client_was_away_for_its_time_out(start_pod: StartPod, start_balancer: StartBalancer) -> None:
    now = 0.0
    pods = [start_pod(n) for n in (1, 2)]
    balancer = start_balancer(*pods, kind=ChooserKind.ROUND_ROBIN, affinity_s=100, clock=lambda: now)

    names = []
    for later in (0, 90, 90, 101):
        now += later
        names.append(get(balancer.address)[1])

    assert names == ["pod-1", "pod-1", "pod-1", "pod-2"]


def test_affinity_is_per_source_address_and_ends_with_its_pod(
    start_pod: StartPod, start_balancer: StartBalancer, background: Background
) -> None:
    pods = [start_pod(n) for n in (1, 2)]
    balancer = start_balancer(*pods, kind=ChooserKind.ROUND_ROBIN, affinity_s=100)

    def ask(source: str) -> bytes:
        with socket.create_connection(balancer.address, timeout=PATIENCE_S, source_address=(source, 0)) as sock:
            sock.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
            return read_all(sock)[-5:]

    assert [ask("127.0.0.1"), ask("127.0.0.2"), ask("127.0.0.1")] == [b"pod-1", b"pod-2", b"pod-1"]
    background.call(balancer.set_members, _members(pods[1:]))
    assert ask("127.0.0.1") == b"pod-2"


def test_half_close_passes_through(start_pod: StartPod, start_balancer: StartBalancer) -> None:
    balancer = start_balancer(start_pod(fault=Fault.SLOW, delay_ms=5))
    with connect(balancer.address) as sock:
        sock.sendall(GET)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).endswith(b"pod-1")
    eventually(lambda: balancer.held.total() == 0)


def test_a_pod_that_resets_resets_the_client(start_pod: StartPod, start_balancer: StartBalancer) -> None:
    with connect(start_balancer(start_pod(fault=Fault.RESET)).address) as sock:
        sock.sendall(GET)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_client_that_resets_resets_the_pod(start_balancer: StartBalancer, background: Background) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        balancer = start_balancer()
        background.call(balancer.set_members, [Member("pod", server.getsockname())])
        client = connect(balancer.address)
        server.settimeout(PATIENCE_S)
        pod, _ = server.accept()
        with pod:
            pod.settimeout(PATIENCE_S)
            client.sendall(b"x")
            assert pod.recv(1) == b"x"
            harden(client)
            client.close()
            with pytest.raises(ConnectionResetError):
                pod.recv(1)


def test_a_server_may_speak_first(start_balancer: StartBalancer, background: Background) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as pod:
                pod.sendall(b"hello")

        greeter = threading.Thread(target=greet)
        greeter.start()
        balancer = start_balancer()
        background.call(balancer.set_members, [Member("pod", server.getsockname())])
        with connect(balancer.address) as sock:
            assert read_all(sock) == b"hello"
        greeter.join()


def test_a_pod_that_refuses_looks_like_a_reset(start_pod: StartPod, start_balancer: StartBalancer) -> None:
    balancer = start_balancer(start_pod(fault=Fault.REFUSE))

    def ask() -> None:
        with connect(balancer.address) as sock:
            sock.sendall(GET)
            sock.recv(1)

    with pytest.raises(ConnectionResetError):
        ask()
    assert balancer.picks == {"pod-1": 1}
    eventually(lambda: balancer.held.total() == 0)


def test_without_members_the_service_address_refuses(
    start_pod: StartPod, start_balancer: StartBalancer, background: Background
) -> None:
    balancer = start_balancer()
    with pytest.raises(ConnectionRefusedError):
        connect(balancer.address)
    background.call(balancer.set_members, _members([start_pod()]))
    assert get(balancer.address) == (200, "pod-1")


def test_big_bodies_pass_unharmed_through_slow_readers(start_pod: StartPod, start_balancer: StartBalancer) -> None:
    balancer = start_balancer(start_pod())
    body = random.Random(0).randbytes(4 << 20)
    with connect(balancer.address) as sock:
        sock.sendall(b"POST /echo HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert read_all(sock).endswith(body)


def test_what_is_changed_on_accept_holds_from_the_next_connection_on(start_pod: StartPod, start_balancer: StartBalancer) -> None:
    pods = [start_pod(1), start_pod(2)]
    balancer: Balancer

    def replace_members() -> None:
        balancer.set_members(_members(pods[1:]))

    balancer = start_balancer(pods[0], accepted=replace_members)
    assert [get(balancer.address)[1] for _ in range(3)] == ["pod-1", "pod-2", "pod-2"]
