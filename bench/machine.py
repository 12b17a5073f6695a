"""Where the numbers come from."""

import os
import platform
import re
import resource
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic


def describe() -> dict[str, str]:
    """The machine and the programs, in the order in which they are printed."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": f"{_cpu()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "wrk": _version(["wrk", "-v"]),
        # hey tells its version to nobody but the package manager.
        "hey": _version(["dpkg-query", "-W", "-f", "Debian ${Version}", "hey"]),
        "h2load": _version(["h2load", "--version"]),
        "nginx": _version(["/usr/sbin/nginx", "-v"]),
    }


def cores() -> tuple[int, int]:
    """The clients' core and the server's; one and the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


class Others:
    """How much of the machine went to processes that are none of ours, since this was made."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._before_s = _used_s() - _ours_s()

    def share(self, server_cpu_s: float) -> float:
        """Of all cores together, 0..1.

        Args:
            server_cpu_s: CPU time of the server, which is ours too and still running.
        """
        theirs_s = _used_s() - _ours_s() - server_cpu_s - self._before_s
        return max(0.0, theirs_s / (monotonic() - self._began) / (os.cpu_count() or 1))


def _used_s() -> float:
    """CPU time of the whole machine but for idling (fields 4 and 5 of the line; proc(5))."""
    ticks = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _ours_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1] if model else platform.machine()


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    first = (done.stdout + done.stderr).strip().partition("\n")[0]
    return re.sub(r"^(wrk|nginx version: nginx/)|( \[.*)$", "", first).strip() or "unknown"
