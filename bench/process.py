"""Child processes: bounded in time, and their complaints in one line."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from bench.errors import NotMeasured

ROOT = Path(__file__).resolve().parent.parent
LONGEST_S = 180.0
# Without compiled modules Python compiles kbalance anew at every start, which no installed program does.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def output_of(command: Sequence[str], *, codes: tuple[int, ...] = (0,)) -> str:
    """What a command printed.

    Raises:
        NotMeasured: it is missing, took too long, or left with another exit code than these.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, cwd=ROOT, env=_ENVIRONMENT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMeasured(f"{Path(command[0]).name}: {error}") from error
    # Python leaves with 1 when a program breaks, which is an answer's code too; an answer has words.
    if done.returncode not in codes or not (done.stdout or done.returncode == 0):
        last = (done.stderr.strip() or done.stdout.strip() or "no word why").splitlines()[-1]
        raise NotMeasured(f"{Path(command[0]).name} left with {done.returncode}: {last}")
    return done.stdout


def timed(command: Sequence[str], *, codes: tuple[int, ...] = (0,)) -> tuple[str, float]:
    """What a command printed, and how long it took from start to end in milliseconds."""
    began = perf_counter()
    out = output_of(command, codes=codes)
    return out, (perf_counter() - began) * 1000
