"""``kbalance probe svc/NAME``: what the user typed becomes a subject, measured from here or from a Job."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from kbalance.cli.options import about_a_job
from kbalance.cli.run import Wanted, check_outputs, reported, run
from kbalance.model.words import VantageChoice

if TYPE_CHECKING:
    from kbalance.cli.target import ServiceName
    from kbalance.kube.client import Client
    from kbalance.kube.discovery import Discovery, Reference
    from kbalance.model.plan import Options
    from kbalance.model.report import Vantage
    from kbalance.model.target import Address, Target
    from kbalance.pipeline import Subject
    from kbalance.remote import Mission
    from kbalance.wire.dialled import Tls

TRIES = 4
REACH_S = 1.5
"""For one connection, when it is found out whether the Service can be reached from here."""


def probe_service(named: ServiceName, options: Options, given: Mapping[str, Any]) -> int:
    """Reads the facts, chooses where traffic starts, and measures."""
    from kbalance.analysis.protocols import aimed
    from kbalance.cli.target import tls_of
    from kbalance.kube.client import Access, connect
    from kbalance.kube.discovery import Reference, discover
    from kbalance.model.report import Vantage

    wanted = Wanted(given["outputs"], given["artifacts"])
    check_outputs(wanted)
    access = Access(kubeconfig=given["kubeconfig"], context=given["context"], namespace=given["namespace"])
    client = connect(access, trace=_trace if given["verbose"] else None)
    reference = Reference(name=named.name, namespace=client.namespace, port=named.port)
    found = discover(client, reference)
    target = aimed(_target(named, found, client.namespace), options, found.facts.service)
    options = replace(options, host=options.host or _authority(target))
    tls = tls_of(target, options.host, given)
    if given["print_manifests"]:
        return _print(_mission(client, found, target, options, given, tls), found)
    if _runs_here(VantageChoice(given["vantage"]), found, target, given):
        subject = _subject(client, reference, found, target, _here(found), _addresses(target, found, options))
        return run(subject, options, tls, wanted)
    mission = _mission(client, found, target, options, given, tls)
    subject = _subject(client, reference, found, target, Vantage(kind="job"))
    return _from_job(client, subject, mission, options, given)


def _trace(line: str) -> None:
    click.echo(line, err=True)


def _target(named: ServiceName, found: Discovery, namespace: str) -> Target:
    from kbalance.model.target import Target
    from kbalance.model.words import TargetKind

    return Target(
        kind=TargetKind.SERVICE,
        scheme=found.scheme,
        host=found.host,
        port=found.port,
        path=named.path,
        path_given=named.path_given,
        namespace=namespace,
        name=named.name,
    )


def _authority(target: Target) -> str:
    """The Host header of a client that uses the Service's name."""
    return replace(target, host=f"{target.name}.{target.namespace}.svc").authority


def _subject(
    client: Client, reference: Reference, found: Discovery, target: Target, vantage: Vantage, addresses: tuple[Address, ...] = ()
) -> Subject:
    """The Service; its facts are the ones already read, and are read again when they are asked for again."""
    from kbalance.kube.discovery import reread
    from kbalance.pipeline import Subject

    read = [found.facts]
    return Subject(
        target=target,
        addresses=addresses,
        read_facts=lambda: read.pop() if read else reread(client, reference, found.facts),
        vantage=vantage,
        zones=found.zones,
    )


def _here(found: Discovery) -> Vantage:
    """This machine; a node of the cluster, where it has the name of one."""
    import socket

    from kbalance.model.report import Vantage

    name = socket.gethostname()
    return Vantage(kind="local", node=name if name in found.zones else None)


def _addresses(target: Target, found: Discovery, options: Options) -> tuple[Address, ...]:
    """Where a client here would be led; where the cluster's names mean nothing, the endpoints of a headless Service as listed."""
    from kbalance.errors import DiscoveryError
    from kbalance.traffic.resolve import resolve

    try:
        return resolve(target.host, target.port, options.timeout_s)
    except DiscoveryError:
        known = tuple(e.address for e in found.facts.ready if e.address is not None)
        if not known:
            return ()
        click.echo(f"The name {target.host} does not resolve here, so the first endpoint listed stands for it.", err=True)
        return known


