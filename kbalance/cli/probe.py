"""``kbalance probe``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kbalance.cli.options import (
    about_a_job,
    cluster_options,
    complete_target,
    measuring_options,
    report_options,
    request_options,
    to_options,
)
from kbalance.model.words import ProtocolChoice

if TYPE_CHECKING:
    from kbalance.cli.target import ServiceName
    from kbalance.model.plan import Options


@click.command(short_help="Measure, diagnose, recommend.")
@click.argument("target", shell_complete=complete_target)
@cluster_options
@click.option("--endpoint", "endpoints", multiple=True, metavar="NAME=IP:PORT", help="An endpoint behind the target; repeatable.")
@measuring_options
@request_options
@click.option("-k", "--insecure", is_flag=True, help="Do not verify the server's certificate.")
@click.option("--cacert", type=click.Path(), help="CA certificates to verify the server with (PEM).")
@click.option("--cert", type=click.Path(), help="Client certificate (PEM).")
@click.option("--key", type=click.Path(), help="Its private key (PEM).")
@report_options
def probe(target: str, endpoints: tuple[str, ...], **given: Any) -> int:
    """Measure who gets the requests sent to TARGET, say why, and what to do.

    TARGET is svc/NAME[:PORT][/PATH], a Service of the cluster that kubectl would talk to; PORT is a number or a port's name.
    Where the Service cannot be reached from here, a Job measures from inside the cluster and is removed at the end.

    TARGET may also be http(s)://HOST[:PORT][/PATH]. The endpoints behind it are named with --endpoint, or found in DNS when the
    name has several addresses, or learned from the answers.

    \b
    Four client profiles are run against it:
      single        one long-lived connection
      pooled        a pool of connections
      short-lived   fresh connections
      per-endpoint  one connection to each endpoint, requests in turn
    and on request
      stock         an ordinary client: all requests on the first connection that has room

    \b
    Examples:
      kbalance probe svc/web
      kbalance probe svc/web:http/api/info -n shop --context production
      kbalance probe svc/web -n shop --workers 2 -o text -o json=report.json
      kbalance probe svc/web -n shop --image service --node worker-3
      kbalance probe http://198.51.100.10/ \\
          --endpoint web-1=198.51.100.1:8080 --endpoint web-2=198.51.100.2:8080
      kbalance probe https://shop.example/ --profile short-lived --requests 200
      kbalance probe http://web:8080/ --identity header:X-Pod-Name -o text -o json=report.json
      kbalance probe svc/cart:grpc -n shop --profile stock --profile pooled --profile per-endpoint
      kbalance probe svc/cart:9000 --grpc-method shop.Cart/Get --grpc-data '{"id": 7}'

    \b
    Exit codes:
      0  measured, nothing at or above --fail-on
      1  measured, with findings or a failed threshold
      2  wrong usage
      3  could not measure
      130  interrupted; the report covers what was measured
    """
    from kbalance.cli.run import Wanted, run
    from kbalance.cli.target import parse_endpoints, parse_service, parse_target, tls_of

    options = to_options(given)
    service = parse_service(target, _path(given))
    if service is not None:
        return _probe_service(service, options, endpoints, given)
    _check_no_job(given)
    from kbalance.analysis.protocols import aimed
    from kbalance.pipeline import Subject, facts_of_addresses
    from kbalance.traffic.resolve import resolve

    named = aimed(parse_target(target, _path(given)), options, None)
    facts = parse_endpoints(endpoints)
    tls = tls_of(named, given["host"], given)
    addresses = resolve(named.host, named.port, options.timeout_s)
    known = facts or facts_of_addresses(addresses)
    subject = Subject(target=named, addresses=addresses, read_facts=lambda: known)
    return run(subject, options, tls, Wanted(given["outputs"], given["artifacts"]))


def _path(given: dict[str, Any]) -> str | None:
    """``--path``, which may leave its slash out where it is a method of gRPC."""
    path: str | None = given["path"]
    grpc = given["protocol"] == ProtocolChoice.GRPC and path is not None and not path.startswith("/")
    return f"/{path}" if grpc else path


def _probe_service(service: ServiceName, options: Options, endpoints: tuple[str, ...], given: dict[str, Any]) -> int:
    from kbalance.cli.service import probe_service
    from kbalance.errors import TargetError

    if endpoints:
        raise TargetError("--endpoint is for URLs; the endpoints of a Service are read from the cluster.")
    return probe_service(service, options, given)


def _check_no_job(given: dict[str, Any]) -> None:
    """Refuses what a URL cannot have: nobody knows in which cluster it would be measured."""
    from kbalance.errors import TargetError

    cluster = [f"--{name}" for name in ("namespace", "context", "kubeconfig") if given[name]]
    if cluster:
        raise TargetError(f"{cluster[0]} is about a Service of a cluster; write the target as svc/NAME.")
    wanted = about_a_job(given) + (["--vantage"] if given["vantage"] == "job" else [])
    if wanted:
        raise TargetError(f"{wanted[0]} is about a Job, which only a Service of a cluster has; write the target as svc/NAME.")
