"""The arrangements, a file for each kind; `EVERY` is all of them, in the order in which they are run."""

from bench.accuracy.rows import choosers, clients, envoys, faults, haproxies, kube_proxy, mixtures
from bench.accuracy.trial import Arrangement

EVERY: tuple[Arrangement, ...] = (
    *kube_proxy.ROWS,
    *choosers.ROWS,
    *faults.ROWS,
    *clients.ROWS,
    *haproxies.ROWS,
    *envoys.ROWS,
    *mixtures.ROWS,
)
"""In namespaces of their own, so that root is all they need."""
