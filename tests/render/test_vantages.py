"""What several vantage points saw, side by side."""

from dataclasses import replace

from kbalance.model.report import Report, Vantage, VantageReport
from kbalance.render import Style
from kbalance.render.vantages import vantages
from tests.builders import PODS, endpoint, fresh


def seen(worker: int, node: str, zone: str, *counts: int) -> VantageReport:
    return VantageReport(worker=worker, vantage=Vantage(kind="job", node=node, zone=zone), profiles=(fresh(counts),))


def report(base: Report, *points: VantageReport) -> Report:
    zones = dict(zip(PODS, ("a", "a", "b"), strict=True))
    known = tuple(endpoint(name, zone=zones[name]) for name in PODS)
    return replace(base, facts=replace(base.facts, endpoints=known), vantages=points)


def test_one_vantage_point_needs_no_table(classic: Report, style: Style) -> None:
    assert vantages(classic, style) == []


def test_each_has_a_row_with_where_its_connections_went(classic: Report, style: Style) -> None:
    lines = vantages(report(classic, seen(0, "n1", "a", 50, 51, 52), seen(1, "n2", "b", 60, 61, 62)), style)

    assert [line.split()[:6] for line in lines if line.startswith("  n")] == [
        ["n1", "a", "153", "50", "51", "52"],
        ["n2", "b", "183", "60", "61", "62"],
    ]
    assert not [line for line in lines if "!" in line]


def test_a_node_that_never_meets_an_endpoint_is_named(classic: Report, style: Style) -> None:
    text = " ".join(
        " ".join(vantages(report(classic, seen(0, "n1", "b", 50, 0, 52), seen(1, "n2", "b", 60, 61, 62)), style)).split()
    )

    assert "n1 reached 2 endpoints alone with 102 connections, and never web-1, which others reached." in text


def test_zones_that_see_only_their_own_are_named(classic: Report, style: Style) -> None:
    text = " ".join(
        " ".join(vantages(report(classic, seen(0, "n1", "a", 50, 51, 0), seen(1, "n2", "b", 0, 0, 90)), style)).split()
    )

    assert "n1 reached only endpoints of its own zone a with 101 connections, and never web-2" in text
    assert "n2 reached only endpoints of its own zone b with 90 connections, and never web-0, web-1" in text
