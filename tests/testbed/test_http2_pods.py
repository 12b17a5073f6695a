"""Pods that speak HTTP/2 and gRPC, asked by clients that others wrote."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h2.connection
import h2.events
import h2.settings
import httpx
import pytest

from kbalance.testbed.cluster import Cluster
from kbalance.testbed.grpc import FAILING, SERVING
from kbalance.testbed.http2 import ANY_STREAM, PREFACE
from kbalance.testbed.pods import GARBAGE, Pod
from kbalance.testbed.scenario import SCENARIOS, Fault, Identity, Scenario
from tests.needs import unmet
from tests.peers.calls import CHECK, ECHO, INFO, caller, grpc, pairs

from .client import connect, eventually, get, read_all
from .conftest import Background, StartPod

GOAWAY = 7


@contextmanager
def http2(pod: Pod) -> Iterator[httpx.Client]:
    with httpx.Client(http1=False, http2=True, base_url=f"http://{pod.address}", trust_env=False) as client:
        yield client


class Raw:
    """h2's own client, one step at a time; it shows the frames that libraries keep to themselves."""

    def __init__(self, sock: socket.socket, *, patient: bool = False) -> None:
        """A patient one goes on after a GOAWAY, which h2 itself does not."""
        self.sock = sock
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.farewells: list[tuple[int, int, bytes]] = []
        """Last stream, code and debug data of each GOAWAY to a patient client."""
        self._patient = patient

    def ask(self, path: str = "/hostname", method: str = "GET", body: bytes = b"", more: tuple[tuple[str, str], ...] = ()) -> int:
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "web"), (":path", path), *more]
        self.h2.send_headers(stream, head, end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        return stream

    def send(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def turn(self) -> bool:
        """Sends what there is and takes what comes; whether the connection still is."""
        self.send()
        return self.hear()

    def hear(self) -> bool:
        data = self.sock.recv(65536)
        self.events += self.h2.receive_data(self._without_farewells(data) if self._patient else data)
        return bool(data)

    def _without_farewells(self, data: bytes) -> bytes:
        kept = b""
        while data:
            end = 9 + int.from_bytes(data[:3], "big")
            assert len(data) >= end, "a frame was cut"
            frame, data = data[:end], data[end:]
            if frame[3] == GOAWAY:
                words = [int.from_bytes(frame[start : start + 4], "big") for start in (9, 13)]
                self.farewells.append((words[0], words[1], frame[17:]))
            else:
                kept += frame
        return kept

    def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            assert self.turn(), f"closed after {self.events}"

    def until_ended(self, streams: int) -> None:
        self.until(lambda: len(self.seen(h2.events.StreamEnded)) == streams)

    def until_settled(self, streams: int) -> None:
        self.until(lambda: len(self.seen(h2.events.StreamEnded) + self.seen(h2.events.StreamReset)) == streams)

    def until_closed(self) -> None:
        while self.turn():
            pass

    def seen(self, kind: type[h2.events.Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    @property
    def got(self) -> int:
        """Bytes of bodies."""
        return sum(len(event.data) for event in self.seen(h2.events.DataReceived))


@contextmanager
def raw_client(pod: Pod, *, patient: bool = False) -> Iterator[Raw]:
    with connect(pod.address) as sock:
        yield Raw(sock, patient=patient)


@pytest.fixture
def pod(start_pod: StartPod) -> Pod:
    return start_pod(http2=True)


@pytest.fixture
def raw(pod: Pod) -> Iterator[Raw]:
    with raw_client(pod) as raw:
        yield raw


def test_the_pages_are_those_of_http_1(pod: Pod) -> None:
    with http2(pod) as client:
        answers = [client.get(path) for path in ("/hostname", "/api/info", "/")]
        echoed = client.post("/echo?a=b", content=b"abc")
        head = client.head("/hostname")
        wrong = client.delete("/hostname")

    assert {answer.http_version for answer in [*answers, echoed, head, wrong]} == {"HTTP/2"}
    assert [answer.status_code for answer in [*answers, echoed, head, wrong]] == [200, 200, 200, 200, 200, 405]
    assert answers[0].text == answers[1].json()["hostname"] == "pod-1"
    assert answers[2].text.startswith("NOW: ")
    assert echoed.text.startswith(f"POST /echo?a=b HTTP/2.0\r\nhost: {pod.address}\r\n")
    assert echoed.text.endswith("\r\n\r\nabc")
    assert (head.content, head.headers["content-length"]) == (b"", "5")
    assert (pod.accepted, pod.streams, pod.answered) == (1, 6, 6)


def test_http_1_is_spoken_to_whoever_begins_with_it(pod: Pod) -> None:
    assert get(pod.address) == (200, "pod-1")
    with connect(pod.address) as sock:
        sock.sendall(b"PRI / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 405 ")


def test_the_preface_may_be_cut_anywhere(raw: Raw) -> None:
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = raw.ask()
    for byte in raw.h2.data_to_send():
        raw.sock.sendall(bytes([byte]))
    raw.until_ended(1)

    assert [(event.stream_id, event.data) for event in raw.seen(h2.events.DataReceived)] == [(stream, b"pod-1")]


def test_what_is_not_http_2_behind_the_preface_ends_the_connection(pod: Pod) -> None:
    with connect(pod.address) as sock:
        sock.sendall(PREFACE + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")
        assert b"\x07\x00\x00\x00\x00\x00" in read_all(sock)
    eventually(lambda: not pod.connections)


def test_a_pod_of_http_1_does_not_know_the_preface(start_pod: StartPod) -> None:
    with connect(start_pod().address) as sock:
        sock.sendall(PREFACE)
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("identity", "head", "body", "trailer"),
    [
        (Identity.HEADER, True, True, False),
        (Identity.BODY, False, True, False),
        (Identity.TRAILER, False, False, True),
        (Identity.NONE, False, False, False),
        (Identity.ECHO, False, False, False),
    ],
)
def test_where_a_pod_says_its_name(start_pod: StartPod, identity: Identity, head: bool, body: bool, trailer: bool) -> None:
    pod = start_pod(http2=True, identity=identity)
    with http2(pod) as client, caller(pod.address) as calls:
        page = client.get("/hostname")
        info, call = calls.call(INFO)
        good = [call, calls.call(CHECK)[1]]
        failed = calls.fail(CHECK, b"\x0a\x05other")

    assert ("x-pod-name" in page.headers, page.text == "pod-1") == (head, body)
    assert info.startswith(b"\x0a\x05pod-1" if body else b"\x0a\x09localhost")
    for one in [*good, failed]:
        assert pairs(one.initial_metadata()).get("x-pod-name") == ("pod-1" if head else None)
        assert pairs(one.trailing_metadata()).get("x-pod-name") == ("pod-1" if trailer else None)


def test_trailers_come_after_plain_answers_too(start_pod: StartPod) -> None:
    with raw_client(start_pod(http2=True, identity=Identity.TRAILER)) as raw:
        raw.ask("/")
        raw.until_ended(1)
    assert [event.headers for event in raw.seen(h2.events.TrailersReceived)] == [[(b"x-pod-name", b"pod-1")]]


def test_calls_of_grpc(pod: Pod) -> None:
    with caller(pod.address) as calls:
        health = calls.call(CHECK)[0]
        info = calls.call(INFO)[0]
        said = [calls.call(ECHO, message)[0] for message in (b"", b"\x0a\x01x", bytes(300_000))]

    assert health == SERVING
    assert info == b"\x0a\x05pod-1\x12\x056.7.0\x3a\x05linux\x42\x05amd64"
    assert said == [b"", b"\x0a\x01x", bytes(300_000)]
    assert (pod.accepted, pod.answered) == (1, 5)


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("/foo.Bar/Baz", "UNIMPLEMENTED", "unknown service foo.Bar"),
        ("/grpc.health.v1.Health/X", "UNIMPLEMENTED", "unknown method X for service grpc.health.v1.Health"),
        ("/nothing", "UNIMPLEMENTED", 'malformed method name: "/nothing"'),
        (CHECK, "NOT_FOUND", "unknown service"),
    ],
)
def test_calls_that_a_server_does_not_know(pod: Pod, path: str, code: str, text: str) -> None:
    with caller(pod.address) as calls:
        error = calls.fail(path, b"\x0a\x05other")
    assert (error.code().name, error.details()) == (code, text)


def test_a_compressed_message_is_not_understood(pod: Pod) -> None:
    with caller(pod.address) as calls:
        error = calls.fail(ECHO, bytes(1000), compression=grpc.Compression.Gzip)
    assert (error.code().name, error.details()) == (
        "UNIMPLEMENTED",
        'grpc: Decompressor is not installed for grpc-encoding "gzip"',
    )


@pytest.mark.parametrize("body", [b"", b"\x00\x00\x00\x00\x02x"])
def test_what_is_not_one_message_is_an_error_in_the_head(pod: Pod, body: bytes) -> None:
    with http2(pod) as client:
        answer = client.post(ECHO, content=body, headers={"content-type": "application/grpc+proto"})
        web = client.post(ECHO, content=body, headers={"content-type": "application/grpc-web"})

    assert (answer.status_code, answer.headers["grpc-status"], answer.content) == (200, "13", b"")
    assert "grpc-status" not in web.headers


@pytest.mark.parametrize("identity", [Identity.BODY, Identity.HEADER, Identity.TRAILER])
def test_error_500_is_unavailable_to_grpc(start_pod: StartPod, identity: Identity) -> None:
    pod = start_pod(http2=True, fault=Fault.ERROR_500, identity=identity)
    with http2(pod) as client, caller(pod.address, enable_retries=0) as calls:
        page = client.get("/")
        error = calls.fail()
    with raw_client(pod) as raw:
        raw.ask(CHECK, "POST", b"\0\0\0\0\0", (("content-type", "application/grpc"),))
        raw.until_ended(1)

    assert page.status_code == 500
    assert (error.code().name, error.details()) == ("UNAVAILABLE", FAILING)
    fields = [field for event in raw.events for field in getattr(event, "headers", ())]
    assert (b"grpc-message", b"this pod fails every call %E2%86%92 100%25") in fields
    assert pod.answered == 3


def test_slow_streams_wait_side_by_side(start_pod: StartPod) -> None:
    """One after the other they would take ten seconds."""
    pod = start_pod(http2=True, fault=Fault.SLOW, delay_ms=500)
    started = time.monotonic()
    with raw_client(pod) as raw:
        for _ in range(20):
            raw.ask()
        raw.until_ended(20)
    assert 0.5 <= time.monotonic() - started < 10
    assert (pod.accepted, pod.answered) == (1, 20)


def test_reset_costs_one_stream(background: Background, pod: Pod) -> None:
    with raw_client(pod) as raw:
        raw.ask()
        raw.until_ended(1)
        background.call(pod.set_fault, Fault.RESET)
        broken = raw.ask()
        raw.until(lambda: bool(raw.seen(h2.events.StreamReset)))
        background.call(pod.set_fault, Fault.NONE)
        raw.ask()
        raw.until_ended(2)

    assert [(event.stream_id, event.error_code) for event in raw.seen(h2.events.StreamReset)] == [(broken, 2)]
    assert (pod.accepted, pod.answered) == (1, 2)


def test_a_hanging_stream_is_forgotten_when_the_client_gives_up(background: Background, pod: Pod) -> None:
    background.call(pod.set_fault, Fault.HANG)
    with raw_client(pod) as raw:
        stuck = raw.ask()
        raw.send()
        eventually(lambda: pod.streams == 1)
        background.call(pod.set_fault, Fault.NONE)
        raw.h2.reset_stream(stuck, 8)
        raw.ask()
        raw.until_ended(1)
    assert pod.answered == 1
    eventually(lambda: not pod.connections)


def test_a_stream_that_is_cancelled_in_the_same_breath_costs_nothing(raw: Raw, pod: Pod) -> None:
    raw.h2.reset_stream(raw.ask(), 8)
    raw.ask()
    raw.until_ended(1)
    assert (pod.streams, pod.answered) == (1, 1)


def test_a_refusing_pod_resets_the_connections_it_has(raw: Raw, pod: Pod, background: Background) -> None:
    raw.ask()
    raw.until_ended(1)
    background.call(pod.set_fault, Fault.REFUSE)
    with pytest.raises(ConnectionResetError):
        raw.sock.recv(1)


def test_garbage_in_the_place_of_frames(start_pod: StartPod) -> None:
    with raw_client(start_pod(http2=True, fault=Fault.GARBAGE)) as raw:
        raw.ask()
        raw.send()
        assert read_all(raw.sock).endswith(GARBAGE)


def test_a_dripping_pod_sends_a_byte_a_frame(start_pod: StartPod) -> None:
    with raw_client(start_pod(http2=True, fault=Fault.DRIP, drip_ms=3)) as raw:
        raw.ask()
        raw.until_ended(1)
    assert [event.data for event in raw.seen(h2.events.DataReceived)] == [b"p", b"o", b"d", b"-", b"1"]


def test_close_early_costs_the_connection(start_pod: StartPod) -> None:
    pod = start_pod(http2=True, fault=Fault.CLOSE_EARLY)
    with http2(pod) as client, pytest.raises(httpx.RemoteProtocolError):
        client.get("/hostname")
    with raw_client(pod, patient=True) as raw:
        raw.ask()
        raw.until_closed()

    assert [event.data for event in raw.seen(h2.events.DataReceived)] == [b"po"]
    assert (raw.seen(h2.events.StreamEnded), raw.farewells) == ([], [])
    assert pod.answered == 0


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_can_come_and_go(start_pod: StartPod, background: Background, fault: Fault) -> None:
    pod = start_pod(http2=True)
    background.call(pod.set_fault, fault, 1)
    if fault is not Fault.REFUSE:
        with raw_client(pod) as raw:
            raw.ask()
            raw.send()
            eventually(lambda: pod.streams == 1)
    background.call(pod.set_fault, Fault.NONE)
    with http2(pod) as client:
        assert client.get("/hostname").text == "pod-1"


def test_answers_keep_to_the_clients_windows(pod: Pod) -> None:
    with raw_client(pod) as raw:
        raw.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
        raw.send()
        raw.ask("/echo", "POST", bytes(1000))
        raw.until(lambda: raw.got == 100)
        raw.h2.increment_flow_control_window(50, 1)
        raw.until(lambda: raw.got == 150)
        raw.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10_000})
        raw.until_ended(1)
    assert raw.got > 1000


