"""The server that everybody talks to: one nginx worker on a core of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep

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
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the running server is, and how hard it works."""

    port: int
    """On 127.0.0.1 and `ADDRESSES`."""
    pid: int

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used so far, in steps of the kernel's tick."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        # Without the first two fields, utime and stime are the 12th and 13th (proc(5)).
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def nginx(core: int, port: int) -> Iterator[Server]:
    """A running nginx on this core and port.

    Raises:
        NotMeasured: it did not begin to answer.
    """
    with tempfile.TemporaryDirectory(prefix="kbalance-bench-") as place:
        listens = " ".join(f"listen {address}:{port};" for address in ADDRESSES)
        config = Path(place, "nginx.conf")
        config.write_text(_CONFIG.format(place=place, port=port, listens=listens), encoding="ascii")
        command = ["taskset", "-c", str(core), _nginx(), "-p", place, "-c", str(config), "-e", f"{place}/error.log"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(server, port)
            yield Server(port=port, pid=server.pid)
        finally:
            server.terminate()
            server.wait(READY_WITHIN_S)


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _nginx() -> str:
    # Debian keeps it where only root's PATH leads.
    return shutil.which("nginx") or "/usr/sbin/nginx"


def _await(server: "subprocess.Popen[bytes]", port: int) -> None:
    until = monotonic() + READY_WITHIN_S
    while monotonic() < until and server.poll() is None:
        if _answers(port):
            return
        sleep(0.02)
    raise NotMeasured(f"nginx did not answer on 127.0.0.1:{port}")


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/")
        return connection.getresponse().getheader("X-Pod-Name") in PODS
    except OSError:
        return False
    finally:
        connection.close()
