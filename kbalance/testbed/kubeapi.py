"""A stub of the Kubernetes API over HTTP: paths and headers to what the control plane does; no updates.

Source: Kubernetes API concepts (kubernetes.io/docs/reference/using-api/api-concepts) and the answers of a v1.34 API server.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from kbalance.model.target import Address
from kbalance.testbed.controlplane import ControlPlane
from kbalance.testbed.discovery import about
from kbalance.testbed.listing import list_of, metadata_only
from kbalance.testbed.messages import Request, render, render_chunk, render_chunked_head
from kbalance.testbed.outages import Outage, WatchEnd
from kbalance.testbed.resources import PODS, RESOURCES, Resource, resource_of
from kbalance.testbed.statuses import Refusal, no_such_path, not_allowed
from kbalance.testbed.streams import Server, finish
from kbalance.testbed.tables import table

Reply = tuple[int, Any]
"""HTTP status, and JSON value, a `Stream` or (``None``) nothing."""


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that comes in pieces."""

    pieces: AsyncIterator[bytes]
    media: str


class ApiServer:
    """Serves a control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        """Needs a running event loop."""
        self._plane = plane
        self._server = Server("127.0.0.1", self._answer)
        self._heard = asyncio.Event()
        self._heard.set()

    @property
    def address(self) -> Address:
        return self._server.address

    def set_outage(self, outage: Outage) -> None:
        """Be away, silent, or back."""
        if outage is Outage.AWAY:
            self._server.leave()
            self._plane.watches.end(WatchEnd.CLEAN)
        else:
            self._server.come_back()
        if outage is Outage.SILENT:
            self._heard.clear()
        else:
            self._heard.set()

    async def _answer(self, request: Request) -> bytes | AsyncIterator[bytes]:
        await self._heard.wait()
        try:
            status, value = respond(self._plane, request)
        except Refusal as refusal:
            status, value = refusal.code, refusal.value
        closing = [] if request.keep_alive else [("Connection", "close")]
        if isinstance(value, Stream):
            return self._in_chunks(value, closing)
        if value is None:
            return render(status, b"", closing)
        headers = [("Content-Type", "application/json"), *closing]
        shown = _as_accepted(value, request.header("accept")) if status < 300 else value
        return render(status, json.dumps(shown).encode(), headers, head_only=request.method == "HEAD")

    async def _in_chunks(self, stream: Stream, headers: list[tuple[str, str]]) -> AsyncIterator[bytes]:
        yield render_chunked_head(200, [("Content-Type", stream.media), *headers])
        try:
            async for piece in stream.pieces:
                if piece:
                    await self._heard.wait()
                    yield render_chunk(piece)
        finally:
            await finish(stream.pieces)
        await self._heard.wait()
        yield render_chunk(b"")

    def close(self) -> None:
        """Stop, with every connection."""
        self._server.close()


def _as_accepted(value: Any, accept: str) -> Any:
    """An object or a list as a Table, as metadata only, or as it is."""
    kind = value.get("kind") if isinstance(value, dict) else None
    resource = next((r for r in RESOURCES if kind in (r.kind, f"{r.kind}List")), None)
    if resource is None:
        return value
    if "as=Table" in accept:
        return table(resource, value, time.time())
    return metadata_only(value) if "as=PartialObjectMetadata" in accept else value


def respond(plane: ControlPlane, request: Request) -> Reply:
    """The answer to a request.

    Raises:
        Refusal: for everything that is answered with a Status of failure.
    """
    options = {name: values[-1] for name, values in parse_qs(request.query).items()}
    parts = [unquote(part) for part in request.path.split("/") if part]
    match parts:
        case ["api", "v1", *rest] if rest:
            return _on_objects(plane, request, "", rest, options)
        case ["apis", group, "v1", *rest] if rest:
            return _on_objects(plane, request, group, rest, options)
    if request.method not in ("GET", "HEAD"):
        raise no_such_path()
    return 200, about(parts)


def _on_objects(plane: ControlPlane, request: Request, group: str, rest: list[str], options: Mapping[str, str]) -> Reply:
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource = resource_of(group, rest[0])
    if resource is None or (namespace is not None and not resource.namespaced):
        raise no_such_path()
    match rest[1:]:
        case []:
            return _on_collection(plane, request, resource, namespace, options)
        case [name] if namespace is not None or not resource.namespaced:
            return _on_one(plane, request, resource, namespace, name, options)
        case [name, "log"] if resource is PODS and namespace is not None and request.method == "GET":
            plane.permissions.check("get", PODS, "log", namespace, name)
            pieces = plane.log(namespace, name, options)
            return (204, None) if pieces is None else (200, Stream(pieces, "text/plain"))
    raise no_such_path()


def _on_collection(
    plane: ControlPlane, request: Request, resource: Resource, namespace: str | None, options: Mapping[str, str]
) -> Reply:
    if request.method == "GET" and options.get("watch", "").lower() in ("1", "true"):
        plane.permissions.check("watch", resource, "", namespace, "")
        return 200, Stream(plane.watches.open(resource, namespace, options), "application/json")
    if request.method in ("GET", "HEAD"):
        plane.permissions.check("list", resource, "", namespace, "")
        return 200, list_of(plane.store, resource, namespace, options)
    if request.method != "POST" or "create" not in resource.verbs or namespace is None:
        raise not_allowed("the server does not allow this method on the requested resource")
    plane.permissions.check("create", resource, "", namespace, "")
    return 201, plane.create(resource, namespace, request.body, options)


def _on_one(
    plane: ControlPlane, request: Request, resource: Resource, namespace: str | None, name: str, options: Mapping[str, str]
) -> Reply:
    if request.method in ("GET", "HEAD"):
        plane.permissions.check("get", resource, "", namespace, name)
        return 200, plane.read(resource, namespace or "", name)
    if request.method != "DELETE" or "delete" not in resource.verbs:
        raise not_allowed("the server does not allow this method on the requested resource")
    plane.permissions.check("delete", resource, "", namespace, name)
    return 200, plane.delete(resource, namespace or "", name, request.body, options)
