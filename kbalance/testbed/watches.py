"""Watches: the changes of a kind of objects as a stream of events, and what tests do to such streams.

Source: Kubernetes API concepts, "Efficient detection of changes" and "Watch bookmarks", and the answers of a v1.34 API server.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kbalance.testbed.history import Change
from kbalance.testbed.objects import Object
from kbalance.testbed.outages import WatchEnd
from kbalance.testbed.resources import Resource
from kbalance.testbed.selectors import check, selected
from kbalance.testbed.statuses import Refusal, bad_request, invalid_version, too_old
from kbalance.testbed.store import Store, shown
from kbalance.testbed.streams import Cut

BOOKMARK_S = 60.0
"""Between two bookmarks, as the real server has it."""
LASTING_S = 1800
"""Where the client does not say how long; the real server draws a time above that."""


@dataclass(slots=True)
class _Stream:
    """One that is open."""

    resource: Resource
    namespace: str | None
    labels: str
    fields: str
    at: int
    """The version that it has told."""
    due_s: float
    bookmarks: bool
    bookmark_s: float
    """When the next one is due."""
    end: WatchEnd | None = None


class Watches:
    """All streams that are open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: list[_Stream] = []

    def open(self, resource: Resource, namespace: str | None, options: Mapping[str, str]) -> AsyncIterator[bytes]:
        """A stream of events, each a line.

        Raises:
            Refusal: 400 for options that cannot be read, 500 for a version that is none.
        """
        check(resource, options.get("labelSelector", ""), options.get("fieldSelector", ""))
        now_s = time.monotonic()
        return self._events(
            _Stream(
                resource=resource,
                namespace=namespace,
                labels=options.get("labelSelector", ""),
                fields=options.get("fieldSelector", ""),
                at=_version(options.get("resourceVersion", "")),
                due_s=now_s + _seconds(options.get("timeoutSeconds", "")),
                bookmarks=options.get("allowWatchBookmarks", "").lower() in ("1", "true"),
                bookmark_s=now_s + BOOKMARK_S,
            )
        )

    def bookmark(self) -> None:
        """Have every stream that wants bookmarks send one."""
        for stream in self._open:
            stream.bookmark_s = 0.0
        self._store.wake()

    def end(self, how: WatchEnd) -> int:
        """End every stream; how many there were."""
        for stream in self._open:
            stream.end = how
        self._store.wake()
        return len(self._open)

    async def _events(self, stream: _Stream) -> AsyncIterator[bytes]:
        self._open.append(stream)
        try:
            if stream.at == 0:
                # Without a version: all that there is, and then the changes.
                stream.at = self._store.version
                yield _lines(("ADDED", one) for one in self._present(stream))
            elif stream.at < self._store.history.forgotten or stream.at < self._store.compacted:
                yield _lines([("ERROR", too_old(stream.at, self._store.version).value)])
                return
            while (pause_s := stream.due_s - time.monotonic()) > 0 and stream.end is None:
                pulse = self._store.pulse
                yield _lines(self._next(stream))
                due_s = min(pause_s, stream.bookmark_s - time.monotonic()) if stream.bookmarks else pause_s
                await _wait(pulse, due_s)
            if stream.end is WatchEnd.RESET:
                raise Cut
            if stream.end is WatchEnd.ERROR:
                yield _lines([("ERROR", Refusal(500, "InternalError", "the embedded cluster was told to fail").value)])
        finally:
            self._open.remove(stream)

    def _present(self, stream: _Stream) -> list[Object]:
        found = self._store.of(stream.resource, stream.namespace)
        return [shown(stream.resource, one) for one in found if _wanted(stream, one)]

    def _next(self, stream: _Stream) -> Iterator[tuple[str, Object]]:
        """What the stream has not told yet."""
        changes = self._store.history.since(stream.at, stream.resource)
        stream.at = self._store.version
        for change in changes:
            if (event := _seen(stream, change)) is not None:
                yield event
        if stream.bookmarks and stream.bookmark_s <= time.monotonic():
            stream.bookmark_s = time.monotonic() + BOOKMARK_S
            yield "BOOKMARK", shown(stream.resource, {"metadata": {"resourceVersion": str(stream.at)}})


async def _wait(pulse: asyncio.Event, pause_s: float) -> None:
    try:
        await asyncio.wait_for(pulse.wait(), max(0.0, pause_s))
    except TimeoutError:
        return


def _wanted(stream: _Stream, one: Object) -> bool:
    where = one["metadata"].get("namespace", "")
    return stream.namespace in (None, where) and selected(stream.resource, one, stream.labels, stream.fields)


def _seen(stream: _Stream, change: Change) -> tuple[str, Object] | None:
    """The change as this stream sees it: an object that is no longer selected is deleted to it."""
    before = change.old is not None and _wanted(stream, change.old)
    after = change.new is not None and _wanted(stream, change.new)
    match before, after:
        case _, True:
            assert change.new is not None
            return "MODIFIED" if before else "ADDED", shown(stream.resource, change.new)
        case True, False:
            assert change.old is not None
            gone = shown(stream.resource, change.old)
            gone["metadata"]["resourceVersion"] = str(change.version)
            return "DELETED", gone
    return None


def _lines(events: Any) -> bytes:
    return b"".join(json.dumps({"type": kind, "object": one}).encode() + b"\n" for kind, one in events)


def _version(text: str) -> int:
    if text and not text.isdecimal():
        raise invalid_version(text)
    return int(text or 0)


def _seconds(text: str) -> int:
    if text and not text.isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text or LASTING_S)
