"""How findings and recommendations put things: numbers rounded to what matters, names listed, failures in words."""

import re
from collections.abc import Iterable

from kbalance.model.report import ProfileReport
from kbalance.model.target import Target
from kbalance.model.words import Failure, Protocol, TargetKind


def target_name(target: Target) -> str:
    """The target in a sentence."""
    return f"Service {target.name}" if target.kind is TargetKind.SERVICE else target.url


def exchange(protocol: Protocol) -> str:
    """What a proxy of this protocol places one by one."""
    if protocol is Protocol.GRPC:
        return "call"
    return "stream" if protocol.multiplexes else "request"


PROTOCOL_NAMES = {
    Protocol.HTTP1: "HTTP/1.1",
    Protocol.H2: "HTTP/2",
    Protocol.H2C: "HTTP/2 without TLS",
    Protocol.GRPC: "gRPC over HTTP/2",
}


def times(ratio: float) -> str:
    """A ratio to the digits that matter."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def millis(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def known_millis(value: float | None) -> str:
    return "not known" if value is None else millis(value)


def duration(seconds: float) -> str:
    """``30 seconds``, ``15 minutes``, ``1 hour``; in the largest unit that leaves a whole number."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            return count(round(seconds / length), unit)
    return f"{seconds:g} second" + ("" if seconds == 1 else "s")


def count(number: int, noun: str) -> str:
    """``1 endpoint``, ``3 endpoints``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def between(low: str, high: str) -> str:
    """A range, or one value where its printed ends are equal."""
    return low if low == high else f"{low} to {high}"


def listed(names: Iterable[str], limit: int = 3) -> str:
    """The first few names and how many more there are."""
    everyone = list(names)
    shown = everyone if len(everyone) <= limit + 1 else [*everyone[:limit], f"{len(everyone) - limit} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


ODDS_WORTH_A_WORD = 20
"""A fair draw gets so far in one run of twenty at most; below, a number would sound like evidence."""


def odds(e_value: float | None) -> str:
    """An e-value in words."""
    if e_value is None:
        return "not tested"
    if e_value >= 1e6:
        return "more than a million to one against a fair draw"
    if e_value >= ODDS_WORTH_A_WORD:
        return f"{e_value:,.0f} to one against a fair draw"
    return "nothing speaks against a fair draw"


_CODE = re.compile(r"[A-Z_]+(?=:|$)")
"""How the words about a call that failed begin."""

FAILURE_WORDS = {
    Failure.REFUSED: "connection refused",
    Failure.UNREACHABLE: "no way there",
    Failure.CONNECT_TIMEOUT: "no connection in time",
    Failure.TLS: "TLS handshake failed",
    Failure.TIMEOUT: "no answer in time",
    Failure.RESET: "connection reset",
    Failure.CLOSED: "connection closed before the answer was complete",
    Failure.MALFORMED: "malformed answer",
    Failure.TOO_LARGE: "answer too large",
    Failure.STATUS: "status 500 or above",
}


def failures_of(report: ProfileReport, name: str | None = None) -> str:
    """Kinds of failure and their numbers, most frequent first; of one endpoint, or of all."""
    told = (f"{_in_words(kind, report, name)} ({requests})" for kind, requests in _failures(report, name))
    return ", ".join(told) or "none ended"


def failure_kinds(report: ProfileReport, name: str | None = None) -> str:
    """Kinds of failure, most frequent first; of one endpoint, or of all."""
    return ", ".join(_in_words(kind, report, name) for kind, _ in _failures(report, name)) or "reason not known"


def failure_words(kind: Failure, protocol: str, detail: str) -> str:
    """One kind of failure; what a gRPC server said by the name of its code, such as ``UNAVAILABLE``."""
    if kind is not Failure.STATUS or protocol != Protocol.GRPC.value:
        return FAILURE_WORDS[kind]
    code = _CODE.match(detail)
    return code[0] if code else "an error of the server"


def _in_words(kind: Failure, report: ProfileReport, name: str | None) -> str:
    told = (f.detail for f in report.failures if f.kind is kind and f.detail and name in (None, f.endpoint))
    return failure_words(kind, report.protocol, next(told, ""))


def _failures(report: ProfileReport, name: str | None) -> list[tuple[Failure, int]]:
    counts: dict[Failure, int] = {}
    for failure in report.failures:
        if name is None or failure.endpoint == name:
            counts[failure.kind] = counts.get(failure.kind, 0) + failure.requests
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
