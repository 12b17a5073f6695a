"""The objects of a run from inside the cluster, as JSON values: a Job, the ConfigMap that it runs, and a Secret where needed.

The Job owns the others, so deleting it removes all, and `ttlSecondsAfterFinished` does so when nobody is left to. Its Pods fulfil
the `restricted` Pod Security Standard.

Source: kubernetes/api `batch/v1/types.go` (JobSpec), `core/v1/types.go` (PodSpec); Pod Security Standards, "Restricted".
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kbalance.model.words import AGENT_IMAGE

Object = dict[str, Any]

MANAGED_BY = {"app.kubernetes.io/managed-by": "kbalance"}
CONTAINER = "agent"
START_S = 120
"""Seconds that Pods may take to start, beside the run's own deadline."""
TTL_S = 300
"""Seconds that a finished Job is kept, if the one who made it is gone."""
USER = 65532
FOLDER, SECRETS = "/kbalance", "/kbalance-secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the Pods run, and as what."""

    image: str = AGENT_IMAGE
    workers: int = 1
    node: str | None = None
    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...] = ()
    service_account: str | None = None
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the Pods are given."""

    agent: bytes
    order: bytes
    secrets: Mapping[str, bytes]
    deadline_s: float | None


def job(name: str, namespace: str, placement: Placement, content: Content) -> Object:
    """The Job; an Indexed one, so that each Pod knows which worker it is."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": _labels(name)},
        "spec": {
            "completionMode": "Indexed",
            "completions": placement.workers,
            "parallelism": placement.workers,
            "backoffLimit": 0,
            "activeDeadlineSeconds": START_S + int(content.deadline_s or 3600) + 1,
            "ttlSecondsAfterFinished": TTL_S,
            "template": {
                "metadata": {
                    # A sidecar would balance in the client's place, and keep the Job from ending.
                    "labels": {**_labels(name), "sidecar.istio.io/inject": "false"},
                    "annotations": {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"},
                },
                "spec": _pod(name, placement, content),
            },
        },
    }


def belongings(name: str, namespace: str, content: Content, owner_uid: str | None) -> list[Object]:
    """The ConfigMap, and the Secret if there is anything to keep; owned by the Job once it has a uid."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": owner_uid}
    metadata = {"name": name, "namespace": namespace, "labels": _labels(name)} | (
        {"ownerReferences": [owner]} if owner_uid else {}
    )
    made: list[Object] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "immutable": True,
            "data": {"order.json": content.order.decode()},
            "binaryData": {"agent.pyz": b64encode(content.agent).decode()},
        }
    ]
    if content.secrets:
        data = {key: b64encode(value).decode() for key, value in content.secrets.items()}
        made.append(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "immutable": True, "type": "Opaque", "data": data}
        )
    return made


def _labels(name: str) -> dict[str, str]:
    return MANAGED_BY | {"app.kubernetes.io/name": "kbalance", "app.kubernetes.io/instance": name}


def _pod(name: str, placement: Placement, content: Content) -> Object:
    volumes: list[Object] = [{"name": "agent", "configMap": {"name": name}}]
    if content.secrets:
        volumes.append({"name": "secrets", "secret": {"secretName": name}})
    pod: Object = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(placement, content)],
        "volumes": volumes,
        **_spread(name, placement),
    }
    if placement.node_selector or placement.node:
        pod["nodeSelector"] = dict(placement.node_selector)
    if placement.node:
        # By the node's name and not its hostname label, which may differ; and not by nodeName, which passes the scheduler by and
        # with it taints and resources.
        field = {"key": "metadata.name", "operator": "In", "values": [placement.node]}
        pod["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]}}
        }
    if placement.tolerations:
        pod["tolerations"] = [dict(t) for t in placement.tolerations]
    if placement.service_account:
        pod["serviceAccountName"] = placement.service_account
    if placement.pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in placement.pull_secrets]
    return pod


def _container(placement: Placement, content: Content) -> Object:
    mounts: list[Object] = [{"name": "agent", "mountPath": FOLDER, "readOnly": True}]
    if content.secrets:
        mounts.append({"name": "secrets", "mountPath": SECRETS, "readOnly": True})
    return {
        "name": CONTAINER,
        "image": placement.image,
        "imagePullPolicy": "IfNotPresent",
        # -I: neither the image's PYTHON* variables nor its working folder may change what runs.
        "command": ["python3", "-I", "-B", f"{FOLDER}/agent.pyz", FOLDER, SECRETS],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "volumeMounts": mounts,
    }


def _spread(name: str, placement: Placement) -> Object:
    """Workers over zones and nodes as far as there are any; one that finds no node of its own still runs."""
    if placement.workers == 1 or placement.node:
        return {}
    own = {"matchLabels": {"app.kubernetes.io/instance": name}}
    keys = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    apart = [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": own} for key in keys]
    preferred = {"weight": 100, "podAffinityTerm": {"topologyKey": keys[1], "labelSelector": own}}
    return {
        "topologySpreadConstraints": apart,
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}},
    }
