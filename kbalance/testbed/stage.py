"""A scenario set up in this process: pods, what stands in front of them, and the API that describes them."""

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kbalance.model.target import Address
from kbalance.testbed import objects, resources
from kbalance.testbed.choosers import chooser
from kbalance.testbed.controlplane import ControlPlane
from kbalance.testbed.jobfaults import JobFault
from kbalance.testbed.kubeapi import ApiServer
from kbalance.testbed.l4 import Balancer, Member
from kbalance.testbed.l7 import Proxy
from kbalance.testbed.objects import PodRecord
from kbalance.testbed.outages import Outage, WatchEnd
from kbalance.testbed.permissions import Rule
from kbalance.testbed.pods import Pod
from kbalance.testbed.scenario import Fault, Front, PodSpec, Scenario
from kbalance.testbed.store import Store

PROXIED_IP = "127.96.0.11"
"""Where the balancer behind a proxy listens."""

MAX_PODS = 254
"""Pods have addresses of their own in 127.0.1.0/24."""


class Stage:
    """All of a scenario; its methods act at once."""

    def __init__(self, scenario: Scenario) -> None:
        """Needs a running event loop."""
        self.scenario = scenario
        self.pods: list[Pod] = []
        """Every pod that ever was; one that was scaled down keeps serving the connections it has."""
        self._active = 0
        self._accepted = 0
        self._created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._proxy = None if scenario.front is Front.L4 else Proxy(accepted=self._on_accept)
        self._balancer = None if scenario.front is Front.L7 else self._make_balancer()
        self._store = Store()
        self._described: Mapping[resources.Resource, Sequence[objects.Object]] = {}
        self._plane = ControlPlane(self._store)
        self._api = ApiServer(self._plane)
        self._plane.kubelet.variables = self._container_variables()
        self.scale(len(scenario.pods))

    def _make_balancer(self) -> Balancer:
        scenario = self.scenario
        choose = chooser(scenario.chooser, random.Random(scenario.seed), scenario.weights)
        if self._proxy is None:
            return Balancer(choose, affinity_s=scenario.affinity_s, accepted=self._on_accept)
        balancer = Balancer(choose, ip=PROXIED_IP, affinity_s=scenario.affinity_s)
        self._proxy.set_members([Member("service", balancer.address)])
        return balancer

    @property
    def service(self) -> Address:
        """The Service address."""
        front = self._proxy or self._balancer
        assert front is not None
        return front.address

    @property
    def api(self) -> Address:
        return self._api.address

    @property
    def active(self) -> tuple[Pod, ...]:
        """The pods that are endpoints of the Service."""
        return tuple(self.pods[: self._active])

    def scale(self, pods: int) -> None:
        """Have so many endpoints; the newest pods go first.

        Raises:
            ValueError: when that is more than `MAX_PODS`.
        """
        if pods > MAX_PODS:
            raise ValueError(f"{pods} pods are more than there are addresses for ({MAX_PODS})")
        while len(self.pods) < pods:
            self.pods.append(self._make_pod(len(self.pods)))
        self._active = pods
        members = [Member(pod.name, pod.address) for pod in self.active if pod.spec.ready]
        if self._balancer is not None:
            self._balancer.set_members(members)
        elif self._proxy is not None:
            self._proxy.set_members(members)
        described = self._objects()
        for resource, some in described.items():
            self._store.replace(resource, some, self._described.get(resource, ()))
        self._described = described
        self._store.commit()

    def _container_variables(self) -> dict[str, str]:
        """As in every container; nothing else of this process's environment."""
        where = {"KUBERNETES_SERVICE_HOST": self.api.ip, "KUBERNETES_SERVICE_PORT": str(self.api.port)}
        return {"PATH": os.environ.get("PATH", os.defpath), **where}

    def _make_pod(self, index: int) -> Pod:
        specs = self.scenario.pods
        healthy = replace(specs[0], fault=Fault.NONE, ready=True) if specs else PodSpec()
        port = self.pods[0].address.port if self.pods else 0
        return Pod(objects.pod_name(index + 1), index + 1, specs[index] if index < len(specs) else healthy, port)

    def _objects(self) -> Mapping[resources.Resource, Sequence[objects.Object]]:
        catalogue = objects.Catalogue(
            created=self._created,
            version=self._store.version + 1,
            port_name=self.scenario.port_name,
            app_protocol=self.scenario.app_protocol,
        )
        records = [
            PodRecord(name=pod.name, address=pod.address, node=node, zone=zone, ready=pod.spec.ready)
            for index, pod in enumerate(self.active)
            for node, zone in [objects.NODES[index % len(objects.NODES)]]
        ]
        return {
            resources.SERVICES: [catalogue.service(self.service, self.scenario.affinity_s)],
            resources.PODS: [catalogue.pod(record) for record in sorted(records, key=lambda record: record.name)],
            resources.NODES: [catalogue.node(*node) for node in objects.NODES],
            resources.NAMESPACES: [catalogue.namespace()],
            resources.ENDPOINT_SLICES: catalogue.endpoint_slices(records),
        }

    def _on_accept(self) -> None:
        self._accepted += 1
        plan = self.scenario.scale_out
        if plan is None:
            return
        if self._accepted == plan.after_connections:
            self.scale(plan.pods)
        if self._accepted == 1 and plan.after_s is not None:
            asyncio.get_running_loop().call_later(plan.after_s, self.scale, plan.pods)

    def set_fault(self, name: str, fault: Fault, delay_ms: int | None = None) -> None:
        """Change what is wrong with a pod.

        Raises:
            KeyError: when there is no such pod.
        """
        {pod.name: pod for pod in self.pods}[name].set_fault(fault, delay_ms)

    def set_job_fault(self, fault: str | None) -> None:
        """Change what is wrong with the Jobs that are created from now on.

        Raises:
            ValueError: when there is no such fault.
        """
        self._plane.set_fault(None if fault is None else JobFault(fault))

    def deny(self, verb: str, resource: str) -> None:
        """Take a verb on a resource away from the API's user."""
        self._plane.permissions.deny(verb, resource)

    def allow_only(self, rules: Sequence[Rule]) -> None:
        """Have the API's user do what these rules say and nothing else."""
        self._plane.permissions.allow_only(rules)

    def expire_lists(self) -> None:
        """Lists that were begun before now cannot be continued."""
        self._store.compacted = self._store.version

    def set_outage(self, outage: Outage) -> None:
        """Have the API be away, silent, or back."""
        self._api.set_outage(outage)

    def bookmark(self) -> None:
        """Have every watch that wants bookmarks send one."""
        self._plane.watches.bookmark()

    def end_watches(self, how: WatchEnd) -> int:
        """End every watch; how many there were."""
        return self._plane.watches.end(how)

    def put(self, plural: str, found: objects.Object) -> None:
        """Have this object in the API, whole, in the place of what has its name there; who made that is not asked."""
        self._plane.put(resources.named(plural), found)

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Have an object be gone from the API.

        Raises:
            KeyError: when there is none.
        """
        resource = resources.named(plural)
        known = self._store.get(resource, namespace, name)
        if known is None:
            raise KeyError(name)
        self._store.remove(resource, known)

    def picks(self) -> Mapping[str, int]:
        """Pods to what they were picked for: connections, or requests where a proxy picks them."""
        front = self._balancer or self._proxy
        assert front is not None
        return {pod.name: front.picks[pod.name] for pod in self.pods}

    def answered(self) -> Mapping[str, int]:
        """Pods to the requests that they answered completely."""
        return {pod.name: pod.answered for pod in self.pods}

    def close(self) -> None:
        """Stop everything."""
        self._plane.close()
        for part in (self._proxy, self._balancer, self._api, *self.pods):
            if part is not None:
                part.close()
