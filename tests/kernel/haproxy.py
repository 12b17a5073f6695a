"""HAProxy before the pods, as a node's or an edge's balancer: the real program, with a configuration written here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from kbalance.model.target import Address

from .netns import Namespace
from .proxy import PROXY, running


@dataclass(frozen=True, slots=True, kw_only=True)
class HaProxy:
    """One listener and the servers behind it; the words are HAProxy's own."""

    servers: Mapping[str, Address]
    mode: str = "tcp"
    balance: str = "roundrobin"
    weights: Mapping[str, int] = field(default_factory=dict)
    """Of the servers that have another one than 100."""
    reuse: str | None = None
    """``http-reuse``: which requests may share a connection to a server; ``None``: its default, ``safe``."""
    connections: int | None = None
    """To each server at once, at most."""
    listens: Address = PROXY

    @property
    def text(self) -> str:
        """The configuration. One thread, so that taking turns is one turn and not one of each thread."""
        lines = ["global", "  nbthread 1", "  maxconn 2000", "defaults", f"  mode {self.mode}"]
        lines += [f"  timeout {what} 30s" for what in ("connect", "client", "server", "queue")]
        lines += ["listen pods", f"  bind {self.listens}", f"  balance {self.balance}"]
        lines += [f"  http-reuse {self.reuse}"] if self.reuse else []
        lines += [f"  server {name} {address} {self._options(name)}" for name, address in self.servers.items()]
        return "\n".join([*lines, ""])

    def _options(self, name: str) -> str:
        limit = [] if self.connections is None else [f"maxconn {self.connections}"]
        return " ".join([f"source {self.listens.ip}", f"weight {self.weights.get(name, 100)}", *limit])


@contextmanager
def haproxy(ns: Namespace, proxy: HaProxy) -> Iterator[None]:
    """HAProxy in the namespace, ended when left."""
    with running(ns, ["haproxy", "-db", "-f"], proxy.text, ".cfg", proxy.listens):
        yield
