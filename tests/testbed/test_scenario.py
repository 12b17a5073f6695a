import random
import re
from dataclasses import replace

import pytest

from kbalance.model.plan import Options
from kbalance.model.words import PoolPolicy
from kbalance.testbed.choosers import chooser
from kbalance.testbed.scenario import SCENARIOS, ChooserKind, Fault, Front, PodSpec, ScaleOut, Scenario
from kbalance.testbed.transfer import from_json, to_json


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_a_scenario_reads_well_and_fits_the_options(scenario: Scenario) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", scenario.name)
    assert re.fullmatch(r"[A-Z].{20,98}\.", scenario.title)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z]+)*", scenario.expected_cause)
    assert replace(Options(), **scenario.options) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_a_scenario_survives_its_way_to_another_process(scenario: Scenario) -> None:
    assert from_json(to_json(scenario)) == replace(scenario, options={})


def test_every_field_survives() -> None:
    scenario = Scenario(
        name="all",
        title="All.",
        expected_cause="healthy",
        pods=(PodSpec(fault=Fault.DRIP, drip_ms=3, close_after_s=0.5, ready=False),),
        front=Front.L7,
        chooser=ChooserKind.WEIGHTED,
        weights=(1, 2),
        affinity_s=3,
        scale_out=ScaleOut(pods=2, after_s=1.5),
        seed=9,
    )
    assert from_json(to_json(scenario)) == scenario


def test_the_default_comes_first() -> None:
    assert next(iter(SCENARIOS)) == "default"
    assert SCENARIOS["lifo-pool"].options == {"pool_policy": PoolPolicy.LIFO, "concurrency": 2}


@pytest.mark.parametrize("kind", ChooserKind)
def test_there_is_a_chooser_of_every_kind(kind: ChooserKind) -> None:
    assert chooser(kind, random.Random(0))(["only"], "127.0.0.1", {}) == 0
