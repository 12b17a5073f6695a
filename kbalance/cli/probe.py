"""``kbalance probe``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kbalance.cli.options import measuring_options, report_options, request_options, to_options

if TYPE_CHECKING:
    from kbalance.model.target import Target
    from kbalance.wire.connection import Tls


@click.command(short_help="Measure, diagnose, recommend.")
@click.argument("target")
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

    TARGET is http(s)://HOST[:PORT][/PATH]. The endpoints behind it are named with --endpoint, or found in DNS when the name has
    several addresses, or learned from the answers.

    \b
    Four client profiles are run against it:
      single        one long-lived connection
      pooled        a pool of connections
      short-lived   fresh connections
      per-endpoint  one connection to each endpoint, requests in turn

    \b
    Examples:
      kbalance probe http://198.51.100.10/ \\
          --endpoint web-1=198.51.100.1:8080 --endpoint web-2=198.51.100.2:8080
      kbalance probe https://shop.example/ --profile short-lived --requests 200
      kbalance probe http://web:8080/ --identity header:X-Pod-Name -o text -o json=report.json

    \b
    Exit codes:
      0  measured, nothing at or above --fail-on
      1  measured, with findings
      2  wrong usage
      3  could not measure
      130  interrupted; the report covers what was measured
    """
    from kbalance.cli.run import run
    from kbalance.cli.target import parse_endpoints, parse_target
    from kbalance.pipeline import Subject, facts_of_addresses
    from kbalance.traffic.resolve import resolve

    options = to_options(given)
    named = parse_target(target, given["path"])
    facts = parse_endpoints(endpoints)
    tls = _tls(named, given)
    addresses = resolve(named.host, named.port, options.timeout_s)
    known = facts or facts_of_addresses(addresses)
    subject = Subject(target=named, addresses=addresses, read_facts=lambda: known)
    return run(subject, options, tls, outputs=given["outputs"], fail_on=given["fail_on"])


def _tls(target: Target, given: dict[str, Any]) -> Tls | None:
    if target.scheme != "https":
        return None
    from urllib.parse import urlsplit

    from kbalance.wire.tls import make_tls

    name = urlsplit(f"//{given['host']}").hostname or target.host if given["host"] else target.host
    return make_tls(name, insecure=given["insecure"], cacert=given["cacert"], cert=given["cert"], key=given["key"])
