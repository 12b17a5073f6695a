"""Istio at the client."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, plain, quoted, shell
from kbalance.model.report import Artifact


def injection(setting: Setting) -> Artifact | None:
    """Sidecars for the client's namespace."""
    if setting.namespace is None:
        return None
    content = fill(_INJECTION, where=shell(setting.namespace))
    return Artifact(name="istio-injection.sh", kind="istio", content=content)


def destination_rule(setting: Setting) -> Artifact | None:
    """How the client's sidecar chooses, for each request."""
    if setting.namespace is None:
        return None
    content = fill(_RULE, name=quoted(plain(setting.service)), namespace=quoted(setting.namespace), host=quoted(setting.host))
    return Artifact(name="destination-rule.yaml", kind="istio", content=content)


_INJECTION = """\
# Puts an Istio sidecar beside the client. The client is what counts: a sidecar at the server changes nothing.
# With revisions, the label is istio.io/rev=REVISION instead.
kubectl label namespace {{where}} istio-injection=enabled
kubectl rollout restart --namespace {{where}} deployment "${CLIENT:?the Deployment of the client}"
"""

_RULE = """\
# The client's sidecar sends each request to the endpoint with the fewest under way (ROUND_ROBIN: in turn).
# The Service's port must be known as HTTP or gRPC, by its appProtocol or the beginning of its name.
# maxRequestsPerConnection would be no help: it ends connections from sidecar to endpoint, not the client's own.
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: {{name}}
  namespace: {{namespace}}
spec:
  host: {{host}}
  trafficPolicy:
    loadBalancer:
      simple: LEAST_REQUEST
"""