def test_streams_beyond_the_limit_are_refused_and_the_limit_is_told(start_pod: StartPod) -> None:
    """Even to a client that opened them before it could know."""
    pod = start_pod(http2=True, max_streams=2, fault=Fault.SLOW, delay_ms=20)
    with raw_client(pod) as raw:
        streams = [raw.ask() for _ in range(5)]
        raw.until_ended(2)
        raw.until(lambda: len(raw.seen(h2.events.StreamReset)) == 3)
        raw.ask()
        raw.until_ended(3)

    assert raw.h2.remote_settings.max_concurrent_streams == 2
    assert [(event.stream_id, event.error_code) for event in raw.seen(h2.events.StreamReset)] == [
        (stream, 7) for stream in streams[2:]
    ]
    assert (pod.streams, pod.answered) == (6, 3)


def test_libraries_keep_to_the_limit(start_pod: StartPod) -> None:
    pod = start_pod(http2=True, max_streams=2, fault=Fault.SLOW, delay_ms=5)
    with caller(pod.address) as calls:
        calls.call()
        said = [call.result() for call in [calls.start() for _ in range(20)]]
    assert said == [SERVING] * 20
    assert pod.accepted == 1


def test_without_a_limit_nothing_is_said_of_one(raw: Raw) -> None:
    raw.ask()
    raw.until_ended(1)
    assert h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS not in raw.seen(h2.events.RemoteSettingsChanged)[0].changed_settings


