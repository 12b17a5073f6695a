"""The JSON form read back, whichever version of ``kbalance/report/v1`` wrote it: fields newer than the file are left open."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kbalance.errors import TargetError
from kbalance.model.past import PastEndpoint, PastProfile, PastReport, PastTarget
from kbalance.model.report import Latency
from kbalance.render.json import SCHEMA

MOST = 10**12
"""No run counts so far."""

_SETTINGS = ("type", "session_affinity", "internal_traffic_policy", "external_traffic_policy", "traffic_distribution")


def read(content: bytes, name: str) -> PastReport:
    """The report in these bytes.

    Args:
        content: As read from the file.
        name: What the user calls it, for messages.

    Raises:
        TargetError: it is no report of this schema.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{name} is not JSON: {_first_line(error)}.") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        what = f"its schema is {str(found)[:80]!r}" if isinstance(found, str) else "it names no schema"
        raise TargetError(f"{name} is not a report of kbalance ({SCHEMA}, made with -o json): {what}.")
    try:
        return _report(_Node(document, ""))
    except _Unfit as error:
        raise TargetError(f"{name} is not a whole report of kbalance: {error}.") from error


class _Unfit(Exception):
    """A field is missing or of another type; the message says which."""


class _Node:
    """An object of the document that knows where it stands."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _Unfit(f"{path} is not an object")
        self._value, self._path = value, path

    def text(self, name: str, default: str | None = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            raise _Unfit(f"{self._at(name)} is not a string")
        return value

    def word(self, name: str) -> str | None:
        """A string that may be absent or null."""
        return None if self._value.get(name) is None else self.text(name)

    def count(self, name: str, default: int | None = None) -> int:
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MOST:
            raise _Unfit(f"{self._at(name)} is not a count")
        return value

    def number(self, name: str) -> float | None:
        """A number, not below 0, that may be absent or null."""
        value = self._value.get(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise _Unfit(f"{self._at(name)} is not a number")
        return float(value)

    def flag(self, name: str) -> bool:
        return self._value.get(name) is True

    def child(self, name: str) -> "_Node":
        return _Node(self._get(name, None), self._at(name))

    def maybe(self, name: str) -> "_Node | None":
        return None if self._value.get(name) is None else self.child(name)

    def children(self, name: str, *, needed: bool = True) -> Iterator["_Node"]:
        value = self._get(name, None if needed else [])
        if not isinstance(value, list):
            raise _Unfit(f"{self._at(name)} is not a list")
        for index, item in enumerate(value):
            yield _Node(item, f"{self._at(name)}[{index}]")

    def plain(self) -> Mapping[str, str | int | float | None]:
        """The values that are words and numbers."""
        return {str(k): v for k, v in self._value.items() if v is None or isinstance(v, str | int | float)}

    def has(self, name: str) -> bool:
        return bool(self._value.get(name))

    def _get(self, name: str, default: object) -> Any:
        value = self._value.get(name, default)
        if value is None:
            raise _Unfit(f"{self._at(name)} is missing")
        return value

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def _report(node: _Node) -> PastReport:
    facts, diagnosis = node.child("facts"), node.child("diagnosis")
    vantage, service = node.maybe("vantage"), facts.maybe("service")
    profiles = tuple(map(_profile, node.children("profiles")))
    names = [p.profile for p in profiles]
    if len(set(names)) < len(names):
        raise _Unfit("a profile stands in it twice")
    return PastReport(
        kbalance=node.text("kbalance", "?"),
        started=node.text("started", "?"),
        partial=node.flag("partial"),
        target=_target(node.child("target"), service, node.maybe("identity")),
        vantage=tuple((name, vantage.word(name)) for name in ("kind", "node", "zone")) if vantage else (),
        source=facts.text("source", "?"),
        settings={name: service.word(name) for name in _SETTINGS} if service else {},
        hinted=any(endpoint.has("hints") for endpoint in facts.children("endpoints", needed=False)),
        profiles=profiles,
        cause=diagnosis.text("cause"),
        summary=diagnosis.text("summary", ""),
        causes={f.text("cause"): f.text("severity", "info") for f in diagnosis.children("findings", needed=False)},
    )


def _target(node: _Node, service: _Node | None, identity: _Node | None) -> PastTarget:
    named = service.word("port_name") if service else None
    return PastTarget(
        kind=node.text("kind"),
        namespace=node.word("namespace"),
        name=node.word("name"),
        port=named or str(node.count("port")),
        scheme=node.text("scheme"),
        url=node.text("url"),
        asked=(identity.word("path") if identity else None) or node.word("path"),
    )


def _profile(node: _Node) -> PastProfile:
    requests, connections, parameters = node.child("requests"), node.child("connections"), node.maybe("parameters")
    endpoints = tuple(map(_endpoint, node.children("endpoints")))
    names = [e.name for e in endpoints]
    if len(set(names)) < len(names):
        raise _Unfit(f"an endpoint stands twice in the profile {node.text('profile')!r}")
    sent, failed = requests.count("sent"), requests.count("failed")
    if failed > sent:
        raise _Unfit(f"more requests failed than were sent in the profile {node.text('profile')!r}")
    return PastProfile(
        profile=node.text("profile"),
        protocol=node.text("protocol", "http1"),
        parameters=parameters.plain() if parameters else {},
        stopped=node.text("stopped", "done"),
        requests=sent,
        failed=failed,
        opened=connections.count("opened"),
        not_opened=connections.count("failed", 0),
        requests_most=connections.count("requests_max", 1),
        endpoints=endpoints,
        busiest=node.number("busiest"),
        expected_busiest=node.number("expected_busiest"),
        idle=node.count("idle", sum(not e.requests for e in endpoints)),
        spread=node.text("spread", "?"),
        placement=node.text("placement", "unknown"),
        several=node.count("several", 0),
    )


def _endpoint(node: _Node) -> PastEndpoint:
    latency, requests, failed = node.maybe("latency_ms"), node.count("requests"), node.count("failed", 0)
    if failed > requests:
        raise _Unfit(f"more requests failed than were sent at the endpoint {node.text('name')!r}")
    return PastEndpoint(
        name=node.text("name"),
        requests=requests,
        connections=node.count("connections"),
        failed=failed,
        share=node.number("share"),
        latency_ms=_latency(latency) if latency else None,
    )


def _latency(node: _Node) -> Latency | None:
    values = [node.number(name) for name in ("p50", "p90", "p99", "max")]
    known = [value for value in values if value is not None]
    return Latency(p50=known[0], p90=known[1], p99=known[2], max=known[3]) if len(known) == len(values) else None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
