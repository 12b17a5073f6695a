"""What the embedded API says of itself: its version, its groups and the resources in them."""

from typing import Any

from kbalance.testbed.objects import Object
from kbalance.testbed.resources import PODS, RESOURCES
from kbalance.testbed.statuses import no_such_path

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0-kbalance",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}


def about(parts: list[str]) -> Any:
    """The JSON value at a path that names no object.

    Raises:
        Refusal: 404 when there is nothing.
    """
    match parts:
        case ["version"]:
            return VERSION
        case ["healthz" | "livez" | "readyz"]:
            return "ok"
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = sorted({resource.group for resource in RESOURCES if resource.group})
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in groups]}
        case ["api", "v1"]:
            return _resource_list("")
        case ["apis", group, "v1"] if any(group == resource.group for resource in RESOURCES):
            return _resource_list(group)
    raise no_such_path()


def _group(name: str) -> Object:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resource_list(group: str) -> Object:
    resources = [
        {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
            "shortNames": [resource.short] if resource.short else [],
        }
        for resource in RESOURCES
        if resource.group == group
    ]
    if group == PODS.group:
        log = {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]}
        resources.append(log)
    version = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
