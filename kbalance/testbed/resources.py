"""The kinds of objects that the stub API serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kbalance.testbed.objects import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of object that the API serves."""

    group: str
    """Empty for core."""
    plural: str
    kind: str
    short: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"


SERVICES = Resource(group="", plural="services", kind="Service", short="svc")
PODS = Resource(group="", plural="pods", kind="Pod", short="po")
NODES = Resource(group="", plural="nodes", kind="Node", short="no", namespaced=False)
NAMESPACES = Resource(group="", plural="namespaces", kind="Namespace", short="ns", namespaced=False)
ENDPOINT_SLICES = Resource(group="discovery.k8s.io", plural="endpointslices", kind="EndpointSlice", short="")
RESOURCES = (SERVICES, PODS, NODES, NAMESPACES, ENDPOINT_SLICES)

Store = Mapping[Resource, Sequence[Object]]
