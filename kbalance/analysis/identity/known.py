"""What may be believed: strings that mean an endpoint, and strings that the client itself sent."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kbalance.analysis.identity.sample import Sample
from kbalance.model.plan import RequestSpec
from kbalance.model.target import EndpointFacts

NAMES_ANOTHER = " on a direct connection to "
UNKNOWN = "names no known endpoint"
"""The reason that leaves room for learning what a value means."""

NOBODY = frozenset({"localhost", "unknown", "none", "null", "default"})
"""Words that stand where a name should."""

_Claim = tuple[str, str]
"""A string, and the name of the endpoint that it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Strings that mean endpoints."""

    names: Mapping[str, str]
    """String to the name of the one endpoint that it means."""
    shared: Mapping[str, tuple[str, ...]]
    """Strings that mean several endpoints (an address with two ports, the node of two pods); they identify nobody."""

    def find(self, value: str) -> str | None:
        """The endpoint that a value means: known itself, or the first label of a full domain name."""
        return self.names.get(value) or self.names.get(value.partition(".")[0])

    def flaw(self, value: str, endpoint: str | None) -> str | None:
        """Why a value does not tell that `endpoint` answered (``None``: whoever it may be)."""
        if value in self.shared:
            return f"{value} stands for {listed(self.shared[value])}"
        name = self.find(value)
        if name is None:
            return UNKNOWN
        if endpoint not in (None, name):
            return f"names {name}{NAMES_ANOTHER}{endpoint}"
        return None

    def finder(self) -> Callable[[str], str | None]:
        """Gives the known string in a text, if all the known strings in it mean the same endpoint.

        Only whole words count, because ``web-1`` stands in ``web-10`` and ``198.18.0.1`` in ``198.18.0.12``.
        """
        if not self.names:
            return lambda _: None
        either = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
        finditer = re.compile(rf"(?:{either})(?![\w-]|\.\d)").finditer
        # The character before is looked at afterwards: a pattern that starts with names is searched much faster.
        glued = re.compile(r"[\w-]$|\w\.$").search

        def find(text: str) -> str | None:
            matches = finditer(text)
            found = [m[0] for m in matches if not glued(text[max(m.start() - 2, 0) : m.start()])]
            return found[0] if len({self.names[name] for name in found}) == 1 else None

        return find


def known_names(endpoints: Iterable[EndpointFacts]) -> Known:
    """By name, hostname and address; what names one endpoint is not taken for another's weaker sign.

    Source: the cut at 63 characters, kubernetes/kubernetes ``pkg/kubelet/util`` (a Pod's hostname is a DNS label,
    and no hyphen or dot is left at its end).
    """
    endpoints = tuple(endpoints)
    return _table(
        [(e.name, e.name) for e in endpoints],
        [(alias, e.name) for e in endpoints for alias in (*e.aliases, e.name[:63].rstrip("-."))],
        [(text, e.name) for e in endpoints if e.address for text in (str(e.address), e.address.ip)],
    )


def known_nodes(endpoints: Iterable[EndpointFacts]) -> Known:
    """By node, which is the hostname of Pods in the node's network."""
    return _table([(e.node, e.name) for e in endpoints if e.node])


def _table(*layers: Iterable[_Claim]) -> Known:
    names: dict[str, str] = {}
    shared: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        claims: dict[str, dict[str, None]] = {}
        for text, name in layer:
            if text not in names and text not in shared:
                claims.setdefault(text, {})[name] = None
        for text, owners in claims.items():
            if len(owners) == 1:
                names[text] = next(iter(owners))
            else:
                shared[text] = tuple(owners)
    return Known(names=names, shared=shared)


class Echo:
    """The client's own words, which an answer may only be repeating."""

    __slots__ = ("_text",)

    def __init__(self, request: RequestSpec) -> None:
        fields = (f"{name}: {value}" for name, value in request.headers)
        words = (request.method, request.authority, request.path, *fields, request.nonce)
        self._text = "\n".join((*words, request.body.decode("utf-8", "replace"))).casefold()

    def repeats(self, value: str, sample: Sample) -> bool:
        """Whether a value stands in the request, not cut out of a longer word, or is the client's own address."""
        client = str(sample.client)
        if client in value or value.strip("[]").removeprefix("::ffff:") == sample.local:
            return True
        folded = value.casefold()
        # Most values are nowhere in the request; the pattern is for the few that are.
        return folded in self._text and bool(re.search(rf"(?<![a-z0-9]){re.escape(folded)}(?![a-z0-9])", self._text))


def listed(names: Iterable[str], most: int = 4) -> str:
    """``a, b and c``; of many only the first few, and how many more there are."""
    names = list(names)
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
