"""Pods on loopback that count: which connections came, and what each of them asked."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

PATIENCE_S = 20.0
"""Only a broken test ever waits so long."""
SLOW_S = 0.15
"""How long a request for /slow takes, half of it after the answer has begun."""


@dataclass
class Pod:
    """A server that answers with its own name."""

    name: str
    listener: socket.socket
    requests: list[int] = field(default_factory=list)
    """By connection."""
    hosts: set[str] = field(default_factory=set)
    """What the header Host said."""
    open: int = 0
    most_open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)
    sockets: list[socket.socket] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def ip(self) -> str:
        return str(self.listener.getsockname()[0])

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def connections(self) -> int:
        """Those that carried a request."""
        return sum(1 for requests in self.requests if requests)

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                with self.lock:
                    self.sockets.append(sock)
                    self.requests.append(0)
                    number = len(self.requests) - 1
                    self.open += 1
                    self.most_open = max(self.most_open, self.open)
                self.start(lambda sock=sock, number=number: self.serve(sock, number))

    def start(self, work: object) -> None:
        thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
        self.threads.append(thread)
        thread.start()

    def serve(self, sock: socket.socket, number: int) -> None:
        """Every request is answered in two parts, the body after the head."""
        try:
            while request := _request(sock):
                line, *headers = request.decode("latin-1").split("\r\n")
                named = {k.lower(): v.strip() for k, _, v in (header.partition(":") for header in headers)}
                with self.lock:
                    self.requests[number] += 1
                    self.hosts.add(named.get("host", ""))
                pause = SLOW_S / 2 if "/slow" in line else 0.0
                self.over.wait(pause)
                body = self.name.encode()
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:1])
                self.over.wait(pause)
                sock.sendall(body[1:])
                if named.get("connection", "").lower() == "close":
                    break
        except OSError:
            pass  # the client hung up, or the test is over
        finally:
            with self.lock:
                self.open -= 1
            sock.close()


def _request(sock: socket.socket) -> bytes:
    """The head of a request without a body; nothing once the client has hung up."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        part = sock.recv(65536)
        if not part:
            return b""
        data += part
    return data[:-4]


@contextmanager
def pods(n: int) -> Iterator[Sequence[Pod]]:
    """So many, at 127.0.1.1 and on, all on one port, as a Service's endpoints are."""
    with ExitStack() as stack:
        made = []
        port = 0
        for i in range(1, n + 1):
            listener = stack.enter_context(socket.create_server((f"127.0.1.{i}", port)))
            port = listener.getsockname()[1]
            made.append(Pod(f"pod-{i}", listener))
        for pod in made:
            pod.start(pod.accept)
        try:
            yield made
        finally:
            for pod in made:
                pod.over.set()
                for sock in (pod.listener, *pod.sockets):
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
            for pod in made:
                for thread in pod.threads:
                    thread.join(PATIENCE_S)
