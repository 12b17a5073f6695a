"""``kbalance demo``: every scenario ends as it says it does."""

import os
import re
import signal
import subprocess
from functools import cache
from pathlib import Path

import cmarkgfm
import jsonschema
import pytest
from junitparser import JUnitXml

from kbalance.render.json import schema
from kbalance.testbed.scenario import SCENARIOS, Scenario
from tests.cli.conftest import Ended, command, environment, kbalance


@cache
def shown(scenario: str) -> Ended:
    """One run of a scenario, which several tests look at."""
    return kbalance("demo", scenario, "--seed", "3", "-o", "json")


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda s: s.name)
def test_requests_and_connections_add_up(scenario: Scenario) -> None:
    for profile in shown(scenario.name).report["profiles"]:
        requests, attributed = profile["requests"], sum(e["requests"] - e["failed"] for e in profile["endpoints"])
        strangers = sum(u["requests"] for u in profile["unknown"])
        assert requests["sent"] == requests["answered"] + requests["failed"] + requests["abandoned"]
        assert attributed <= requests["answered"] <= attributed + strangers + profile["unidentified"]


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda s: s.name)
def test_scenario_leads_with_the_cause_that_it_stands_for(scenario: Scenario) -> None:
    ended = shown(scenario.name)

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
        # All of stdout is written before that line of stderr is, and is far less than a pipe holds.
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


def test_a_smoke_check_leaves_a_summary_and_a_test_report(tmp_path: Path) -> None:
    xml, thresholds = tmp_path / "kbalance.xml", ("short-lived.busiest<=1.5", "per-endpoint.failed_share==0", "failed_share<0.01")
    given = [part for text in thresholds for part in ("--threshold", text)]

    ended = kbalance("demo", "--seed", "3", "-o", "markdown", "-o", f"junit={xml}", *given)

    assert (ended.code, ended.err) == (0, "")
    page = cmarkgfm.github_flavored_markdown_to_html(ended.out)
    assert page.count("<table>") >= 4
    assert "RISK: connection-pinning (certain)</h2>" in page
    (suite,) = JUnitXml.fromstring(xml.read_bytes())
    profiles = [f"profile {name}" for name in ("single", "pooled", "short-lived", "per-endpoint")]
    assert [case.name for case in suite] == ["diagnosis", *profiles, *(f"threshold {text}" for text in thresholds)]
    assert [case.name for case in suite if not case.is_passed] == []


@pytest.mark.parametrize(
    ("arguments", "code", "failed"),
    [
        (["--threshold", "single.idle==0", "--fail-on", "never"], 1, ["threshold single.idle==0"]),
        (["--threshold", "single.idle==2", "--fail-on", "never"], 0, []),
        (["--threshold", "single.idle==2", "--fail-on", "risk"], 1, ["diagnosis"]),
    ],
)
def test_a_threshold_that_does_not_hold_fails_whatever_findings_may_do(
    arguments: list[str], code: int, failed: list[str]
) -> None:
    ended = kbalance("demo", "--seed", "3", "-o", "junit", *arguments)

    (suite,) = JUnitXml.fromstring(ended.out.encode())
    assert ended.code == code
    assert [case.name for case in suite if case.is_failure] == failed


def test_a_run_that_measures_nothing_is_an_error_to_a_ci_server() -> None:
    ended = kbalance("demo", "no-endpoints", "-o", "junit", "--threshold", "failed_share==0")

    (suite,) = JUnitXml.fromstring(ended.out.encode())
    assert ended.code == 3
    assert [(case.name, case.is_error, case.is_skipped) for case in suite] == [
        ("diagnosis", True, False),
        ("threshold failed_share==0", False, True),
    ]


def test_thresholds_and_what_fails_are_in_the_report_for_machines() -> None:
    report = kbalance("demo", "--seed", "3", "-o", "json", "--threshold", "endpoints==3", "--fail-on", "risk").report

    jsonschema.validate(report, schema())
    assert report["thresholds"] == [{"expression": "endpoints==3", "value": 3.0, "passed": True}]
    assert report["fail_on"] == "risk"


def test_artifacts_are_written_where_the_user_wants_them(tmp_path: Path) -> None:
    """A folder for each recommendation; what stands in the JSON report and what is written are the same."""
    folder = tmp_path / "fixes"

    ended = kbalance("demo", "--seed", "3", "-o", "json", "--artifacts", str(folder))

    told = {f"{r['id']}/{a['name']}": a["content"] for r in ended.report["recommendations"] for a in r["artifacts"]}
    written = {str(p.relative_to(folder)): p.read_text("utf-8") for p in folder.rglob("*") if p.is_file()}
    assert written == told
    assert "client-side-balancing/headless-service.yaml" in written


def test_a_folder_for_artifacts_that_cannot_be_made_is_refused_before_any_traffic(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ended = kbalance("demo", "--artifacts", str(tmp_path / "file" / "inside"))

    assert (ended.code, ended.out) == (2, "")
    assert "cannot be written" in ended.err
