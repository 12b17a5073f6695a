"""Endpoints of Kubernetes Services, as EndpointSlices tell them: watched, so that a Pod is known when it is ready."""

import re
import socket
import time
from collections.abc import Iterable, Mapping
from threading import Lock, Thread, current_thread
from typing import Any, NamedTuple

from kbalance.balancing.endpoints import Elsewhere, Endpoint, Known, Origin, Tell, Trouble
from kbalance.errors import ApiError, DiscoveryError, NoAccess
from kbalance.kube import ports
from kbalance.kube.client import Access, Client, connect
from kbalance.kube.convert import usable
from kbalance.kube.watching import Timing, Watching

Object = Mapping[str, Any]

TIMEOUT_S = 5.0
"""For a connection to the API server, and for each silence of an answer."""
NO_ACCESS = (
    "There is no kubeconfig, and this is not a Pod with a service account; give EndpointSlices(kubeconfig=FILE), or another"
    " source."
)
DENIED_S = 60.0
"""Before what may not be read is asked for again."""

_LABEL = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CLUSTER_SET = ["clusterset", "local"]
"""The domain of Services that several clusters share (KEP-1645), which have EndpointSlices of their own kind."""


class ServiceName(NamedTuple):
    """The Service that a host may be."""

    name: str
    namespace: str | None = None
    """``None``: the client's."""
    certain: bool = False
    """Whether the host can hardly be anything else: ``checkout.shop.svc``; ``example.com`` may be a Service, too."""

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}" if self.namespace else self.name


def service_in(host: str) -> ServiceName | None:
    """The Service that a host of a URL may be: ``NAME``, ``NAME.NAMESPACE``, ``NAME.NAMESPACE.svc`` or that with a domain.

    Source: kubernetes.io/docs/concepts/services-networking/dns-pod-service; RFC 6761, 6.3 (``localhost``).
    """
    labels = host.lower().removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[-1] == "localhost" or _is_address(host):
        return None
    match labels:
        # With a dot at its end a name is whole, and these would be no Services.
        case [name] if not host.endswith("."):
            return ServiceName(name)
        case [name, namespace] if not host.endswith("."):
            return ServiceName(name, namespace)
        case [name, namespace, "svc", *domain] if domain != _CLUSTER_SET:
            return ServiceName(name, namespace, certain=True)
    return None