def _runs_here(choice: VantageChoice, found: Discovery, target: Target, given: Mapping[str, Any]) -> bool:
    """Whether traffic starts here.

    Raises:
        TrafficError: it is to start here, and nothing answers.
    """
    import os

    from kbalance.errors import TargetError, TrafficError
    from kbalance.model.target import Address, is_ip
    from kbalance.traffic.reach import reachable

    inside = "KUBERNETES_SERVICE_HOST" in os.environ
    wanted = about_a_job(given)
    if choice is VantageChoice.LOCAL and wanted:
        raise TargetError(f"{wanted[0]} is about a Job; leave it out, or choose --vantage job.")
    if choice is VantageChoice.JOB or (wanted and choice is VantageChoice.AUTO):
        return not found.facts.ready
    if inside or not found.facts.ready:
        return True
    # The Service's own address, more than once: one try may meet an endpoint that fails, and affinity or a local policy may lead
    # every try there. Endpoints that answer make up for it where traffic is to start here, and on a node; elsewhere they may be
    # routed where the Service's address is not. A headless Service has no address of its own.
    service = [Address(target.host, target.port)] * TRIES if is_ip(target.host) else []
    meant = choice is VantageChoice.LOCAL or _here(found).node is not None or not service
    endpoints = [e.address for e in found.facts.ready if e.address] if meant else []
    if reachable([*service, *endpoints[:TRIES]], REACH_S):
        return True
    if choice is VantageChoice.LOCAL:
        raise TrafficError(
            f"svc/{target.name} ({target.host}:{target.port}) cannot be reached from here; run kbalance"
            " inside the cluster, or leave --vantage out, so that it measures from a Job."
        )
    return False


def _mission(
    client: Client, found: Discovery, target: Target, options: Options, given: Mapping[str, Any], tls: Tls | None
) -> Mission:
    from kbalance.cli.target import tls_name
    from kbalance.kube.manifests import Placement
    from kbalance.remote import Mission, new_name
    from kbalance.vantage.order import Order

    image, pull_secrets = _image(client, found, target, given["image"])
    return Mission(
        order=Order(
            target=target,
            facts=found.facts,
            options=options,
            workers=given["workers"] or 1,
            tls_name=tls_name(target, options.host) if tls else None,
            insecure=given["insecure"],
            zones=found.zones if any(e.hints for e in found.facts.endpoints) else {},
        ),
        files=_files(given) if tls else {},
        placement=Placement(
            image=image,
            workers=given["workers"] or 1,
            node=given["node"],
            node_selector=dict(given["node_selector"]),
            tolerations=given["tolerations"],
            service_account=given["service_account"],
            pull_secrets=pull_secrets,
        ),
        namespace=client.namespace,
        name=new_name(),
    )


def _image(client: Client, found: Discovery, target: Target, image: str) -> tuple[str, tuple[str, ...]]:
    """The image, and what it takes to pull it; ``service`` stands for the Service's own.

    Raises:
        DiscoveryError: the Service has no Pod whose image could be looked up.
    """
    from kbalance.errors import DiscoveryError

    if image != "service":
        return image, ()
    names = [e.name for e in found.facts.ready if e.owner or e.node]
    if not names:
        raise DiscoveryError(f"svc/{target.name} has no Pod whose image could be used; name an image with --image.")
    spec = client.get(f"/api/v1/namespaces/{target.namespace}/pods/{names[0]}")["spec"]
    return spec["containers"][0]["image"], tuple(secret["name"] for secret in spec.get("imagePullSecrets") or ())


def _files(given: Mapping[str, Any]) -> dict[str, bytes]:
    """Certificates and keys, which were found readable when they were tried here."""
    from pathlib import Path

    from kbalance.vantage.order import CACERT, CERT, KEY

    named = {CACERT: given["cacert"], CERT: given["cert"], KEY: given["key"]}
    return {name: Path(path).read_bytes() for name, path in named.items() if path}


def _print(mission: Mission, found: Discovery) -> int:
    import yaml

    from kbalance.remote import manifests

    yaml.safe_dump_all(manifests(mission, found.facts), sys.stdout, sort_keys=False)
    return 0


def _from_job(client: Client, subject: Subject, mission: Mission, options: Options, given: Mapping[str, Any]) -> int:
    from time import monotonic

    from kbalance.pipeline import measure_elsewhere
    from kbalance.remote import Remote

    placement = mission.placement
    pods = "1 Pod" if placement.workers == 1 else f"{placement.workers} Pods"
    why = "The Service is out of reach from here: " if given["vantage"] == VantageChoice.AUTO and not about_a_job(given) else ""
    made = "Job, ConfigMap and Secret" if options.headers or options.body or mission.files else "Job and ConfigMap"
    click.echo(
        f"{why}{made} {mission.name} ({pods} of {placement.image}) are made in namespace {mission.namespace}"
        " and removed at the end.",
        err=True,
    )
    tell: list[Any] = [lambda what, done, planned: None]
    remote = Remote(client, mission, on_state=lambda state: tell[0](state, 0, 0) if state else None)

    def make(progress: Any) -> Any:
        tell[0] = progress
        with remote:
            return measure_elsewhere(subject, options, placement.workers, remote.send, monotonic, progress)

    try:
        return reported(remote, make, Wanted(given["outputs"], given["artifacts"]))
    finally:
        for problem in remote.problems:
            click.echo(f"kbalance: {problem}", err=True)
