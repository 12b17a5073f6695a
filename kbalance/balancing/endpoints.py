"""What stands behind a host, and where a client that balances learns it.

A source is anything with `Source.follow`. It may work in a thread of its own, and tells news as they come; what it told last
stands until it tells something else, so a source that cannot ask any more says so with `Trouble` and takes nothing away.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol

from kbalance.model.target import Address


class Origin(NamedTuple):
    """Where a request wants to go, as its URL says."""

    scheme: str
    host: str
    """In lower case; an IPv6 address without brackets."""
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{Address(self.host, self.port)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address that serves a host."""

    address: Address
    name: str = ""
    """The Pod's, or whatever tells people which one it is."""
    zone: str | None = None

    def __str__(self) -> str:
        return self.name or str(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Every endpoint that is to get requests from now on; told again, it says that nothing has changed."""

    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """The host is nothing that this source knows; its requests go the ordinary way."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The source could not ask; what it told last still stands."""

    reason: str
    """One sentence."""


News = Known | Elsewhere | Trouble
Tell = Callable[[News], None]
"""May be called from any thread; never fails."""


class Following(Protocol):
    """A host that a source keeps an eye on."""

    def refresh(self) -> None:
        """Look again soon: somebody met an endpoint that does not answer. Never waits."""

    def close(self) -> None:
        """Ends it; once this returns no thread is left, and nothing is told any more. May wait for a call that is under way."""


class Source(Protocol):
    """Where endpoints come from."""

    def follow(self, origin: Origin, tell: Tell) -> Following | None:
        """Keeps an eye on a host; ``None`` where it is not this source's. Never waits, and never fails for a host."""


class StaticEndpoints:
    """Endpoints that somebody lists, and may list anew."""

    def __init__(self, hosts: Mapping[str, Iterable[Endpoint | Address | tuple[str, int]]]) -> None:
        """
        Args:
            hosts: a host, as it stands in URLs, and its endpoints.
        """
        self._lock = Lock()
        self._tells: dict[str, list[Tell]] = {}
        self._known = {host.lower(): _listed(endpoints) for host, endpoints in hosts.items()}

    def update(self, host: str, endpoints: Iterable[Endpoint | Address | tuple[str, int]]) -> None:
        """From now on these are the host's endpoints; may be called from any thread."""
        host = host.lower()
        with self._lock:
            known = self._known[host] = _listed(endpoints)
            for tell in self._tells.get(host, ()):
                tell(known)

    def follow(self, origin: Origin, tell: Tell) -> Following | None:
        with self._lock:
            if origin.host not in self._known:
                return None
            self._tells.setdefault(origin.host, []).append(tell)
            tell(self._known[origin.host])
        return _Listening(self, origin.host, tell)

    def forget(self, host: str, tell: Tell) -> None:
        """Tells it nothing any more."""
        with self._lock:
            self._tells[host].remove(tell)


class _Listening:
    def __init__(self, source: StaticEndpoints, host: str, tell: Tell) -> None:
        self._source, self._host, self._tell = source, host, tell

    def refresh(self) -> None:
        """A list has nothing newer to say."""

    def close(self) -> None:
        self._source.forget(self._host, self._tell)


def _listed(endpoints: Iterable[Endpoint | Address | tuple[str, int]]) -> Known:
    listed = (one if isinstance(one, Endpoint) else Endpoint(address=Address(*one)) for one in endpoints)
    return Known(endpoints=tuple({one.address: one for one in listed}.values()))
