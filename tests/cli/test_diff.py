"""``kbalance diff``, on reports of real runs against the embedded cluster."""

import json
import subprocess
from pathlib import Path

import pytest

from kbalance.testbed.cluster import Cluster
from tests.cli.conftest import command, endpoint_options, environment, kbalance

PAIRS = 3
"""Of runs of the same thing."""
THROUGH = ("--profile", "single", "--profile", "pooled", "--profile", "short-lived")
"""Without the requests to single endpoints, the only ones whose latencies are compared: a machine that gets busier between two
runs does make those worse."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


def run(folder: Path, scenario: str, seed: int = 3, *options: str) -> str:
    """The file with the report of one run, made once."""
    file = folder / f"{scenario}-{seed}{''.join(options)}.json"
    if not file.exists():
        kbalance("demo", scenario, "--seed", str(seed), "-o", f"json={file}", *options)
    return str(file)


@pytest.mark.parametrize(
    ("before", "after", "code", "start"),
    [
        ("session-affinity", "default", 0, "BETTER  short-lived: busiest endpoint 3.00x -> "),
        ("default", "session-affinity", 1, "WORSE  short-lived: busiest endpoint "),
        ("failing-pod", "default", 0, "BETTER  "),
        ("default", "failing-pod", 1, "WORSE  "),
        ("missing-endpoint", "default", 0, "BETTER  quietest endpoint 0.00x -> "),
        ("default", "error-pod", 1, "WORSE  "),
        ("default", "per-request-proxy", 0, "BETTER  connections that reach several endpoints 0 % -> 100 %"),
        ("ten-pods", "default", 0, "NO CHANGE that the evidence shows  short-lived: busiest endpoint "),
        ("default", "no-endpoints", 3, "NOT COMPARABLE  AFTER is no measurement (no-endpoints): "),
        ("no-identity", "default", 3, "NOT COMPARABLE  BEFORE is no measurement (invalid-measurement): "),
    ],
)
def test_a_cure_and_an_illness_are_told(folder: Path, before: str, after: str, code: int, start: str) -> None:
    ended = kbalance("diff", run(folder, before, 3, *THROUGH), run(folder, after, 3, *THROUGH))

    assert ended.out.startswith(start), ended.out
    assert (ended.code, ended.err) == (code, "")
    assert max(map(len, ended.out.splitlines())) <= 100


def test_a_pod_that_is_slow_no_more_is_told(folder: Path) -> None:
    ended = kbalance("diff", run(folder, "slow-pod"), run(folder, "default"))

    assert ended.out.startswith("BETTER  slowest endpoint's p50 "), ended.out
    assert (ended.code, ended.err) == (0, "")


def test_the_cause_that_is_gone_is_in_the_answer(folder: Path) -> None:
    ended = kbalance("diff", *(run(folder, name, 3, *THROUGH) for name in ("session-affinity", "default")))

    assert "session-affinity is gone" in " ".join(ended.out.split("\n\n")[0].split())
    assert "Session affinity was ClientIP and is None." in ended.out


def test_a_scale_out_names_who_came(folder: Path) -> None:
    ended = kbalance("diff", *(run(folder, name, 3, *THROUGH) for name in ("default", "ten-pods")))

    assert "Endpoints were 3 and are 10: " in ended.out


def test_another_seed_is_no_change(folder: Path) -> None:
    ended = kbalance("diff", *(run(folder, "default", seed, *THROUGH) for seed in (3, 4)))

    assert (ended.code, ended.out.startswith("NO CHANGE that the evidence shows  ")) == (0, True), ended.out


@pytest.mark.parametrize("pair", range(PAIRS))
def test_two_runs_of_the_same_thing_show_no_change(cluster: Cluster, tmp_path: Path, pair: int) -> None:
    """One balancer, which goes on drawing: every run is another sample of it.

    At an alpha of one in a million three pairs show worse or better by luck in fewer than 6 of a million runs of this test.
    """
    files = [str(tmp_path / name) for name in ("before.json", "after.json")]
    arguments = (f"http://{cluster.service}/hostname", *endpoint_options(cluster), "--rate", "0", *THROUGH)
    for file in files:
        kbalance("probe", *arguments, "-o", f"json={file}")

    ended = kbalance("diff", *files, "--alpha", "0.000001")

    assert (ended.code, ended.out.startswith("NO CHANGE that the evidence shows  ")) == (0, True), ended.out


def test_another_pool_is_not_compared_but_the_rest_is(folder: Path) -> None:
    after = run(folder, "default", 3, *THROUGH, "--connections", "20")

    ended = kbalance("diff", run(folder, "session-affinity", 3, *THROUGH), after)

    assert ended.out.startswith("BETTER  ")
    assert "Pooled: connections 10 before, 20 after" in ended.out


def test_json_and_markdown_go_where_they_are_wanted(folder: Path, tmp_path: Path) -> None:
    pair = [run(folder, name, 3, *THROUGH) for name in ("default", "session-affinity")]
    markdown = tmp_path / "summary.md"

    ended = kbalance("diff", *pair, "-o", "json", "-o", f"markdown={markdown}", "--alpha", "0.001")

    document = json.loads(ended.out)
    assert (ended.code, document["schema"], document["outcome"]) == (1, "kbalance/diff/v1", "worse")
    assert document["alpha"] == 0.001
    assert markdown.read_text(encoding="utf-8").startswith("**WORSE**: ")


def test_one_report_may_come_from_standard_input(folder: Path) -> None:
    before, after = (run(folder, name, 3, *THROUGH) for name in ("session-affinity", "default"))

    done = subprocess.run(
        command("diff", "-", after), input=Path(before).read_bytes(), capture_output=True, env=environment(), timeout=60
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"BETTER  ")


def test_what_is_no_report_is_told_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    good = run(folder, "default", 3, *THROUGH)
    (tmp_path / "text.json").write_text("RISK  connection-pinning", encoding="utf-8")
    (tmp_path / "other.json").write_text('{"schema": "kbalance/diff/v1"}', encoding="utf-8")
    (tmp_path / "half.json").write_text(Path(good).read_text(encoding="utf-8")[:5000], encoding="utf-8")
    wrong = {
        "text.json": "is not JSON",
        "half.json": "is not JSON",
        "other.json": "its schema is 'kbalance/diff/v1'",
        "none.json": "cannot be read: No such file or directory",
        "": "cannot be read: Is a directory",
    }

    for name, why in wrong.items():
        for pair in ((str(tmp_path / name), good), (good, str(tmp_path / name))):
            ended = kbalance("diff", *pair)
            assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended.err
            assert why in ended.err
    both = kbalance("diff", "-", "-")
    assert (both.code, "Only one of the reports" in both.err) == (2, True)
