from collections.abc import Sequence

import pytest

from kbalance.analysis.groups import Group, explain
from kbalance.model.target import EndpointFacts
from tests.builders import endpoint


def among(**properties: Sequence[str | None]) -> list[EndpointFacts]:
    """Endpoints with these properties, one value for each."""
    n = len(next(iter(properties.values())))
    return [endpoint(f"web-{i}", **{key: values[i] for key, values in properties.items()}) for i in range(n)]


def counts(*connections: int) -> dict[str, int]:
    return {f"web-{i}": c for i, c in enumerate(connections)}


def test_a_zone_that_gets_twice_as_much_tells_the_skew() -> None:
    found = explain(among(zone="aabbb"), counts(100, 110, 30, 35, 32), 0.005)

    assert found is not None
    assert found.by == "zone"
    assert found.groups == (Group(value="a", endpoints=2, connections=210), Group(value="b", endpoints=3, connections=97))
    assert found.by_luck == pytest.approx(1 / 10)


def test_the_property_that_tells_it_least_easily_by_luck_is_named() -> None:
    """Six endpoints can be parted in ten ways into three and three."""
    found = explain(among(zone="aaabbb", version="122222"), counts(60, 60, 60, 20, 20, 20), 0.005)

    assert found is not None
    assert found.by == "zone"
    assert found.by_luck == pytest.approx(1 / 10)


@pytest.mark.parametrize(
    ("endpoints", "connections"),
    [
        (among(zone="aabb"), counts(100, 30, 30, 100)),
        (among(zone="aaaa"), counts(100, 30, 30, 100)),
        (among(zone="abcd"), counts(100, 30, 30, 30)),
        (among(zone=("a", "a", None, "b")), counts(100, 100, 30, 30)),
    ],
    ids=["unfair inside", "one group", "a group each", "one zone is not known"],
)
def test_nothing_tells_it(endpoints: list[EndpointFacts], connections: dict[str, int]) -> None:
    assert explain(endpoints, connections, 0.005) is None


def test_the_widest_gap_parts_old_from_young() -> None:
    times = [f"2026-01-01T{hour}:00Z" for hour in ("01:00", "01:05", "09:00", "09:05")]

    found = explain(among(created=times), counts(100, 100, 30, 30), 0.005)

    assert found is not None
    assert [group.value for group in found.groups] == [f"made before {times[2]}", f"made {times[2]} or later"]
