"""nghttpd: nghttp2's own server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kbalance.model.target import Address
from tests.artifacts.conftest import tool

from .running import free, listening, room


@contextmanager
def nghttpd(
    folder: Path, *, name: str = "pod-1", ip: str = "127.0.0.1", max_streams: int | None = None, workers: int = 1
) -> Iterator[Address]:
    """Answers `/` and `/hostname` with the name, and nothing else; of headers it has its own only."""
    home, address = room(folder, "nghttpd"), free(ip)
    site = home / "site"
    site.mkdir()
    for page in ("index.html", "hostname"):
        (site / page).write_text(name)
    limit = [] if max_streams is None else ["-m", str(max_streams)]
    command: list[str | Path] = [tool("nghttpd"), "--no-tls", "-a", ip, "-d", site, "-n", str(workers), *limit, str(address.port)]
    with listening(command, home, address):
        yield address
