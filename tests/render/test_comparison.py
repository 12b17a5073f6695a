"""A comparison as text, Markdown and JSON."""

import json
import re
from dataclasses import fields, replace

import pytest
from jsonschema import Draft202012Validator

from kbalance.analysis.comparison import compare
from kbalance.model import comparison as nouns
from kbalance.model.comparison import Comparison
from kbalance.model.words import DiffFormat, Matching, Outcome, Verdict
from kbalance.render import Style
from kbalance.render.comparison import SCHEMA, render
from kbalance.render.json import schema
from tests.pasts import TARGET, direct, fresh, pods, pooled, profile, report

PLAIN = Style(colour=False, width=100, unicode=True)
FAIR = (100, 105, 99)


def _crowd(n: int, prefix: str) -> Comparison:
    names = pods(n, prefix)
    before = report(pooled([10] + [0] * (n - 1)), fresh([30] + [0] * (n - 1)), direct(n))
    return compare(before, report(pooled([1] * n, names), fresh([20] * n, names), direct(n, names=names)), 0.01)


LONG = tuple(f"{word}-{'x' * 50}-{word}" for word in ("alpha", "bravo", "delta", "gamma"))
SAMPLES = {
    "better": compare(
        report(profile("single", (1, 0, 0), each=100), pooled((10, 0, 0)), fresh((14, 0, 0), stopped="certain"), direct()),
        report(profile("single", (1, 0, 0), each=100), pooled((4, 3, 3)), fresh(FAIR), direct()),
        0.01,
    ),
    "worse": compare(report(fresh(FAIR), direct()), report(fresh(FAIR, failed=90), direct(failed={1: 20})), 0.01),
    "no change": compare(report(pooled((6, 2, 2)), direct()), report(pooled((4, 3, 3)), direct(ms={0: 80.0}, requests=3)), 0.01),
    "elsewhere": compare(report(fresh(FAIR)), report(fresh(FAIR), target=replace(TARGET, name="api")), 0.01),
    "another pool": compare(
        report(pooled((3, 3, 4)), fresh(FAIR)), report(pooled((3, 3, 4), parameters={"connections": 9}), fresh(FAIR)), 0.01
    ),
    "rollout": compare(report(fresh(FAIR)), report(fresh((90, 99, 101, 80), pods(4, "new"))), 0.01),
    "long names": compare(report(fresh((9, 9, 9, 9), LONG)), report(fresh((9, 9, 9, 0), LONG)), 0.01),
    "20 endpoints": _crowd(20, "web"),
    "200 endpoints": _crowd(200, "new"),
    "empty": compare(report(), report(), 0.01),
}


@pytest.fixture(params=SAMPLES, ids=str)
def comparison(request: pytest.FixtureRequest) -> Comparison:
    return SAMPLES[request.param]


def _text(comparison: Comparison, style: Style = PLAIN) -> str:
    return render(comparison, DiffFormat.TEXT, style=style)


def _uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [80, 100, 1000])
@pytest.mark.parametrize("unicode", [True, False])
def test_every_line_fits(comparison: Comparison, width: int, unicode: bool) -> None:
    text = _uncoloured(_text(comparison, Style(colour=True, width=width, unicode=unicode)))

    assert max(map(len, text.splitlines())) <= min(width, 100)
    assert unicode or text.isascii()


def test_colours_change_nothing_else(comparison: Comparison) -> None:
    plain, coloured = _text(comparison), _text(comparison, replace(PLAIN, colour=True))

    assert "\x1b" not in plain
    assert coloured != plain
    assert _uncoloured(coloured) == plain


def test_the_first_line_is_the_answer() -> None:
    starts = {name: _text(sample).splitlines()[0] for name, sample in SAMPLES.items()}

    assert starts["better"] == "BETTER  short-lived: busiest endpoint 3.00x -> 1.04x; pooled: busiest endpoint 3.00x -> 1.20x"
    assert starts["worse"].startswith("WORSE  short-lived: failed 0 % -> 30 %; web-01 asked directly: failed 0 % -> 33 %")
    assert starts["no change"].startswith("NO CHANGE that the evidence shows  pooled: busiest endpoint 1.80x -> 1.20x")
    assert starts["elsewhere"].startswith("NOT COMPARABLE  the targets are different: svc/web:http in namespace shop before,")
    assert starts["empty"] == "NOT COMPARABLE  nothing in these reports can be compared"


def test_rows_before_and_after_stand_together() -> None:
    lines = _text(SAMPLES["better"]).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  short-lived"))

    assert lines[at].split() == ["short-lived", "before", "14", "100%", "0%", "0%", "2", "0%", "3.00x", "1.40x"]
    assert lines[at + 1].split() == ["after", "304", "33%", "35%", "33%", "0", "0%", "1.04x", "1.08x", "better"]


def test_words_of_servers_reach_the_terminal_harmless() -> None:
    names = ("evil\x1b[31m", "a|b\n", "c")
    made = compare(
        report(fresh(FAIR, names), direct(names=names)), report(fresh(FAIR, names), direct(names=names, failed={0: 20})), 0.01
    )

    assert "\x1b" not in _text(made)
    assert "evil\\x1b[31m" in _text(made)
    assert "| a&#124;b&#92;n | " in render(made, DiffFormat.MARKDOWN, style=PLAIN)


def test_markdown_leads_with_the_answer_and_has_whole_tables(comparison: Comparison) -> None:
    text = render(comparison, DiffFormat.MARKDOWN, style=replace(PLAIN, colour=True))

    assert re.match(r"\*\*(BETTER|WORSE|NO CHANGE that the evidence shows|NOT COMPARABLE)\*\*: ", text)
    assert "\x1b" not in text
    for rows in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows.splitlines()}) == 1


def test_json_is_the_value_under_its_schema(comparison: Comparison) -> None:
    document = json.loads(render(comparison, DiffFormat.JSON, style=PLAIN))

    assert list(document) == ["schema", *(field.name for field in fields(Comparison))]
    assert document["schema"] == SCHEMA
    assert document["outcome"] == comparison.outcome.value
    assert [i["verdict"] for i in document["items"]] == [i.verdict.value for i in comparison.items]


def test_json_fulfils_its_schema(comparison: Comparison) -> None:
    document = json.loads(render(comparison, DiffFormat.JSON, style=PLAIN))

    Draft202012Validator(schema("diff")).validate(document)
    assert schema("diff")["properties"]["schema"]["const"] == SCHEMA


@pytest.mark.parametrize(
    ("place", "noun"),
    [
        ("source", nouns.Source),
        ("profile_change", nouns.ProfileChange),
        ("side", nouns.Side),
        ("endpoint_change", nouns.EndpointChange),
        ("item", nouns.Item),
    ],
)
def test_the_schema_knows_every_field(place: str, noun: type) -> None:
    described = schema("diff")["$defs"][place]

    assert list(described["properties"]) == described["required"] == [field.name for field in fields(noun)]


def test_the_schema_knows_every_word() -> None:
    Draft202012Validator.check_schema(schema("diff"))
    whole, item = schema("diff")["properties"], schema("diff")["$defs"]["item"]["properties"]

    assert list(whole) == ["schema", *(field.name for field in fields(Comparison))]
    assert whole["outcome"]["enum"] == list(Outcome)
    assert whole["matching"]["enum"] == list(Matching)
    assert item["verdict"]["enum"] == list(Verdict)
