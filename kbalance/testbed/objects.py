"""The Kubernetes objects of a scenario as JSON values, in the shapes that a real API server gives them. Pure."""

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kbalance.model.target import Address
from kbalance.testbed.scenario import NAMESPACE, SERVICE

Object = dict[str, Any]

PORT_NAME = "http"
NODES = (("node-1", "zone-a"), ("node-2", "zone-b"))
"""Name and zone; pods are placed on them in turn."""
LABELS = {"app": SERVICE}
REPLICA_SET = f"{SERVICE}-6d4cf56db6"
SLICE_SIZE = 100
"""Endpoints in one EndpointSlice at most, as the EndpointSlice controller has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """What the API knows of a pod."""

    name: str
    address: Address
    node: str
    zone: str
    ready: bool = True


def pod_name(number: int) -> str:
    """The name of the n-th pod of the ReplicaSet, always the same; letters as Kubernetes draws them, none of them vowels."""
    letters = random.Random(number).choices("bcdfghjklmnpqrstvwxz2456789", k=5)
    return f"{REPLICA_SET}-{''.join(letters)}"


def uid(*names: str) -> str:
    """Always the same for the same object."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, "/".join(names)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Makes objects that share a time of creation and a version."""

    created: str
    """RFC 3339, UTC, whole seconds."""
    version: int

    def _meta(self, kind: str, name: str, namespace: str | None = NAMESPACE, **more: object) -> Object:
        where = {} if namespace is None else {"namespace": namespace}
        identity = {"uid": uid(kind, name), "resourceVersion": str(self.version), "creationTimestamp": self.created}
        return {"name": name, **where, **identity, **more}

    def namespace(self) -> Object:
        metadata = self._meta("Namespace", NAMESPACE, None, labels={"kubernetes.io/metadata.name": NAMESPACE})
        return {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}

    def service(self, address: Address, affinity_s: int | None) -> Object:
        spec: Object = {
            "type": "ClusterIP",
            "clusterIP": address.ip,
            "clusterIPs": [address.ip],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "ports": [{"name": PORT_NAME, "protocol": "TCP", "port": address.port, "targetPort": PORT_NAME}],
            "selector": LABELS,
            "sessionAffinity": "None" if affinity_s is None else "ClientIP",
        }
        if affinity_s is not None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": affinity_s}}
        metadata = self._meta("Service", SERVICE, labels=LABELS)
        return {"metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}

    def node(self, name: str, zone: str) -> Object:
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": zone}
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "conditions": [_condition("Ready", True, self.created)],
        }
        return {"metadata": self._meta("Node", name, None, labels=labels), "spec": {}, "status": status}

    def pod(self, record: PodRecord) -> Object:
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": REPLICA_SET,
            "uid": uid("ReplicaSet", REPLICA_SET),
            "controller": True,
            "blockOwnerDeletion": True,
        }
        labels = {**LABELS, "pod-template-hash": REPLICA_SET.removeprefix(f"{SERVICE}-")}
        metadata = self._meta("Pod", record.name, labels=labels, ownerReferences=[owner])
        port = {"name": PORT_NAME, "containerPort": record.address.port, "protocol": "TCP"}
        spec = {"nodeName": record.node, "containers": [{"name": SERVICE, "image": "kbalance/testbed", "ports": [port]}]}
        status = {
            "phase": "Running",
            "podIP": record.address.ip,
            "podIPs": [{"ip": record.address.ip}],
            "hostIP": "127.0.0.1",
            "startTime": self.created,
            "conditions": [_condition("Ready", record.ready, self.created)],
        }
        return {"metadata": metadata, "spec": spec, "status": status}

    def endpoint_slices(self, records: Sequence[PodRecord]) -> list[Object]:
        """One slice per port number and hundred endpoints, as for a Service whose targetPort is a name."""
        ordered = sorted(records, key=lambda record: (record.address.port, record.name))
        slices = []
        for port, group in groupby(ordered, key=lambda record: record.address.port):
            members = list(group)
            slices += [
                self._slice(f"{SERVICE}-{port}-{start // SLICE_SIZE}", port, members[start : start + SLICE_SIZE])
                for start in range(0, len(members), SLICE_SIZE)
            ]
        # A Service whose selector matches nothing has one slice with neither endpoints nor ports.
        return slices or [self._slice(f"{SERVICE}-none", None, [])]

    def _slice(self, name: str, port: int | None, records: Sequence[PodRecord]) -> Object:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "name": SERVICE,
            "uid": uid("Service", SERVICE),
            "controller": True,
            "blockOwnerDeletion": True,
        }
        labels = {
            **LABELS,
            "kubernetes.io/service-name": SERVICE,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }
        return {
            "metadata": self._meta("EndpointSlice", name, labels=labels, ownerReferences=[service]),
            "addressType": "IPv4",
            "ports": None if port is None else [{"name": PORT_NAME, "protocol": "TCP", "port": port}],
            "endpoints": [_endpoint(record) for record in records] or None,
        }


def _endpoint(record: PodRecord) -> Object:
    reference = {"kind": "Pod", "namespace": NAMESPACE, "name": record.name, "uid": uid("Pod", record.name)}
    return {
        "addresses": [record.address.ip],
        "conditions": {"ready": record.ready, "serving": record.ready, "terminating": False},
        "nodeName": record.node,
        "zone": record.zone,
        "targetRef": reference,
    }


def _condition(kind: str, holds: bool, since: str) -> Mapping[str, str]:
    return {"type": kind, "status": "True" if holds else "False", "lastTransitionTime": since}
