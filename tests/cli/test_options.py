"""What users type becomes `Options`."""

import pytest
from click import UsageError

from kbalance.cli import cli
from kbalance.cli.options import to_options


@pytest.mark.parametrize(("command", "subject"), [("probe", ["http://web/"]), ("demo", [])])
def test_clients_and_their_window_are_told(command: str, subject: list[str]) -> None:
    typed = [*subject, "--clients", "200", "--connections", "4", "--window", "1h"]

    options = to_options(cli.commands[command].make_context(command, typed).params)

    assert (options.clients, options.connections, options.window_s) == (200, 4, 3600.0)


@pytest.mark.parametrize("typed", [["--clients", "0"], ["--window", "0"], ["--window", "soon"]])
def test_nobody_and_no_time_are_refused(typed: list[str]) -> None:
    with pytest.raises(UsageError):
        cli.commands["probe"].make_context("probe", ["http://web/", *typed])
