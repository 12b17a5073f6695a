"""kbalance as a contender: each take in a fresh process."""

import json
import sys
from pathlib import Path

from bench.errors import NotMeasured
from bench.process import output_of, timed

_FINDINGS = (0, 1)
"""Exit codes of a measurement that was made."""


def child(what: str, port: int, *, connections: int, amount: float) -> float:
    """One number from `bench.child`."""
    return float(output_of([sys.executable, "-m", "bench.child", what, str(port), str(connections), str(amount)]))


def probe(url: str, *, connections: int, requests: int) -> float:
    """Milliseconds from the start of ``kbalance probe`` to its end."""
    out, took_ms = timed(
        [
            *(_script(), "probe", url, "--profile", "pooled", "--identity", "header:X-Pod-Name", "-o", "json"),
            *("--connections", str(connections), "--concurrency", str(connections), "--requests", str(requests)),
            *("--rate", "0", "--max-connections", "5000"),
        ],
        codes=_FINDINGS,
    )
    answered = json.loads(out)["profiles"][0]["requests"]["answered"]
    if answered != requests:
        raise NotMeasured(f"kbalance probe: {answered} of {requests} requests were answered")
    return took_ms


def help_page() -> float:
    """Milliseconds of ``kbalance --help``."""
    out, took_ms = timed([_script(), "--help"])
    if "probe" not in out:
        raise NotMeasured("kbalance --help: no help came")
    return took_ms


def bare_python() -> float:
    """Milliseconds of a Python that does nothing."""
    return timed([sys.executable, "-c", "pass"])[1]


def _script() -> str:
    script = Path(sys.executable).with_name("kbalance")
    if not script.exists():
        raise NotMeasured(f"{script} is missing; pip install -e . makes it")
    return str(script)
