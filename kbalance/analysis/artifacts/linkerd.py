"""Linkerd at the client."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, plain, shell
from kbalance.model.report import Artifact


def injection(setting: Setting) -> Artifact | None:
    """A proxy beside the client."""
    if setting.namespace is None:
        return None
    content = fill(_INJECTION, namespace=shell(setting.namespace), plain_namespace=plain(setting.namespace))
    return Artifact(name="linkerd-injection.sh", kind="linkerd", content=content)


_INJECTION = """\
# Puts a Linkerd proxy beside the client, which places each request by latency. This replaces the client's Pods.
# Not known is the client's Deployment; kubectl get deployments -n {{plain_namespace}} names those there are.
kubectl patch deployment "${CLIENT:?the Deployment of the client}" --namespace {{namespace}} \\
  --patch '{"spec":{"template":{"metadata":{"annotations":{"linkerd.io/inject":"enabled"}}}}}'
"""
