"""``kbalance explain`` renders the rule table."""

import os
import subprocess

import pytest

from kbalance.analysis.rules import RULES
from tests.cli.conftest import command, environment, kbalance


def test_the_list_is_the_rule_table() -> None:
    ended = kbalance("explain", "--list")

    assert [line.split()[0] for line in ended.out.splitlines()] == [rule.id for rule in RULES]
    assert kbalance("explain").out == ended.out


def test_a_cause_is_explained_on_a_page() -> None:
    ended = kbalance("explain", "connection-pinning")

    assert ended.code == 0
    assert "How it is told apart" in ended.out
    assert "What to do" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 100


def test_an_unknown_cause_is_told() -> None:
    ended = kbalance("explain", "gremlins")

    assert (ended.code, ended.out) == (2, "")
    assert "kbalance explain --list" in ended.err


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "--list"], ["demo", "--list"]])
def test_a_reader_that_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command(*arguments), stdout=writing, stderr=subprocess.PIPE, env=environment(), timeout=60)
    os.close(writing)

    assert (done.returncode, done.stderr) == (0, b"")


def test_the_plugin_of_kubectl_speaks_of_itself_as_such() -> None:
    code = "import sys; sys.argv = ['/usr/bin/kubectl-kbalance', '--help']; from kbalance.__main__ import main; main()"

    done = subprocess.run([command()[0], "-c", code], capture_output=True, text=True, env=environment(), timeout=60)

    assert done.stdout.startswith("Usage: kubectl kbalance [OPTIONS]")
