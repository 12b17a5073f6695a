"""The servers that clients talk to, each one process on a core of its own: nginx nearly always, others for HTTP/2 and gRPC."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from bench import golang
from bench.errors import NotMeasured

READY_WITHIN_S = 10.0
PODS = tuple(f"web-{i}" for i in range(1, 5))
"""Names in X-Pod-Name; which one a client sees is decided per connection, as behind a Service."""

ADDRESSES = tuple(f"127.0.{third}.{fourth}" for third in range(1, 5) for fourth in range(1, 251))
"""Where the server answers as well, on the same port; each a socket of its own, so that a client's address costs it nothing."""

# One process, so that ending it by its pid ends all of it; every path is its own, so that an installed nginx is left alone.
_CONFIG = """
daemon off; master_process off; user root;
pid {place}/nginx.pid; error_log {place}/error.log crit;
events {{ worker_connections 10240; }}
http {{
    access_log off;
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    keepalive_requests 1000000000; keepalive_timeout 1h;
    split_clients $connection $pod {{ 25% web-1; 25% web-2; 25% web-3; * web-4; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {listens}
        location / {{ add_header X-Pod-Name $pod; default_type text/plain; return 200 "ok\\n"; }}
    }}
    server {{
        listen 127.0.0.1:{http2} http2 backlog=4096;
        {http2_listens}
        default_type text/plain;
        location / {{ add_header X-Pod-Name $pod; return 200 "ok\\n"; }}
        location = {body} {{ return 200 "$pod\\n"; }}
    }}
}}
"""
BODY = "/body"
"""Where the pod's name is in the body, over HTTP/2."""


class Kind(Enum):
    """Who answers, named by the program that must be installed for it."""

    NGINX = "nginx"
    NGHTTPD = "nghttpd"
    GRPC_GO = "go"


class Ports(NamedTuple):
    """Where on 127.0.0.1 each listens, once it is started."""

    nginx: int
    nginx_http2: int
    """Both on `ADDRESSES` too."""
    nghttpd: int
    grpc_go: int

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nobody listens on."""
        with ExitStack() as held:
            return cls(*(held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in cls._fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server, and how hard it works."""

    pid: int

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used so far, in steps of the kernel's tick."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        # Without the first two fields, utime and stime are the 12th and 13th (proc(5)).
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Servers:
    """Each is started for the first race that wants it, and runs until all are ended."""

    def __init__(self, core: int, ports: Ports) -> None:
        self._core, self._ports = core, ports
        self._running: dict[Kind, Server] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, kind: Kind) -> Server:
        """
        Raises:
            NotMeasured: it did not begin to answer.
        """
        if kind not in self._running:
            self._running[kind] = self._stack.enter_context(_MAKERS[kind](self._core, self._ports))
        return self._running[kind]

    def cpu_s(self) -> float:
        """What all of them have used."""
        return sum(server.cpu_s() for server in self._running.values())


@contextmanager
def _nginx(core: int, ports: Ports) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="kbalance-bench-") as place:
        listens = " ".join(f"listen {address}:{ports.nginx};" for address in ADDRESSES)
        config = Path(place, "nginx.conf")
        http2 = " ".join(f"listen {address}:{ports.nginx_http2} http2;" for address in ADDRESSES)
        own = {"port": ports.nginx, "listens": listens, "http2": ports.nginx_http2, "http2_listens": http2}
        config.write_text(_CONFIG.format(place=place, body=BODY, **own), encoding="ascii")
        command = [_path("nginx"), "-p", place, "-c", str(config), "-e", f"{place}/error.log"]
        with _running(command, core, lambda: _pod_answers(ports.nginx)) as server:
            yield server


@contextmanager
def _nghttpd(core: int, ports: Ports) -> Iterator[Server]:
    """Its body is the first pod's name; of headers it has its own only."""
    with tempfile.TemporaryDirectory(prefix="kbalance-bench-") as site:
        Path(site, "index.html").write_text(PODS[0], encoding="ascii")
        command = [_path("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-d", site, "-n", "1", str(ports.nghttpd)]
        with _running(command, core, lambda: _listens(ports.nghttpd)) as server:
            yield server


@contextmanager
def _grpc_go(core: int, ports: Ports) -> Iterator[Server]:
    command = [str(golang.grpc_server()), f"127.0.0.1:{ports.grpc_go}"]
    with _running(command, core, lambda: _listens(ports.grpc_go)) as server:
        yield server


_MAKERS: dict[Kind, Callable[[int, Ports], AbstractContextManager[Server]]] = {
    Kind.NGINX: _nginx,
    Kind.NGHTTPD: _nghttpd,
    Kind.GRPC_GO: _grpc_go,
}


@contextmanager
def _running(command: list[str], core: int, ready: Callable[[], bool]) -> Iterator[Server]:
    pinned, silent = ["taskset", "-c", str(core), *command], subprocess.DEVNULL
    # Its input stays open: the server of gRPC leaves when that ends, should this process be killed.
    with subprocess.Popen(pinned, stdin=subprocess.PIPE, stdout=silent, stderr=silent) as server:
        try:
            until = monotonic() + READY_WITHIN_S
            while not ready():
                if monotonic() > until or server.poll() is not None:
                    raise NotMeasured(f"{Path(command[0]).name} did not begin to answer")
                sleep(0.02)
            yield Server(pid=server.pid)
        finally:
            server.terminate()


def _path(program: str) -> str:
    # Debian keeps these where only root's PATH leads.
    return shutil.which(program) or f"/usr/sbin/{program}"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _pod_answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/")
        return connection.getresponse().getheader("X-Pod-Name") in PODS
    except OSError:
        return False
    finally:
        connection.close()
