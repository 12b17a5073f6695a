"""Two readings of the facts, and what is said of the time between them."""

from dataclasses import replace

import pytest

from kbalance.analysis.changes import changes, standing
from kbalance.model.target import Address, EndpointFacts, Facts
from kbalance.model.words import FactsSource
from tests.builders import SERVICE, endpoint

ENDING = endpoint("web-1", ready=False, terminating=True)
STARTING = endpoint("web-2", ready=False, serving=False)
REVISION = "5dbef5d3 web-a:3:914f7e47 web-b:5:914f7e47"


def reading(*endpoints: EndpointFacts, revision: str = "", **service: object) -> Facts:
    known = replace(SERVICE, **service)  # type: ignore[arg-type]
    return Facts(source=FactsSource.API, service=known, endpoints=endpoints, revision=revision)


READY = endpoint("web-0")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([READY], [READY, endpoint("web-1")], ["web-1 joined"]),
        ([READY, endpoint("web-1")], [READY], ["web-1 left"]),
        ([READY, STARTING], [READY, replace(STARTING, ready=True, serving=True)], ["web-2 became ready"]),
        ([READY], [replace(READY, ready=False, serving=False)], ["web-0 became not ready"]),
        ([READY, endpoint("web-1")], [READY, ENDING], ["web-1 began to terminate"]),
        ([READY], [replace(READY, ready=False, terminating=True)], ["web-0 began to terminate"]),
        ([ENDING], [replace(ENDING, serving=False)], ["web-1 ceased to serve"]),
        ([READY], [replace(READY, address=Address("198.18.10.99", 8080))], ["web-0 changed the address"]),
        ([READY], [replace(READY, hints=("zone-a",))], ["the hints of web-0 changed"]),
        ([replace(READY, hints=("a", "b"))], [replace(READY, hints=("b", "a"))], []),
        ([READY], [READY, STARTING], []),
        ([READY, STARTING], [READY], []),
        ([READY], [READY, ENDING], ["web-1 joined and began to terminate"]),
        (
            [READY, STARTING],
            [READY, replace(STARTING, serving=True, terminating=True)],
            ["web-2 became ready and began to terminate"],
        ),
        ([READY, STARTING], [READY, replace(STARTING, terminating=True)], []),
        ([READY], [READY, replace(ENDING, serving=False)], []),
        ([READY, replace(ENDING, serving=False)], [READY, ENDING], []),
        ([READY, ENDING], [READY], []),
        ([READY, ENDING], [READY, replace(ENDING, serving=False)], []),
        ([READY], [replace(READY, zone="zone-a", owner="ReplicaSet/web", aliases=("w",))], []),
    ],
)
def test_what_happened_to_traffic_is_told_and_the_rest_is_not(
    before: list[EndpointFacts], after: list[EndpointFacts], expected: list[str]
) -> None:
    assert list(changes(reading(*before), reading(*after))) == expected


def test_everything_that_happened_is_told_by_name() -> None:
    before = reading(endpoint("web-2"), READY, revision="1 web:1:0")
    after = reading(endpoint("web-1"), replace(READY, hints=("zone-a",)), revision="2 web:2:0")

    assert changes(before, after) == (
        "web-1 joined",
        "web-2 left",
        "the hints of web-0 changed",
        "the Service's spec changed",
    )


def test_a_change_of_settings_counts_and_a_load_balancers_address_does_not() -> None:
    assert changes(reading(READY), reading(READY, session_affinity="ClientIP")) == ("the Service's spec changed",)
    assert changes(reading(READY, revision="5dbef5d3"), reading(READY, revision="914f7e47")) == ("the Service's spec changed",)
    assert changes(reading(READY), reading(READY, load_balancer=("198.51.100.9",))) == ()


@pytest.mark.parametrize(
    ("later", "taken_back"),
    [
        (REVISION, False),
        ("5dbef5d3 web-a:5:914f7e47 web-b:5:914f7e47", True),
        ("5dbef5d3 web-a:4:914f7e47 web-b:6:914f7e47", True),
        ("5dbef5d3 web-b:5:914f7e47", True),
        ("5dbef5d3 web-a:4:914f7e47 web-b:5:914f7e47", False),
        ("5dbef5d3 web-a:4:6512bf6e web-b:6:6512bf6e", False),
        ("5dbef5d3 web-a:5:6512bf6e web-b:6:6512bf6e", False),
        ("5dbef5d3 web-a:6:6512bf6e web-b:6:6512bf6e", True),
        ("5dbef5d3 web-a:3:914f7e47 web-b:5:914f7e47 web-c:1:914f7e47", False),
    ],
)
def test_what_was_taken_back_took_two_writes_beside_those_to_labels(later: str, taken_back: bool) -> None:
    found = changes(reading(READY, revision=REVISION), reading(READY, revision=later))
    assert found == (("the EndpointSlices changed and changed back",) if taken_back else ())


def test_writes_that_show_in_endpoints_without_traffic_are_explained() -> None:
    later = "5dbef5d3 web-a:9:914f7e47 web-b:5:914f7e47"
    assert changes(reading(READY, revision=REVISION), reading(READY, STARTING, revision=later)) == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web-1", "terminating"),
        ("web-2", "listed but not ready"),
        ("alias-2", "listed but not ready"),
        ("web-3", "joined during the run"),
        ("web-4", "joined during the run, not ready"),
        ("web-5", "not in the list"),
    ],
)
def test_whoever_answered_is_told_by_its_standing(name: str, expected: str) -> None:
    before = reading(READY, ENDING, replace(STARTING, aliases=("alias-2",)))
    after = reading(READY, endpoint("web-3"), endpoint("web-4", ready=False))

    assert standing(name, before, after) == expected


def test_without_a_second_reading_nobody_joined() -> None:
    assert standing("web-3", reading(READY), None) == "not in the list"
