"""The report as JUnit XML, in the subset that Ant, Surefire, Jenkins, GitLab and the reporters for GitHub agree on.

One test suite is one run: a test case for the diagnosis, one for each profile and one for each threshold. Servers follow a test
case over time by its class and its name (GitLab by these alone; Jenkins takes the class up to the last dot for a package), so
both hold the target and what is asked, and nothing that was measured. There is no test case for each cause: which causes can be
judged differs from run to run, so test cases would come and go, and one finding would fail twice.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kbalance.analysis.outcome import measured, unaccepted
from kbalance.model.report import Finding, ProfileReport, Report, Threshold
from kbalance.model.target import Target
from kbalance.model.words import Spread, TargetKind
from kbalance.render import Style
from kbalance.render.distribution import factor, verdict
from kbalance.render.method import protocol, vantage
from kbalance.render.sentences import concluded, effect, leading, named
from kbalance.render.sentences import measured as value_of
from kbalance.render.terminal import counted, harmless
from kbalance.render.text import render as text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A test case and how it ended."""

    name: str
    time_s: float = 0.0
    outcome: str | None = None
    """``failure``, ``error`` or ``skipped``; ``None``: it passed."""
    kind: str = ""
    message: str = ""
    told: str = ""
    """What a reader sees who opens it."""


def render(report: Report, style: Style) -> str:
    """The report as XML, with the text report as the output of the suite."""
    # Characters that XML has no word for are control characters, surrogates and unassigned ones; none of them is left here.
    clean = harmless(report, style)
    cases = [_diagnosis(clean), *map(_profile, clean.profiles), *(_threshold(clean, one) for one in clean.thresholds)]
    counts = {outcome: sum(case.outcome == outcome for case in cases) for outcome in ("failure", "error", "skipped")}
    sums = {
        "tests": str(len(cases)),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "time": f"{report.duration_s:.3f}",
    }
    root = ET.Element("testsuites", {"name": "kbalance", **sums})
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "name": f"kbalance {named(clean.target)}",
            **sums,
            "skipped": str(counts["skipped"]),
            # As Ant writes it, without a zone; it is UTC, and the property `started` says so.
            "timestamp": clean.started.removesuffix("Z"),
            "hostname": clean.vantage.node or clean.vantage.address or clean.vantage.kind,
        },
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(clean):
        ET.SubElement(properties, "property", {"name": name, "value": value})
    for case in cases:
        _add(suite, _class(clean.target), case)
    ET.SubElement(suite, "system-out").text = text(report, Style(colour=False, width=100, unicode=style.unicode))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add(suite: ET.Element, class_name: str, case: _Case) -> None:
    element = ET.SubElement(suite, "testcase", {"classname": class_name, "name": case.name, "time": f"{case.time_s:.3f}"})
    if case.outcome == "skipped":
        ET.SubElement(element, case.outcome, {"message": case.message})
    elif case.outcome is not None:
        ET.SubElement(element, case.outcome, {"message": case.message, "type": case.kind}).text = case.told
    if case.outcome in (None, "skipped") and case.told:
        ET.SubElement(element, "system-out").text = case.told


def _class(target: Target) -> str:
    """The target as a class in the package kbalance; a dot of its own would be taken for the end of a package."""
    if target.kind is TargetKind.SERVICE:
        return f"kbalance.{target.namespace}/{target.name}:{target.port}"
    return f"kbalance.{target.authority.replace('.', '_')}"


def _properties(report: Report) -> Iterator[tuple[str, str]]:
    yield "kbalance", report.kbalance
    yield "started", report.started
    yield "seed", str(report.seed)
    yield "target", named(report.target)
    yield "vantage", vantage(report)
    yield "protocol", protocol(report)
    yield "fail_on", report.fail_on.value
    yield "cause", report.diagnosis.cause
    yield "severity", report.diagnosis.severity.value
    yield "confidence", report.diagnosis.confidence.value
    yield "partial", "true" if report.partial else "false"


def _diagnosis(report: Report) -> _Case:
    """Fails for the findings that the user does not accept; an error where there is no verdict."""
    diagnosis = report.diagnosis
    if not measured(report):
        told = _lines(diagnosis.findings)
        return _Case(name="diagnosis", outcome="error", kind=diagnosis.cause, message=diagnosis.summary, told=told)
    failing = unaccepted(report)
    if failing:
        told = _lines(failing) + _cure(report)
        return _Case(name="diagnosis", outcome="failure", kind=failing[0].cause, message=failing[0].summary, told=told)
    return _Case(name="diagnosis", told=_lines(diagnosis.findings))


def _lines(findings: Iterable[Finding]) -> str:
    """Findings with their evidence, one line each."""
    return "\n".join(line for one in findings for line in (concluded(one), *(f"  - {text}" for text in one.evidence)))


def _cure(report: Report) -> str:
    """The best fix, for the leading finding is what it is about."""
    first = leading(report)
    if not report.recommendations or first is None or first not in unaccepted(report):
        return ""
    best = report.recommendations[0]
    return f"\nBest fix: {best.title}{effect(best, report.profiles)}\n  {best.why}"


def _profile(profile: ProfileReport) -> _Case:
    """A profile never fails by itself: what its load means is the diagnosis's and the thresholds' to say."""
    name = f"profile {profile.profile.value}"
    requests = f"{counted(profile.requests.sent, 'request')}, {profile.requests.failed} failed"
    told = (
        f"busiest {factor(profile.busiest)}, by luck {factor(profile.expected_busiest)}, {verdict(profile)}; "
        f"{requests}, on {counted(profile.connections.opened, 'connection')}"
    )
    if profile.spread is Spread.FAILED:
        message = "How the load lay cannot be said: too little was answered or attributed, or an endpoint answered nothing."
        return _Case(name=name, time_s=profile.duration_s, outcome="skipped", message=message, told=told)
    return _Case(name=name, time_s=profile.duration_s, told=told)


def _threshold(report: Report, one: Threshold) -> _Case:
    name, told = f"threshold {one.expression}", f"measured: {value_of(one)}"
    if not measured(report):
        message = f"There is no verdict ({report.diagnosis.cause}), so thresholds were not judged."
        return _Case(name=name, outcome="skipped", message=message, told=told)
    if one.passed:
        return _Case(name=name, told=told)
    why = "was not measured" if one.value is None else f"was {value_of(one)}"
    return _Case(name=name, outcome="failure", kind="threshold", message=f"{one.expression} does not hold: it {why}.", told=told)
