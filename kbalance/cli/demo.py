"""``kbalance demo``"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from kbalance.cli.options import measuring_options, report_options, to_options

if TYPE_CHECKING:
    from kbalance.model.plan import Options
    from kbalance.pipeline import Subject
    from kbalance.testbed.cluster import Cluster
    from kbalance.testbed.scenario import Scenario


@click.command(short_help="The same on an embedded cluster on loopback.")
@click.argument("scenario", default="default")
@click.option("--list", "list_scenarios", is_flag=True, help="Show the scenarios and leave.")
@click.option("--serve", is_flag=True, help="Keep the cluster up until Ctrl-C, and print what to try against it.")
@measuring_options
@report_options
@click.pass_context
def demo(ctx: click.Context, /, scenario: str, list_scenarios: bool, serve: bool, **given: Any) -> int:
    """Probe an embedded cluster: pods, a Service address and a Kubernetes API on this machine's loopback.

    Needs no Kubernetes and no root, and touches no other machine. SCENARIO is one of those that --list shows.

    \b
    Examples:
      kbalance demo
      kbalance demo --list
      kbalance demo slow-pod
      kbalance demo ten-pods --connections 32
      kbalance demo --serve
    """
    from kbalance.cli.run import Wanted, is_terminal, run
    from kbalance.errors import TargetError, TrafficError
    from kbalance.testbed.cluster import Cluster, ClusterError
    from kbalance.testbed.scenario import SCENARIOS

    if list_scenarios:
        return _list(SCENARIOS.values())
    if scenario not in SCENARIOS:
        raise TargetError(f"There is no scenario {scenario!r}; `kbalance demo --list` shows them.")
    chosen = SCENARIOS[scenario]
    try:
        with Cluster.start(chosen) as cluster:
            if serve:
                return _serve(chosen, cluster)
            options = _options(ctx, chosen, given)
            code = run(_subject(cluster, options), options, None, Wanted(given["outputs"], given["artifacts"]))
    except ClusterError as error:
        raise TrafficError(f"The embedded cluster failed: {error}.") from error
    if is_terminal(sys.stderr):
        click.echo(
            f"This was the scenario {chosen.name!r} of an embedded cluster; `kbalance demo --list` shows the others.", err=True
        )
    return code


def _list(scenarios: Any) -> int:
    width = max(len(s.name) for s in scenarios)
    for scenario in scenarios:
        click.echo(f"{scenario.name:<{width}}  {scenario.title}")
    return 0


def _options(ctx: click.Context, scenario: Scenario, given: dict[str, Any]) -> Options:
    """What the user asked for; else what the scenario needs; else as fast as the embedded pods answer."""
    from dataclasses import replace

    options = to_options(given)
    named = {p for p in given if ctx.get_parameter_source(p) is not click.core.ParameterSource.DEFAULT}
    renamed = {"timeout_s": "timeout", "deadline_s": "deadline", "watch_s": "watch_scale_out"}
    wanted: dict[str, Any] = {k: v for k, v in scenario.options.items() if renamed.get(k, k) not in named}
    if "rate" not in named:
        wanted.setdefault("rate", None)
    return replace(options, **wanted)


def _subject(cluster: Cluster, options: Options) -> Subject:
    """The cluster's Service, with the facts as its API tells them at each reading."""
    from kbalance.analysis.protocols import aimed
    from kbalance.kube.convert import facts
    from kbalance.model.target import Target
    from kbalance.model.words import TargetKind
    from kbalance.pipeline import Subject
    from kbalance.testbed.scenario import NAMESPACE, SERVICE

    address = cluster.service
    target = Target(
        kind=TargetKind.SERVICE,
        scheme="http",
        host=address.ip,
        port=address.port,
        path="/",
        path_given=False,
        namespace=NAMESPACE,
        name=SERVICE,
    )
    aim = aimed(target, options, facts(*cluster.objects()).service)
    return Subject(target=aim, addresses=(address,), read_facts=lambda: facts(*cluster.objects()))


def _serve(scenario: Scenario, cluster: Cluster) -> int:
    """Prints the kubeconfig's path and commands, and waits for Ctrl-C."""
    import tempfile
    from pathlib import Path

    from kbalance.kube.convert import facts

    with tempfile.TemporaryDirectory(prefix="kbalance-demo-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig(), encoding="utf-8")
        known = facts(*cluster.objects())
        endpoints = " ".join(f"--endpoint {e.name}={e.address}" for e in known.endpoints)
        spoken = f" --protocol {scenario.app_protocol}" if scenario.app_protocol else ""
        click.echo(f"{scenario.title}\n")
        click.echo(f"KUBECONFIG={kubeconfig}\n")
        click.echo(f"  kubectl --kubeconfig {kubeconfig} get services,endpointslices,pods -n shop")
        click.echo(f"  curl http://{cluster.service}/hostname")
        click.echo(f"  kbalance probe http://{cluster.service}/ {endpoints}{spoken}\n")
        click.echo("Press Ctrl-C to end it.", err=True)
        _wait_for_ctrl_c()
    return 0


def _wait_for_ctrl_c() -> None:
    """Returns on Ctrl-C or SIGTERM."""
    import signal

    wanted = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        signal.sigwait(wanted)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
