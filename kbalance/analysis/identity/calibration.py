"""Which place of the response tells the pod: tried on answers, best on those whose sender is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kbalance.analysis.identity.candidates import Candidates, found_in, parse_spec, well_known
from kbalance.analysis.identity.extract import Extractor, word
from kbalance.analysis.identity.identifier import Identifier
from kbalance.analysis.identity.judges import Case, Judge, by_facts, by_shape, by_truth
from kbalance.analysis.identity.known import NAMES_ANOTHER, UNKNOWN, Echo, Known, known_names, known_nodes, listed
from kbalance.analysis.identity.sample import Sample
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was found out about identity."""

    identifier: Identifier | None
    source: str | None
    """As in `Identifier.source`; ``None``: there is no identity."""
    calibrated: bool
    """Whether it was right on direct connections to endpoints, where the truth is known."""
    reasons: tuple[str, ...]
    """Why other places were not believed, one clause each, for the user."""


def calibrate(samples: Sequence[Sample], facts: Facts, request: RequestSpec, spec: str = "auto") -> Calibration:
    """Finds the place of the response that tells the pod.

    On direct connections a place must be right in every good answer (in any answer where none is below 500): its value is
    something known of the endpoint, or
    (if nothing known fits) was learned to mean it. Without direct connections only known values or, when no endpoints
    are known at all, well-known places are believed.

    Args:
        samples: in the order of their connections' opening or of the answers; learning needs endpoints asked in turns.
        facts: what is known of endpoints; none at all means that they are to be learned from answers.
        request: the one that every sample answers.
        spec: the user's ``--identity``.

    Raises:
        TargetError: when `spec` makes no sense.
    """
    wanted = parse_spec(spec, request.nonce)
    good = tuple(s for s in samples if s.good) or tuple(samples)
    if not good:
        return _nothing(("nothing was answered",))
    direct = tuple(s for s in good if s.endpoint is not None)
    case = Case(samples=direct or good, echo=Echo(request), vouched=wanted is not None)
    candidates = wanted or found_in(case.samples[0], request.nonce)
    known = known_names(facts.endpoints)
    if not facts.endpoints:
        return _choose(_unaided(candidates, case), [by_shape(case)], calibrated=False)
    places = (*candidates.whole, *_words(candidates, case, known))
    nodes = known_nodes(facts.endpoints)
    if not direct:
        return _choose(places, [by_facts(known, case)], calibrated=False)
    by_name = by_facts(known, case)
    judges = [by_name, by_facts(nodes, case)]
    if not any(contradicts(verdict) for verdict in map(by_name, candidates.whole)):
        # What is learned would take over a wrong list of endpoints, and confirm it.
        judges.append(by_truth(known, case, len(facts.endpoints)))
    return _choose(places, judges, calibrated=True)


def contradicts(reason: object) -> bool:
    """Whether a place was not believed because it names another endpoint than the one that was asked."""
    return isinstance(reason, str) and NAMES_ANOTHER in reason


def _words(candidates: Candidates, case: Case, known: Known) -> list[Extractor]:
    find, first = known.finder(), case.samples[0]
    words = [word(place, find) for place in candidates.texts]
    return [w for w in words if w.extract(first.raw(w.part)) is not None]


def _unaided(candidates: Candidates, case: Case) -> tuple[Extractor, ...]:
    return candidates.whole if case.vouched else tuple(e for e in candidates.whole if well_known(e))


def _choose(places: Sequence[Extractor], judges: Sequence[Judge], *, calibrated: bool) -> Calibration:
    """The first place that the strictest possible judge accepts."""
    reasons: dict[str, str] = {}
    for judge in judges:
        for place in places:
            if reasons.get(place.source, UNKNOWN) != UNKNOWN:
                continue
            verdict = judge(place)
            if isinstance(verdict, Identifier):
                return Calibration(identifier=verdict, source=verdict.source, calibrated=calibrated, reasons=_grouped(reasons))
            reasons[place.source] = verdict
    return _nothing(_grouped(reasons) or ("no place in the answers is known to name a pod",))


def _nothing(reasons: tuple[str, ...]) -> Calibration:
    return Calibration(identifier=None, source=None, calibrated=False, reasons=reasons)


def _grouped(reasons: Mapping[str, str]) -> tuple[str, ...]:
    sources: dict[str, list[str]] = {}
    for source, reason in reasons.items():
        sources.setdefault(reason, []).append(source)
    return tuple(f"{listed(places)}: {reason}" for reason, places in sources.items())
