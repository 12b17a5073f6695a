"""What users type becomes `Options`."""

from pathlib import Path

import pytest
from click import UsageError

from kbalance.cli import cli
from kbalance.cli.options import to_options
from kbalance.cli.run import Wanted, check_outputs
from kbalance.errors import TargetError


@pytest.mark.parametrize(("command", "subject"), [("probe", ["http://web/"]), ("demo", [])])
def test_clients_and_their_window_are_told(command: str, subject: list[str]) -> None:
    typed = [*subject, "--clients", "200", "--connections", "4", "--window", "1h"]

    options = to_options(cli.commands[command].make_context(command, typed).params)

    assert (options.clients, options.connections, options.window_s) == (200, 4, 3600.0)


@pytest.mark.parametrize("typed", [["--clients", "0"], ["--window", "0"], ["--window", "soon"]])
def test_nobody_and_no_time_are_refused(typed: list[str]) -> None:
    with pytest.raises(UsageError):
        cli.commands["probe"].make_context("probe", ["http://web/", *typed])


def test_a_body_is_sent_as_typed() -> None:
    """What is no UTF-8 comes from the shell as surrogates."""
    options = to_options(cli.commands["probe"].make_context("probe", ["http://web/", "--body", "\udcff"]).params)

    assert options.body == b"\xff"


def test_one_file_under_two_names_is_one_place(tmp_path: Path) -> None:
    wanted = Wanted(reports=[("json", f"{tmp_path}/s"), ("junit", f"{tmp_path}/./s")])

    with pytest.raises(TargetError, match="Two reports cannot go to"):
        check_outputs(wanted)
