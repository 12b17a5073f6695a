"""JUnit XML: what a CI server makes of a report."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml

from kbalance.cli.exits import Exit
from kbalance.cli.run import exit_code
from kbalance.model.report import Report, Threshold
from kbalance.model.words import Confidence, FailOn, OutputFormat, Severity
from kbalance.render import Style, render
from tests.render.conftest import SAMPLES

SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "junit.xsd")
PLAIN = Style(colour=False, width=100, unicode=True)


def _xml(report: Report) -> str:
    return render(report, OutputFormat.JUNIT, style=PLAIN)


def _cases(report: Report) -> dict[str, ET.Element]:
    return {case.attrib["name"]: case for case in ET.fromstring(_xml(report)).iter("testcase")}


def _ended(report: Report, outcome: str) -> list[str]:
    """The names of the test cases that ended so."""
    return [name for name, case in _cases(report).items() if case.find(outcome) is not None]


def test_every_sample_is_valid(report: Report) -> None:
    SCHEMA.validate(_xml(report))


def test_every_sample_is_read_by_a_reader_of_the_format_as_it_was_meant(report: Report) -> None:
    xml = JUnitXml.fromstring(_xml(report).encode())

    (suite,) = xml
    outcomes = [outcome for case in suite for outcome in ("failure", "error", "skipped") if _has(case.result, outcome)]
    assert (xml.tests, xml.failures, xml.errors) == (suite.tests, suite.failures, suite.errors)
    assert suite.tests == len(list(suite)) == 1 + len(report.profiles) + len(report.thresholds)
    assert [suite.failures, suite.errors, suite.skipped] == [outcomes.count(o) for o in ("failure", "error", "skipped")]
    assert suite.time == report.duration_s


def _has(results: object, outcome: str) -> bool:
    assert isinstance(results, list)
    return any(type(one).__name__.lower() == outcome for one in results)


@pytest.mark.parametrize("fail_on", FailOn)
def test_something_fails_exactly_when_the_exit_code_is_one(report: Report, fail_on: FailOn) -> None:
    report = replace(report, fail_on=fail_on)
    code = exit_code(report)

    assert bool(_ended(report, "failure")) == (code == Exit.FINDINGS)
    assert bool(_ended(report, "error")) == (code == Exit.NOT_MEASURED)


def test_the_verdict_fails_at_the_severity_that_was_asked_for(classic: Report) -> None:
    assert _ended(classic, "failure") == []
    assert _ended(replace(classic, fail_on=FailOn.RISK), "failure") == ["diagnosis"]
    assert _ended(replace(classic, fail_on=FailOn.NEVER), "failure") == []


def test_what_is_merely_possible_fails_only_as_the_verdict(samples: Mapping[str, Report]) -> None:
    failing = samples["failing"].diagnosis
    first, second, third = failing.findings
    possible = replace(second, confidence=Confidence.POSSIBLE)
    mild = replace(failing, cause=third.cause, severity=third.severity, findings=(third, possible))
    report = replace(samples["classic"], diagnosis=mild)

    assert _ended(report, "failure") == []
    assert _ended(replace(report, diagnosis=replace(mild, cause=possible.cause, severity=Severity.PROBLEM)), "failure") == [
        "diagnosis"
    ]
    assert _ended(replace(report, diagnosis=replace(mild, findings=(third, first))), "failure") == ["diagnosis"]


def test_a_failed_verdict_tells_why_and_what_to_do(samples: Mapping[str, Report]) -> None:
    failure = _cases(samples["failing"])["diagnosis"].find("failure")

    assert failure is not None
    assert failure.attrib == {
        "message": "web-7d4b9c6f5-lw8ds refuses connections although the API calls it ready.",
        "type": "endpoint-failing",
    }
    assert failure.text is not None
    assert (
        "  - per-endpoint: 100 of 100 requests to web-7d4b9c6f5-lw8ds failed (refused), 0 of 200 to the others\n" in failure.text
    )
    assert "Best fix: Balance in the client: measured 1.00x instead of 3.00x\n" in failure.text
    assert "connection-pinning" not in failure.text


def test_each_threshold_has_its_own_case(samples: Mapping[str, Report]) -> None:
    cases = _cases(samples["failing"])

    assert [_message(cases[f"threshold {t.expression}"]) for t in samples["failing"].thresholds] == [
        "failed_share<0.01 does not hold: it was 0.165.",
        None,
        "single.p99_ms<50 does not hold: it was not measured.",
    ]


def _message(case: ET.Element) -> str | None:
    failure = case.find("failure")
    return None if failure is None else failure.attrib["message"]


def test_a_profile_has_its_time_and_its_numbers(classic: Report) -> None:
    case = _cases(classic)["profile pooled"]

    assert case.attrib["time"] == "1.500"
    assert case.findtext("system-out") == "busiest 1.80x, by luck 1.48x, uneven; 300 requests, 0 failed, on 10 connections"


def test_a_profile_that_tells_nothing_is_skipped_with_the_reason(samples: Mapping[str, Report]) -> None:
    assert _ended(samples["unidentified"], "skipped") == ["profile single", "profile pooled", "profile short-lived"]


def test_thresholds_are_not_judged_where_nothing_was_measured(samples: Mapping[str, Report]) -> None:
    thresholds = tuple(Threshold(expression=f"requests<{n}", value=1.0, passed=n > 1) for n in (1, 2))

    report = replace(samples["empty"], thresholds=thresholds)

    assert _ended(report, "error") == ["diagnosis"]
    assert _ended(report, "failure") == []
    assert _ended(report, "skipped") == ["threshold requests<1", "threshold requests<2"]


def test_the_same_check_has_the_same_names_whatever_was_measured(samples: Mapping[str, Report]) -> None:
    """Servers follow a test case over time by its class and name."""
    good = replace(samples["healthy"], thresholds=samples["failing"].thresholds)

    assert [_identity(case) for case in _cases(good).values()] == [
        _identity(case) for case in _cases(samples["failing"]).values()
    ]


def _identity(case: ET.Element) -> tuple[str, str]:
    return case.attrib["classname"], case.attrib["name"]


def test_targets_are_told_apart_by_the_class(samples: Mapping[str, Report]) -> None:
    url = samples["unidentified"]
    named = replace(url, target=replace(url.target, host="shop.example", port=80))

    classes = [_cases(report)["diagnosis"].attrib["classname"] for report in (samples["classic"], url, named)]

    assert classes == ["kbalance.shop/web:80", "kbalance.[fd00::7]:8080", "kbalance.shop_example"]


def test_the_suite_tells_what_is_needed_to_do_it_again(classic: Report) -> None:
    (suite,) = ET.fromstring(_xml(classic))

    assert {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")} == {
        "kbalance": "0.1.0",
        "started": "2025-11-03T02:58:41Z",
        "seed": "7",
        "target": "svc/web:80 in namespace shop",
        "vantage": "this machine, node node-1, zone eu-1b, address 198.18.0.12",
        "protocol": "HTTP/1.1",
        "fail_on": "problem",
        "cause": "connection-pinning",
        "severity": "risk",
        "confidence": "certain",
        "partial": "false",
    }
    assert suite.findtext("system-out") == render(classic, OutputFormat.TEXT, style=PLAIN)


@given(st.text(st.characters()))
def test_any_words_of_a_server_are_valid(word: str) -> None:
    report = SAMPLES["failing"]()
    finding = replace(report.diagnosis.findings[0], summary=f"said {word}", evidence=(word,))
    diagnosis = replace(report.diagnosis, summary=f"said {word}", findings=(finding,))

    SCHEMA.validate(_xml(replace(report, diagnosis=diagnosis, notices=(word,))))


def test_a_stream_without_unicode_gets_ascii(classic: Report) -> None:
    text = render(replace(classic, notices=("caf\u00e9",)), OutputFormat.JUNIT, style=replace(PLAIN, unicode=False))

    assert text.isascii()
    SCHEMA.validate(text)


@pytest.mark.parametrize(
    "broken",
    [
        '<testcase classname="k" name="n" time="0"><skipped/></testcase>',
        '<testcase name="n" time="0"/>',
        '<testcase classname="k" name="n" time="0"><failure message="m" type="t"/></testcase>',
        '<testcase classname="k" name="n" time="0"/><testcase classname="k" name="n" time="0"/>',
    ],
)
def test_the_schema_refuses_what_no_server_could_show(classic: Report, broken: str) -> None:
    text = _xml(classic)
    start, end = text.index("<testcase"), text.rindex("</testcase>") + len("</testcase>")

    assert not SCHEMA.is_valid(text[:start] + broken + text[end:])
