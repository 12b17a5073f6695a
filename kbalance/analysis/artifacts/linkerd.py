"""Linkerd at the client."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, plain, shell
from kbalance.model.report import Artifact


def injection(setting: Setting) -> Artifact | None:
    """A proxy beside the client."""
    if setting.namespace is None:
        return None
    namespace = setting.client_namespace or setting.namespace
    client = shell(setting.client) if setting.client else '"${CLIENT:?the Deployment of the client}"'
    asked = (
        ""
        if setting.client
        else f"# Not known is the client's Deployment; kubectl get deployments -n {plain(namespace)} names those there are.\n"
    )
    content = fill(_INJECTION, client=client, namespace=shell(namespace), asked=asked)
    return Artifact(name="linkerd-injection.sh", kind="linkerd", content=content)


_INJECTION = """\
# Puts a Linkerd proxy beside the client, which places each request by latency. This replaces the client's Pods.
{{asked}}kubectl patch deployment {{client}} --namespace {{namespace}} \\
  --patch '{"spec":{"template":{"metadata":{"annotations":{"linkerd.io/inject":"enabled"}}}}}'
"""
