"""`kbalance probe` as users run it, in the namespace of a cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .cluster import Cluster
from .netns import Namespace

_REPOSITORY = Path(__file__).parents[2]

QUICK = ("--rate", "2000", "--alpha", "1e-7", "--max-connections", "10000", "--seed", "1")
"""Faster than is polite to strangers' pods, and a false alarm in one of ten million runs: the kernel's dice have no seed."""


class Result(NamedTuple):
    """What a finished probe left."""

    code: int
    report: dict[str, Any]
    """The JSON report; empty when none was written."""
    stderr: str

    def profile(self, name: str) -> dict[str, Any]:
        """One profile of the report."""
        (found,) = (p for p in self.report["profiles"] if p["profile"] == name)
        return dict(found)

    def loads(self, profile: str, field: str) -> dict[str, Any]:
        """A field of every endpoint's load in a profile, by the endpoint's name."""
        return {load["name"]: load[field] for load in self.profile(profile)["endpoints"]}

    def says(self) -> str:
        """The verdict and what it stands on, for a failed assertion."""
        rows = [f"{p['profile']}: {[(e['name'], e['requests']) for e in p['endpoints']]}" for p in self.report["profiles"]]
        return "\n".join([f"exit code {self.code}", *rows, json.dumps(self.report["diagnosis"], indent=1)])

    @property
    def cause(self) -> str:
        return str(self.report["diagnosis"]["cause"])

    @property
    def causes(self) -> set[str]:
        """Of all findings."""
        return {finding["cause"] for finding in self.report["diagnosis"]["findings"]}


def command(*args: str) -> list[str]:
    """The command line of a probe with a JSON report."""
    return [sys.executable, "-m", "kbalance", "probe", *args, "-o", "json"]


def environment() -> dict[str, str]:
    """This process's, with this working tree's kbalance first."""
    return {**os.environ, "PYTHONPATH": str(_REPOSITORY)}


def result(done: "subprocess.CompletedProcess[str]") -> Result:
    """The report out of what a finished probe printed."""
    return Result(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)


def probe(ns: Namespace, *args: str) -> Result:
    """A finished probe in the namespace, whatever its exit code."""
    return result(ns.run(command(*args), env=environment()))


def target(cluster: Cluster) -> list[str]:
    """The Service's URL and every pod, as arguments of a probe."""
    return [f"http://{cluster.address}/hostname", *cluster.endpoint_options]


def probe_service(cluster: Cluster, *args: str) -> Result:
    """A finished, quick probe of the Service that knows all pods; it must have written a report."""
    done = probe(cluster.ns, *target(cluster), *QUICK, *args)
    assert done.report, f"exit code {done.code}\n{done.stderr}"
    return done
