"""The diagnosis that the rules make of a case, in the order of decision."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kbalance.analysis.case import Case
from kbalance.analysis.causes import RULES, Role, Rule
from kbalance.model.report import Diagnosis, Finding, RuledOut
from kbalance.model.words import Confidence, Placement, Severity

__all__ = ["NOT_MEASURED", "RULES", "Case", "Role", "Rule", "diagnose", "diagnose_all"]

NOT_MEASURED = frozenset(rule.id for rule in RULES if rule.role is Role.NOT_MEASURED)
"""Causes of a diagnosis that is no verdict: the run could not measure (exit code 3)."""


def diagnose(case: Case) -> Diagnosis:
    """The findings of all rules, led by the one that explains most.

    A run that did not measure has no other verdict. Else causes lead by severity and then by order of decision; one that is
    merely possible comes after all that are likely, however severe. Where there is no cause, the fallbacks decide.
    """
    findings = _found(case, {Role.NOT_MEASURED})[:1]
    if findings:
        return _led((*findings, *_found(case, {Role.DIRECT})), ())
    causes = sorted(_found(case, {Role.DIRECT, Role.CAUSE}), key=_weight)
    found = (*(causes or _found(case, {Role.FALLBACK})[:1]), *_found(case, {Role.REMARK}))
    return _led(found, _ruled_out(case, {finding.cause for finding in found}))


def _ruled_out(case: Case, found: set[str]) -> tuple[RuledOut, ...]:
    """What was looked for and is not there, in the order of the table."""
    because = ((rule.id, rule.excluded(case)) for rule in RULES if rule.id not in found)
    return tuple(RuledOut(cause=cause, because=text) for cause, text in because if text is not None)


def diagnose_all(together: Case, apart: Mapping[str, Case]) -> Diagnosis:
    """The diagnosis of several vantage points.

    Where no vantage point saw connections that were not drawn fairly, all their connections count together. Else each is judged
    by itself: two clients that are each kept on one endpoint look like a biased balancer when they are thrown together.

    Args:
        together: all connections.
        apart: the case of each vantage point, by its name.
    """
    if len(apart) < 2 or not any(_has_its_own(case) for case in apart.values()):
        return diagnose(together)
    judged = {name: diagnose(case) for name, case in apart.items()}
    measured = {name: d for name, d in judged.items() if d.cause not in NOT_MEASURED} or judged
    by_cause: dict[str, list[tuple[str, Finding]]] = {}
    for name, diagnosis in measured.items():
        for finding in diagnosis.findings:
            by_cause.setdefault(finding.cause, []).append((name, finding))
    fallbacks = {rule.id for rule in RULES if rule.role is Role.FALLBACK}
    real = [cause for cause in by_cause if cause not in fallbacks] or list(by_cause)
    ruled_out = _ruled_out_everywhere({name: d.ruled_out for name, d in measured.items()})
    return _led(tuple(sorted((_joined(by_cause[cause], len(measured)) for cause in real), key=_weight)), ruled_out)


def _ruled_out_everywhere(apart: Mapping[str, tuple[RuledOut, ...]]) -> tuple[RuledOut, ...]:
    """What no vantage point saw; where their numbers differ, each with where it was measured."""
    because = {name: {one.cause: one.because for one in told} for name, told in apart.items()}
    everywhere = [c for c in next(iter(because.values())) if all(c in told for told in because.values())]
    return tuple(RuledOut(cause=c, because=_told_once({name: told[c] for name, told in because.items()})) for c in everywhere)


def _told_once(texts: Mapping[str, str]) -> str:
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return " ".join(f"From {name}: {text}" for name, text in texts.items())


def _has_its_own(case: Case) -> bool:
    """Whether connections from this place were led otherwise than to all endpoints alike."""
    return case.expected.because is not None or any(p.placement in (Placement.FIXED, Placement.BIASED) for p in case.through)


def _joined(seen: Sequence[tuple[str, Finding]], vantages: int) -> Finding:
    """One finding of what several vantage points concluded, each number with where it was measured."""
    name, first = min(seen, key=lambda one: list(Confidence).index(one[1].confidence))
    where = "" if len(seen) == vantages and len({f.summary for _, f in seen}) == 1 else f"From {name}: "
    return replace(
        first,
        summary=where + first.summary,
        evidence=tuple(f"From {name}: {text}" for name, finding in seen for text in finding.evidence),
    )


def _found(case: Case, roles: set[Role]) -> tuple[Finding, ...]:
    checked = (rule.check(case) for rule in RULES if rule.role in roles)
    return tuple(finding for finding in checked if finding is not None)


def _weight(finding: Finding) -> tuple[bool, int]:
    """Smaller leads; sorting keeps the order of the table among equals."""
    return finding.confidence is Confidence.POSSIBLE, list(Severity).index(finding.severity)


def _led(findings: tuple[Finding, ...], ruled_out: tuple[RuledOut, ...]) -> Diagnosis:
    lead = findings[0]
    return Diagnosis(
        cause=lead.cause,
        severity=lead.severity,
        confidence=lead.confidence,
        summary=lead.summary,
        findings=findings,
        ruled_out=ruled_out,
    )
