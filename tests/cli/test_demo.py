"""``kbalance demo``: every scenario ends as it says it does."""

import os
import re
import signal
import subprocess
from pathlib import Path

import jsonschema
import pytest

from kbalance.render.json import schema
from kbalance.testbed.scenario import SCENARIOS, Scenario
from tests.cli.conftest import command, environment, kbalance


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda s: s.name)
def test_requests_and_connections_add_up(scenario: Scenario) -> None:
    for profile in kbalance("demo", scenario.name, "--seed", "4", "-o", "json").report["profiles"]:
        requests, attributed = profile["requests"], sum(e["requests"] - e["failed"] for e in profile["endpoints"])
        strangers = sum(u["requests"] for u in profile["unknown"])
        assert requests["sent"] == requests["answered"] + requests["failed"] + requests["abandoned"]
        assert attributed <= requests["answered"] <= attributed + strangers + profile["unidentified"]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda s: s.name)
def test_scenario_leads_with_the_cause_that_it_stands_for(scenario: Scenario) -> None:
    ended = kbalance("demo", scenario.name, "--seed", "3", "-o", "json")

    jsonschema.validate(ended.report, schema())
    diagnosis = ended.report["diagnosis"]
    assert diagnosis["cause"] == scenario.expected_cause, diagnosis
    expected = {"problem": 1, "risk": 0, "info": 0}[diagnosis["severity"]]
    assert ended.code == (3 if diagnosis["cause"] in ("invalid-measurement", "no-endpoints") else expected)


def test_the_list_names_every_scenario() -> None:
    ended = kbalance("demo", "--list")

    assert [line.split()[0] for line in ended.out.splitlines()] == list(SCENARIOS)
    assert all(len(line) <= 120 for line in ended.out.splitlines())


def test_an_unknown_scenario_is_told() -> None:
    ended = kbalance("demo", "slow")

    assert (ended.code, ended.out) == (2, "")
    assert "kbalance demo --list" in ended.err


def test_serve_prints_commands_that_work_and_ends_on_ctrl_c() -> None:
    with subprocess.Popen(
        command("demo", "--serve"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stderr.readline()
        printed = os.read(demo.stdout.fileno(), 65536).decode()
        kubeconfig = Path(re.findall(r"KUBECONFIG=(\S+)", printed)[0])
        probe = next(line.split()[1:] for line in printed.splitlines() if "kbalance probe" in line)

        assert "server: http://127." in kubeconfig.read_text()
        ended = kbalance(*probe, "--rate", "0", "-o", "json")
        demo.send_signal(signal.SIGINT)
        demo.wait(timeout=10)

    assert ended.report["diagnosis"]["cause"] == "connection-pinning"
    assert demo.returncode == 0
    assert not kubeconfig.exists()
