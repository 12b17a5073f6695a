"""A namespace with a Service, what can be done to it, and how long to wait until kube-proxy has followed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any
from uuid import uuid4

from tests.cluster.kube import Cluster
from tests.cluster.workloads import NODES, Object, followed, stand

HERE, THERE = NODES
LONGEST_S = 120.0
PAUSE_S = 1.2
"""Between two looks; where both see the same, nothing is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A namespace with a Service ``web``."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(*arguments, "-n", self.namespace)

    def scale(self, deployment: str, replicas: int) -> None:
        self.kubectl("scale", f"deployment/{deployment}", f"--replicas={replicas}")
        self.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=120s")

    def pods(self) -> list[Any]:
        """The Pods behind the Service, oldest first."""
        found: list[Any] = self.cluster.get("pods", "-n", self.namespace, "-l", "app=web")["items"]
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def begin(self, deployment: Object) -> None:
        """Deploys Pods that run and may never be ready."""
        self.cluster.apply(self.namespace, deployment)
        name, replicas = deployment["metadata"]["name"], deployment["spec"]["replicas"]
        made = f"--for=jsonpath={{.status.unavailableReplicas}}={replicas}"
        self.kubectl("wait", f"deployment/{name}", made, "--timeout=120s")
        running = "--for=jsonpath={.status.phase}=Running"
        self.kubectl("wait", "pods", "-l", f"deployment={name}", running, "--timeout=120s")

    def roll(self) -> None:
        """Replaces every Pod of the Deployment ``web``, one after the other."""
        self.kubectl("rollout", "restart", "deployment/web")
        self.kubectl("rollout", "status", "deployment/web", "--timeout=120s")

    def grow_old(self, age_s: float) -> None:
        """Waits until the oldest Pod is that old."""
        made = datetime.fromisoformat(self.pods()[0]["metadata"]["creationTimestamp"])
        Event().wait(max(0.0, age_s - (datetime.now(UTC) - made).total_seconds()))

    def settle(self) -> None:
        """Waits until no Pod starts or ends, and EndpointSlices and the nodes' rules have followed."""
        pause, seen = Event(), self._state()
        for _ in range(int(LONGEST_S / PAUSE_S)):
            pause.wait(PAUSE_S)
            before, seen = seen, self._state()
            if seen == before and "leaving" not in seen:
                return followed(self.cluster, self.namespace)
        raise AssertionError(f"{self.namespace} is not quiet after {LONGEST_S:.0f} s")

    def _state(self) -> tuple[str, ...]:
        """Everything that decides where traffic goes, as far as it may still change."""
        slices = self.cluster.get("endpointslices", "-n", self.namespace)["items"]
        listed = [e for one in slices for e in one["endpoints"] or ()]
        leaving = any(pod["metadata"].get("deletionTimestamp") for pod in self.pods()) or any(
            e["conditions"].get("terminating") for e in listed
        )
        facts = sorted(f"{e['addresses']} {e['conditions']} {e.get('hints')}" for e in listed)
        return (*facts, *(["leaving"] if leaving else []))


@contextmanager
def staged(cluster: Cluster, *objects: Object) -> Iterator[Stage]:
    """A namespace with these objects, and away with it."""
    stage = Stage(cluster=cluster, namespace=f"kb-{uuid4().hex[:8]}")
    cluster.kubectl("create", "namespace", stage.namespace)
    try:
        stand(cluster, stage.namespace, *objects)
        yield stage
    finally:
        # The grace of a second is over before the next one stands, and nothing waits for the rest.
        cluster.kubectl("delete", "namespace", "--wait=false", stage.namespace)
