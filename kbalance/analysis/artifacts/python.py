"""Clients in Python, on stock httpx; one template gives the blocking form and the one for asyncio."""

from kbalance.analysis.artifacts.setting import Setting
from kbalance.analysis.artifacts.text import fill, plain, quoted, share, told
from kbalance.model.report import Artifact

_BLOCKING = {
    "a": "",
    "await": "",
    "base": "BaseTransport",
    "stream": "SyncByteStream",
    "handle": "handle_request",
    "close": "close",
    "iter": "__iter__",
    "iterator": "Iterator",
    "transport": "HTTPTransport",
    "client": "Client",
}
_ASYNC = {
    "a": "async ",
    "await": "await ",
    "base": "AsyncBaseTransport",
    "stream": "AsyncByteStream",
    "handle": "handle_async_request",
    "close": "aclose",
    "iter": "__aiter__",
    "iterator": "AsyncIterator",
    "transport": "AsyncHTTPTransport",
    "client": "AsyncClient",
}


def balancing_transport(setting: Setting) -> Artifact:
    """A connection to each endpoint, the next one for each request."""
    lookup = {"imports": "import logging\nimport socket\nimport threading\nimport time\n", "lookup": _LOOKUP}
    return Artifact(name="balancing_transport.py", kind="python", content=_balancing(setting, _BLOCKING | lookup))


def balancing_transport_async(setting: Setting) -> Artifact:
    """The same for asyncio."""
    lookup = {
        "imports": "import asyncio\nimport logging\nimport socket\nimport threading\nimport time\n",
        "lookup": _LOOKUP_ASYNC,
    }
    return Artifact(name="balancing_transport_async.py", kind="python", content=_balancing(setting, _ASYNC | lookup))


def retiring_transport(setting: Setting) -> Artifact:
    """httpx has no greatest age of connections, so their transport is replaced."""
    return Artifact(name="retiring_transport.py", kind="python", content=_retiring(setting, _BLOCKING))


def retiring_transport_async(setting: Setting) -> Artifact:
    """The same for asyncio."""
    return Artifact(name="retiring_transport_async.py", kind="python", content=_retiring(setting, _ASYNC))


def clients_in_turn(setting: Setting) -> Artifact:
    """httpx takes the first idle connection; several clients take turns."""
    spoken = f", {setting.httpx_protocol}" if setting.httpx_protocol else ""
    content = fill(_IN_TURN, connections=setting.connections, url=quoted(setting.url), spoken=spoken)
    return Artifact(name="clients_in_turn.py", kind="python", content=content)


def pod_name_header(setting: Setting) -> Artifact:
    """Middleware for WSGI and ASGI."""
    return Artifact(name="pod_name_header.py", kind="python", content=_POD_NAME)


def _balancing(setting: Setting, form: dict[str, str]) -> str:
    making = _making(setting, form)
    form = form | making | {"imports": "".join(sorted((form["imports"] + making["functools"]).splitlines(keepends=True)))}
    return fill(
        _BALANCING,
        service=plain(setting.service),
        host=quoted(setting.endpoints_host),
        port=setting.dialled,
        url=setting.url,
        refresh=f"{setting.refresh_s:g}",
        refresh_told=told(setting.refresh_s),
        **form,
    )


def _retiring(setting: Setting, form: dict[str, str]) -> str:
    return fill(
        _RETIRING,
        told=told(setting.lifetime_s),
        share=share(setting.jitter),
        lifetime=f"{setting.lifetime_s:g}",
        jitter=f"{setting.jitter:g}",
        **_making(setting, form),
        **form,
    )


def _making(setting: Setting, form: dict[str, str]) -> dict[str, str]:
    """What makes a transport that speaks as the Service does, and what that needs."""
    if not setting.httpx_protocol:
        return {"make": f"httpx.{form['transport']}", "needs": "httpx only", "functools": ""}
    made = f"functools.partial(httpx.{form['transport']}, {setting.httpx_protocol})"
    return {"make": made, "needs": "httpx[http2]", "functools": "import functools\n"}


_LEAVE = """\
    {{a}}def _leave(self, held: "_Held") -> None:
        with self._lock:
            held.busy -= 1
            last = held.retired and held.busy == 0
        if last:
            {{await}}held.transport.{{close}}()
"""

