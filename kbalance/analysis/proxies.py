"""Signs of an HTTP proxy: what answers by way of the target's address carry that direct ones do not.

Absence proves nothing, for every mark can be switched off.
"""

from collections.abc import Iterator, Mapping, Sequence

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "content-length")
)
"""They tell of one connection only (RFC 9110, 7.6.1), or follow from it."""

SHOWN = frozenset(("via", "server", "x-served-by", "x-cache"))
"""Headers whose value may be printed; others may hold a session or a token."""

LEAST = 2
"""Answers of each kind, below which a difference may be the server's own mood."""


def proxy_signs(direct: Sequence[bytes], through: Sequence[bytes]) -> tuple[str, ...]:
    """What every answer through the target has and no direct one.

    Args:
        direct: status line and header lines of answers that endpoints gave directly.
        through: the same of answers at the target's address.
    """
    if min(len(direct), len(through)) < LEAST:
        return ()
    ours, theirs = [_headers(head) for head in direct], [_headers(head) for head in through]
    return (*_added(ours, theirs), *_replaced(ours, theirs), *_lowered(ours, theirs))


def _headers(head: bytes) -> dict[str, tuple[str, str]]:
    """Lower-case name to the name as written and the value."""
    lines = (line.partition(b":") for line in head.splitlines()[1:])
    pairs = ((name.decode("latin-1").strip(), value.decode("latin-1").strip()) for name, colon, value in lines if colon)
    return {name.lower(): (name, value) for name, value in pairs if name.lower() not in HOP_BY_HOP}


_Headers = Mapping[str, tuple[str, str]]


def _added(direct: Sequence[_Headers], through: Sequence[_Headers]) -> Iterator[str]:
    everywhere = set(through[0]).intersection(*through[1:])
    for name in sorted(everywhere - {name for headers in direct for name in headers}):
        yield f"{name}: {through[0][name][1][:60]}" if name in SHOWN else name


def _replaced(direct: Sequence[_Headers], through: Sequence[_Headers]) -> Iterator[str]:
    """Only the Server header: others differ from answer to answer by themselves."""
    ours = {headers["server"][1] for headers in direct if "server" in headers}
    theirs = {headers["server"][1] for headers in through if "server" in headers}
    if ours and theirs and not ours & theirs:
        yield f"server: {min(theirs)[:60]} instead of {min(ours)[:60]}"


def _lowered(direct: Sequence[_Headers], through: Sequence[_Headers]) -> Iterator[str]:
    """Proxies that speak HTTP/2 inside write names in lower case (RFC 9113, 8.2.1); so may the server, and that shows nothing."""
    capitals = {name for headers in direct for name, (written, _) in headers.items() if written != name}
    common = capitals.intersection(*through)
    if common and all(headers[name][0] == name for headers in through for name in common):
        yield "header names in lower case"
