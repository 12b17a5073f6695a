"""The entry point: one place where errors become exit codes."""

import signal

# Until there is something to report, Ctrl-C just ends the program, without a traceback out of some import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import gc  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

import click  # noqa: E402

from kbalance.cli import cli  # noqa: E402
from kbalance.cli.exits import Exit  # noqa: E402


def main() -> None:
    """Runs the command line and leaves with its exit code."""
    # What imports make is no garbage; looking for some while they go on is a fifth of the time to the first request.
    gc.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(_code())


def _code() -> int:
    try:
        code = cli.main(prog_name=_name(), standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return Exit.INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Whoever reads has seen enough, as `| head` does: click then leaves with 1, which means findings here, and Python
        # complains once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:
        return _explained(error)
    return code if isinstance(code, int) else Exit.OK


def _name() -> str:
    """As users typed it; kubectl finds the other name as its plugin."""
    return "kubectl kbalance" if os.path.basename(sys.argv[0]) == "kubectl-kbalance" else "kbalance"


def _explained(error: Exception) -> int:
    """One sentence for what is not a bug; a bug keeps its traceback."""
    from kbalance.errors import KbalanceError, TargetError

    if not isinstance(error, KbalanceError):
        raise error
    click.echo(f"kbalance: {error}", err=True)
    return Exit.USAGE if isinstance(error, TargetError) else Exit.NOT_MEASURED


if __name__ == "__main__":
    main()
