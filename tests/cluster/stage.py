"""A namespace with a Service, what can be done to it, and how long to wait until kube-proxy has followed."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any
from uuid import uuid4

from tests.cluster.kube import Cluster
from tests.cluster.workloads import Object, stand

HERE, THERE = "kb-node1", "kb-node2"
LONGEST_S = 60.0
SYNC_S = 1.2
"""kube-proxy gathers changes for a second before it writes rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A namespace with a Service ``web``."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(*arguments, "-n", self.namespace)

    def scale(self, deployment: str, replicas: int) -> None:
        self.kubectl("scale", f"deployment/{deployment}", f"--replicas={replicas}")
        self.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=60s")

    def pods(self) -> list[Any]:
        """The Pods behind the Service, oldest first."""
        found: list[Any] = self.cluster.get("pods", "-n", self.namespace, "-l", "app=web")["items"]
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def begin(self, deployment: Object) -> None:
        """Deploys Pods that run and may never be ready."""
        self.cluster.apply(self.namespace, deployment)
        name, replicas = deployment["metadata"]["name"], deployment["spec"]["replicas"]
        made = f"--for=jsonpath={{.status.unavailableReplicas}}={replicas}"
        self.kubectl("wait", f"deployment/{name}", made, "--timeout=60s")
        running = "--for=jsonpath={.status.phase}=Running"
        self.kubectl("wait", "pods", "-l", f"deployment={name}", running, "--timeout=60s")

    def roll(self) -> None:
        """Replaces every Pod of the Deployment ``web``, one after the other."""
        self.kubectl("rollout", "restart", "deployment/web")
        self.kubectl("rollout", "status", "deployment/web", "--timeout=60s")

    def grow_old(self, age_s: float) -> None:
        """Waits until the oldest Pod is that old."""
        made = datetime.fromisoformat(self.pods()[0]["metadata"]["creationTimestamp"])
        Event().wait(max(0.0, age_s - (datetime.now(UTC) - made).total_seconds()))

    def settle(self) -> None:
        """Waits until no Pod starts or ends, and the nodes' rules have followed the EndpointSlices."""
        pause, seen = Event(), self._state()
        for _ in range(int(LONGEST_S / SYNC_S)):
            pause.wait(SYNC_S)
            before, seen = seen, self._state()
            if seen == before and "leaving" not in seen:
                return
        raise AssertionError(f"{self.namespace} is not quiet after {LONGEST_S:.0f} s")

    def _state(self) -> tuple[str, ...]:
        """Everything that decides where traffic goes, as far as it may still change."""
        slices = self.cluster.get("endpointslices", "-n", self.namespace)["items"]
        listed = [e for one in slices for e in one["endpoints"] or ()]
        leaving = any(pod["metadata"].get("deletionTimestamp") for pod in self.pods()) or any(
            e["conditions"].get("terminating") for e in listed
        )
        facts = sorted(f"{e['addresses']} {e['conditions']} {e.get('hints')}" for e in listed)
        rules = [rule for node in (HERE, THERE) for rule in self.rules(node)] if self.cluster.namespaces else []
        return (*facts, *rules, *(["leaving"] if leaving else []))

    def rules(self, node: str) -> list[str]:
        """What kube-proxy wrote on a node for this namespace, without counters."""
        saved = subprocess.run(["ip", "netns", "exec", node, "iptables-save"], capture_output=True, text=True, check=True)
        return re.findall(rf'^-A .*"{self.namespace}/.*$', saved.stdout, re.MULTILINE)


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
