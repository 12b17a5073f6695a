"""The EndpointSlices of one Service, listed once and then watched, for as long as somebody wants to know them.

Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks" and "410 Gone responses".
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from threading import Event, Lock
from types import TracebackType
from typing import Any, Protocol, Self

from kbalance.errors import ApiError, DiscoveryError, StreamBroken
from kbalance.kube.client import Listed

Object = Mapping[str, Any]

SHORT_S = 1.0
"""A watch that ended sooner and said nothing was no use, however politely it ended."""


class Stream(Protocol):
    """A watch, line by line."""

    def __iter__(self) -> Iterator[bytes]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def close(self) -> None: ...


class Api(Protocol):
    """The calls that are made here."""

    namespace: str

    def listed(self, path: str, query: Mapping[str, str]) -> Listed: ...
    def watch(self, path: str, query: Mapping[str, str], *, lasting_s: int) -> Stream: ...


class Told(Protocol):
    """Who wants to know; asked by the thread that watches."""

    def found(self, slices: tuple[Object, ...]) -> None:
        """All slices, in any order: at each change, and whenever it turned out that nothing has changed.

        Raises:
            DiscoveryError: more has to be asked, and cannot; it is treated as a failure to ask for the slices.
        """

    def failed(self, error: DiscoveryError) -> float | None:
        """Nothing new can be known; in how many seconds to ask again, ``None``: soon, and then ever later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long everything takes."""

    lasting_s: tuple[int, int] = (60, 90)
    """A watch is drawn one of these lengths; with the client's `LATE_S` it bounds how long a vanished server goes unnoticed."""
    pause_s: float = 0.2
    """After the first failure; it doubles with each further one, and of each a random half is taken away."""
    longest_pause_s: float = 10.0
    idle_s: float = 60.0
    """Before another look for slices where there were none."""
    refresh_s: float = 1.0
    """Between two looks that somebody asked for."""


