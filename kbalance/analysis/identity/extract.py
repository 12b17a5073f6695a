"""The places in a response where a pod may tell its name, each as a small function from bytes to text.

Shapes and their sources: ``/hostname`` of kubernetes/kubernetes ``test/images/agnhost``; stefanprodan/podinfo;
traefik/whoami; mendhak/docker-http-https-echo; Ealenn/Echo-Server; kubernetes ingress-controller echoserver;
jmalloc/echo-server; GoogleCloudPlatform hello-app; Gateway API ``conformance/echo-basic``; nginxinc/NGINX-Demos
nginx-hello; fortio ``fhttp.DebugHandler``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from kbalance.analysis.identity.sample import Part
from kbalance.errors import TargetError

LONGEST = 253
"""Characters of the longest name that Kubernetes allows (RFC 1123 subdomain)."""
_TOP = 4096
"""Bytes of a body in which lines are looked for: servers put their own lines above the echoed request."""


class Family(StrEnum):
    """Kinds of places; the order of definition is the order of preference."""

    HEADER = "header"
    JSON = "json"
    LINE = "line"
    BODY = "body"
    REGEX = "regex"
    WORD = "word"
    """A known name found inside a longer text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractor:
    """Reads one place of a response."""

    source: str
    """For people: ``header X-Pod-Name``, ``json /hostname``, ``line Hostname``, ``body``, ``word of body``."""
    family: Family
    part: Part
    extract: Callable[[bytes], str | None]
    """The text at that place of the raw part, without surrounding blanks; ``None``: absent or empty."""


def header(name: str) -> Extractor:
    """A response header, looked up without regard to case; several of that name are joined (RFC 9110, 5.3)."""
    find = re.compile(rb"(?i)\n" + re.escape(name.encode("latin-1")) + rb":[ \t]*([^\r\n]*)").findall

    def extract(head: bytes) -> str | None:
        return _text(b", ".join(find(head)))

    return Extractor(source=f"header {name}", family=Family.HEADER, part=Part.HEAD, extract=extract)


def header_names(head: bytes) -> list[str]:
    """The header names of a raw head, each once, as the server spells them."""
    names = (name.decode("latin-1") for name in re.findall(rb"\n([^:\s]+):", head))
    return list({name.lower(): name for name in names}.values())


def line(name: str, pattern: bytes, nonce: str) -> Extractor:
    """The first group of a pattern near the top of a text body; nothing at or below the echoed nonce counts."""
    search, stop = re.compile(pattern).search, nonce.encode()

    def extract(body: bytes) -> str | None:
        match = search(_above(body[:_TOP], stop))
        return _text(match[1]) if match else None

    return Extractor(source=f"line {name}", family=Family.LINE, part=Part.BODY, extract=extract)


def _named(name: bytes) -> bytes:
    """Pattern of a ``Name: value`` line; loopback and link-local addresses are everybody's, so they are passed over."""
    return rb"(?im)^[ \t]*" + name + rb":[ \t]*+(?!127\.|::1\b|fe80:)([^\r\n]+)"


LINES = (
    ("Hostname", _named(b"Hostname")),
    ("pod name", _named(b"pod name")),
    ("Server name", _named(b"Server name")),
    ("Request served by", rb"(?m)^Request served by ([^\r\n]+)"),
    ("up for ... on", rb" up for \S+ on (\S+) - request from "),
    ("Server address", _named(b"Server address")),
    ("pod IP", _named(b"pod IP")),
    ("IP", _named(b"IP")),
)
"""Name and pattern of the lines that well-known servers write, names before addresses."""


def body() -> Extractor:
    """The whole body, when it is one line that could be a name."""

    def extract(raw: bytes) -> str | None:
        value = _text(raw) if len(raw) <= 4 * LONGEST else None
        return value if value and len(value) <= LONGEST and len(value.splitlines()) == 1 else None

    return Extractor(source="body", family=Family.BODY, part=Part.BODY, extract=extract)


def text(nonce: str) -> Extractor:
    """All of a body above the echoed nonce, to be searched for words."""
    stop = nonce.encode()
    return Extractor(source="body", family=Family.BODY, part=Part.BODY, extract=lambda raw: _text(_above(raw, stop)))


def regex(expression: str, part: Part) -> Extractor:
    """The user's own pattern: its first group, or the whole match if it has none.

    Raises:
        TargetError: when it is not a regular expression.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise TargetError(f"{expression!r} is not a regular expression ({error}); see --identity regex:RE.") from error
    group = min(pattern.groups, 1)

    def extract(raw: bytes) -> str | None:
        match = pattern.search(raw.decode("utf-8", "replace"))
        return (match[group] or "").strip() or None if match else None

    source = f"regex {expression}" if part is Part.BODY else f"regex {expression} in headers"
    return Extractor(source=source, family=Family.REGEX, part=part, extract=extract)


def word(place: Extractor, find: Callable[[str], str | None]) -> Extractor:
    """A known name that stands as a whole word inside a longer text.

    Args:
        place: gives the text.
        find: gives the known string in it; ``None`` when there is none, or several that mean different endpoints.
    """

    def extract(raw: bytes) -> str | None:
        value = place.extract(raw)
        return None if value is None else find(value)

    return Extractor(source=f"word of {place.source}", family=Family.WORD, part=place.part, extract=extract)


def _text(raw: bytes) -> str | None:
    return raw.decode("utf-8", "replace").strip() or None


def _above(body: bytes, stop: bytes) -> bytes:
    """The part of a body before the first `stop`; all of it when `stop` is empty or absent."""
    return body.partition(stop)[0] if stop else body
