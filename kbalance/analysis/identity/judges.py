"""When a place of the response is believed to tell the pod: one judge for each kind of evidence."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from kbalance.analysis.identity.candidates import well_known
from kbalance.analysis.identity.extract import LONGEST, Extractor, Family
from kbalance.analysis.identity.identifier import Identifier, stranger_pattern
from kbalance.analysis.identity.known import NOBODY, UNKNOWN, Echo, Known, listed
from kbalance.analysis.identity.sample import Sample

_LEARN_SAMPLES = 3
_LEARN_CONNECTIONS = 2
"""Answers of each endpoint, and connections that they came over, before a value may be learned to mean it."""

_QUANTITY = re.compile(r"(?<![:\w])\d\d:\d\d:\d\d(?![:\w])|\d{4}-\d\d-\d\d|^\d+(?:[.,]\d+)?\s*[a-zA-Zµ%]{0,3}$")
"""Times, sizes and counts may differ between pods for a while without naming any."""
_NOT_NAMES = frozenset(
    f"header {name}"
    for name in (
        *("age", "connection", "content-digest", "content-length", "content-md5", "content-type", "date", "digest"),
        *("etag", "expires", "grpc-message", "grpc-status", "keep-alive", "last-modified", "location", "repr-digest"),
        *("server-timing", "set-cookie", "trailer"),
        "vary",
    )
)
"""Headers about the content or the connection: alike in equal pods, and changing with every release."""

Verdict = Identifier | str
"""Accepted, or the reason why not."""
Judge = Callable[[Extractor], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The answers that every candidate is tried on."""

    samples: tuple[Sample, ...]
    echo: Echo
    vouched: bool
    """Whether the user named the place: then its form is not questioned, only its truth."""

    def read(self, extractor: Extractor, sample: Sample) -> tuple[str, str | None]:
        """The value of one answer, and what is wrong with it wherever it came from."""
        value = extractor.extract(sample.raw(extractor.part))
        if value is None:
            return "", f"missing from an answer of {sample.endpoint or 'the target'}"
        return value, "stands in the request, so it may be an echo" if self.echo.repeats(value, sample) else None


def by_facts(known: Known, case: Case) -> Judge:
    """Accepts what equals something known of the endpoint, in every answer.

    Through the target's address nobody knows who should have answered: there a place that servers use for names, or
    the user's own, may also name strangers, and any other one has to name several endpoints.
    """

    def judge(extractor: Extractor) -> Verdict:
        trusted = case.vouched or well_known(extractor)
        seen: set[str] = set()
        for sample in case.samples:
            value, flaw = case.read(extractor, sample)
            flaw = flaw or known.flaw(value, sample.endpoint)
            if flaw == UNKNOWN and trusted and sample.endpoint is None:
                continue
            if flaw:
                return flaw
            seen.add(known.find(value) or "")
        if not seen:
            return UNKNOWN
        if case.samples[0].endpoint is None and len(seen) < 2 and not trusted:
            return "always names the same endpoint, and no direct connection shows that it is right"
        return Identifier(extractor=extractor, known=known, strangers=stranger_pattern(extractor, vouched=case.vouched))

    return judge


def by_truth(known: Known, case: Case, endpoints: int) -> Judge:
    """Accepts what is constant for each endpoint, differs between them, and was seen often enough.

    While one of the `endpoints` has not been heard, a new value may be its own, so it does not name a stranger.
    """
    shortage = _shortage(case)

    def judge(extractor: Extractor) -> Verdict:
        if extractor.family is Family.WORD:
            return UNKNOWN
        if not case.vouched and extractor.source.lower() in _NOT_NAMES:
            return "does not name a pod"
        own: dict[str, str] = {}
        owner: dict[str, str] = {}
        for sample in case.samples:
            value, flaw = case.read(extractor, sample)
            flaw = flaw or _unlearnable(value, sample, known, case)
            if flaw:
                return flaw
            name = sample.endpoint or ""
            if own.setdefault(name, value) != value:
                return f"changes between answers of {name}"
            if owner.setdefault(value, name) != name:
                return f"the same from {owner[value]} and {name}"
        learned = Known(names={**known.names, **owner}, shared=known.shared)
        strangers = stranger_pattern(extractor, vouched=case.vouched) if len(own) == endpoints else None
        return shortage or Identifier(extractor=extractor, known=learned, strangers=strangers)

    return judge


def _unlearnable(value: str, sample: Sample, known: Known, case: Case) -> str | None:
    flaw = known.flaw(value, sample.endpoint)
    if flaw not in (None, UNKNOWN):
        return flaw
    if not case.vouched and (value.casefold() in NOBODY or _QUANTITY.search(value)):
        return "is a time, a number or a word that names nobody"
    if not case.vouched and not (value.isascii() and value.isprintable()):
        return "is no text that could be a name"
    return "is too long for a name" if len(value) > LONGEST else None


def _shortage(case: Case) -> str | None:
    """Why nothing can be learned from these answers, whatever they say.

    The spans from each endpoint's first to its last answer must all overlap: otherwise anything that changes with time
    is constant for each endpoint and different between them.
    """
    spans: dict[str, list[int]] = {}
    connections: dict[str, set[int]] = {}
    for index, sample in enumerate(case.samples):
        spans.setdefault(sample.endpoint or "", []).append(index)
        connections.setdefault(sample.endpoint or "", set()).add(sample.connection)
    if len(spans) < 2 and not case.vouched:
        return f"{UNKNOWN}, and only {next(iter(spans))} answered, so its meaning cannot be learned"
    few = [n for n in spans if len(spans[n]) < _LEARN_SAMPLES or len(connections[n]) < _LEARN_CONNECTIONS]
    if few:
        return f"{UNKNOWN}, and {listed(few)} answered too seldom to learn its meaning"
    if max(indices[0] for indices in spans.values()) > min(indices[-1] for indices in spans.values()):
        return f"{UNKNOWN}, and endpoints were not asked in turns, so its meaning cannot be learned"
    return None


def by_shape(case: Case) -> Judge:
    """Accepts what looks like a name and comes again: an id of requests would be new in every answer."""
    nothing = Known(names={}, shared={})

    def judge(extractor: Extractor) -> Verdict:
        identifier = Identifier(extractor=extractor, known=nothing, strangers=stranger_pattern(extractor, vouched=case.vouched))
        values: set[str] = set()
        for sample in case.samples:
            value, flaw = case.read(extractor, sample)
            if flaw:
                return flaw
            if identifier(sample.raw(extractor.part)) is None:
                return "does not look like the name of a pod"
            values.add(value)
        if 2 * len(values) > len(case.samples) and not case.vouched:
            return f"{len(values)} different values in {len(case.samples)} answers are too many to be names of pods"
        return identifier

    return judge
