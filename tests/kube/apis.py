"""A small API server over real sockets that answers as it is told, and kubeconfigs that lead to it."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "kbalance-secret-0123456789abcdef"
"""Stands for every credential of the tests: it must never be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server says to one request."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    stream: Callable[[], Iterator[bytes]] | None = None
    """Chunks instead of a body; when it raises `EOFError`, the connection is cut off there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: Message
    body: bytes


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status=status, body=json.dumps(value).encode(), headers={"Content-Type": "application/json", **headers})


def status(code: int, reason: str, message: str, details: Mapping[str, str] | None = None, *, retry_after: str = "0") -> Answer:
    """A refusal as the API puts it."""
    value = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, "details": details}
    return json_answer(value, code, **{"Retry-After": retry_after})


class Api:
    """What it was asked, and what it says: the answers in turn, of which the last one stays."""

    def __init__(self, server: ThreadingHTTPServer, answers: Sequence[Answer], scheme: str) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.connections = 0
        self.port: int = server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def api(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Api]:
    """A server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            told.connections += 1
            super().setup()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.asked.append(Asked(method=self.command, path=self.path, headers=self.headers, body=body))
            answer = told.next()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.stream is None:
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
            else:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self._pour(answer.stream)

        def _pour(self, stream: Callable[[], Iterator[bytes]]) -> None:
            try:
                for piece in stream():
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
            except (EOFError, OSError):
                self.close_connection = True

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients that give up are what some tests are about."""

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            # The handshake in the thread of its connection, so that one that fails does not stop the server.
            if tls is not None:
                try:
                    request = tls.wrap_socket(request, server_side=True)
                except (ssl.SSLError, OSError):
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)

    server = Quiet(("127.0.0.1", 0), Handler)
    told = Api(server, answers or (Answer(),), "https" if tls else "http")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kubeconfig(
    folder: Path,
    server: str,
    user: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    *,
    name: str = "config",
    **context: str,
) -> str:
    """A kubeconfig's path; JSON is YAML."""
    path = folder / name
    value = {
        "current-context": "laptop",
        "contexts": [{"name": "laptop", "context": {"cluster": "prod", "user": "anna", **context}}],
        "clusters": [{"name": "prod", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "anna", "user": dict(user or {})}],
    }
    path.write_text(json.dumps(value))
    return str(path)
