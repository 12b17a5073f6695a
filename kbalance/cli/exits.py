"""What the exit codes mean; errors become them in `kbalance.__main__` and reports in `kbalance.cli.run`."""

from enum import IntEnum


class Exit(IntEnum):
    """The contract with scripts."""

    OK = 0
    """Measured, and nothing at or above ``--fail-on``; compared, and not worse."""
    FINDINGS = 1
    """Measured, with findings or a failed threshold; compared, and worse."""
    USAGE = 2
    NOT_MEASURED = 3
    INTERRUPTED = 130
    """As shells report a program that SIGINT ended; the report covers what was measured."""
