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

NODES = (("node-1", "zone-a"), ("node-2", "zone-b"))
"""Name and zone; pods are placed on them in turn."""
LABELS = {"app": SERVICE}
IMAGE = "kbalance/testbed"
REPLICA_SET = f"{SERVICE}-6d4cf56db6"
_NODE_INFO = {
    "architecture": "amd64",
    "bootID": "",
    "containerRuntimeVersion": "kbalance://1",
    "kernelVersion": "",
    "kubeProxyVersion": "",
    "kubeletVersion": "v1.34.0-kbalance",
    "operatingSystem": "linux",
    "osImage": "loopback",
}
READINESS = ("Ready", "ContainersReady")
SLICE_SIZE = 100
"""Endpoints in one EndpointSlice at most, as the EndpointSlice controller has it."""


_POD_SPEC: Mapping[str, object] = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "default",
    "serviceAccount": "default",
    "automountServiceAccountToken": False,
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "priority": 0,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
}
_CONTAINER: Mapping[str, object] = {
    "name": SERVICE,
    "image": IMAGE,
    "imagePullPolicy": "IfNotPresent",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
"""What the API server adds to every pod."""


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
    port_name: str = "http"
    app_protocol: str | None = None

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
            "ports": [self._port(address.port) | {"targetPort": self.port_name}],
            "selector": LABELS,
            "sessionAffinity": "None" if affinity_s is None else "ClientIP",
        }
        if affinity_s is not None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": affinity_s}}
        metadata = self._meta("Service", SERVICE, labels=LABELS)
        return {"metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}

    def _port(self, number: int) -> Object:
        """As a Service and its slices both have it."""
        protocol = {} if self.app_protocol is None else {"appProtocol": self.app_protocol}
        return {"name": self.port_name, "protocol": "TCP", **protocol, "port": number}

    def node(self, name: str, zone: str) -> Object:
        ready = {
            **_condition("Ready", True, self.created),
            "lastHeartbeatTime": self.created,
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
        }
        labels = {
            **{f"{prefix}kubernetes.io/os": "linux" for prefix in ("", "beta.")},
            **{f"{prefix}kubernetes.io/arch": "amd64" for prefix in ("", "beta.")},
            "kubernetes.io/hostname": name,
            "topology.kubernetes.io/zone": zone,
        }
        annotations = {
            "node.alpha.kubernetes.io/ttl": "0",
            "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        }
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "conditions": [ready],
            "capacity": {"cpu": "2", "memory": "4194304Ki", "pods": "110"},
            "allocatable": {"cpu": "2", "memory": "4194304Ki", "pods": "110"},
            "nodeInfo": _NODE_INFO | {"machineID": uid("machine", name), "systemUUID": uid("system", name)},
        }
        return {"metadata": self._meta("Node", name, None, labels=labels, annotations=annotations), "spec": {}, "status": status}

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
        metadata = self._meta(
            "Pod", record.name, generateName=f"{REPLICA_SET}-", generation=1, labels=labels, ownerReferences=[owner]
        )
        port = {"name": self.port_name, "containerPort": record.address.port, "protocol": "TCP"}
        spec = {**_POD_SPEC, "nodeName": record.node, "containers": [{**_CONTAINER, "ports": [port]}]}
        container = {
            "name": SERVICE,
            "state": {"running": {"startedAt": self.created}},
            "lastState": {},
            "ready": record.ready,
            "restartCount": 0,
            "image": IMAGE,
            "imageID": "sha256:" + "0" * 64,
            "containerID": "containerd://" + uid("Container", record.name).replace("-", "") * 2,
            "started": True,
            "resources": {},
        }
        status = {
            "observedGeneration": 1,
            "phase": "Running",
            "podIP": record.address.ip,
            "podIPs": [{"ip": record.address.ip}],
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
            "startTime": self.created,
            "conditions": [
                {
                    **_condition(kind, record.ready or kind not in READINESS, self.created),
                    "lastProbeTime": None,
                    "observedGeneration": 1,
                }
                for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "containerStatuses": [container],
            "qosClass": "BestEffort",
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
            "metadata": self._meta(
                "EndpointSlice",
                name,
                generateName=f"{SERVICE}-",
                generation=1,
                labels=labels,
                annotations={"endpoints.kubernetes.io/last-change-trigger-time": self.created},
                ownerReferences=[service],
            ),
            "addressType": "IPv4",
            "ports": None if port is None else [self._port(port)],
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