def test_every_third_stream_is_refused(start_pod: StartPod) -> None:
    """The pod counts, whatever connections they come on."""
    pod = start_pod(http2=True, refuse_every=3)
    refused = []
    for _ in range(4):
        with raw_client(pod) as raw:
            for _ in range(2):
                raw.ask()
            raw.until_settled(2)
        refused.append([(event.stream_id, event.error_code) for event in raw.seen(h2.events.StreamReset)])
    with caller(pod.address) as calls:
        error = calls.fail()

    assert refused == [[], [(1, 7)], [(3, 7)], []]
    assert (error.code().name, pod.streams, pod.answered) == ("UNAVAILABLE", 9, 6)


@pytest.mark.parametrize("announce", [True, False])
def test_a_connection_ends_after_its_requests(start_pod: StartPod, announce: bool) -> None:
    pod = start_pod(http2=True, close_after_requests=2, announce_close=announce, fault=Fault.SLOW, delay_ms=20)
    with raw_client(pod, patient=True) as raw:
        for _ in range(4):
            raw.ask()
        raw.until_closed()

    assert [event.stream_id for event in raw.seen(h2.events.StreamEnded)] == [1, 3]
    assert raw.farewells == [(3, 0, b"")] * announce
    assert (pod.accepted, pod.answered) == (1, 2)


