"""Calls to servers of grpcio with the bytes of `kbalance.wire.grpc`, over the HTTP/2 of `kbalance.wire`."""

import importlib
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kbalance.wire.grpc import frame
from kbalance.wire.http2_fields import fields_of
from tests.wire.http2_talk import Answer, Talk

# Without types: whole modules of names without any would be ignored otherwise.
grpc: Any = importlib.import_module("grpc")


@contextmanager
def serving(*register: Callable[[Any], object], certificate: tuple[Path, Path] | None = None) -> Iterator[int]:
    """A server with whatever the functions add to it; its port. With a certificate and its key it speaks TLS."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        for add in register:
            add(server)
        if certificate is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            cert, key = (file.read_bytes() for file in certificate)
            port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def unary(service: str, **methods: Callable[[bytes, Any], bytes]) -> Callable[[Any], object]:
    """A service whose methods take and give bytes."""
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    return lambda server: server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


def call(port: int, path: str, message: bytes = b"", headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
    """One call on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        talk = Talk(sock)
        given = [(b"te", b"trailers"), (b"content-type", b"application/grpc"), *headers]
        stream = talk.connection.request(fields_of(b"POST", b"http", b"web.test", path.encode(), given), end=False)
        answer = talk.answers[stream] = Answer()
        talk.bodies[stream] = frame(message)
        talk.finish()
        return answer
