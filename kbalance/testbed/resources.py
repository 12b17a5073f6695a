"""The kinds of objects that the embedded API serves."""

from dataclasses import dataclass

READ = ("get", "list", "watch")
WRITE = ("create", "delete", *READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of object that the API serves."""

    group: str
    """Empty for core."""
    plural: str
    kind: str
    short: str
    namespaced: bool = True
    verbs: tuple[str, ...] = READ

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def qualified(self) -> str:
        """As error messages name it: ``pods``, ``jobs.batch``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """As messages about invalid objects name it: ``ConfigMap``, ``Job.batch``."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


SERVICES = Resource(group="", plural="services", kind="Service", short="svc")
PODS = Resource(group="", plural="pods", kind="Pod", short="po", verbs=("delete", *READ))
NODES = Resource(group="", plural="nodes", kind="Node", short="no", namespaced=False)
NAMESPACES = Resource(group="", plural="namespaces", kind="Namespace", short="ns", namespaced=False)
CONFIG_MAPS = Resource(group="", plural="configmaps", kind="ConfigMap", short="cm", verbs=WRITE)
SECRETS = Resource(group="", plural="secrets", kind="Secret", short="", verbs=WRITE)
EVENTS = Resource(group="", plural="events", kind="Event", short="ev")
ENDPOINT_SLICES = Resource(group="discovery.k8s.io", plural="endpointslices", kind="EndpointSlice", short="")
JOBS = Resource(group="batch", plural="jobs", kind="Job", short="", verbs=WRITE)
RESOURCES = (SERVICES, PODS, NODES, NAMESPACES, CONFIG_MAPS, SECRETS, EVENTS, ENDPOINT_SLICES, JOBS)


def named(plural: str) -> Resource:
    """The kind that paths call so.

    Raises:
        KeyError: there is none.
    """
    return {resource.plural: resource for resource in RESOURCES}[plural]


def resource_of(group: str, plural: str) -> Resource | None:
    """The kind of that group and name in a path."""
    return next((r for r in RESOURCES if (r.group, r.plural) == (group, plural)), None)
