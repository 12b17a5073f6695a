"""What a pod answers, whatever carries it: pages of agnhost and podinfo, with or without the pod's name. No sockets."""

import json
import time
from dataclasses import dataclass

from kbalance.testbed.messages import Headers, Request
from kbalance.testbed.scenario import Identity

METHODS = ("GET", "HEAD", "POST")
TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
NAME_HEADER = "X-Pod-Name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, without what only one version of HTTP says about it."""

    status: int
    headers: Headers
    body: bytes = b""
    trailers: Headers = ()
    """Fields after the body; HTTP/1.1 leaves them out, as its servers do for clients that do not ask."""


def answer(request: Request, name: str, identity: Identity, status: int = 200) -> Answer:
    """The page at the request's path, with that status; methods that no page has get a 405."""
    kind, body = _page(request, name, identity)
    if request.method not in METHODS:
        status, kind, body = 405, TEXT, b"method not allowed"
    mark = ((NAME_HEADER, name),)
    return Answer(
        status=status,
        headers=(("Content-Type", kind), *(mark if identity is Identity.HEADER else ())),
        body=body,
        trailers=mark if identity is Identity.TRAILER else (),
    )


def _page(request: Request, name: str, identity: Identity) -> tuple[str, bytes]:
    """Content type and body; paths are those of agnhost and podinfo, and any other one answers like agnhost's root."""
    if identity is Identity.ECHO:
        return TEXT, _echo(request)
    match request.path:
        case "/echo":
            return TEXT, _echo(request)
        case "/hostname" if identity.in_body:
            return TEXT, name.encode()
        case "/api/info":
            return JSON, json.dumps({"hostname": name if identity.in_body else "localhost", "version": "6.7.0"}).encode()
        case _:
            return TEXT, f"NOW: {time.strftime('%Y-%m-%d %H:%M:%S')} +0000 UTC".encode()


def _echo(request: Request) -> bytes:
    lines = [f"{request.method} {request.target} {request.version}"]
    lines += [f"{key}: {value}" for key, value in request.headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body