def _is_address(host: str) -> bool:
    """Whether resolvers take it for an IPv4 address, as they do with ``127.1``; IPv6 has colons, and so no labels."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


class EndpointSlices:
    """The Services of one cluster.

    Needs `list` and `watch` of `endpointslices` in the namespaces of the Services, and `get` of `services` for those that have
    several ports.
    """

    def __init__(
        self,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        services: Iterable[str] | None = None,
        timing: Timing | None = None,
    ) -> None:
        """
        Args:
            kubeconfig: ``None``: that of ``$KUBECONFIG``, else ``~/.kube/config``, else the Pod's service account.
            context: of the kubeconfig; ``None``: its current one.
            namespace: of hosts that are a name alone; ``None``: the context's, else the Pod's.
            services: ``NAME`` or ``NAME.NAMESPACE`` of those that are meant; ``None``: whatever host may be one.
            timing: of watches, and of pauses after failures.

        Raises:
            ValueError: one of `services` cannot be a Service.
        """
        self._access = Access(kubeconfig=kubeconfig, context=context, namespace=namespace)
        self._services = None if services is None else {self._key(_named(one)) for one in services}
        self._timing = timing or Timing()
        self._lock = Lock()
        self._client: Client | None = None

    def follow(self, origin: Origin, tell: Tell) -> "Follower | None":
        """As `Source.follow` has it."""
        service = service_in(origin.host)
        if service is None or (self._services is not None and self._key(service) not in self._services):
            return None
        if self._services is not None:
            # Whoever lists it does not guess.
            service = service._replace(certain=True)
        follower = Follower(self, service, origin.port, tell, self._timing)
        try:
            follower.start()
        except RuntimeError as error:
            tell(Trouble(reason=f"The endpoints of {service} cannot be watched ({error}); have fewer threads."))
            return None
        return follower

    def client(self) -> Client:
        """The one for all followers.

        Raises:
            DiscoveryError: the access makes no sense.
        """
        with self._lock:
            if self._client is None:
                self._client = connect(self._access, timeout_s=TIMEOUT_S)
            return self._client

    def _key(self, service: ServiceName) -> tuple[str, str | None]:
        return service.name, service.namespace or self._access.namespace


def _named(text: str) -> ServiceName:
    service = service_in(text)
    if service is None:
        raise ValueError(f"{text!r} is no Service; give NAME or NAME.NAMESPACE")
    return service


class Follower:
    """One Service and one of its ports, in a thread of its own."""

    def __init__(self, source: EndpointSlices, service: ServiceName, port: int, tell: Tell, timing: Timing) -> None:
        self._source = source
        self._service = service
        self._port = port
        self._tell = tell
        self._certain = service.certain
        self._timing = timing
        self._read: Object | None = None
        self._read_for: frozenset[str] = frozenset()
        self._read_s = float("-inf")
        self._watching = Watching(source.client, service.name, service.namespace, self, timing=timing)
        self._thread = Thread(target=self._run, name=f"kbalance-endpoints {service}", daemon=True)

    def start(self) -> None:
        """
        Raises:
            RuntimeError: there can be no more threads.
        """
        self._thread.start()

    def refresh(self) -> None:
        """As `Following.refresh` has it."""
        self._watching.refresh()

    def close(self) -> None:
        """As `Following.close` has it."""
        self._watching.close()
        if current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._watching.run()
        except Exception as error:
            self._tell(Trouble(reason=f"The watch of {self._service} ended with {type(error).__name__}, which is a bug."))
            raise

    def found(self, slices: tuple[Object, ...]) -> None:
        """As `Told.found` has it."""
        if not slices:
            self._tell(Elsewhere(reason=f"There is no EndpointSlice for {self._place()}, so it may be no Service."))
            return
        self._certain = True
        service = self._service_object(slices) if ports.needs_service(slices) else None
        try:
            port = ports.port_behind(slices, self._port, service)
        except DiscoveryError as error:
            self._tell(Trouble(reason=str(error)))
            return
        if port is None:
            self._tell(Trouble(reason=self._which_port(slices)))
            return
        behind = usable(slices, port, service)
        found = (Endpoint(address=one.address, name=one.name, zone=one.zone) for one in behind if one.address is not None)
        self._tell(Known(endpoints=tuple(found)))

    def failed(self, error: DiscoveryError) -> float | None:
        """As `Told.failed` has it."""
        if isinstance(error, ApiError) and error.status == 403 and not self._certain:
            self._tell(Elsewhere(reason=str(error)))
            return self._timing.idle_s
        self._tell(Trouble(reason=NO_ACCESS if isinstance(error, NoAccess) else str(error)))
        return None

    def _service_object(self, slices: tuple[Object, ...]) -> Object | None:
        """The Service, read anew when its ports have other names; ``None``: it may not be read, or is gone."""
        now_s, wanted = time.monotonic(), ports.names(slices)
        if wanted != self._read_for or (self._read is None and now_s - self._read_s >= DENIED_S):
            client = self._source.client()
            path = f"/api/v1/namespaces/{self._service.namespace or client.namespace}/services/{self._service.name}"
            try:
                self._read = client.get(path)
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                self._read = None
            self._read_for, self._read_s = wanted, now_s
        return self._read

    def _which_port(self, slices: tuple[Object, ...]) -> str:
        listed = ", ".join(sorted(ports.names(slices)))
        return (
            f"Which of the ports {listed} is {self._port} only the Service {self._place()} says, which may not be read; a Role"
            ' with apiGroups: [""], resources: ["services"], verbs: ["get"] would allow it.'
        )

    def _place(self) -> str:
        return f"{self._service.name} in namespace {self._service.namespace or self._source.client().namespace}"
