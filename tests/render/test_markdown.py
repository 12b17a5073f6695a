"""Markdown, read by GitHub's own parser: what it makes of a report, and that no stranger's word gets out of its place."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from xml.etree import ElementTree as ET

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given
from hypothesis import strategies as st

from kbalance.model.codec import decode, encode
from kbalance.model.report import Artifact, Report
from kbalance.model.words import OutputFormat, Severity
from kbalance.render import Style, render
from kbalance.render.gfm import code, details, fenced, prose, table
from kbalance.render.markdown import MOST_ARTIFACT_CHARACTERS
from tests.render.conftest import HOSTILE, SAMPLES

PLAIN = Style(colour=False, width=100, unicode=True)
LONGEST_TICKET = 65_536

strangers = st.text(
    st.sampled_from("|`\\<>&*_[]()!#@:$~-+=.1ax \"';/{}^") | st.characters(exclude_categories=["C", "Z"]), max_size=30
).map(lambda text: " ".join(text.split()))
"""One printable line, as `harmless` leaves it."""


def _markdown(report: Report) -> str:
    return render(report, OutputFormat.MARKDOWN, style=PLAIN)


def _parsed(markdown: str) -> ET.Element:
    """The document; that it is well-formed shows that nobody opened or closed an element that was not ours."""
    html = cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE)
    reader = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    return ET.fromstring(f"<body>{html}</body>", parser=reader)


def _page(report: Report) -> ET.Element:
    return _parsed(_markdown(report))


def _text(element: ET.Element) -> str:
    """As somebody reads it: without comments."""
    own = element.text or "" if isinstance(element.tag, str) else ""
    return own + "".join(_text(part) + (part.tail or "") for part in element)


def _all_text(page: ET.Element, tag: str) -> list[str]:
    return [_text(element).strip() for element in page.iter(tag)]


def _shape(page: ET.Element) -> list[str]:
    """The elements in their order."""
    return [element.tag for element in page.iter() if isinstance(element.tag, str)]


def _rows(element: ET.Element) -> list[list[str]]:
    return [[_text(cell) for cell in row] for row in element.iter("tr")]


def test_first_is_the_verdict(report: Report) -> None:
    page = _page(report)
    diagnosis = report.diagnosis

    assert page[0].tag == "h2"
    assert f"{diagnosis.severity.value.upper()}: {diagnosis.cause} ({diagnosis.confidence.value}" in _text(page[0])
    assert page[1].tag == "p"


def test_headings_are_those_of_the_report_in_its_order(samples: Mapping[str, Report]) -> None:
    assert _all_text(_page(samples["in-full"]), "h3") == [
        "Requests per endpoint",
        "Connections per endpoint, from each vantage point (short-lived)",
        "Thresholds",
        "Why",
        "What to change, best first",
        "Expected load on average",
        "Notices",
    ]
    assert _all_text(_page(samples["in-full"]), "summary") == [
        "Ruled out: 2 other causes",
        "client.py (python)",
        "destination-rule.yaml (istio)",
        "Latency in ms, asked directly",
        "Chance of each endpoint to be given a connection",
        "How it was measured",
    ]


def test_few_endpoints_have_a_column_each(classic: Report) -> None:
    first = next(_page(classic).iter("table"))

    assert _rows(first) == [
        ["", "conns", "9k4lq", "lw8ds", "x2x2p", "busiest", "by luck", "verdict"],
        ["single", "1", "········0 (0%)", "········0 (0%)", "████████300 (100%)", "3.00x", "3.00x", "pinned"],
        ["pooled", "10", "██▍·····90 (30%)", "▊·······30 (10%)", "████▊···180 (60%)", "1.80x", "1.48x", "uneven"],
        ["short-lived", "300", "██▌·····95 (32%)", "██▍·····90 (30%)", "███▏····115 (38%)", "1.15x", "1.08x", "even, random"],
        ["per-endpoint", "3", "██▋·····100 (33%)", "██▋·····100 (33%)", "██▋·····100 (33%)", "1.00x", "-", "even"],
    ]


@pytest.mark.parametrize("count", [20, 200])
def test_many_endpoints_are_told_by_their_ends(samples: Mapping[str, Report], count: int) -> None:
    header, single, pooled, _, direct = _rows(next(_page(samples[f"{count}-endpoints"]).iter("table")))

    assert header == ["", "conns", "most", "least", "idle", "busiest", "by luck", "verdict"]
    assert single[4] == str(count - 1)
    assert int(pooled[4]) >= count - 10
    assert direct[2:5] == ["20 each", "-", "0"]


def test_long_names_are_numbered_and_listed(samples: Mapping[str, Report]) -> None:
    page = _page(samples["long-names"])

    assert _rows(next(page.iter("table")))[0][2:6] == ["#1", "#2", "#3", "#4"]
    assert any("#4 is gamma-very-long-release-name" in text for text in _all_text(page, "p"))


def test_tables_are_whole(report: Report) -> None:
    for element in _page(report).iter("table"):
        assert len({len(row) for row in _rows(element)}) == 1


def test_broken_thresholds_stand_at_the_top_and_in_a_table(samples: Mapping[str, Report]) -> None:
    page = _page(samples["failing"])

    assert (
        _text(page[2]) == "FAILED 2 of 3 thresholds: failed_share<0.01 (measured: 0.165), single.p99_ms<50 (measured: no value)"
    )
    assert _rows(list(page.iter("table"))[1]) == [
        ["threshold", "measured", "result"],
        ["failed_share<0.01", "0.165", "❌ FAILED"],
        ["pooled.idle==0", "0", "✅ ok"],
        ["single.p99_ms<50", "no value", "❌ FAILED"],
    ]


def test_partial_run_is_marked_at_the_top(samples: Mapping[str, Report]) -> None:
    assert _text(_page(samples["partial"])[2]).startswith("PARTIAL: The run was cut short (interrupted)")


def test_fixes_are_numbered_and_told_with_their_effect(classic: Report) -> None:
    (fixes,) = _page(classic).iter("ol")

    assert [_text(next(fix.iter("p"))) for fix in fixes] == [
        "Balance in the client: measured 1.00x instead of 3.00x",
        "Give connections a shorter life, with jitter: measured 1.15x instead of 3.00x",
        "Put the client into a mesh: predicted 1.00x instead of 3.00x",
        "Put a queue between",
    ]


def test_artifacts_can_be_copied_as_they_stand(classic: Report) -> None:
    (client, rule) = _page(classic).iter("pre")

    assert (client.attrib["lang"], rule.attrib["lang"]) == ("python", "yaml")
    assert _text(rule) == classic.recommendations[2].artifacts[0].content


def test_a_long_line_to_copy_is_whole(classic: Report) -> None:
    line = "kubectl patch deployment web --patch '" + "x" * 600 + "'"
    fix = replace(classic.recommendations[0], artifacts=(Artifact(name="patch.sh", kind="shell", content=line),))

    (shown,) = _page(replace(classic, recommendations=(fix,))).iter("pre")

    assert _text(shown).strip() == line


def test_a_terminals_colour_stays_out(classic: Report) -> None:
    assert "\x1b" not in render(classic, OutputFormat.MARKDOWN, style=Style(colour=True, width=100, unicode=True))


def test_what_is_too_long_for_a_ticket_is_named(classic: Report) -> None:
    long = Artifact(name="long.yaml", kind="istio", content="x: 1\n" * (MOST_ARTIFACT_CHARACTERS // 5))
    fix = replace(classic.recommendations[0], artifacts=(long, long))

    text = _markdown(replace(classic, recommendations=(fix,)))

    assert len(text) < LONGEST_TICKET
    assert text.count("<summary>long.yaml (istio)</summary>") == 1
    assert "long.yaml (--artifacts DIR writes them, -o json has them)" in text


def test_every_sample_fits_into_a_ticket(report: Report) -> None:
    assert len(_markdown(report)) < LONGEST_TICKET


def test_several_vantage_points_are_compared(samples: Mapping[str, Report]) -> None:
    page = _page(samples["in-full"])

    assert _rows(list(page.iter("table"))[1])[1:] == [
        ["node-1", "eu-1b", "300", "95", "90", "115", "1.15x", "random"],
        ["node-2", "eu-1c", "300", "95", "90", "0", "1.15x", "random"],
    ]
    assert "node-2 reached 2 endpoints alone with 300 connections, and never web-7d4b9c6f5-x2x2p, which others reached." in (
        _all_text(page, "li")
    )


def test_bounds_and_forecasts_are_told(samples: Mapping[str, Report]) -> None:
    page = _page(samples["in-full"])
    tables = [_rows(element) for element in page.iter("table")]

    assert ["now", "4", "10", "3", "1.23x", "0.0"] in [row for rows in tables for row in rows]
    assert ["web-7d4b9c6f5-x2x2p", "51%", "69%"] in [row for rows in tables for row in rows]
    assert "pooled: at most 42 more connections would settle it" in _all_text(page, "li")


@pytest.mark.parametrize("severity", Severity)
def test_severity_is_seen_at_a_glance_where_signs_can_be_shown(classic: Report, severity: Severity) -> None:
    report = replace(classic, diagnosis=replace(classic.diagnosis, severity=severity))

    assert _markdown(report)[3] in "🔴🟡🟢"
    assert render(report, OutputFormat.MARKDOWN, style=replace(PLAIN, unicode=False)).startswith(f"## {severity.value.upper()}: ")


def test_stream_without_unicode_gets_ascii(report: Report) -> None:
    assert render(report, OutputFormat.MARKDOWN, style=replace(PLAIN, unicode=False)).isascii()


# --- words of strangers


def test_hostile_names_change_no_element(samples: Mapping[str, Report]) -> None:
    """The same report with tame names that are about as long has the same elements."""
    hostile = samples["hostile"]
    tame: Mapping[str, str] = {name: f"tame-{'x' * 40}-{i}" for i, name in enumerate(HOSTILE)}

    assert set(_shape(_page(hostile))) <= ALLOWED
    assert _shape(_page(_renamed(hostile, tame))) == _shape(_page(hostile))


ALLOWED = {
    *("body", "h2", "h3", "p", "strong", "em", "sub", "br", "code", "pre", "ul", "ol", "li"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
}


def _renamed(report: Report, names: Mapping[str, str]) -> Report:
    """The report with names replaced wherever they stand."""

    def renamed(value: object) -> object:
        if isinstance(value, list):
            return [renamed(item) for item in value]
        if isinstance(value, str):
            for old, new in names.items():
                value = value.replace(old, new)
        return value

    return decode(Report, renamed(encode(report)))


def test_github_finds_nobody_to_mention_and_nothing_to_link(samples: Mapping[str, Report]) -> None:
    page = _page(samples["hostile"])

    assert [text for text in _seen(page) if re.search(r"@\w|#\d|GH-\d|://|www\.|:[\w+-]+:", text)] == []
    assert "@octocat" in _text(page)


def _seen(element: ET.Element) -> Iterator[str]:
    """Every piece of text in which GitHub looks for mentions, references and emoji: not in code."""
    if element.tag in ("code", "pre"):
        return
    if isinstance(element.tag, str):
        yield element.text or ""
    for part in element:
        yield from _seen(part)
        yield part.tail or ""


@given(strangers)
def test_prose_reads_as_it_stands(text: str) -> None:
    body = prose(text)
    page = _parsed(
        f"{body}\n\n- {body}\n\n## x {body}\n\n**{body}x**\n\n" + "\n".join(table([["a", "b"], [body, "c"]], ["left", "left"]))
    )

    assert set(_shape(page)) <= {"body", "p", "ul", "li", "h2", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert _all_text(page, "li") == [text]
    assert _all_text(page, "h2") == [f"x {text}".strip()]
    assert _all_text(page, "strong") == [f"{text}x"]
    assert _all_text(page, "td") == [text, "c"]
    assert [seen for seen in _seen(page) if re.search(r"@\w|#\d|://|www\.", seen)] == []


@given(strangers.filter(bool))
def test_code_reads_as_it_stands(text: str) -> None:
    body = code(text)
    page = _parsed(f"{body} x\n\n" + "\n".join(table([["a", "b"], [body, "c"]], ["left", "left"])))

    assert _all_text(page, "code") == [text, text]
    assert _all_text(page, "td") == [text, "c"]


@given(st.lists(strangers | st.sampled_from(["```", "````", "~~~", "</details>", "    x", "`````yaml"]), max_size=6))
def test_a_fence_holds_whatever_it_is_given(lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines)

    page = _parsed("\n".join(["1. x", *(f"   {line}" if line else "" for line in ["", *fenced(content, "yaml")]), "", "end"]))

    assert _all_text(page, "pre") == [content.strip()]
    assert _text(list(page)[-1]) == "end"


@given(strangers)
def test_a_summary_reads_as_it_stands(text: str) -> None:
    page = _parsed("\n".join(details(text, ["body"])))

    assert _shape(page) == ["body", "details", "summary", "p"]
    assert _all_text(page, "summary") == [text]


@given(st.text(st.characters(), min_size=1))
def test_any_words_of_a_server_are_kept_in_their_place(word: str) -> None:
    report = SAMPLES["failing"]()
    finding = replace(report.diagnosis.findings[0], evidence=(word,))
    tame = replace(finding, evidence=("x",))

    pages = [
        _page(replace(report, diagnosis=replace(report.diagnosis, findings=(f,)), notices=f.evidence)) for f in (finding, tame)
    ]

    assert _shape(pages[0]) == _shape(pages[1])
