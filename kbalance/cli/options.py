"""The options that every measuring command takes, and how they become `Options`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from kbalance.cli.types import Duration, Header, Number, Output, Pair, Toleration
from kbalance.model.words import (
    AGENT_IMAGE,
    MOST_CONNECTIONS,
    USUAL_PROFILES,
    FailOn,
    OutputFormat,
    PoolPolicy,
    Profile,
    ProtocolChoice,
    VantageChoice,
)

if TYPE_CHECKING:
    from kbalance.model.plan import Options

F = TypeVar("F", bound=Callable[..., Any])


def _later(name: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """A completion that loads what it needs when somebody presses the key."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from kbalance.cli import complete

        return cast(list[Any], getattr(complete, name)(ctx, param, incomplete))

    return complete


def _words(closed_set: type[Profile | PoolPolicy | FailOn | VantageChoice | ProtocolChoice]) -> click.Choice[str]:
    return click.Choice([word.value for word in closed_set])


def _either(closed_set: type[OutputFormat]) -> str:
    *most, last = (word.value for word in closed_set)
    return f"{', '.join(most)} or {last}"


class _Threshold(click.Option):
    """Its help lists what can be compared, and is made when somebody asks for it: the tables cost time to import."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from kbalance.analysis.thresholds import PROFILE_METRICS, RUN_METRICS

        self.help = (
            "Demand of the report, as in 'short-lived.busiest<=1.3'; repeatable; exit code 1 where one does not hold. "
            f"Numbers of a profile: {', '.join(m.name for m in PROFILE_METRICS)}; "
            f"of the run: {', '.join(m.name for m in RUN_METRICS)}."
        )
        return super().get_help_record(ctx)


_MEASURING = (
    click.option(
        "--profile",
        "profiles",
        multiple=True,
        type=_words(Profile),
        help="Client profile to run; repeatable.  [default: all but stock]",
    ),
    click.option(
        "--connections",
        type=click.IntRange(1, 5000),
        default=10,
        show_default=True,
        metavar="N",
        help="Size of the pool in pooled.",
    ),
    click.option(
        "--clients",
        type=click.IntRange(1, 1_000_000),
        default=1,
        show_default=True,
        metavar="N",
        help="Client processes that you have, each with such a pool; forecast and advice count with them.",
    ),
    click.option(
        "--window",
        type=Duration(),
        default="15m",
        show_default=True,
        metavar="TIME",
        help="Time over which load should even out: your autoscaler's or your SLO's; advice counts with it.",
    ),
    click.option(
        "--pool-policy",
        type=_words(PoolPolicy),
        default="round-robin",
        show_default=True,
        help="Which pooled connection takes the next request.",
    ),
    click.option(
        "--requests",
        type=click.IntRange(1),
        metavar="N",
        help="Requests per profile.  [default: planned from the number of endpoints]",
    ),
    click.option("--no-early-stop", is_flag=True, help="Make all requests even when the answer is already certain."),
    click.option(
        "--rate",
        type=Number(0, 1e6),
        default=200.0,
        show_default=True,
        metavar="R",
        help="Requests per second over all (open loop); 0: as fast as answers come.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 5000),
        default=4,
        show_default=True,
        metavar="C",
        help="Requests under way at once.",
    ),
    click.option(
        "--max-requests-per-connection",
        type=click.IntRange(1),
        metavar="N",
        help="Lifetime of connections in short-lived, by requests.  [default: 1]",
    ),
    click.option("--max-connection-age", type=Duration(), metavar="TIME", help="Lifetime of connections in short-lived, by age."),
    click.option("--jitter", type=Number(0, 0.9), default=0.0, metavar="SHARE", help="Share by which lifetimes vary, 0 to 0.9."),
    click.option(
        "--max-connections",
        type=click.IntRange(1, MOST_CONNECTIONS),
        default=1000,
        show_default=True,
        metavar="N",
        help="New connections in the whole run, at most.",
    ),
    click.option(
        "--watch-scale-out",
        type=Duration(),
        metavar="TIME",
        help="Once all is measured, go on for so long while you add Pods, and say when each profile first hears from them.",
    ),
    click.option("--timeout", type=Duration(), default="5s", show_default=True, metavar="TIME", help="For each request."),
    click.option(
        "--deadline",
        type=Duration(),
        default="2m",
        show_default=True,
        metavar="TIME",
        help="For the whole run, without --watch-scale-out.",
    ),
    click.option(
        "--identity",
        default="auto",
        show_default=True,
        metavar="HOW",
        help="Who answered: auto, header:NAME, json:/POINTER, regex:RE or body.",
    ),
    click.option(
        "--tolerance",
        type=Number(1, min_open=True),
        default=1.5,
        show_default=True,
        metavar="X",
        help="Busiest endpoint's load over its fair share that is still called even.",
    ),
    click.option(
        "--alpha",
        type=Number(0, 0.5, min_open=True),
        default=0.01,
        show_default=True,
        metavar="P",
        help="Chance of a false alarm per run.",
    ),
    click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Fixes every random choice kbalance itself makes."
    ),
)

_REQUEST = (
    click.option(
        "--protocol",
        type=_words(ProtocolChoice),
        default="auto",
        show_default=True,
        help="What is spoken; auto: what the Service's port says, else what the server chooses in the TLS handshake, else http1.",
    ),
    click.option(
        "--grpc-method",
        metavar="PACKAGE.SERVICE/METHOD",
        help="Unary gRPC method to call.  [default: grpc.health.v1.Health/Check, or one that tells who answers]",
    ),
    click.option(
        "--grpc-data",
        metavar="TEXT",
        help="Its message, as JSON (needs server reflection) or hex:BYTES; @FILE reads it from a file.  [default: empty]",
    ),
    click.option(
        "--path", metavar="PATH", help="Path to ask for; without it, and without one in the URL, one that tells who answers."
    ),
    click.option("-X", "--method", default="GET", show_default=True, metavar="METHOD", help="HTTP method."),
    click.option(
        "-H",
        "--header",
        "headers",
        multiple=True,
        type=Header(),
        metavar="'NAME: VALUE'",
        help="Header to send, 'Name: value'; repeatable.",
    ),
    click.option("--body", metavar="TEXT", help="Body to send; @FILE reads it from a file."),
    click.option(
        "--host", metavar="HOST", help="Value of the Host header, and the name checked in TLS.  [default: the target's host]"
    ),
)

_CLUSTER = (
    click.option(
        "-n", "--namespace", metavar="NAME", shell_complete=_later("namespaces"), help="Namespace of the Service, as in kubectl."
    ),
    click.option("--context", metavar="NAME", shell_complete=_later("contexts"), help="Context of the kubeconfig."),
    click.option(
        "--kubeconfig", type=click.Path(), help="The kubeconfig.  [default: $KUBECONFIG, ~/.kube/config, or the Pod's own]"
    ),
    click.option(
        "--vantage",
        type=_words(VantageChoice),
        default="auto",
        show_default=True,
        help="Where traffic starts: here, in a Job, or here if the Service can be reached.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 100),
        metavar="N",
        help="Pods of the Job, over nodes and zones; they share rate, requests and limits.  [default: 1]",
    ),
    click.option(
        "--image",
        default=AGENT_IMAGE,
        show_default=True,
        metavar="IMAGE",
        help="Image of the Job, with Python 3.11 or later; service: the Service's own.",
    ),
    click.option("--node", metavar="NAME", help="Node on which the Job runs."),
    click.option(
        "--node-selector",
        "node_selector",
        multiple=True,
        type=Pair(),
        metavar="KEY=VALUE",
        help="Label of the nodes on which it may run; repeatable.",
    ),
    click.option(
        "--toleration",
        "tolerations",
        multiple=True,
        type=Toleration(),
        metavar="KEY[=VALUE][:EFFECT]",
        help="Taint that it tolerates; repeatable.",
    ),
    click.option("--service-account", metavar="NAME", help="Service account of its Pods; they mount no token."),
    click.option("--print-manifests", is_flag=True, help="Print what a Job would be made of, and leave."),
    click.option("-v", "--verbose", count=True, help="Show each call to the Kubernetes API."),
)

_REPORT = (
    click.option(
        "--artifacts",
        type=click.Path(file_okay=False),
        metavar="DIR",
        help="Folder for the texts that make the recommended changes: manifests, settings, client code.",
    ),
    click.option(
        "--threshold",
        "thresholds",
        multiple=True,
        cls=_Threshold,
        metavar="EXPRESSION",
    ),
    click.option(
        "--fail-on",
        type=_words(FailOn),
        default="problem",
        show_default=True,
        help="The mildest finding that makes the exit code 1.",
    ),
    click.option(
        "-o",
        "--output",
        "outputs",
        multiple=True,
        type=Output(tuple(f.value for f in OutputFormat)),
        metavar="FORMAT[=FILE]",
        help=f"Report format, {_either(OutputFormat)}; FORMAT=FILE writes a file; repeatable.  [default: text]",
    ),
)


def _all(options: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


measuring_options = _all(_MEASURING)
request_options = _all(_REQUEST)


def about_a_job(given: Mapping[str, Any]) -> list[str]:
    """The options that were given and mean something to a Job alone, as users write them."""
    names = ("workers", "node", "node_selector", "tolerations", "service_account", "print_manifests")
    return [f"--{name.replace('_', '-').replace('tolerations', 'toleration')}" for name in names if given[name]]


cluster_options = _all(_CLUSTER)
report_options = _all(_REPORT)
complete_target = _later("targets")


def to_options(given: Mapping[str, Any]) -> Options:
    """The options of a run from click's values.

    Raises:
        TargetError: the body's file cannot be read, or a threshold makes no sense.
    """
    from kbalance.model.plan import Lifetime, Options

    limit = given["max_requests_per_connection"]
    age = given["max_connection_age"]
    options = Options(
        profiles=tuple(p for p in Profile if p.value in (given["profiles"] or USUAL_PROFILES)),
        connections=given["connections"],
        pool_policy=PoolPolicy(given["pool_policy"]),
        requests=given["requests"],
        early_stop=not given["no_early_stop"],
        rate=given["rate"] or None,
        concurrency=given["concurrency"],
        lifetime=Lifetime(requests=limit or (None if age else 1), age_s=age, jitter=given["jitter"]),
        timeout_s=given["timeout"],
        deadline_s=given["deadline"] + (given["watch_scale_out"] or 0.0),
        watch_s=given["watch_scale_out"],
        max_connections=given["max_connections"],
        method=given.get("method", "GET"),
        headers=tuple(given.get("headers", ())),
        body=_body(given.get("body")),
        protocol=ProtocolChoice(given.get("protocol") or ProtocolChoice.AUTO),
        grpc_method=given.get("grpc_method"),
        grpc_data=_message(given.get("grpc_data")),
        host=given.get("host"),
        identity=given["identity"],
        tolerance=given["tolerance"],
        alpha=given["alpha"],
        clients=given["clients"],
        window_s=given["window"],
        seed=int.from_bytes(os.urandom(4), "big") if given["seed"] is None else given["seed"],
        fail_on=FailOn(given["fail_on"]),
    )
    return _demanding(options, given["thresholds"])


def _demanding(options: Options, texts: Sequence[str]) -> Options:
    """The options with thresholds that are right in themselves and for these profiles."""
    if not texts:
        return options
    from dataclasses import replace

    from kbalance.analysis.thresholds import check_profiles, parse

    options = replace(options, thresholds=tuple(map(parse, texts)))
    check_profiles(options)
    return options


def _message(text: str | None) -> str | None:
    from kbalance.errors import TargetError

    if text is None:
        return None
    try:
        return _body(text).decode().strip()
    except UnicodeDecodeError as error:
        raise TargetError("The text of --grpc-data is not UTF-8; give JSON, or hex:BYTES.") from error


def _body(text: str | None) -> bytes:
    from kbalance.errors import TargetError

    if text is None:
        return b""
    if not text.startswith("@"):
        return os.fsencode(text)
    try:
        with open(text[1:], "rb") as file:
            return file.read()
    except OSError as error:
        raise TargetError(f"The file {text[1:]!r} cannot be read: {error.strerror}.") from error
