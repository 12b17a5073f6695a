"""Clusters for the kernel tests; a machine that cannot make one skips them, except in CI, where they must run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.needs import needs_kernel

from .cluster import Cluster, Mode, cluster


@pytest.fixture
def kernel() -> Iterator[Callable[[Mode, int], Cluster]]:
    """Makes a cluster of a mode and a number of pods, in a namespace of its own."""
    needs_kernel()
    with ExitStack() as stack:
        yield lambda mode, pods: stack.enter_context(cluster(mode, pods))


@pytest.fixture
def anew(kernel: Callable[[Mode, int], Cluster], mode: Mode, pods: int) -> Cluster:
    """The cluster of a test that is parametrised by `mode` and `pods`."""
    return kernel(mode, pods)
