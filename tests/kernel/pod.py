"""Pods: a small HTTP/1.1 keep-alive server per pod, all in one process, told over standard input how to misbehave.

Started as ``pod.py NAME=IP:PORT ...``. Every line read is answered by one line of JSON, so that whoever wrote it knows
that it has been done:

    NAME ok | NAME delay MS | NAME status CODE | NAME hang | NAME reset | NAME close K     how the pod answers from now on
    log                                                        {NAME: {"peers": ["IP:PORT", ...], "requests": N}}

``reset`` breaks the connection of every request; ``close K`` ends each connection with its K-th answer.
"""

import asyncio
import json
import socket
import struct
import sys
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pod:
    """One pod's behaviour, and what it has seen."""

    name: str
    delay_s: float = 0.0
    status: int = 200
    hang: bool = False
    reset: bool = False
    last_request: int | None = None
    """Answers on one connection after which it is closed; ``None``: never."""
    peers: list[str] = field(default_factory=list)
    """One entry per accepted connection, in order."""
    requests: int = 0

    def tell(self, order: str, value: str) -> None:
        """Every order begins from good health: faults do not add up."""
        self.delay_s, self.status, self.last_request = 0.0, 200, None
        self.hang, self.reset = order == "hang", order == "reset"
        match order:
            case "delay":
                self.delay_s = int(value) / 1000
            case "status":
                self.status = int(value)
            case "close":
                self.last_request = int(value)
            case "ok" | "hang" | "reset":
                pass
            case _:
                raise ValueError(f"unknown order: {order}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from accepting to its end."""
        ip, port = writer.get_extra_info("peername")
        self.peers.append(f"{ip}:{port}")
        answered = 0
        try:
            while await self._exchange(reader, writer, answered):
                answered += 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # Cancelled at the end of the process, by which Python 3.11's streams are surprised in many words.
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answered: int) -> bool:
        """One request and its answer; whether another may follow. Requests have no body."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.requests += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.reset:
            _reset(writer)
            return False
        await asyncio.sleep(self.delay_s)
        last = "connection: close" in head.lower() or answered + 1 == self.last_request
        writer.write(self._answer(head.split(" ", 2)[1], last))
        await writer.drain()
        return not last

    def _answer(self, path: str, last: bool) -> bytes:
        status = self.status if path == "/hostname" else 404
        body = self.name if status == 200 else ""
        fields = [f"HTTP/1.1 {status} -", f"X-Pod-Name: {self.name}", f"Content-Length: {len(body)}"]
        fields += ["Connection: close"] if last else []
        return "\r\n".join([*fields, "", body]).encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closing with a linger time of zero sends a reset (socket(7), SO_LINGER)."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def obey(line: str, pods: dict[str, Pod]) -> object:
    """What one control line is answered with."""
    name, _, order = line.strip().partition(" ")
    if name == "log":
        return {pod.name: {"peers": pod.peers, "requests": pod.requests} for pod in pods.values()}
    order, _, value = order.partition(" ")
    pods[name].tell(order, value)
    return "done"


async def main(places: list[str]) -> None:
    """Serves until standard input ends."""
    pods = {}
    for place in places:
        name, _, address = place.partition("=")
        ip, _, port = address.rpartition(":")
        pods[name] = Pod(name)
        await asyncio.start_server(pods[name].serve, ip, int(port), backlog=1024)
    print(json.dumps("ready"), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(obey(line, pods)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
