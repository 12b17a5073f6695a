"""What stands behind a host, and where a client that balances learns it.

A source is anything with `Source.follow`. It may work in a thread of its own, and tells news as they come; what it told last
stands until it tells something else, so a source that cannot ask any more says so with `Trouble` and takes nothing away.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol

from kbalance.model.target import Address, is_ip


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

    def __post_init__(self) -> None:
        ip, port = self.address
        if not is_ip(ip) or not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError(f"{self.address} is no endpoint's address; give IP address and port, as in ('127.0.0.1', 80)")
        object.__setattr__(self, "address", Address(ip, port))

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
        self._listening: dict[str, list[_Listening]] = {}
        self._known = {_host(host): _listed(endpoints) for host, endpoints in hosts.items()}

    def update(self, host: str, endpoints: Iterable[Endpoint | Address | tuple[str, int]]) -> None:
        """From now on these are the host's endpoints; may be called from any thread."""
        host = _host(host)
        known = _listed(endpoints)
        with self._lock:
            self._known[host] = known
            listening = list(self._listening.get(host, ()))
        # Without the lock, since whoever is told may change the list again.
        for one in listening:
            one.hear()

    def follow(self, origin: Origin, tell: Tell) -> Following | None:
        host = origin.host.removesuffix(".")
        with self._lock:
            if host not in self._known:
                return None
            made = _Listening(self, host, tell)
            self._listening.setdefault(host, []).append(made)
        made.hear()
        return made

    def known(self, host: str) -> Known:
        """What is listed now."""
        with self._lock:
            return self._known[host]

    def forget(self, one: "_Listening") -> None:
        """Tells it nothing any more."""
        with self._lock:
            listening = self._listening.get(one.host, [])
            if one in listening:
                listening.remove(one)

    def __repr__(self) -> str:
        with self._lock:
            return f"<StaticEndpoints {', '.join(f'{host}: {len(one.endpoints)}' for host, one in sorted(self._known.items()))}>"


class _Listening:
    def __init__(self, source: StaticEndpoints, host: str, tell: Tell) -> None:
        self._source, self.host, self._tell = source, host, tell
        self._telling = Lock()
        self._news = False

    def hear(self) -> None:
        """Tells what is listed at this moment, so that the newest is what was told last; whoever is telling already does it.

        Nobody waits here, since whoever is told may hold a lock that whoever tells wants.
        """
        self._news = True
        while self._news and self._telling.acquire(blocking=False):
            try:
                self._news = False
                self._tell(self._source.known(self.host))
            finally:
                self._telling.release()

    def refresh(self) -> None:
        """A list has nothing newer to say."""

    def close(self) -> None:
        self._source.forget(self)


def _host(host: str) -> str:
    """A host as origins have it.

    Raises:
        ValueError: it is a URL, or has a port.
    """
    name = host.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    if not name or "/" in name or (":" in name and not is_ip(name)):
        raise ValueError(f"{host!r} is no host; give it as it stands in URLs, without scheme and port")
    return name if name.isascii() else name.encode("idna").decode("ascii")


def _listed(endpoints: Iterable[Endpoint | Address | tuple[str, int]]) -> Known:
    listed = (one if isinstance(one, Endpoint) else Endpoint(address=_address(one)) for one in endpoints)
    return Known(endpoints=tuple({one.address: one for one in listed}.values()))


def _address(pair: tuple[str, int]) -> Address:
    if isinstance(pair, str):
        raise ValueError(f"{pair!r} is no endpoint's address; give IP address and port, as in ('127.0.0.1', 80)")
    return Address(*pair)
