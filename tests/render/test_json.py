import json
import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields, replace
from enum import StrEnum
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kbalance.model import report as nouns
from kbalance.model import target as targets
from kbalance.model import words
from kbalance.model.report import Report
from kbalance.model.words import OutputFormat
from kbalance.render import Style, render
from kbalance.render.json import schema

VALIDATOR = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def _document(report: Report) -> dict[str, Any]:
    text = render(report, OutputFormat.JSON, style=Style(colour=False, width=80, unicode=True))
    document: dict[str, Any] = json.loads(text)
    return document


def _valid(document: object) -> bool:
    return bool(VALIDATOR.is_valid(document))


def _nodes(node: object) -> Iterator[dict[str, Any]]:
    """Every object inside the schema."""
    if isinstance(node, dict):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(item)


def test_every_sample_fulfils_the_schema(report: Report) -> None:
    VALIDATOR.validate(_document(report))


def test_top_level_keys_are_the_contracts_in_its_order(classic: Report) -> None:
    assert list(_document(classic)) == [
        "schema",
        "kbalance",
        "started",
        "duration_s",
        "partial",
        "target",
        "vantage",
        "facts",
        "identity",
        "profiles",
        "diagnosis",
        "recommendations",
        "seed",
        "thresholds",
        "notices",
        "proxy_signs",
        "forecasts",
        "vantages",
        "fail_on",
        "protocol",
        "protocol_because",
        "scale_out",
    ]


def test_target_and_endpoints_are_spelled_as_in_the_contract(classic: Report) -> None:
    document = _document(classic)

    assert document["target"] == {
        "kind": "service",
        "namespace": "shop",
        "name": "web",
        "port": 80,
        "scheme": "http",
        "path": "/",
        "url": "http://198.18.1.7/",
        "host": "198.18.1.7",
        "path_given": False,
    }
    assert document["facts"]["endpoints"][0] == {
        "name": "web-7d4b9c6f5-9k4lq",
        "address": "198.18.0.5",
        "port": 8080,
        "node": "node-0",
        "zone": "eu-1a",
        "ready": True,
        "serving": True,
        "terminating": False,
        "hints": [],
        "aliases": [],
        "owner": None,
        "created": None,
        "host_network": False,
        "version": None,
    }


def test_endpoint_without_an_address_has_null_for_both_parts(classic: Report) -> None:
    endpoints = (targets.EndpointFacts(name="web", address=None),)

    document = _document(replace(classic, facts=replace(classic.facts, endpoints=endpoints)))

    assert (document["facts"]["endpoints"][0]["address"], document["facts"]["endpoints"][0]["port"]) == (None, None)
    assert _valid(document)


def test_floats_have_six_digits_and_are_always_numbers(classic: Report) -> None:
    values = (1 / 3, 2e-9 / 3, math.inf, math.nan)
    thresholds = tuple(nouns.Threshold(expression="x", value=value, passed=True) for value in values)

    document = _document(replace(classic, thresholds=thresholds))

    assert [one["value"] for one in document["thresholds"]] == [0.333333, 6.66667e-10, 1.7976931348623157e308, None]


def test_text_is_the_same_whatever_the_style(classic: Report) -> None:
    plain, rich = Style(colour=False, width=40, unicode=False), Style(colour=True, width=200, unicode=True)

    assert render(classic, OutputFormat.JSON, style=plain) == render(classic, OutputFormat.JSON, style=rich)


def test_text_is_ascii_even_for_a_lone_surrogate(classic: Report) -> None:
    text = render(
        replace(classic, notices=("caf\u00e9 \udc80",)), OutputFormat.JSON, style=Style(colour=False, width=80, unicode=True)
    )

    assert text.isascii()
    assert json.loads(text)["notices"] == ["caf\u00e9 \udc80"]


def test_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(schema())


def test_schema_describes_every_field() -> None:
    for node in _nodes(schema()):
        for name, field in node.get("properties", {}).items():
            if name != "description":
                assert "description" in field or "$ref" in field, name


def test_schema_allows_additions_everywhere() -> None:
    objects = [node for node in _nodes(schema()) if "properties" in node and "required" in node]

    assert objects
    assert all(node["additionalProperties"] is True for node in objects)


