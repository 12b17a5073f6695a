"""An L4 balancer at a Service address: one pod per connection, bytes spliced both ways.

Where it differs from kube-proxy: it is a process, not a rule. A client's connect succeeds before the pod's does, so a pod
that refuses is seen as a reset right after connecting; in the kernel the connect itself would be refused. Pods see the
balancer's address as their peer. Without any member the Service address refuses, as kube-proxy's REJECT rule does.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kbalance.model.target import Address
from kbalance.testbed.choosers import Chooser
from kbalance.testbed.sockets import Port, Receiver, harden, local_ip, reset, spawn

SERVICE_IP = "127.96.0.10"


class Member(NamedTuple):
    """A pod as the balancer knows it."""

    name: str
    address: Address


class Balancer:
    """Listens at the Service address while it has members."""

    def __init__(
        self,
        choose: Chooser,
        *,
        ip: str = SERVICE_IP,
        affinity_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        accepted: Callable[[], None] = lambda: None,
    ) -> None:
        """Needs a running event loop once members are set.

        Args:
            choose: picks the member of each new connection.
            ip: address to listen on.
            affinity_s: ClientIP affinity's time-out since the client's last connection; ``None``: no affinity.
            clock: seconds, for affinity alone.
            accepted: called after each pick; what it changes holds from the next connection on.
        """
        self.picks: Counter[str] = Counter()
        """Connections given to each pod, whether or not the pod took them."""
        self.held: Counter[str] = Counter()
        """Connections open now."""
        self._choose = choose
        self._affinity_s = affinity_s
        self._clock = clock
        self._accepted = accepted
        self._members: tuple[Member, ...] = ()
        self._last: dict[str, tuple[str, float]] = {}
        self._sides: set[_Side] = set()
        self._port = Port(local_ip(ip))

    @property
    def address(self) -> Address:
        return self._port.address

    def set_members(self, members: Sequence[Member]) -> None:
        """New connections see these at once; established ones keep their pod."""
        self._members = tuple(members)
        if self._members:
            self._port.open(self._accept)
        else:
            self._port.shut()

    def _accept(self, sock: socket.socket, source: str) -> None:
        member = self._pick(source)
        self.picks[member.name] += 1
        spawn(self._join(sock, member))
        self._accepted()

    def _pick(self, source: str) -> Member:
        """The member for a new connection.

        Affinity is that of the iptables `recent` match: every new connection starts the time-out again.
        """
        if self._affinity_s is None:
            return self._members[self._choose([m.name for m in self._members], source, self.held)]
        name, seen = self._last.get(source, ("", 0.0))
        kept = [m for m in self._members if m.name == name and self._clock() - seen <= self._affinity_s]
        member = kept[0] if kept else self._members[self._choose([m.name for m in self._members], source, self.held)]
        self._last[source] = (member.name, self._clock())
        return member

    async def _join(self, sock: socket.socket, member: Member) -> None:
        loop = asyncio.get_running_loop()
        self.held[member.name] += 1
        pod, client = _Side(self._sides), _Side(self._sides)
        pod.peer, client.peer = client, pod
        try:
            await loop.create_connection(lambda: pod, *member.address)
            await loop.connect_accepted_socket(lambda: client, sock)
        except OSError:
            harden(sock)
            sock.close()
            if hasattr(pod, "transport"):
                pod.transport.abort()
        else:
            pod.transport.resume_reading()
            await pod.lost
        self.held[member.name] -= 1

    def close(self) -> None:
        """Stop, with every connection."""
        self._port.close()
        for side in tuple(self._sides):
            side.transport.abort()


class _Side(Receiver):
    """One of the two connections of a splice."""

    peer: "_Side"

    def __init__(self, everyone: "set[_Side]") -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._everyone = everyone
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._everyone.add(self)
        if not hasattr(self.peer, "transport"):
            # The other side does not exist yet: whoever speaks first has to wait for it.
            self.transport.pause_reading()

    def received(self, data: bytes) -> None:
        self.peer.transport.write(data)

    def pause_writing(self) -> None:
        self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def eof_received(self) -> bool:
        self._ended = True
        if self.peer._ended:
            self.transport.close()
            self.peer.transport.close()
        elif not self.peer.transport.is_closing():
            self.peer.end()
        return True

    def end(self) -> None:
        """Send FIN after what is still to be sent."""
        try:
            self.transport.write_eof()
        except OSError:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._everyone.discard(self)
        if not self.lost.done():
            self.lost.set_result(None)
        if not hasattr(self.peer, "transport"):
            return
        if exc is not None:
            reset(self.peer.transport)
        else:
            self.peer.transport.close()
