"""A stub of the Kubernetes API: what ``get`` and ``list`` need, for the real clients; no watch, no writes.

Source: Kubernetes API concepts (kubernetes.io/docs/reference/using-api/api-concepts) and the shapes that `kubectl` and the
`kubernetes` Python client parse.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from kbalance.model.target import Address
from kbalance.testbed.messages import Request, render
from kbalance.testbed.objects import Object
from kbalance.testbed.resources import RESOURCES, Resource, Store
from kbalance.testbed.streams import Server
from kbalance.testbed.tables import table

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


class ApiServer:
    """Serves a store that may be replaced while it runs."""

    def __init__(self, store: Store, version: int) -> None:
        """Needs a running event loop; `version` is the resourceVersion of lists."""
        self._store = store
        self._version = version
        self._server = Server("127.0.0.1", self._answer)

    @property
    def address(self) -> Address:
        return self._server.address

    def replace(self, store: Store, version: int) -> None:
        """Requests see the new objects at once."""
        self._store = store
        self._version = version

    async def _answer(self, request: Request) -> bytes:
        now = time.time() if "as=Table" in request.header("accept") else None
        status, value = respond(self._store, self._version, request.method, request.path, request.query, table_at=now)
        headers = [("Content-Type", "application/json")]
        if not request.keep_alive:
            headers.append(("Connection", "close"))
        return render(status, json.dumps(value).encode(), headers, head_only=request.method == "HEAD")

    def close(self) -> None:
        """Stop, with every connection."""
        self._server.close()


def respond(store: Store, version: int, method: str, path: str, query: str, *, table_at: float | None = None) -> tuple[int, Any]:
    """HTTP status and JSON value of the answer.

    Args:
        store: what there is.
        version: the resourceVersion of lists.
        method: of the request.
        path: without the query.
        query: as it stands in the URL.
        table_at: if not ``None``, objects come as the Table that kubectl shows, with ages as of this Unix time.
    """
    status, value = _find(store, version, method, path, query)
    kind = value.get("kind") if isinstance(value, dict) else None
    shown = next((r for r in RESOURCES if kind in (r.kind, f"{r.kind}List")), None)
    return status, value if shown is None or table_at is None else table(shown, value, table_at)


def _find(store: Store, version: int, method: str, path: str, query: str) -> tuple[int, Any]:
    if method not in ("GET", "HEAD"):
        return _status(405, "MethodNotAllowed", f"the embedded cluster is read-only: {method} is not supported")
    options = {name: values[-1] for name, values in parse_qs(query).items()}
    match [part for part in path.split("/") if part]:
        case ["version"]:
            return 200, VERSION
        case ["healthz" | "livez" | "readyz"]:
            return 200, "ok"
        case ["api"]:
            return 200, {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = sorted({resource.group for resource in RESOURCES if resource.group})
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in groups]}
        case ["api", "v1", *rest]:
            return _resources(store, version, "", rest, options)
        case ["apis", group, "v1", *rest] if any(group == resource.group for resource in RESOURCES):
            return _resources(store, version, group, rest, options)
    return _status(404, "NotFound", "the server could not find the requested resource")


def _group(name: str) -> Object:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resources(store: Store, version: int, group: str, rest: list[str], options: Mapping[str, str]) -> tuple[int, Any]:
    """What stands below a group and version: the list of its resources, a list of objects, or one object."""
    if not rest:
        return 200, _resource_list(group)
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource = next((r for r in RESOURCES if (r.group, r.plural) == (group, rest[0])), None)
    if resource is None or len(rest) > 2 or (namespace is not None and not resource.namespaced):
        return _status(404, "NotFound", "the server could not find the requested resource")
    objects = [o for o in store.get(resource, ()) if namespace in (None, o["metadata"].get("namespace"))]
    if len(rest) == 2:
        return _one(resource, objects, rest[1])
    return _list(resource, objects, version, options)


def _one(resource: Resource, objects: Sequence[Object], name: str) -> tuple[int, Any]:
    for found in objects:
        if found["metadata"]["name"] == name:
            return 200, {"kind": resource.kind, "apiVersion": resource.api_version, **found}
    named = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return _status(404, "NotFound", f'{named} "{name}" not found', {k: v for k, v in details.items() if v})


def _list(resource: Resource, objects: Sequence[Object], version: int, options: Mapping[str, str]) -> tuple[int, Any]:
    if options.get("watch", "").lower() in ("1", "true"):
        return _status(405, "MethodNotAllowed", "the embedded cluster does not support watch")
    try:
        found = [o for o in objects if _selected(o, options)]
    except ValueError as error:
        return _status(400, "BadRequest", str(error))
    metadata = {"resourceVersion": str(version)}
    return 200, {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": found,
    }


def _selected(found: Object, options: Mapping[str, str]) -> bool:
    metadata = found["metadata"]
    fields = {"metadata.name": metadata["name"], "metadata.namespace": metadata.get("namespace", "")}
    return _matches(options.get("labelSelector", ""), metadata.get("labels", {})) and _matches(
        options.get("fieldSelector", ""), fields
    )


def _matches(selector: str, values: Mapping[str, str]) -> bool:
    """Whether all terms hold: ``key=value``, ``key==value``, ``key!=value`` or ``key``.

    Raises:
        ValueError: when a term is of another form; a term that was left out would widen the answer.
    """
    for term in filter(None, selector.split(",")):
        if any(sign in term for sign in "() "):
            raise ValueError(f"unable to parse requirement: {term!r}: the embedded cluster knows equality only")
        key, sign, value = term.partition("=")
        if key.endswith("!"):
            holds = values.get(key[:-1]) != value
        elif sign:
            holds = values.get(key) == value.removeprefix("=")
        else:
            holds = key in values
        if not holds:
            return False
    return True


def _resource_list(group: str) -> Object:
    resources = [
        {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": ["get", "list"],
            "shortNames": [resource.short] if resource.short else [],
        }
        for resource in RESOURCES
        if resource.group == group
    ]
    version = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _status(code: int, reason: str, message: str, details: Mapping[str, str] | None = None) -> tuple[int, Object]:
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": dict(details or {}),
        "code": code,
    }