ENUMS: list[tuple[str, str, type[StrEnum]]] = [
    ("target", "kind", words.TargetKind),
    ("facts", "source", words.FactsSource),
    ("profile", "profile", words.Profile),
    ("profile", "stopped", words.Stop),
    ("profile", "spread", words.Spread),
    ("profile", "placement", words.Placement),
    ("failure_count", "kind", words.Failure),
    ("diagnosis", "severity", words.Severity),
    ("diagnosis", "confidence", words.Confidence),
    ("finding", "severity", words.Severity),
    ("finding", "confidence", words.Confidence),
]


@pytest.mark.parametrize(("place", "field", "enum"), ENUMS)
def test_enums_of_the_schema_are_those_of_the_model(place: str, field: str, enum: type[StrEnum]) -> None:
    assert schema()["$defs"][place]["properties"][field]["enum"] == [member.value for member in enum]


NOUNS: list[tuple[str, type, set[str]]] = [
    ("target", targets.Target, {"url"}),
    ("vantage", nouns.Vantage, set()),
    ("vantage_report", nouns.VantageReport, set()),
    ("scale_out", nouns.ScaleOut, set()),
    ("newcomer", nouns.Newcomer, set()),
    ("facts", targets.Facts, set()),
    ("service", targets.ServiceFacts, set()),
    ("endpoint_facts", targets.EndpointFacts, {"port"}),
    ("identity", nouns.IdentityReport, set()),
    ("latency", nouns.Latency, set()),
    ("profile", nouns.ProfileReport, set()),
    ("request_counts", nouns.RequestCounts, set()),
    ("connection_counts", nouns.ConnectionCounts, set()),
    ("endpoint_load", nouns.EndpointLoad, set()),
    ("unknown_load", nouns.UnknownLoad, set()),
    ("failure_count", nouns.FailureCount, set()),
    ("server_lifetime", nouns.ServerLifetime, set()),
    ("evidence", nouns.Evidence, set()),
    ("diagnosis", nouns.Diagnosis, set()),
    ("finding", nouns.Finding, set()),
    ("ruled_out", nouns.RuledOut, set()),
    ("forecast", nouns.Forecast, set()),
    ("recommendation", nouns.Recommendation, set()),
    ("artifact", nouns.Artifact, set()),
    ("threshold", nouns.Threshold, set()),
]


@pytest.mark.parametrize(("place", "noun", "more"), NOUNS, ids=[place for place, _, _ in NOUNS])
def test_schema_knows_every_field_of_the_model(place: str, noun: type, more: set[str]) -> None:
    described = schema()["$defs"][place]

    assert set(described["properties"]) == {field.name for field in fields(noun)} | more
    assert set(described["required"]) <= set(described["properties"])


def test_schema_knows_what_may_fail_a_check() -> None:
    assert schema()["properties"]["fail_on"]["enum"] == [member.value for member in words.FailOn]


def test_schema_knows_every_field_of_the_report() -> None:
    assert list(schema()["properties"]) == ["schema", *(field.name for field in fields(Report))]


def test_table_of_nouns_is_whole() -> None:
    assert {place for place, _, _ in NOUNS} == set(schema()["$defs"])


def _paths(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where every field of a document stands, the first item of each list alone."""
    items: list[tuple[str | int, object]] = []
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node[:1]))
    by_name = "parameters" in path or "first_s" in path or path == ("scale_out", "requests")
    for key, item in items:
        if isinstance(key, str) and not by_name:
            yield (*path, key)
        yield from _paths(item, (*path, key))


def _with_first_items(node: Any) -> Any:
    """A document whose lists have one item at most."""
    if isinstance(node, dict):
        return {key: _with_first_items(item) for key, item in node.items()}
    return [_with_first_items(item) for item in node[:1]] if isinstance(node, list) else node


def _parent(document: Any, path: tuple[str | int, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def test_missing_field_is_refused(report: Report) -> None:
    """The others of a list say nothing that its first item does not."""
    document = _with_first_items(_document(report))
    assert _valid(document)

    for path in _paths(document):
        place = _parent(document, path)
        taken = place.pop(path[-1])
        assert not _valid(document), path
        place[path[-1]] = taken


def test_field_of_another_type_is_refused(classic: Report) -> None:
    document = _document(classic)

    for path in _paths(document):
        broken = deepcopy(document)
        _parent(broken, path)[path[-1]] = [{"no": "such thing"}]
        assert not _valid(broken), path


def test_additional_field_is_accepted(classic: Report) -> None:
    document = _document(classic)
    document["profiles"][0]["added_later"] = 1

    assert _valid(document)