_HELD = """\
class _Held:
    # A transport, and how many requests are under way on it; a retired one is closed after the last.
    def __init__(self, transport: httpx.{{base}}) -> None:
        self.transport = transport
        self.busy = 0
        self.retired = False


class _Stream(httpx.{{stream}}):
    # A response's body; a request is under way until it is closed, which httpx does at its end.
    def __init__(self, inner, owner, held: _Held) -> None:
        self._inner = inner
        self._owner = owner
        self._held = held
        self._closed = False

    {{a}}def {{iter}}(self) -> {{iterator}}[bytes]:
        {{a}}for part in self._inner:
            yield part

    {{a}}def {{close}}(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            {{await}}self._inner.{{close}}()
        finally:
            {{await}}self._owner._leave(self._held)
"""
"""What a transport needs that replaces others while requests are under way on them."""

_BALANCING = (
    """\
# Keeps a connection to each endpoint of {{service}} and takes the next one for each request; URL, Host header and the name in
# the server's certificate stay as they are. It looks the endpoints up every {{refresh_told}}, and at once when one cannot be
# reached. Needs {{needs}}.
#
#     client = httpx.{{client}}(transport=BalancingTransport())
#     {{await}}client.get("{{url}}/")
{{imports}}from collections.abc import {{iterator}}, Callable

import httpx

HOST = {{host}}
PORT = {{port}}
REFRESH_S = {{refresh}}


{{lookup}}


class BalancingTransport(httpx.{{base}}):
    # `resolve` gives the endpoints' addresses; put a watch of EndpointSlices there to know of changes at once.
    # `make` gives a transport, with your settings: limits, certificates, retries.
    def __init__(self, resolve=resolve, make: Callable[[], httpx.{{base}}] = {{make}}) -> None:
        self._resolve = resolve
        self._make = make
        self._lock = threading.Lock()
        self._endpoints: dict[str, _Held] = {}
        self._avoided_until: dict[str, float] = {}
        self._asked = float("-inf")
        self._next = 0

    {{a}}def {{handle}}(self, request: httpx.Request) -> httpx.Response:
        attempt = 1
        while True:
            {{await}}self._look_if_due()
            address, held = self._choose()
            try:
                response = {{await}}held.transport.{{handle}}(_to(address, request))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                # Nothing was sent yet, so another endpoint may have the request.
                {{await}}self._leave(held)
                self._avoid(address)
                if attempt == 3:
                    raise
                attempt += 1
            except BaseException:
                {{await}}self._leave(held)
                raise
            else:
                response.stream = _Stream(response.stream, self, held)
                return response

    {{a}}def {{close}}(self) -> None:
        for held in self._endpoints.values():
            {{await}}held.transport.{{close}}()

    {{a}}def _look_if_due(self) -> None:
        with self._lock:
            due = time.monotonic() - self._asked >= REFRESH_S
            if due and self._endpoints:
                # The others go on meanwhile with what is known; the very first requests all look.
                self._asked = time.monotonic()
        if due:
            {{await}}self._refresh()

    def _choose(self) -> "tuple[str, _Held]":
        # The next endpoint that can be reached, or just the next one where none can.
        with self._lock:
            now = time.monotonic()
            addresses = list(self._endpoints)
            for _ in addresses:
                self._next = (self._next + 1) % len(addresses)
                if self._avoided_until.get(addresses[self._next], now) <= now:
                    break
            address = addresses[self._next]
            held = self._endpoints[address]
            held.busy += 1
            return address, held

    def _avoid(self, address: str) -> None:
        with self._lock:
            self._avoided_until[address] = time.monotonic() + REFRESH_S
            self._asked = float("-inf")

    {{a}}def _refresh(self) -> None:
        try:
            addresses = {{await}}self._resolve()
        except OSError as error:
            if not self._endpoints:
                raise httpx.ConnectError(f"{HOST}: {error}") from error
            logging.getLogger(__name__).warning("%s: %s; the endpoints known so far stay", HOST, error)
            return
        if not addresses:
            raise httpx.ConnectError(f"{HOST} has no endpoints")
        with self._lock:
            self._asked = time.monotonic()
            old = self._endpoints
            self._endpoints = {address: old.get(address) or _Held(self._make()) for address in addresses}
            self._avoided_until = {a: until for a, until in self._avoided_until.items() if a in self._endpoints}
            gone = [held for address, held in old.items() if address not in self._endpoints]
            for held in gone:
                held.retired = True
            idle = [held for held in gone if held.busy == 0]
        for held in idle:
            {{await}}held.transport.{{close}}()

"""
    + _LEAVE
    + """

"""
    + _HELD
    + """

def _to(address: str, request: httpx.Request) -> httpx.Request:
    # The header Host is there already; the name for TLS is told apart from the address.
    extensions = {**request.extensions, "sni_hostname": request.url.host}
    url = request.url.copy_with(host=address, port=PORT)
    return httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)
"""
)

