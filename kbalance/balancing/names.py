"""The endpoints of a headless Service by its name: DNS is asked again whenever the time to live of its answer is over."""

import contextlib
import ipaddress
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from threading import Condition, Thread, current_thread
from typing import TYPE_CHECKING, NamedTuple

from kbalance.balancing.endpoints import Endpoint, Following, Known, News, Origin, Tell, Trouble
from kbalance.model.target import Address

if TYPE_CHECKING:
    from dns.name import Name
    from dns.resolver import Answer, Resolver

LOOK_UP_S = 1.5
"""How long a look-up may take, whatever it asks; dnspython's own pauses come on top, so that one is over within two seconds."""
SERVER_S = 0.5
"""How long one server may take before the question is asked again: a datagram gets lost, and another server may be well."""
REFRESH_S = 1.0
"""Between look-ups that `refresh` brings about."""
BACK_OFF_S = (0.2, 5.0)
"""The shortest and the longest pause after a failure."""
JITTER = 0.1
"""By how much a pause may be longer, so that a hundred clients that started together do not ask together."""


class DnsEndpoints:
    """Endpoints from A records, from AAAA records where there is none of A, or from SRV records.

    The name has to be a headless Service's: any other one leads to a single address behind which somebody else balances. DNS
    knows no zones, and lists Pods that are ready (unless the Service publishes others). A name that has no address at the
    moment is trouble rather than an empty list, since a CoreDNS that has just started says so of every name; what was known
    stands. /etc/hosts is not looked at.
    """

    def __init__(
        self,
        hosts: Iterable[str] | Mapping[str, str],
        *,
        least_s: float = 1.0,
        most_s: float = 30.0,
        nameservers: Sequence[Address] | None = None,
        resolv_conf: str = "/etc/resolv.conf",
        random: Random | None = None,
    ) -> None:
        """
        Args:
            hosts: hosts as they stand in URLs. A mapping gives the name to look up for each, so that URL and Host header keep the
                Service's: ``checkout-headless.shop``, or with the Pods' port ``checkout-headless.shop:8080``, which is the URL's
                otherwise; a name that begins with an underscore, as in ``_http._tcp.checkout-headless.shop``, is one of SRV
                records, which know the port themselves. Of these the ones with the best priority count, each alike.
            least_s: the shortest time to live that is honoured.
            most_s: the longest.
            nameservers: asked instead of those in `resolv_conf`.
            resolv_conf: read before each look-up, for servers, ``search``, ``ndots`` and ``timeout``.

        Raises:
            ValueError: when a host, a name, a server or a time makes no sense.
        """
        hosts = (hosts,) if isinstance(hosts, str) else hosts
        named = hosts if isinstance(hosts, Mapping) else {host: host for host in hosts}
        if not 0 < least_s <= most_s:
            raise ValueError(f"least_s={least_s} and most_s={most_s}: give a shortest pause that is not longer than the longest")
        self._names = {_host(host): _named(name) for host, name in named.items()}
        self._least_s, self._most_s = least_s, most_s
        self._nameservers = None if nameservers is None else tuple(Address(_ip(ip), port) for ip, port in nameservers)
        self._resolv_conf = resolv_conf
        self._random = random or Random()

    def follow(self, origin: Origin, tell: Tell) -> Following | None:
        named = self._names.get(origin.host)
        if named is None:
            return None
        return _Polling(origin.host, lambda: self._ask(named, origin.port), tell, self._random)

    def _ask(self, named: "_Named", port: int) -> "_Told":
        """One look-up; never fails."""
        try:
            look_up = _LookUp(self._nameservers, self._resolv_conf)
            endpoints = {one.address: one for one in look_up.endpoints(named, port)}
        except Exception as error:
            # Whatever it is, the next look-up may go well; a thread that died would leave the endpoints of today for ever.
            return _Told(Trouble(reason=_reason(error, named.name, self._resolv_conf)), None)
        if not endpoints:
            return _Told(Trouble(reason=_no_address(named.name)), None)
        ttl_s = min(max(look_up.ttl_s, self._least_s), self._most_s)
        return _Told(Known(endpoints=tuple(endpoints[address] for address in sorted(endpoints))), ttl_s)


class _Named(NamedTuple):
    """A name to look up."""

    name: str
    port: int | None
    """Of its endpoints; ``None``: the URL's, or what SRV records say."""


class _Told(NamedTuple):
    news: News
    ttl_s: float | None
    """How long it holds; ``None`` for trouble."""


class _Polling:
    """A host that is looked up in a thread of its own."""

    def __init__(self, host: str, ask: Callable[[], _Told], tell: Tell, random: Random) -> None:
        self._ask, self._tell, self._random = ask, tell, random
        self._changed = Condition()
        self._wanted = False
        """Whether somebody asked for a refresh after the last look-up had begun."""
        self._closed = False
        self._thread = Thread(target=self._run, name=f"kbalance-dns {host}", daemon=True)
        self._thread.start()

    def refresh(self) -> None:
        with self._changed:
            self._wanted = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        back_off_s, longest_s = BACK_OFF_S
        while True:
            began_s = time.monotonic()
            news, ttl_s = self._ask()
            if self._closed:
                return
            self._tell(news)
            if ttl_s is None:
                pause_s = back_off_s
                back_off_s = min(longest_s, self._random.uniform(BACK_OFF_S[0], 3 * back_off_s))
            else:
                pause_s, back_off_s = ttl_s * self._random.uniform(1, 1 + JITTER), BACK_OFF_S[0]
            if not self._rest(pause_s, began_s + REFRESH_S):
                return

    def _rest(self, pause_s: float, refresh_s: float) -> bool:
        """Waits until the next look-up is due, or a refresh that is wanted; whether there is to be one at all."""
        due_s = time.monotonic() + pause_s
        with self._changed:
            while not self._closed:
                left_s = (min(due_s, refresh_s) if self._wanted else due_s) - time.monotonic()
                if left_s <= 0:
                    self._wanted = False
                    return True
                self._changed.wait(left_s)
        return False


