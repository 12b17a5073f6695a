"""Runs the installed command as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kbalance.testbed.cluster import Cluster

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a finished command left behind."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        """The JSON report on stdout."""
        assert self.out, self.err
        return json.loads(self.out)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "kbalance", *arguments]


def environment(**extra: str) -> dict[str, str]:
    """Without what would change the output here and there."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


def kbalance(*arguments: str, **extra: str) -> Ended:
    """Runs to the end."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=TIMEOUT_S, env=environment(**extra), stdin=subprocess.DEVNULL
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


def endpoint_options(cluster: Cluster) -> list[str]:
    """The endpoints of an embedded cluster as a user would name them."""
    from kbalance.kube.convert import facts

    named = [f"{e.name}={e.address}" for e in facts(*cluster.objects()).endpoints]
    return [part for name in named for part in ("--endpoint", name)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three healthy pods behind an L4 balancer."""
    with Cluster.start("default") as started:
        yield started
