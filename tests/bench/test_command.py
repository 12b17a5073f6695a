"""The command line of the harness, as far as nothing is run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.accuracy import saved
from bench.accuracy.__main__ import PAGE, main
from bench.accuracy.rows import EVERY
from tests.bench.samples import trial
from tests.kernel.probe import environment
from tests.needs import needs_kernel


def test_a_page_is_made_of_parts_that_were_saved(tmp_path: Path) -> None:
    parts = [tmp_path / "1", tmp_path / "2"]
    for part, done in zip(parts, (trial(), trial("balancer-biased")), strict=True):
        part.write_text(saved.line(done) + "\n")

    ended = CliRunner().invoke(main, ["--from", str(parts[0]), "--from", str(parts[1])])

    assert ended.exit_code == 0, ended.output
    assert "| wrong | 1 | 50.0% |" in ended.output


def test_a_scenario_that_does_not_exist_is_told_with_those_that_do() -> None:
    ended = CliRunner().invoke(main, ["--only", "astrology"])

    assert ended.exit_code == 2
    assert "astrology" in ended.output
    assert "internalTrafficPolicy: Local" in ended.output


def test_no_two_arrangements_are_the_same() -> None:
    places = [(row.scenario, row.dataplane, row.pods) for row in EVERY]

    assert len(places) == len(set(places))


@pytest.mark.kernel
def test_ctrl_c_prints_what_there_is_and_leaves_nothing_running() -> None:
    """A whole group of processes is interrupted, as a terminal does it."""
    needs_kernel()
    kept = PAGE.read_bytes() if PAGE.exists() else None
    argv = [sys.executable, "-m", "bench.accuracy", "--only", "a single endpoint", "--runs", "1000", "--write"]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    ) as running:
        assert running.stderr is not None
        while "seed 1:" not in (line := running.stderr.readline()):
            assert line, "it ended before its first trial"
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "Interrupted: nothing was written." in err
    assert "Traceback" not in err
    assert "| `healthy` |" in out
    assert (PAGE.read_bytes() if PAGE.exists() else None) == kept
