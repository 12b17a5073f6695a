"""Ways to the target that lead past the Service, so that nothing measured on them is about it."""

import re
from urllib.parse import unquote

from kbalance.analysis.case import Case
from kbalance.model.target import Address

_API_PROXY = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/(?P<kind>services|pods)/(?P<name>[^/]+)/proxy(?:/|$)")
"""Source: kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services (apiserver proxy URLs)."""

_POD_NAME = re.compile(r"-[a-z0-9]{5,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$|^[a-z0-9-]+-\d{1,3}$")
"""Of a Deployment or StatefulSet."""

_HERE = re.compile(r"127\.[\d.]+|::1|(?:.+\.)?localhost")

MET_LEAST = 8
"""Connections that must all have met one endpoint: a fair draw of two does so once in 128 times."""


def tunnelled(case: Case) -> tuple[str, ...]:
    """Why the way to the target is none that traffic in the cluster takes, and what to do instead; empty where it is one."""
    return _through_api(case) or _through_command(case) or _as_if_tunnelled(case)


def _through_api(case: Case) -> tuple[str, ...]:
    found = _API_PROXY.search(unquote(case.target.path.partition("?")[0]))
    if found is None:
        return ()
    named = re.sub(r"^https?:", "", found["name"])
    name, _, port = named.partition(":")
    if found["kind"] == "pods":
        return (f"The API server's proxy leads to Pod {name} alone, past any Service; {_instead(None)}.",)
    reference = f"svc/{name}:{port}" if port else f"svc/{name}"
    return (
        f"The API server's proxy chooses a Pod of Service {name} by itself, not as traffic in the cluster does; "
        f"{_instead(reference, found['namespace'])}.",
    )


def _through_command(case: Case) -> tuple[str, ...]:
    if case.tunnel is None:
        return ()
    if case.tunnel.partition(" ")[2].startswith("proxy"):
        return (f"`{case.tunnel}` listens at {_address(case)} and leads to the API server, past any Service; {_instead(None)}.",)
    service = re.search(r" (?:svc|services?)/(\S+)$", case.tunnel)
    reference = f"svc/{service[1]}" if service else None
    return (
        f"`{case.tunnel}` listens at {_address(case)} and leads every connection to the same Pod, past the Service; "
        f"{_instead(reference)}.",
    )


def _as_if_tunnelled(case: Case) -> tuple[str, ...]:
    """This machine's own address, endpoints that are elsewhere or bear a Pod's name, and one of them on every connection."""
    if not _HERE.fullmatch(case.target.host):
        return ()
    met = {load.name for p in case.through for load in p.endpoints if load.connections}
    connections = sum(load.connections for p in case.through for load in p.endpoints)
    if len(met) != 1 or connections < MET_LEAST or any(p.unknown for p in case.through):
        return ()
    (who,) = met
    addresses = [e.address for e in case.facts.endpoints if e.address is not None]
    elsewhere = bool(addresses) and not any(_HERE.fullmatch(address.ip) for address in addresses)
    if not (elsewhere or (case.learned and _POD_NAME.search(who))):
        return ()
    return (
        f"All {connections} connections to {_address(case)}, this machine, met {who}, as through a tunnel such as kubectl "
        f"port-forward, which leads to one Pod, past the Service; {_instead(None)}.",
    )


def _address(case: Case) -> str:
    return str(Address(case.target.host, case.target.port))


def _instead(reference: str | None, namespace: str | None = None) -> str:
    where = f" -n {namespace}" if namespace else ""
    return f"measure in the cluster: kbalance probe {reference or 'svc/NAME'}{where}"