def test_a_connection_ends_at_its_age(start_pod: StartPod, background: Background) -> None:
    pod = start_pod(http2=True, close_after_s=0.05, fault=Fault.SLOW, delay_ms=100)

    def asked() -> Raw:
        """In the pod's loop, so that the request is there before the connection has an age."""
        raw = Raw(connect(pod.address), patient=True)
        raw.ask()
        raw.send()
        return raw

    started = time.monotonic()
    raw = background.call(asked)
    with raw.sock:
        raw.until_closed()

    assert time.monotonic() - started >= 0.1
    assert len(raw.seen(h2.events.StreamEnded)) == 1
    assert raw.farewells == [(1, 0, b"")]


def test_old_age_is_announced_before_the_last_stream_is_named(start_pod: StartPod) -> None:
    """A stream that comes between the two is answered."""
    pod = start_pod(http2=True, max_age_s=0.05, max_age_jitter=0.0, fault=Fault.SLOW, delay_ms=20)
    with raw_client(pod, patient=True) as raw:
        raw.ask()
        raw.send()
        # Nothing is sent meanwhile, since the ping may come first.
        while not (raw.seen(h2.events.StreamEnded) and raw.seen(h2.events.PingReceived)):
            assert raw.hear()
        acknowledgement = raw.h2.data_to_send()
        raw.ask()
        raw.send()
        raw.sock.sendall(acknowledgement)
        raw.until_closed()

    assert raw.farewells == [(ANY_STREAM, 0, b"max_age"), (3, 0, b"max_age")]
    assert [event.stream_id for event in raw.seen(h2.events.StreamEnded)] == [1, 3]


