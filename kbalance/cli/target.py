"""TARGET and --endpoint as the user writes them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kbalance.errors import TargetError
from kbalance.model.target import Address, EndpointFacts, Facts, Target
from kbalance.model.words import FactsSource, TargetKind

if TYPE_CHECKING:
    from kbalance.wire.dialled import Tls

_SERVICE = re.compile(r"([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::([A-Za-z0-9-]+))?(/[^\s#]*)?")
_ENDPOINT = re.compile(r"([^=\s]+)=(?:\[([^\]\s]+)\]|([^:\s]+)):(\d+)")


def parse_target(text: str, path: str | None) -> Target:
    """The target that was named; ``path`` is the value of ``--path`` and wins over the URL's.

    Raises:
        TargetError: it is no URL that kbalance can probe.
    """
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or not rest:
        raise TargetError(f"{text!r} is not a target; write it as svc/NAME, svc/NAME:PORT/PATH or http://HOST:PORT/PATH.")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise TargetError(f"{text!r} is not a URL: {error}.") from error
    if not host or re.search(r"[\s%]", host) or port == 0:
        raise TargetError(f"{text!r} names no host or port; write it as http://HOST:PORT/PATH.")
    if parts.username is not None:
        raise TargetError("The URL holds credentials; send them with -H 'Authorization: ...' instead.")
    _check_path(path)
    own = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        kind=TargetKind.URL,
        scheme=scheme,
        host=host,
        port=port or {"http": 80, "https": 443}[scheme],
        path=path or own,
        path_given=path is not None or own != "/",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceName:
    """``svc/NAME[:PORT][/PATH]`` taken apart."""

    name: str
    port: int | str | None
    path: str
    path_given: bool


def parse_service(text: str, path: str | None) -> ServiceName | None:
    """The Service that was named; ``None``: the target is something else. ``path`` is the value of ``--path`` and wins.

    Raises:
        TargetError: it looks like a Service's name and is none.
    """
    kind, slash, rest = text.partition("/")
    if not slash or kind not in ("svc", "service", "services"):
        return None
    _check_path(path)
    match = _SERVICE.fullmatch(rest)
    if match is None:
        raise TargetError(f"{text!r} names no Service; write it as svc/NAME, svc/NAME:PORT or svc/NAME:PORT/PATH.")
    name, port, own = match.groups()
    number = int(port) if port and port.isdecimal() else None
    if number is not None and not 0 < number < 65536:
        raise TargetError(f"{text!r}: {port} is no port; a port is a number from 1 to 65535 or a name.")
    return ServiceName(
        name=name, port=number or port, path=path or own or "/", path_given=path is not None or (own or "/") != "/"
    )


def _check_path(path: str | None) -> None:
    if path is not None and not path.startswith("/"):
        raise TargetError(f"The path {path!r} must start with a slash.")


def parse_endpoints(texts: Sequence[str]) -> Facts | None:
    """The endpoints that were named, sorted by name; ``None`` when there were none.

    Raises:
        TargetError: one is ill-formed, or two have the same name or address.
    """
    if not texts:
        return None
    endpoints = sorted((_endpoint(text) for text in texts), key=lambda e: e.name)
    for what, values in (("name", [e.name for e in endpoints]), ("address", [str(e.address) for e in endpoints])):
        twice = next((v for v in values if values.count(v) > 1), None)
        if twice:
            raise TargetError(f"Two endpoints have the {what} {twice}; each --endpoint needs its own.")
    return Facts(source=FactsSource.GIVEN, endpoints=tuple(endpoints))


def _endpoint(text: str) -> EndpointFacts:
    from kbalance.model.target import is_ip

    match = _ENDPOINT.fullmatch(text)
    ip = (match[2] or match[3]) if match else ""
    if not match or not is_ip(ip) or not 0 < int(match[4]) < 65536:
        raise TargetError(f"--endpoint {text!r} is not NAME=IP:PORT; write it like web-1=198.51.100.7:8080.")
    return EndpointFacts(name=match[1], address=Address(ip, int(match[4])))


def tls_of(target: Target, host: str | None, given: Mapping[str, Any]) -> "Tls | None":
    """What connections to an https target need; ``None``: it speaks plain HTTP.

    Raises:
        TargetError: a file cannot be used.
    """
    if target.scheme != "https":
        return None
    from kbalance.wire.tls import make_tls

    files = {name: given[name] for name in ("insecure", "cacert", "cert", "key")}
    return make_tls(tls_name(target, host), **files)


def tls_name(target: Target, host: str | None) -> str:
    """The name that a server's certificate must have: that of the Host header, where one was chosen."""
    return urlsplit(f"//{host}").hostname or target.host if host else target.host
