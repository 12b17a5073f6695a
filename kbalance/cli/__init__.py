"""click commands: options in, pipeline, text out, exit code; no thinking.

Whatever costs time to import is imported inside the commands, so that ``--help`` is quick.
"""

import click

from kbalance import __version__
from kbalance.cli.demo import demo
from kbalance.cli.diff import diff
from kbalance.cli.explain import explain
from kbalance.cli.probe import probe


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kbalance", message="%(prog)s %(version)s")
def cli() -> None:
    """Tell why a Service's traffic is uneven, prove it, and prove the cure.

    \b
    Examples:
      kbalance demo                                   the classic experiment, on this machine alone
      kbalance probe http://web:8080/ \\
          --endpoint a=198.51.100.1:8080 --endpoint b=198.51.100.2:8080
      kbalance explain connection-pinning
      kbalance diff before.json after.json            did the fix work?
    """


cli.add_command(probe)
cli.add_command(demo)
cli.add_command(diff)
cli.add_command(explain)
