"""nginx, with HTTP/2 on a port with or without TLS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kbalance.model.target import Address
from tests.artifacts.conftest import tool

from .running import free, listening, room

_SETTINGS = """
daemon off;
pid nginx.pid;
error_log stderr error;
events {}
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  LIMITS
  server {
    listen ADDRESS;
    SECURED
    location / {
      add_header X-Pod-Name NAME always;
      return 200 NAME;
    }
  }
}
"""


@contextmanager
def nginx(
    folder: Path,
    *,
    name: str = "pod-1",
    ip: str = "127.0.0.1",
    http2: bool = True,
    max_streams: int | None = None,
    keepalive_requests: int | None = None,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Address]:
    """Answers every path with the name, in a header too; a connection ends with GOAWAY at its last request.

    With a certificate and its key it speaks TLS.
    """
    home, address = room(folder, "nginx"), free(ip)
    values = {"http2_max_concurrent_streams": max_streams, "keepalive_requests": keepalive_requests}
    limits = " ".join(f"{key} {value};" for key, value in values.items() if value is not None)
    settings = _SETTINGS.replace("ADDRESS", f"{address}{' http2' if http2 else ''}{' ssl' if certificate else ''}")
    settings = settings.replace(
        "SECURED", f"ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]};" if certificate else ""
    )
    (home / "nginx.conf").write_text(settings.replace("LIMITS", limits).replace("NAME", name))
    with listening([tool("nginx"), "-p", home, "-c", home / "nginx.conf"], home, address):
        yield address