class _LookUp:
    """The questions of one look-up, which share its time."""

    def __init__(self, nameservers: tuple[Address, ...] | None, resolv_conf: str) -> None:
        self._resolver = _resolver(nameservers, resolv_conf)
        self._ends_s = time.monotonic() + LOOK_UP_S
        self.ttl_s = float("inf")
        """The shortest of all answers."""

    def endpoints(self, named: _Named, port: int) -> Iterator[Endpoint]:
        if not named.name.startswith("_"):
            yield from (Endpoint(address=Address(ip, named.port or port)) for ip in self._addresses(named.name))
            return
        answer = self._answer(named.name, "SRV")
        best = min((record.priority for record in answer), default=0)
        for record in answer:
            # A target of "." says that the service is not to be had here (RFC 2782).
            if record.priority == best and len(record.target) > 1:
                pod = record.target.to_text().partition(".")[0]
                for ip in self._sent_along(answer, record.target) or self._addresses(record.target):
                    yield Endpoint(address=Address(ip, record.port), name=pod)

    def _addresses(self, name: "Name | str") -> list[str]:
        return [record.address for record in self._answer(name, "A")] or [record.address for record in self._answer(name, "AAAA")]

    def _answer(self, name: "Name | str", kind: str) -> "Answer":
        left_s = max(0.0, self._ends_s - time.monotonic())
        answer = self._resolver.resolve(name, kind, lifetime=left_s, search=True, raise_on_no_answer=False)
        if answer.rrset is not None:
            self.ttl_s = min(self.ttl_s, answer.chaining_result.minimum_ttl)
        return answer

    def _sent_along(self, answer: "Answer", target: "Name") -> list[str]:
        """The target's addresses, where the server sent them with its answer, as CoreDNS does."""
        for kind in ("A", "AAAA"):
            for rrset in answer.response.additional:
                if rrset.name == target and rrset.rdtype.name == kind:
                    self.ttl_s = min(self.ttl_s, rrset.ttl)
                    return [record.address for record in rrset]
        return []


def _resolver(nameservers: tuple[Address, ...] | None, resolv_conf: str) -> "Resolver":
    """As the file says, which is read anew each time, since the system's resolver follows its changes too."""
    from dns.nameserver import Do53Nameserver
    from dns.resolver import NoResolverConfiguration, Resolver

    if nameservers is None:
        resolver = Resolver(resolv_conf)
    else:
        resolver = Resolver(configure=False)
        if sys.platform != "win32":
            with contextlib.suppress(NoResolverConfiguration):
                resolver.read_resolv_conf(resolv_conf)
        resolver.nameservers = [Do53Nameserver(*address) for address in nameservers]
    resolver.timeout = min(resolver.timeout, SERVER_S)
    return resolver


def _reason(error: Exception, name: str, resolv_conf: str) -> str:
    """One sentence with the next step."""
    if isinstance(error, ImportError):
        return f"DNS cannot be asked for {name} ({error}); install dnspython."
    from dns import resolver

    match error:
        case resolver.NXDOMAIN():
            return _no_address(name)
        case resolver.LifetimeTimeout():
            return f"No DNS server answered for {name} in time; look whether CoreDNS runs, and whether this Pod may reach it."
        case resolver.NoNameservers():
            said = ", ".join(dict.fromkeys(str(one[3]) for one in error.kwargs["errors"]))
            return f"The DNS servers cannot tell what {name} is ({said}); the logs of CoreDNS should say why."
        case resolver.NoResolverConfiguration():
            return f"No DNS server is named in {resolv_conf}; give nameservers, or mend the Pod's dnsPolicy."
        case _:
            return f"The name {name} could not be looked up ({type(error).__name__}: {error}); check its spelling."


def _no_address(name: str) -> str:
    return f"The name {name} has no address at the moment; look whether its headless Service exists and has ready Pods."


def _host(host: str) -> str:
    if not host or ":" in host or "/" in host:
        raise ValueError(f"{host!r} is no host as it stands in a URL, without scheme and port")
    return host.lower()


def _named(value: str) -> _Named:
    name, colon, port = value.rpartition(":")
    if not colon:
        name = port
    elif name.startswith("_") or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{value!r} has no port that could be used; give NAME, NAME:PORT or _PORT._tcp.NAME")
    if not name or ":" in name or "/" in name:
        raise ValueError(f"{value!r} is no name for DNS; give NAME, NAME:PORT or _PORT._tcp.NAME")
    return _Named(name, int(port) if colon else None)


def _ip(ip: str) -> str:
    return str(ipaddress.ip_address(ip))
