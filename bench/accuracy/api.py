"""A Kubernetes API inside a namespace that tells of the namespace's own pods: kbalance's embedded one, with these objects.

``python -m bench.accuracy.api`` serves the objects that it reads, one JSON line for each new state, until its input ends.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kbalance.model.target import Address
from kbalance.testbed import objects, resources
from kbalance.testbed.cluster import KUBECONFIG
from kbalance.testbed.controlplane import ControlPlane
from kbalance.testbed.kubeapi import ApiServer
from kbalance.testbed.objects import Catalogue, Object, PodRecord
from kbalance.testbed.scenario import NAMESPACE, SERVICE
from kbalance.testbed.store import Store
from tests.kernel.netns import Namespace, pipe
from tests.kernel.probe import environment

NODES = (("node-1", "zone-a"), ("node-2", "zone-b"))
"""Name and zone; pods are placed on them in turn, and probes start on the first."""

CREATED = "2026-01-05T08:00:00Z"
"""Long before any run."""

VERSION = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTold:
    """What the API tells of one pod and of the endpoint that it is."""

    name: str
    address: Address
    node: str
    zone: str
    ready: bool = True
    hints: tuple[str, ...] = ()
    """Zones."""
    owner: str = objects.REPLICA_SET
    """Name of the ReplicaSet."""
    version: str | None = None
    """Value of the label ``app.kubernetes.io/version``."""
    created: str = CREATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the API tells of the Service and of everybody behind it, whatever the dataplane does."""

    address: Address
    pods: tuple[PodTold, ...]
    affinity_s: int | None = None
    spec: Mapping[str, object] = field(default_factory=dict)
    """Fields of the Service's spec that are not as usual."""
    app_protocol: str | None = None

    def each(self, **changes: object) -> "Told":
        """The same with these changes to every pod."""
        return replace(self, pods=tuple(replace(pod, **changes) for pod in self.pods))  # type: ignore[arg-type]

    def only(self, names: Sequence[str], **changes: object) -> "Told":
        """The same with these changes to the pods of these names."""
        changed = (replace(pod, **changes) if pod.name in names else pod for pod in self.pods)  # type: ignore[arg-type]
        return replace(self, pods=tuple(changed))

    def without(self, *names: str) -> "Told":
        """The same, as if these pods had never been."""
        return replace(self, pods=tuple(pod for pod in self.pods if pod.name not in names))


def told(address: Address, pods: Mapping[str, Address]) -> Told:
    """All pods ready, on the nodes in turn."""
    places = [(name, place, *NODES[i % len(NODES)]) for i, (name, place) in enumerate(pods.items())]
    return Told(
        address=address,
        pods=tuple(PodTold(name=name, address=place, node=node, zone=zone) for name, place, node, zone in places),
    )


def described(known: Told) -> dict[str, list[Object]]:
    """The API's objects, by the plural of their kind."""
    catalogue = Catalogue(created=CREATED, version=VERSION)
    return {
        "services": [_service(catalogue, known)],
        "endpointslices": _slices(catalogue, known),
        "pods": [_pod(pod) for pod in known.pods],
        "nodes": [catalogue.node(name, zone) for name, zone in NODES],
        "namespaces": [catalogue.namespace()],
    }


def _service(catalogue: Catalogue, known: Told) -> Object:
    service = catalogue.service(known.address, known.affinity_s)
    service["spec"] |= known.spec
    if known.app_protocol is not None:
        service["spec"]["ports"][0]["appProtocol"] = known.app_protocol
    return service


def _slices(catalogue: Catalogue, known: Told) -> list[Object]:
    slices = catalogue.endpoint_slices([_record(pod) for pod in known.pods])
    hints = {pod.name: [{"name": zone} for zone in pod.hints] for pod in known.pods if pod.hints}
    for endpoint in (one for made in slices for one in made["endpoints"] or ()):
        if zones := hints.get(endpoint["targetRef"]["name"]):
            endpoint["hints"] = {"forZones": zones}
    return slices


def _record(pod: PodTold) -> PodRecord:
    return PodRecord(name=pod.name, address=pod.address, node=pod.node, zone=pod.zone, ready=pod.ready)


def _pod(pod: PodTold) -> Object:
    made = Catalogue(created=pod.created, version=VERSION).pod(_record(pod))
    made["metadata"]["ownerReferences"][0]["name"] = pod.owner
    if pod.version is not None:
        made["metadata"]["labels"] = {**made["metadata"]["labels"], "app.kubernetes.io/version": pod.version}
    return made


class Api:
    """The API's process, told what to tell."""

    def __init__(self, process: "subprocess.Popen[str]", kubeconfig: Path) -> None:
        self._process = process
        self.kubeconfig = kubeconfig

    @property
    def arguments(self) -> list[str]:
        """Of a probe that reads its facts here."""
        return ["--kubeconfig", str(self.kubeconfig), "--vantage", "local"]

    def tell(self, known: Told) -> None:
        """From now on it tells this."""
        print(json.dumps(described(known)), file=pipe(self._process.stdin), flush=True)
        assert pipe(self._process.stdout).readline() == "done\n", "the API inside the namespace ended"


@contextmanager
def api(ns: Namespace, known: Told) -> Iterator[Api]:
    """The API in the namespace, and a kubeconfig file that leads to it."""
    argv = [sys.executable, "-m", "bench.accuracy.api"]
    with (
        tempfile.TemporaryDirectory() as folder,
        ns.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process,
    ):
        server = pipe(process.stdout).readline().strip()
        kubeconfig = Path(folder, "kubeconfig")
        kubeconfig.write_text(KUBECONFIG.format(server=server, namespace=NAMESPACE))
        made = Api(process, kubeconfig)
        made.tell(known)
        yield made
        pipe(process.stdin).close()


async def _serve() -> None:
    """Speaks only once it listens, and answers each state once it holds."""
    store = Store(version=VERSION)
    plane = ControlPlane(store)
    server = ApiServer(plane)
    print(f"http://{server.address}", flush=True)
    kinds = {resource.plural: resource for resource in resources.RESOURCES}
    before: dict[str, list[Object]] = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        now: dict[str, Any] = json.loads(line)
        for plural, made in now.items():
            store.replace(kinds[plural], made, before.get(plural, ()))
        store.commit()
        before = now
        print("done", flush=True)
    server.close()
    plane.close()


__all__ = ["NODES", "SERVICE", "Api", "PodTold", "Told", "api", "described", "told"]

if __name__ == "__main__":
    asyncio.run(_serve())