def test_ages_differ_by_the_jitter(start_pod: StartPod) -> None:
    pod = start_pod(http2=True, max_age_s=100.0, max_age_jitter=0.1)
    ages = [age for age in (pod.draw_age() for _ in range(200)) if age is not None]
    assert 90 <= min(ages) < 92 < 108 < max(ages) <= 110


def test_no_call_of_grpc_fails_when_connections_grow_old(start_pod: StartPod) -> None:
    pod = start_pod(http2=True, max_age_s=0.05)
    with caller(pod.address, enable_retries=0) as calls:
        made = 0
        while pod.accepted < 5:
            made += 1
            assert calls.call()[0] == SERVING
    assert pod.answered == made


def run(name: str, *arguments: str) -> str:
    program = shutil.which(name)
    if program is None:
        unmet(name)
    done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_curl(pod: Pod) -> None:
    options = ("-q", "-sS", "--noproxy", "*", "--http2-prior-knowledge", "-w", "|%{http_version}")
    assert run("curl", *options, f"http://{pod.address}/hostname") == "pod-1|2"


def test_nghttp(start_pod: StartPod) -> None:
    pod = start_pod(http2=True, max_streams=7)
    said = run("nghttp", "-nv", f"http://{pod.address}/hostname")
    assert "[SETTINGS_MAX_CONCURRENT_STREAMS(0x03):7]" in said
    assert ":status: 200" in said


def test_h2load(start_pod: StartPod) -> None:
    pod = start_pod(http2=True, max_streams=10)
    said = run("h2load", "-n", "1000", "-c", "4", "-m", "20", "--no-tls-proto=h2c", f"http://{pod.address}/hostname")
    assert "1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert (pod.accepted, pod.answered) == (4, 1000)


@pytest.mark.parametrize("scenario", [SCENARIOS["grpc"], SCENARIOS["grpc-max-age"]], ids=lambda scenario: scenario.name)
def test_a_channel_calls_one_pod_of_a_scenario(scenario: Scenario) -> None:
    with Cluster.start(scenario) as cluster:
        with caller(cluster.service) as calls:
            names = {pairs(calls.call()[1].initial_metadata())["x-pod-name"] for _ in range(20)}
        service, (endpoints, *_) = cluster.objects()

    assert len(names) == 1
    assert (service["spec"]["ports"][0]["name"], service["spec"]["ports"][0]["appProtocol"]) == ("grpc", "grpc")
    assert (endpoints["ports"][0]["name"], endpoints["ports"][0]["appProtocol"]) == ("grpc", "grpc")


def test_pods_of_http_1_do_not_load_it() -> None:
    code = "import sys, kbalance.testbed.__main__; print('h2' in sys.modules)"
    assert run(sys.executable, "-c", code) == "False\n"