class Slices:
    """EndpointSlices by name, as a list and the events after it tell; without any call."""

    def __init__(self) -> None:
        self.version = ""
        """From where a watch goes on; empty: only a new list helps."""
        self._known: dict[str, Object] = {}

    def begin(self, listed: Listed) -> None:
        """Nothing but these are there."""
        self._known = {str(one["metadata"]["name"]): one for one in listed.items}
        self.version = listed.version

    def feed(self, line: bytes) -> None:
        """Takes in an event of the watch.

        Raises:
            ApiError: it is no event, or one that says that the watch failed; with status 410, that `version` is too old.
        """
        try:
            event = json.loads(line)
            kind, found = event["type"], event["object"]
            if kind == "ERROR":
                raise _failure(found)
            name, version = found["metadata"].get("name"), found["metadata"]["resourceVersion"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ApiError("A watch of EndpointSlices brought something that is no event; is it a Kubernetes API?") from error
        if kind == "DELETED":
            self._known.pop(name, None)
        elif kind in ("ADDED", "MODIFIED"):
            self._known[name] = found
        # A bookmark has a version and nothing else.
        self.version = version

    def all(self) -> tuple[Object, ...]:
        return tuple(self._known.values())


def _failure(status: Object) -> ApiError:
    answer = " ".join(str(status.get("message") or status.get("reason") or "").split()).rstrip(".")
    return ApiError(
        f"The API server ended a watch of EndpointSlices ({answer or 'no reason given'}); it is begun anew.",
        status=status.get("code"),
        reason=str(status.get("reason") or ""),
        answer=answer,
    )


class Watching:
    """Keeps up with the EndpointSlices of one Service, in the thread that calls `run`."""

    def __init__(
        self,
        connect: Callable[[], Api],
        name: str,
        namespace: str | None,
        told: Told,
        *,
        timing: Timing | None = None,
        random: Random | None = None,
    ) -> None:
        """
        Args:
            connect: gives what is asked, and may raise `DiscoveryError`; called until it gives something.
            namespace: ``None``: the client's.
        """
        self._connect = connect
        self._name = name
        self._namespace = namespace
        self._told = told
        self._timing = timing or Timing()
        self._random = random or Random()
        self._api: Api | None = None
        self._slices = Slices()
        self._looked_s = float("-inf")
        self._progress = False
        self._lock = Lock()
        self._wake = Event()
        self._ended = Event()
        self._stale = False
        self._stream: Stream | None = None

    def refresh(self) -> None:
        """List anew at once, or a second after the last time; never waits."""
        with self._lock:
            self._stale = True
            self._interrupt()

    def close(self) -> None:
        """Have `run` return, at the latest after the call that is under way; never waits."""
        with self._lock:
            self._ended.set()
            self._interrupt()

    def _interrupt(self) -> None:
        self._wake.set()
        if self._stream is not None:
            self._stream.close()

    def run(self) -> None:
        """Works until it is closed; any exception is a bug."""
        failures = 0
        while not self._ended.is_set():
            self._progress, calm, pause_s = False, False, None
            try:
                calm = self._round()
            except StreamBroken:
                # It goes on where it was. Whether the server is still there shows then.
                pass
            except DiscoveryError as error:
                # After an outage a version may mean nothing any more.
                self._slices.version = ""
                if not _outdated(error) and not self._ended.is_set():
                    pause_s = self._told.failed(error)
            failures = 0 if calm else 1 if self._progress else failures + 1
            if not calm:
                self._wake.wait(self._backoff_s(failures) if pause_s is None else pause_s)

    def _backoff_s(self, failures: int) -> float:
        pause_s = min(self._timing.longest_pause_s, self._timing.pause_s * 2.0 ** min(failures - 1, 30))
        return pause_s * self._random.uniform(0.5, 1.0)

    def _round(self) -> bool:
        """A list, where one is needed, and a watch to its end; whether the next may follow at once.

        Raises:
            DiscoveryError: a call failed.
            StreamBroken: the watch did.
        """
        self._heed()
        resumed = bool(self._slices.version and self._slices.all())
        if not resumed:
            self._looked_s = time.monotonic()
        if self._api is None:
            self._api = self._connect()
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self._namespace or self._api.namespace}/endpointslices"
        query = {"labelSelector": f"kubernetes.io/service-name={self._name}"}
        if not resumed:
            self._slices.begin(self._api.listed(path, query))
            self._tell()
            if not self._slices.all():
                self._wake.wait(self._timing.idle_s * self._random.uniform(0.75, 1.0))
                return True
        return self._watch(self._api, path, query, resumed=resumed)

    def _heed(self) -> None:
        """Does as `refresh` wished; not too often, whoever wishes."""
        if self._stale:
            self._ended.wait(max(0.0, self._looked_s + self._timing.refresh_s - time.monotonic()))
            with self._lock:
                self._stale = False
                self._slices.version = ""
                if not self._ended.is_set():
                    self._wake.clear()

    def _watch(self, api: Api, path: str, query: Mapping[str, str], *, resumed: bool) -> bool:
        lasting_s = self._random.randint(*self._timing.lasting_s)
        from_here = {**query, "resourceVersion": self._slices.version, "allowWatchBookmarks": "true"}
        began_s = time.monotonic()
        with api.watch(path, from_here, lasting_s=lasting_s) as stream:
            with self._lock:
                self._stream = stream
                if self._stale or self._ended.is_set():
                    stream.close()
            try:
                if resumed:
                    # The server is there, and whatever changed since comes next.
                    self._tell()
                for line in stream:
                    self._slices.feed(line)
                    self._progress = True
                    self._tell()
            finally:
                with self._lock:
                    self._stream = None
        return self._progress or self._stale or time.monotonic() - began_s >= SHORT_S

    def _tell(self) -> None:
        if not self._ended.is_set():
            self._told.found(self._slices.all())


def _outdated(error: DiscoveryError) -> bool:
    """Whether the version is too old, which a new list mends."""
    return isinstance(error, ApiError) and error.status == 410
