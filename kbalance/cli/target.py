"""TARGET and --endpoint as the user writes them."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from kbalance.errors import TargetError
from kbalance.model.target import Address, EndpointFacts, Facts, Target
from kbalance.model.words import FactsSource, TargetKind

_ENDPOINT = re.compile(r"([^=\s]+)=(?:\[([^\]\s]+)\]|([^:\s]+)):(\d+)")


def parse_target(text: str, path: str | None) -> Target:
    """The target that was named; ``path`` is the value of ``--path`` and wins over the URL's.

    Raises:
        TargetError: it is no URL that kbalance can probe.
    """
    scheme, _, rest = text.partition("://")
    if text.startswith(("svc/", "service/")):
        raise TargetError(
            f"{text}: Services cannot be named yet; give http://ADDRESS:PORT/PATH and --endpoint NAME=IP:PORT for each Pod."
        )
    if scheme not in ("http", "https") or not rest:
        raise TargetError(f"{text!r} is not a target; write it as http://HOST:PORT/PATH.")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise TargetError(f"{text!r} is not a URL: {error}.") from error
    if not host or re.search(r"[\s%]", host) or port == 0:
        raise TargetError(f"{text!r} names no host or port; write it as http://HOST:PORT/PATH.")
    if parts.username is not None:
        raise TargetError("The URL holds credentials; send them with -H 'Authorization: ...' instead.")
    if path is not None and not path.startswith("/"):
        raise TargetError(f"The path {path!r} must start with a slash.")
    own = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        kind=TargetKind.URL,
        scheme=scheme,
        host=host,
        port=port or {"http": 80, "https": 443}[scheme],
        path=path or own,
        path_given=path is not None or own != "/",
    )


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
    from kbalance.traffic.resolve import is_ip

    match = _ENDPOINT.fullmatch(text)
    ip = (match[2] or match[3]) if match else ""
    if not match or not is_ip(ip) or not 0 < int(match[4]) < 65536:
        raise TargetError(f"--endpoint {text!r} is not NAME=IP:PORT; write it like web-1=198.51.100.7:8080.")
    return EndpointFacts(name=match[1], address=Address(ip, int(match[4])))
