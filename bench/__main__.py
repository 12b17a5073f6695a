"""``python -m bench``"""

import os
import sys
from pathlib import Path

import click

from bench import machine, peers
from bench.errors import NotMeasured
from bench.race import Race, Row, hold, unheld
from bench.races import races
from bench.servers import Ports, Servers
from bench.table import table, write

RESULTS = Path(__file__).with_name("RESULTS.md")


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), help="Turns of every contender.  [default: 7, with --quick 2]")
@click.option("--quick", is_flag=True, help="Less of everything: to see that it runs, rather than how fast.")
@click.option("--only", "names", multiple=True, metavar="NAME", help="A row by its name in the first column; repeatable.")
@click.option("--write", "keep", is_flag=True, help="Write the table to bench/RESULTS.md too.")
def main(rounds: int | None, quick: bool, names: tuple[str, ...], keep: bool) -> None:
    """Measure kbalance beside hey, wrk and httpx; slow is a line in the table, never a failure."""
    ports = Ports.free()
    held = _chosen(races(ports, quick=quick), names)
    wanted = {one.program for race in held for one in race.contenders if one.program}
    absent = peers.missing({"taskset"} | wanted | {race.server.value for race in held})
    if absent:
        raise click.ClickException(absent)
    rounds = rounds or (2 if quick else 7)
    clients, server = machine.cores()
    # Children inherit it.
    os.sched_setaffinity(0, {clients})
    with Servers(server, ports) as servers:
        others = machine.Others()
        rows = _rows(servers, held, rounds)
        disturbed = others.share(servers.cpu_s())
    described = machine.describe() | {
        "cores used": f"clients on {clients}, the server on {server}",
        "rounds": str(rounds),
        "taken by other processes meanwhile": f"{disturbed:.0%} of the machine",
    }
    click.echo("\n".join(f"{name}: {value}" for name, value in described.items()))
    click.echo(table(rows, "simple"))
    if keep:
        write(RESULTS, rows, described, " ".join(["python -m bench", *sys.argv[1:]]))


def _chosen(every: tuple[Race, ...], names: tuple[str, ...]) -> list[Race]:
    unknown = set(names) - {race.name for race in every}
    if unknown:
        raise click.UsageError(f"no row is named {', '.join(sorted(unknown))}; there are {', '.join(r.name for r in every)}")
    return [race for race in every if not names or race.name in names]


def _rows(servers: Servers, held: list[Race], rounds: int) -> list[Row]:
    rows: list[Row] = []
    for race in held:
        click.echo(f"{race.name} ...", err=True)
        try:
            rows += hold(race, rounds, servers.get(race.server).cpu_s)
        except NotMeasured as error:
            rows += unheld(race, str(error))
    return rows


if __name__ == "__main__":
    main(prog_name="python -m bench")
