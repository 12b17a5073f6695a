"""A Service as one node sees it: pods, kube-proxy's rules before them, and the faults that can be put on them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from kbalance.model.target import Address

from . import client, rules
from .netns import Namespace, pipe


class Mode(StrEnum):
    """kube-proxy's modes, as its ``--proxy-mode`` names them."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"


class Cluster:
    """Pods ``pod-1``, ``pod-2``, ... behind a Service, in a namespace; see `cluster`."""

    def __init__(self, ns: Namespace, mode: Mode, pods: dict[str, Address], process: subprocess.Popen[str]) -> None:
        self.ns = ns
        self.mode = mode
        self.pods = pods
        self.service = rules.Service(endpoints=tuple(pods.values()))
        self._process = process

    @property
    def address(self) -> Address:
        """Where the Service is reached."""
        return self.service.address

    @property
    def endpoint_options(self) -> list[str]:
        """``--endpoint NAME=IP:PORT`` for every pod, as `kbalance probe` takes them."""
        return [word for name, address in self.pods.items() for word in ("--endpoint", f"{name}={address}")]

    def configure(self, *, without: Sequence[str] = (), affinity_s: int | None = None) -> None:
        """kube-proxy's rules, written anew; what is already connected stays connected, as on a node."""
        endpoints = tuple(address for name, address in self.pods.items() if name not in without)
        self.service = replace(self.service, endpoints=endpoints, affinity_s=affinity_s)
        self.ns.apply(rules.iptables(self.service) if self.mode is Mode.IPTABLES else rules.nftables(self.service))

    def balance(self, pick: rules.Pick) -> None:
        """Another balancer than kube-proxy's, in nftables only."""
        assert self.mode is Mode.NFTABLES, "only nftables can pick in another way than kube-proxy"
        self.ns.apply(rules.nftables(self.service, pick))

    def intercept(self, proxy: Address) -> None:
        """A proxy in the way of every client of the Service but itself, as a sidecar is; see `rules.sidecar`."""
        self.ns.apply(rules.sidecar(self.service, proxy))

    def break_pods(self, *, refusing: Sequence[str] = (), black_holed: Sequence[str] = (), flaky: Sequence[str] = ()) -> None:
        """Faults in the network before these pods; all other pods are whole again."""
        places = self.pods.__getitem__
        broken = rules.faults(refusing=map(places, refusing), black_holed=map(places, black_holed), flaky=map(places, flaky))
        self.ns.apply(broken)

    def forget_flows(self, name: str) -> None:
        """The kernel's memory of connections through the Service to this pod, deleted."""
        flow = ["--orig-dst", self.address.ip, "--reply-src", self.pods[name].ip]
        self.ns.check(["conntrack", "-D", "-p", "tcp", *flow])

    def tell(self, name: str, order: str) -> None:
        """A fault in the pod itself: ``ok``, ``delay MS``, ``status CODE``, ``hang``, ``reset`` or ``close K``."""
        assert self._ask(f"{name} {order}") == "done"

    def peers(self, name: str) -> list[str]:
        """``IP:PORT`` of every connection that the pod accepted, in order, as the pod saw it."""
        return list(self._ask("log")[name]["peers"])

    def connections(self) -> dict[str, int]:
        """Connections that each pod accepted."""
        return {name: len(seen["peers"]) for name, seen in self._ask("log").items()}

    def requests(self) -> dict[str, int]:
        """Requests that each pod read."""
        return {name: int(seen["requests"]) for name, seen in self._ask("log").items()}

    def _ask(self, line: str) -> Any:
        print(line, file=pipe(self._process.stdin), flush=True)
        return json.loads(pipe(self._process.stdout).readline())

    def fresh(self, connections: int, source: str = "127.0.2.1", timeout_s: float = 5.0) -> list[str]:
        """Who answered on each of many fresh connections to the Service."""
        return self.ns.call(client.fresh, self.address, connections, source, timeout_s)

    def held(self, requests: int, source: str = "127.0.2.1") -> list[str]:
        """Who answered each of many requests on one connection to the Service."""
        return self.ns.call(client.held, self.address, requests, source)

    def connect(self, source: str = "127.0.2.1") -> client.Connection:
        """One connection to the Service, to hold."""
        return self.ns.call(client.Connection, self.address, source)

    def direct(self, name: str, timeout_s: float = 5.0) -> str:
        """Who answers at the pod's own address."""
        return self.ns.call(client.once, self.pods[name], timeout_s=timeout_s)


@contextmanager
def cluster(mode: Mode, pods: int) -> Iterator[Cluster]:
    """A fresh namespace with this many pods behind the Service, gone when left."""
    places = {f"pod-{i}": Address(f"127.0.1.{i}", 8080) for i in range(1, pods + 1)}
    script = [sys.executable, "-I", str(Path(__file__).with_name("pod.py"))]
    argv = [*script, *(f"{name}={address}" for name, address in places.items())]
    with Namespace() as ns, ns.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert json.loads(pipe(process.stdout).readline()) == "ready"
        made = Cluster(ns, mode, places, process)
        made.configure()
        yield made
        pipe(process.stdin).close()
