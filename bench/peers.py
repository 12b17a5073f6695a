"""The load generators that kbalance is compared with, each take checked: a fast error is no answer."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bench import golang
from bench.errors import NotMeasured
from bench.process import output_of, timed

PACKAGES = {
    "wrk": "wrk",
    "hey": "hey",
    "h2load": "nghttp2-client",
    "nginx": "nginx",
    "nghttpd": "nghttp2-server",
    "go": "golang",
    "taskset": "util-linux",
}
"""Program to the Debian package that brings it."""


def missing(programs: Iterable[str]) -> str | None:
    """One sentence on what to install for these; ``None`` when all is there."""
    absent = sorted({PACKAGES[program] for program in programs if not shutil.which(program, path=_path())})
    return f"The benchmark needs more programs: apt-get install {' '.join(absent)}" if absent else None


def wrk(url: str, *, connections: int, seconds: int, close: bool = False) -> float:
    """Requests per second of wrk with one thread."""
    header = ["-H", "Connection: close"] if close else []
    out = output_of(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *header, url])
    trouble = re.search(r"Socket errors.*|Non-2xx.*", out)
    # wrk counts a server's close as a read error when it comes apart from the answer; with ``close`` that is what was asked for.
    if trouble and not close:
        raise NotMeasured(f"wrk: {trouble[0]}")
    return _number(r"Requests/sec:\s+([\d.]+)", out, "wrk")


def hey(url: str, *, connections: int, seconds: int, close: bool = False) -> float:
    """Requests per second of hey."""
    fresh = ["-disable-keepalive"] if close else []
    return _hey_rate(output_of(["hey", "-z", f"{seconds}s", "-c", str(connections), *fresh, url]))


def hey_process(url: str, *, connections: int, requests: int) -> float:
    """Milliseconds from the start of the program to its end."""
    out, took_ms = timed(["hey", "-n", str(requests), "-c", str(connections), url])
    _hey_rate(out)
    if _number(r"\[200\]\s+(\d+) responses", out, "hey") != requests:
        raise NotMeasured("hey: not all requests were answered")
    return took_ms


def h2load(url: str, *, connections: int, streams: int, seconds: float) -> float:
    """Requests per second of h2load with one thread."""
    return _h2load([url], connections, streams, ["-D", f"{seconds * 1000:.0f}ms"])


def h2load_grpc(url: str, *, connections: int, streams: int, seconds: float) -> float:
    """The same with an empty message, and whatever status gRPC answers: that is in trailers, which h2load does not read."""
    with _file(bytes(5)) as message:
        asked = ["-d", message, "-H", "te: trailers", "-H", "content-type: application/grpc", url]
        return _h2load(asked, connections, streams, ["-D", f"{seconds * 1000:.0f}ms"])


def h2load_fresh(url: str, *, connections: int, runs: int) -> float:
    """Connections per second of h2load, each for one request, so many under way at once.

    h2load opens its connections once and none again: each run is a process of its own, and the time is what it says itself.
    """
    return connections * runs / sum(_h2load_s(url, connections) for _ in range(runs))


def _h2load_s(url: str, connections: int) -> float:
    out = output_of(["h2load", "-n", str(connections), "-c", str(connections), "-m1", url])
    _h2load_answered(out)
    took = re.search(r"finished in ([\d.]+)(us|ms|s),", out)
    if took is None:
        raise NotMeasured("h2load: it does not say how long it took")
    return float(took[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[took[2]]


def _h2load(asked: list[str], connections: int, streams: int, length: list[str]) -> float:
    out = output_of(["h2load", "-t1", "-c", str(connections), "-m", str(streams), *length, *asked])
    _h2load_answered(out)
    return _number(r"finished in [^,]*, ([\d.]+) req/s", out, "h2load")


def _h2load_answered(out: str) -> None:
    failed = _number(r"(\d+) failed", out, "h2load") + _number(r"(\d+) errored", out, "h2load")
    others = re.search(r"status codes: [1-9]\d* 2xx, 0 3xx, 0 4xx, 0 5xx", out) is None
    if failed or others:
        raise NotMeasured(f"h2load: {' '.join(re.findall('(?:requests|status codes): .*', out))}")


_PROTO = """syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse { int32 status = 1; }
service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }
"""


def ghz(port: int, *, connections: int, calls: int, seconds: float) -> float:
    """Calls per second of ghz, with so many under way."""
    with _file(_PROTO.encode(), ".proto") as proto:
        out = output_of(
            [
                *(str(golang.ghz()), "--insecure", "--proto", proto, "--call", "grpc.health.v1.Health.Check", "-O", "json"),
                *("-c", str(calls), "--connections", str(connections), "-z", f"{seconds:g}s", "--duration-stop", "wait"),
                f"127.0.0.1:{port}",
            ]
        )
    told = json.loads(out)
    if list(told["statusCodeDistribution"]) != ["OK"]:
        raise NotMeasured(f"ghz: {told['statusCodeDistribution']}")
    return float(told["rps"])


@contextmanager
def _file(content: bytes, ending: str = "") -> Iterator[str]:
    with tempfile.NamedTemporaryFile(prefix="kbalance-bench-", suffix=ending) as file:
        file.write(content)
        file.flush()
        yield file.name


def _hey_rate(out: str) -> float:
    statuses = re.findall(r"\[(\d+)\]\s+\d+ responses", out)
    if statuses != ["200"]:
        raise NotMeasured(f"hey: statuses {', '.join(statuses) or 'none'}")
    return _number(r"Requests/sec:\s+([\d.]+)", out, "hey")


def _number(pattern: str, out: str, who: str) -> float:
    match = re.search(pattern, out)
    if match is None:
        raise NotMeasured(f"{who}: its output has no {pattern!r}")
    return float(match[1])


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
