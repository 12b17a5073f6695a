"""How fast a client of the httpx library is, and that it got what it asked for."""

from dataclasses import dataclass
from time import perf_counter, process_time

import httpx

from bench.errors import NotMeasured
from bench.servers import PODS


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What one take came to."""

    per_s: float
    """Requests."""
    cpu_us: float
    """CPU time of this process for a request, in microseconds; the server's is another's."""


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._began, self._used_s = perf_counter(), process_time()

    def pace(self, answered: int) -> Pace:
        """Of so many requests until now."""
        used_s, took_s = process_time() - self._used_s, perf_counter() - self._began
        return Pace(per_s=answered / took_s, cpu_us=used_s / answered * 1e6)


def check(response: httpx.Response) -> None:
    """Raises `NotMeasured` unless this is the answer of one of the server's pods."""
    if response.status_code != 200 or response.headers["X-Pod-Name"] not in PODS:
        raise NotMeasured(f"httpx: {response!r} from {response.headers.get('X-Pod-Name')}")
