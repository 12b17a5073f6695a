"""A server of gRPC: grpcio, in a process of its own, told in JSON what to do. Prints its port; leaves when its input ends."""

import importlib
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

grpc: Any = importlib.import_module("grpc")
"""It has no types."""

SERVING = b"\x08\x01"


def main(told: dict[str, Any]) -> None:
    """Serve until the input ends.

    Args:
        told: the keyword arguments of `tests.peers.grpcio.grpcio`.
    """
    leaving = threading.Event()
    mark = (("x-pod-name", told["name"]),)

    def answer(said: bytes | None) -> Any:
        def handle(asked: bytes, context: Any) -> bytes:
            if told["initial"]:
                context.send_initial_metadata(mark)
            if told["trailing"]:
                context.set_trailing_metadata(mark)
            leaving.wait(told["delay_ms"] / 1000)
            return asked if said is None else said

        return grpc.unary_unary_rpc_method_handler(handle)

    options = [(f"grpc.{key}", value) for key, value in told["options"].items() if value is not None]
    server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0), *options])
    handlers = {"grpc.health.v1.Health": {"Check": answer(SERVING)}, "echo.EchoService": {"Echo": answer(None)}}
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, methods) for service, methods in handlers.items()]
    )
    place = f"{told['ip']}:0"
    if told["certificate"]:
        cert, key = (Path(file).read_bytes() for file in told["certificate"])
        port = server.add_secure_port(place, grpc.ssl_server_credentials([(key, cert)]))
    else:
        port = server.add_insecure_port(place)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    leaving.set()
    server.stop(None).wait()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
