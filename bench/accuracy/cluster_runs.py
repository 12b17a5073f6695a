"""The ways to probe a Service of a real cluster: from a node, from a Job, and while somebody changes something."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.errors import NotMeasured
from tests.cli.conftest import Ended
from tests.cluster.kube import Cluster
from tests.cluster.stage import HERE, Stage

QUICK = ("--rate", "500")
"""More than is polite to strangers' Pods, and still nothing to these."""

Run = Callable[[Stage, int], Any]
"""Probes the stage with a seed; gives the JSON report."""


def named_cluster() -> Cluster:
    """The cluster that the environment names; it has to be up.

    Raises:
        ClickException: none is named.
    """
    kubeconfig = os.environ.get("KBALANCE_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    if not kubeconfig:
        raise click.ClickException("no cluster is named by KBALANCE_TEST_KUBECONFIG or KUBECONFIG")
    return Cluster(kubeconfig=kubeconfig, namespaces=Path("/run/netns", HERE).exists())


def from_node(*asked: str, node: str = HERE) -> Run:
    """From a node, which is quick and knows where it is."""

    def run(stage: Stage, seed: int) -> Any:
        given = ("probe", "svc/web", "-n", stage.namespace, "-o", "json", *QUICK, *asked, "--seed", str(seed))
        return report(stage.cluster.kbalance(*given, node=node))

    return run


def from_job(*asked: str) -> Run:
    """From Pods inside the cluster, sent from the laptop."""

    def run(stage: Stage, seed: int) -> Any:
        given = ("probe", "svc/web", "-n", stage.namespace, "-o", "json", "--vantage", "job", *QUICK, *asked)
        return report(stage.cluster.kbalance(*given, "--seed", str(seed)))

    return run


def while_changing(act: Callable[[Stage], object], back: Callable[[Stage], object] = lambda stage: None) -> Run:
    """From a Job, while something is done to the cluster, which is undone when the run is over."""

    def run(stage: Stage, seed: int) -> Any:
        stage.settle()
        # Whoever left answers nothing more, and each request to it would wait for its full time.
        asked = ("--timeout", "1s", "--seed", str(seed))
        ended = stage.cluster.while_measuring(stage.namespace, lambda: act(stage), *asked)
        back(stage)
        return report(ended)

    return run


def report(ended: Ended) -> Any:
    """What a probe said.

    Raises:
        NotMeasured: it gave no report.
    """
    if not ended.out:
        raise NotMeasured(f"kbalance left with {ended.code}: {(ended.err.strip() or 'no word why').splitlines()[-1]}")
    return ended.report
