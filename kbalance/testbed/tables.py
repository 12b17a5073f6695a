"""What ``kubectl get`` shows of the objects; it leaves the choice of columns and their text to the server."""

from collections.abc import Callable, Mapping
from datetime import datetime

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    EVENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    Resource,
)

Cell = Callable[[Object, float], str]
Columns = tuple[tuple[str, int, Cell], ...]
"""Heading, priority (1: shown by ``-o wide`` only) and how to fill it at a Unix time."""


def age(created: str, now: float) -> str:
    """How long ago an RFC 3339 time was, in its largest unit."""
    seconds = max(0, int(now - datetime.fromisoformat(created).timestamp()))
    for unit, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * unit:
            return f"{seconds // unit}{letter}"
    return f"{seconds}s"


def _holds(found: Object, kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in found["status"].get("conditions", ()))


def _is_ready(found: Object) -> bool:
    return _holds(found, "Ready")


def _pod_status(pod: Object) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    for status in pod["status"].get("containerStatuses", ()):
        state = status["state"]
        if reason := state.get("waiting", state.get("terminated", {})).get("reason"):
            return str(reason)
    return str(pod["status"]["phase"])


def _job_status(job: Object) -> str:
    return next((kind for kind in ("Complete", "Failed", "FailureTarget") if _holds(job, kind)), "Running")


NAME: tuple[str, int, Cell] = ("Name", 0, lambda o, now: str(o["metadata"]["name"]))
AGE: tuple[str, int, Cell] = ("Age", 0, lambda o, now: age(o["metadata"]["creationTimestamp"], now))

COLUMNS: Mapping[Resource, Columns] = {
    SERVICES: (
        NAME,
        ("Type", 0, lambda o, now: o["spec"]["type"]),
        ("Cluster-IP", 0, lambda o, now: o["spec"]["clusterIP"]),
        ("Port(s)", 0, lambda o, now: ",".join(f"{p['port']}/{p['protocol']}" for p in o["spec"]["ports"])),
        AGE,
        ("Selector", 1, lambda o, now: ",".join(f"{key}={value}" for key, value in o["spec"]["selector"].items())),
    ),
    PODS: (
        NAME,
        ("Ready", 0, lambda o, now: "1/1" if _is_ready(o) else "0/1"),
        ("Status", 0, lambda o, now: _pod_status(o)),
        ("Restarts", 0, lambda o, now: "0"),
        AGE,
        ("IP", 1, lambda o, now: o["status"].get("podIP", "<none>")),
        ("Node", 1, lambda o, now: o["spec"].get("nodeName", "<none>")),
    ),
    NODES: (
        NAME,
        ("Status", 0, lambda o, now: "Ready" if _is_ready(o) else "NotReady"),
        ("Zone", 0, lambda o, now: o["metadata"]["labels"]["topology.kubernetes.io/zone"]),
        AGE,
    ),
    NAMESPACES: (NAME, ("Status", 0, lambda o, now: o["status"]["phase"]), AGE),
    ENDPOINT_SLICES: (
        NAME,
        ("AddressType", 0, lambda o, now: o["addressType"]),
        ("Ports", 0, lambda o, now: ",".join(str(port["port"]) for port in o["ports"] or ()) or "<unset>"),
        ("Endpoints", 0, lambda o, now: ",".join(e["addresses"][0] for e in o["endpoints"] or ()) or "<unset>"),
        AGE,
    ),
    CONFIG_MAPS: (NAME, ("Data", 0, lambda o, now: str(len(o.get("data", {})))), AGE),
    SECRETS: (NAME, ("Type", 0, lambda o, now: o["type"]), ("Data", 0, lambda o, now: str(len(o.get("data", {})))), AGE),
    JOBS: (
        NAME,
        ("Status", 0, lambda o, now: _job_status(o)),
        ("Completions", 0, lambda o, now: f"{o['status'].get('succeeded', 0)}/{o['spec']['completions']}"),
        AGE,
    ),
    EVENTS: (
        ("Last Seen", 0, lambda o, now: age(o["lastTimestamp"], now)),
        ("Type", 0, lambda o, now: o["type"]),
        ("Reason", 0, lambda o, now: o["reason"]),
        ("Object", 0, lambda o, now: f"{o['involvedObject']['kind'].lower()}/{o['involvedObject']['name']}"),
        ("Message", 0, lambda o, now: o["message"]),
    ),
}


def table(resource: Resource, value: Object, now: float) -> Object:
    """An object or a list of them as a Table, at a Unix time.

    Source: Kubernetes API concepts, "Receiving resources as Tables".
    """
    objects = value["items"] if value["kind"] != resource.kind else [value]
    columns = COLUMNS[resource]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": value["metadata"]["resourceVersion"]},
        "columnDefinitions": [_column(name, priority) for name, priority, _ in columns],
        "rows": [_row(found, [cell(found, now) for _, _, cell in columns]) for found in objects],
    }


def _column(name: str, priority: int) -> Object:
    form = "name" if name == "Name" else ""
    return {"name": name, "type": "string", "format": form, "description": "", "priority": priority}


def _row(found: Object, cells: list[str]) -> Object:
    metadata = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}
    return {"cells": cells, "object": metadata}
