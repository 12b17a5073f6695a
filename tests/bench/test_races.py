"""The races of the balancing transports and those over HTTP/2, each for a moment; how fast anybody is, is no test's business."""

import os
import subprocess
import sys
from functools import partial

import pytest
from click.testing import CliRunner

from bench import peers
from bench.__main__ import main
from bench.endpoints import even
from bench.errors import NotMeasured
from bench.process import ROOT
from bench.race import Contender, Race, Versus, hold
from bench.races import races
from bench.servers import Ports
from kbalance.balancing.group import State
from kbalance.balancing.snapshot import EndpointSnapshot, HostSnapshot, Snapshot, Standing
from tests.needs import unmet

EVERY = races(Ports(1, 2, 3, 4), quick=True)
SMOKED = [race for race in EVERY if race.name.startswith(("balancing", "http2", "grpc"))]


@pytest.mark.parametrize("race", SMOKED, ids=[race.name for race in SMOKED])
def test_a_race_of_the_balancing_transports_or_over_http2_is_measured(race: Race) -> None:
    wanted = {one.program for one in race.contenders if one.program}
    if lacking := peers.missing({"taskset", race.server.value} | wanted):
        unmet(lacking)

    ended = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--rounds", "1", "--only", race.name],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
        timeout=120,
    )

    assert ended.returncode == 0, ended.stderr
    assert f"\n{race.name} " in ended.stdout
    assert "not measured" not in ended.stdout


def test_a_race_that_does_not_exist_is_told_with_those_that_do() -> None:
    ended = CliRunner().invoke(main, ["--only", "egg-and-spoon"])

    assert ended.exit_code == 2
    assert "egg-and-spoon" in ended.output
    assert "balancing-cpu" in ended.output


def test_no_two_races_are_named_alike_and_rows_name_contenders() -> None:
    assert len({race.name for race in EVERY}) == len(EVERY)
    for race in EVERY:
        names = {one.name for one in race.contenders}
        assert len(names) == len(race.contenders)
        assert {versus.peer for versus in race.rows} | {versus.ours for versus in race.rows if versus.ours} <= names


def test_a_row_may_be_about_another_contender_than_the_first() -> None:
    contenders = tuple(Contender(name=str(speed), run=partial(float, speed)) for speed in (1.0, 2.0, 4.0))
    race = Race(name="race", unit="ms", contenders=contenders, rows=(Versus(peer="4.0"), Versus(ours="2.0", peer="4.0")))

    rows = hold(race, 1, lambda: 0.0)

    assert [(row.ours_name, row.ratio) for row in rows] == [("1.0", 0.25), ("2.0", 0.5)]


def test_a_take_counts_only_if_all_endpoints_took_turns() -> None:
    even(_snapshot(100, 101, 100), 3)

    for answered, endpoints in (((100, 101, 60), 3), ((100, 101), 3)):
        with pytest.raises(NotMeasured, match="not in turn"):
            even(_snapshot(*answered), endpoints)


def test_programs_are_wanted_only_where_they_run() -> None:
    assert peers.missing([]) is None
    assert {one.program for race in EVERY if race.name.startswith("balancing") for one in race.contenders} == {""}
    assert {one.program for race in EVERY if race.name == "keep-alive" for one in race.contenders} == {
        "",
        "hey",
        "wrk",
    }


def _snapshot(*answered: int) -> Snapshot:
    endpoints = tuple(
        EndpointSnapshot(endpoint=None, standing=Standing.IN_USE, busy=0, connections=1, idle=1, answered=n, failed=0, failures=0)
        for n in answered
    )
    host = HostSnapshot(origin="http://web:80", state=State.KNOWN, reason="", age_s=1.0, endpoints=endpoints)
    return Snapshot(hosts=(host,), connections=len(answered), idle=len(answered), waiting=0)
