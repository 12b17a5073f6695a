"""Shell completion of what only the cluster knows; whatever goes wrong, there is nothing to offer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

    from kbalance.kube.client import Client

PATIENCE_S = 2.0


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """``svc/NAME`` of the namespace that was chosen."""
    from kbalance.errors import KbalanceError

    kind, slash, start = incomplete.partition("/")
    if not slash:
        return [word for word in ("svc/", "http://", "https://") if word.startswith(incomplete)]
    if kind not in ("svc", "service"):
        return []
    with suppress(KbalanceError):
        client = _client(ctx)
        services = client.list(f"/api/v1/namespaces/{client.namespace}/services", metadata_only=True)
        names = sorted(service["metadata"]["name"] for service in services)
        return [f"{kind}/{name}" for name in names if name.startswith(start)]
    return []


def namespaces(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Those that may be listed."""
    from kbalance.errors import KbalanceError

    with suppress(KbalanceError):
        found = _client(ctx).list("/api/v1/namespaces", metadata_only=True)
        return sorted(name for one in found if (name := one["metadata"]["name"]).startswith(incomplete))
    return []


def contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Those of the kubeconfig."""
    from kbalance.errors import KbalanceError
    from kbalance.kube import kubeconfig

    with suppress(KbalanceError):
        return [name for name in kubeconfig.contexts(ctx.params.get("kubeconfig")) if name.startswith(incomplete)]
    return []


def for_kubectl() -> None:
    """Completes ``kubectl kbalance ...``: a candidate a line, then what the shell is to do with them.

    Source: kubernetes/kubectl `pkg/cmd/plugin/plugin_completion.go`; spf13/cobra ShellCompDirective (2: no space, 4: no files).
    """
    import sys

    from click.shell_completion import ShellComplete

    from kbalance.cli import cli

    *words, incomplete = sys.argv[1:] or [""]
    found = [item.value for item in ShellComplete(cli, {}, "kubectl kbalance", "").get_completions(words, incomplete)]
    directive = 6 if found and all(value.endswith("/") for value in found) else 4
    print(*found, f":{directive}", sep="\n")


def _client(ctx: click.Context) -> Client:
    from kbalance.kube.client import Access, connect

    chosen = {name: ctx.params.get(name) for name in ("kubeconfig", "context", "namespace")}
    return connect(Access(**chosen), timeout_s=PATIENCE_S)
