"""An HTTP proxy at a Service address: the next pod in turn for every request, over connections that it keeps to each pod."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from kbalance.model.target import Address
from kbalance.testbed.l4 import SERVICE_IP, Member
from kbalance.testbed.messages import REASONS, BadMessage, Request, find, render
from kbalance.testbed.sockets import local_ip
from kbalance.testbed.streams import Connection, Server, exchange

UPSTREAM_TIMEOUT_S = 30.0
"""For one exchange with a pod; nginx allows 60 s, Envoy 15 s."""

HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length")


class Proxy:
    """Answers requests with what the next member in turn answers; 502, 503 or 504 when there is no answer to pass on."""

    def __init__(self, *, ip: str = SERVICE_IP, accepted: Callable[[], None] = lambda: None) -> None:
        """Needs a running event loop; `accepted` is called with every new client connection."""
        self.picks: Counter[str] = Counter()
        """Requests given to each member."""
        self._members: tuple[Member, ...] = ()
        self._turn = 0
        self._idle: defaultdict[str, list[Connection]] = defaultdict(list)
        self._server = Server(local_ip(ip), self._forward, accepted)

    @property
    def address(self) -> Address:
        return self._server.address

    def set_members(self, members: Sequence[Member]) -> None:
        """Requests see these at once."""
        self._members = tuple(members)

    async def _forward(self, request: Request) -> bytes:
        closing = [] if request.keep_alive else [("Connection", "close")]
        if not self._members:
            return render(503, b"no endpoints", closing)
        member = self._members[self._turn % len(self._members)]
        self._turn += 1
        self.picks[member.name] += 1
        try:
            async with asyncio.timeout(UPSTREAM_TIMEOUT_S):
                status, headers, body = await self._ask(member, request)
        except TimeoutError:
            return render(504, b"the pod did not answer in time", closing)
        except (OSError, BadMessage) as error:
            return render(502, str(error).encode(), closing)
        kept = [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]
        if request.method == "HEAD":
            length = find(tuple(headers), "content-length")
            return render(status, b"", kept + closing, length=int(length) if length.isdecimal() else None)
        return render(status, body, kept + closing)

    async def _ask(self, member: Member, request: Request) -> tuple[int, list[tuple[str, str]], bytes]:
        """Over an idle connection if there is one; one that the pod has closed meanwhile is replaced once."""
        while idle := self._idle[member.name]:
            connection = idle.pop()
            if connection[0].at_eof() or connection[1].is_closing():
                connection[1].transport.abort()
                continue
            try:
                return await self._over(connection, member, request)
            except OSError:
                break
        return await self._over(await asyncio.open_connection(*member.address), member, request)

    async def _over(self, connection: Connection, member: Member, request: Request) -> tuple[int, list[tuple[str, str]], bytes]:
        kept = False
        try:
            status, headers, body, kept = await exchange(connection, request.method, _rewritten(request))
        finally:
            if kept:
                self._idle[member.name].append(connection)
            else:
                connection[1].transport.abort()
        if status not in REASONS:
            raise BadMessage(f"unknown status {status}")
        return status, list(headers), body

    def close(self) -> None:
        """Stop, with every connection."""
        self._server.close()
        for connections in self._idle.values():
            for _, writer in connections:
                writer.transport.abort()


def _rewritten(request: Request) -> bytes:
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers if name.lower() not in HOP_BY_HOP]
    if request.body or request.method == "POST":
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body
