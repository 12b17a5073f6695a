"""Reports read back: every version of v1, and nothing else."""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest

from kbalance.errors import TargetError
from kbalance.model.report import Report
from kbalance.model.words import OutputFormat
from kbalance.render import Style, render
from kbalance.render.reading import read

STYLE = Style(colour=False, width=80, unicode=True)


def document(report: Report) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(render(report, OutputFormat.JSON, style=STYLE))
    return made


def reading(value: object) -> Any:
    return read(json.dumps(value).encode(), "before.json")


def test_every_sample_is_read(report: Report) -> None:
    past = reading(document(report))

    assert past.cause == report.diagnosis.cause
    assert [p.profile for p in past.profiles] == [p.profile.value for p in report.profiles]
    assert [[e.requests for e in p.endpoints] for p in past.profiles] == [
        [e.requests for e in p.endpoints] for p in report.profiles
    ]
    assert [p.several for p in past.profiles] == [p.several for p in report.profiles]


NEEDED = {
    "": {"schema", "target", "facts", "profiles", "diagnosis"},
    "target": {"kind", "port", "scheme", "url"},
    "diagnosis": {"cause"},
    "profile": {"profile", "requests", "connections", "endpoints"},
    "endpoint": {"name", "requests", "connections"},
}
"""What any version has written; everything else may be missing in an older one."""


def test_fields_that_an_older_version_lacks_are_left_open(classic: Report) -> None:
    old = document(classic)
    old = {name: old[name] for name in NEEDED[""]}
    old["target"] = {name: old["target"][name] for name in NEEDED["target"]}
    old["facts"] = {}
    old["diagnosis"] = {"cause": "connection-pinning"}
    for profile in old["profiles"]:
        for name in set(profile) - NEEDED["profile"]:
            del profile[name]
        profile["requests"] = {"sent": 300, "failed": 0}
        profile["connections"] = {"opened": 10}
        profile["endpoints"] = [{name: e[name] for name in NEEDED["endpoint"]} for e in profile["endpoints"]]

    past = reading(old)

    assert (past.kbalance, past.settings, past.profiles[0].several, past.profiles[0].idle) == ("?", {}, 0, 2)


def test_words_and_fields_of_later_versions_pass(classic: Report) -> None:
    later = document(classic) | {"added": 1}
    later["profiles"][0] |= {"placement": "sticky", "stopped": "bored", "added": {}}

    assert reading(later).profiles[0].placement == "sticky"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "before.json is not JSON: Expecting value: line 1 column 1 (char 0)."),
        (b"\xff\xfe\x00", "before.json is not JSON"),
        (b"[" * 100_000, "before.json is not JSON"),
        (b"[]", "it names no schema"),
        (b"{}", "it names no schema"),
        (b'{"schema": 1}', "it names no schema"),
        (b'{"schema": "kbalance/report/v2"}', "its schema is 'kbalance/report/v2'"),
        (b'{"schema": "kbalance/report/v1"}', "facts is missing"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(content: bytes, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        read(content, "before.json")

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("profiles",), {}, "profiles is not a list"),
        (("profiles", 0), 1, "profiles[0] is not an object"),
        (("profiles", 1, "endpoints", 0, "requests"), "7", "profiles[1].endpoints[0].requests is not a count"),
        (("profiles", 1, "endpoints", 0, "requests"), -1, "is not a count"),
        (("profiles", 1, "endpoints", 0, "requests"), True, "is not a count"),
        (("profiles", 1, "endpoints", 0, "connections"), 10**400, "is not a count"),
        (("profiles", 1, "endpoints", 0, "failed"), 10_000, "more requests failed than were sent at the endpoint"),
        (("profiles", 1, "endpoints", 0, "name"), "web-7d4b9c6f5-lw8ds", "an endpoint stands twice in the profile 'pooled'"),
        (("profiles", 1, "requests", "failed"), 10_000, "more requests failed than were sent in the profile 'pooled'"),
        (("profiles", 1, "profile"), "single", "a profile stands in it twice"),
        (("profiles", 1, "busiest"), float("nan"), "profiles[1].busiest is not a number"),
        (("profiles", 1, "busiest"), "much", "profiles[1].busiest is not a number"),
        (("diagnosis", "cause"), None, "diagnosis.cause is missing"),
        (("target", "url"), 3, "target.url is not a string"),
    ],
)
def test_what_is_broken_inside_is_named(classic: Report, path: tuple[str | int, ...], value: object, message: str) -> None:
    broken = deepcopy(document(classic))
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(TargetError, match="not a whole report") as caught:
        reading(broken)

    assert message in str(caught.value)


def test_a_port_with_a_name_goes_by_it(samples: Mapping[str, Report]) -> None:
    whole = document(samples["classic"])

    assert reading(whole).target.port == "80"
    whole["facts"]["service"]["port_name"] = "http"
    assert reading(whole).target.where == "svc/web:http in namespace shop"