_LOOKUP = '''\
def resolve() -> list[str]:
    """The addresses of the headless name, in DNS's order."""
    found = socket.getaddrinfo(HOST, PORT, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))'''

_LOOKUP_ASYNC = '''\
async def resolve() -> list[str]:
    """The addresses of the headless name, in DNS's order."""
    found = await asyncio.get_running_loop().getaddrinfo(HOST, PORT, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))'''

_RETIRING = (
    """\
# Ends a client's connections at an age of {{told}}, give or take {{share}}, so that a Service's endpoints are drawn anew; httpx
# itself knows no greatest age. Requests under way finish on the old connections, streams too. All connections of one client
# are replaced together; the jitter keeps clients apart. Needs {{needs}}.
#
#     client = httpx.{{client}}(transport=RetiringTransport())
{{functools}}import random
import threading
import time
from collections.abc import {{iterator}}, Callable

import httpx

LIFETIME_S = {{lifetime}}
JITTER = {{jitter}}


class RetiringTransport(httpx.{{base}}):
    # `make` gives a new transport, with your settings: limits, certificates, retries.
    def __init__(self, make: Callable[[], httpx.{{base}}] = {{make}}) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._current = _Held(make())
        self._until = _jittered()

    {{a}}def {{handle}}(self, request: httpx.Request) -> httpx.Response:
        held = {{await}}self._enter()
        try:
            response = {{await}}held.transport.{{handle}}(request)
        except BaseException:
            {{await}}self._leave(held)
            raise
        response.stream = _Stream(response.stream, self, held)
        return response

    {{a}}def {{close}}(self) -> None:
        {{await}}self._current.transport.{{close}}()

    {{a}}def _enter(self) -> "_Held":
        idle = None
        with self._lock:
            if time.monotonic() >= self._until:
                old, self._current, self._until = self._current, _Held(self._make()), _jittered()
                old.retired = True
                idle = old if old.busy == 0 else None
            held = self._current
            held.busy += 1
        if idle is not None:
            {{await}}idle.transport.{{close}}()
        return held

"""
    + _LEAVE
    + """

def _jittered() -> float:
    return time.monotonic() + LIFETIME_S * random.uniform(1 - JITTER, 1 + JITTER)


"""
    + _HELD
)

_IN_TURN = """\
# Has {{connections}} clients take turns, each with a connection of its own: one httpx.Client takes the first idle connection,
# so that a pool with little to do sends everything over one. Each connection is still drawn once: it stays on its endpoint.
#
#     next_client().get("/")
import itertools

import httpx

# Without an expiry: an idle connection would be closed after 5 s, and not all would stay open.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=1, keepalive_expiry=None)

clients = [httpx.Client(base_url={{url}}, limits=LIMITS{{spoken}}) for _ in range({{connections}})]
_turns = itertools.cycle(clients)


def next_client() -> httpx.Client:
    # Ask for each request; do not keep it.
    return next(_turns)
"""

_POD_NAME = '''\
# Says with every answer which Pod gave it; the variable comes from container-env.yaml. Take the one that fits.
import os

POD_NAME = os.environ.get("POD_NAME", "")


def wsgi(application):
    """For Flask, Django: app.wsgi_app = wsgi(app.wsgi_app)."""

    def named(environ, start_response):
        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, ("X-Pod-Name", POD_NAME)], exc_info)

        return application(environ, start)

    return named


def asgi(application):
    """For FastAPI, Starlette: app = asgi(app)."""

    async def named(scope, receive, send):
        async def start(message):
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (b"x-pod-name", POD_NAME.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await application(scope, receive, start)

    return named
'''
