"""The load generators that kbalance is compared with, each take checked: a fast error is no answer."""

import os
import re
import shutil
from collections.abc import Iterable

from bench.errors import NotMeasured
from bench.process import output_of, timed

PACKAGES = {"wrk": "wrk", "hey": "hey", "nginx": "nginx", "taskset": "util-linux"}
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
