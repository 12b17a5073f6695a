"""Calls to the Kubernetes API, JSON in and JSON out; the library's typed models fail whole on one odd field and load slowly."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

from kbalance import __version__
from kbalance.errors import ApiError, DiscoveryError, StreamBroken
from kbalance.kube.failures import Place, namespace_missing, not_the_api, refused, unreachable, without_userinfo
from kbalance.kube.kubeconfig import Access, Loaded, load

__all__ = ["Access", "Client", "Listed", "Log", "connect"]

PAGE = 500
"""Objects of one answer, as kubectl asks for."""
RETRIES = 2
"""Of a GET that the server was too busy for, or whose connection broke."""
PATIENCE_S = 2.0
"""Before one of them; a server that wants more time is not asked again."""
PAUSE_S = 0.2
"""Before one of them, where the server does not say how long."""
SILENCE_S = 60.0
"""A log that says nothing for so long counts as broken."""
LATE_S = 5.0
"""A watch that the server has not ended so long after it should counts as broken."""
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

_BUSY = (429, 500, 502, 503, 504)

Trace = Callable[[str], None]


def connect(access: Access, *, timeout_s: float = 10.0, trace: Trace | None = None) -> "Client":
    """A client for the chosen cluster; nothing is asked yet.

    Args:
        timeout_s: for a connection, and for each silence of an answer.
        trace: told each call in a line, without headers and bodies; by any thread.

    Raises:
        DiscoveryError: the kubeconfig cannot be used.
    """
    return Client(load(access), timeout_s=timeout_s, trace=trace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A list."""

    items: "list_[dict[str, Any]]"
    version: str
    """The state of the cluster that it shows; a watch goes on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    accept: str = "application/json"
    silence_s: float | None = None
    """The answer is read as it comes, and may say nothing for so long, which goes for its head as well."""

    def __str__(self) -> str:
        """Without the token of a list's next page, which says nothing and is long."""
        query = urlencode({key: value for key, value in self.query.items() if key != "continue"})
        return f"{self.method} {self.path}{f'?{query}' if query else ''}"


class Client:
    """Talks to one API server, from as many threads as one likes."""

    def __init__(self, loaded: Loaded, *, timeout_s: float, trace: Trace | None = None) -> None:
        self.namespace = loaded.namespace
        """The chosen one, else the context's, else that of the Pod that this is, else ``default``."""
        self.context = loaded.context
        """``None`` in a Pod without kubeconfig."""
        self.server = loaded.server
        self._credentials = loaded.credentials
        self._timeout_s = timeout_s
        self._trace = trace or (lambda line: None)
        self._pool = _pool(loaded)
        proxy = loaded.configuration.proxy if type(self._pool).__name__ != "PoolManager" else None
        self._place = Place(
            server=self.server,
            context=self.context,
            credentials=self._credentials,
            proxy=without_userinfo(proxy) if proxy else None,
        )

    def __repr__(self) -> str:
        return f"<Client of {self.server}, context {self.context}>"

    def get(self, path: str, query: Mapping[str, str] = {}) -> dict[str, Any]:
        """One object.

        Raises:
            ApiError: it could not be had.
        """
        try:
            return self._json(_Call(method="GET", path=path, query=query))
        except ApiError as error:
            if error.status == 404 and (namespace := _namespace_of(path)) and self._lacks(namespace):
                raise namespace_missing(namespace, error, self._place) from error
            raise

    def list(self, path: str, query: Mapping[str, str] = {}, *, metadata_only: bool = False) -> "list_[dict[str, Any]]":
        """All objects of a list, however many answers it takes.

        Args:
            metadata_only: objects without spec and status, which is much less where there are many.

        Raises:
            ApiError: it could not be had.
        """
        return self.listed(path, query, metadata_only=metadata_only).items

    def listed(self, path: str, query: Mapping[str, str] = {}, *, metadata_only: bool = False) -> Listed:
        """As `list`, with the version of what was listed."""
        accept = METADATA_ONLY if metadata_only else "application/json"
        first = _Call(method="GET", path=path, query={"limit": str(PAGE), **query}, accept=accept)
        try:
            return self._pages(first)
        except ApiError as error:
            # The list grew older than what the server remembers: from the start.
            if error.status != 410:
                raise
        return self._pages(first)

    def create(self, path: str, body: Mapping[str, Any], query: Mapping[str, str] = {}) -> dict[str, Any]:
        """The object as it was made.

        Raises:
            ApiError: it was not, or nobody knows.
        """
        return self._json(_Call(method="POST", path=path, query=query, body=body))

    def delete(self, path: str, *, propagation: str = "Background") -> bool:
        """Whether there was something to delete.

        Raises:
            ApiError: it may not be deleted, or nobody knows.
        """
        try:
            self._json(_Call(method="DELETE", path=path, body={"propagationPolicy": propagation}))
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def follow(self, path: str, query: Mapping[str, str] = {}, *, silence_s: float = SILENCE_S) -> "Log":
        """A text that is still being written.

        Args:
            silence_s: counts as broken when nothing is said for so long.

        Raises:
            ApiError: it cannot be read.
        """
        call = _Call(method="GET", path=path, query=query, accept="*/*", silence_s=silence_s)
        return Log(self._stream(call), f"log {path}", self._place)

    def watch(self, path: str, query: Mapping[str, str] = {}, *, lasting_s: int) -> "Log":
        """The changes of a list, each a line of JSON.

        Args:
            lasting_s: the server ends it after so long. Where it does not, it has vanished, and the watch counts as broken.

        Raises:
            ApiError: it cannot be had.
        """
        wanted = {**query, "watch": "true", "timeoutSeconds": str(lasting_s)}
        # The head comes at once, and only then there may be long silences.
        call = _Call(method="GET", path=path, query=wanted, silence_s=self._timeout_s)
        began_s = time.monotonic()
        return Log(self._stream(call), f"watch {path}", self._place, due_s=began_s + lasting_s + LATE_S)

    def _stream(self, call: _Call) -> Any:
        answer = self._answer(call)
        if answer.status >= 300:
            raise self._refusal(call, answer)
        return answer

    def _lacks(self, namespace: str) -> bool:
        """Whether it certainly does not exist."""
        try:
            self._json(_Call(method="GET", path=f"/api/v1/namespaces/{namespace}"))
        except ApiError as error:
            return error.status == 404
        return False

    def _pages(self, first: _Call) -> Listed:
        found: list[dict[str, Any]] = []
        call = first
        while True:
            page = self._json(call)
            found += page.get("items") or ()
            metadata = page.get("metadata") or {}
            token = metadata.get("continue")
            if not token:
                return Listed(items=found, version=str(metadata.get("resourceVersion") or ""))
            call = replace(first, query={**first.query, "continue": token})

    def _json(self, call: _Call) -> dict[str, Any]:
        answer = self._answer(call)
        if answer.status >= 300:
            raise self._refusal(call, answer)
        try:
            found = json.loads(answer.data)
        except (ValueError, RecursionError) as error:
            raise not_the_api(str(call), answer.status, answer.headers.get("Content-Type"), self._place) from error
        if not isinstance(found, dict):
            raise not_the_api(str(call), answer.status, answer.headers.get("Content-Type"), self._place)
        return found

    def _refusal(self, call: _Call, answer: Any) -> ApiError:
        from urllib3.exceptions import HTTPError

        try:
            body = answer.data
        except (HTTPError, OSError):
            # The status says most of it.
            body = b""
        answer.close()
        return refused(str(call), answer.status, answer.headers.get("Content-Type"), body, self._place)

    def _answer(self, call: _Call) -> Any:
        """The server's answer, whatever its status, asked for again where that may help."""
        from urllib3.exceptions import HTTPError, ProtocolError

        left = RETRIES if call.method == "GET" else 0
        renewed = False
        while True:
            sent = self._credentials.headers()
            try:
                answer = self._send(call, sent)
            except (HTTPError, OSError, ValueError) as error:
                if left and isinstance(error, ProtocolError):
                    # A connection that was kept too long, most likely.
                    left -= 1
                    continue
                raise unreachable(error, self._place) from error
            if answer.status == 401 and not renewed and self._credentials.renew(dict(sent).get("Authorization")):
                renewed = True
            elif answer.status in _BUSY and left and (pause_s := _pause_s(answer)) <= PATIENCE_S:
                left -= 1
                time.sleep(pause_s)
            else:
                return answer
            answer.close()

    def _send(self, call: _Call, credentials: "list_[tuple[str, str]]") -> Any:
        import urllib3

        streamed = call.silence_s is not None
        headers = urllib3.HTTPHeaderDict({"Accept": call.accept, "User-Agent": f"kbalance/{__version__}"})
        headers["Accept-Encoding"] = "identity" if streamed else "gzip"
        for name, value in credentials:
            headers.add(name, value)
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        url = self.server + quote(call.path, safe="/:%") + (f"?{urlencode(call.query)}" if call.query else "")
        began_s = time.monotonic()
        status = "no answer"
        try:
            answer = self._pool.urlopen(
                call.method,
                url,
                headers=headers,
                body=None if call.body is None else json.dumps(call.body).encode(),
                timeout=urllib3.Timeout(connect=self._timeout_s, read=call.silence_s if streamed else self._timeout_s),
                retries=False,
                redirect=False,
                preload_content=not streamed,
            )
            status = str(answer.status)
        finally:
            self._trace(f"{call} {status} {(time.monotonic() - began_s) * 1000:.0f} ms")
        return answer


list_ = list
"""The type, beside the method of that name."""


class Log:
    """Lines as they are written, without their line ends; iterate once, and close from whatever thread to end it."""

    def __init__(self, answer: Any, name: str, place: Place, *, due_s: float | None = None) -> None:
        """
        Args:
            due_s: on the monotonic clock, when it has ended; until then it may be silent.
        """
        self._answer = answer
        self._name = name
        self._place = place
        self._due_s = due_s
        # Where the server closes the connection after this answer, only the answer has the socket still.
        self._socket = answer.connection.sock or getattr(answer._sock_shutdown, "__self__", None) if due_s else None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """
        Raises:
            StreamBroken: the connection ended before the text did, or was silent for too long.
        """
        rest = b""
        try:
            while piece := self._read():
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
            if rest and not self._closed:
                yield rest
        finally:
            self._answer.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Lets go of the connection, also where nothing was read; by the thread that reads."""
        self._answer.close()

    def _read(self) -> bytes:
        """What there is, as soon as there is something; nothing at the end."""
        from urllib3.exceptions import HTTPError

        try:
            if self._socket is not None and self._due_s is not None:
                self._socket.settimeout(max(0.001, self._due_s - time.monotonic()))
            # Neither read nor stream, which wait for as much as is asked for unless the answer comes in chunks.
            return self._answer.read1(65536) or b"" if not self._closed else b""
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            if self._closed:
                return b""
            raise StreamBroken(
                f"The {self._name} from {self._place} broke off ({type(error).__name__}); it can be followed anew."
            ) from error

    def close(self) -> None:
        """Ends the iteration, be it in another thread."""
        self._closed = True
        try:
            self._answer.shutdown()
        except (OSError, ValueError, RuntimeError):
            # It ended already.
            return


def _pool(loaded: Loaded) -> Any:
    """The library's connections, through its choice of proxy, with TLS of our own."""
    import urllib3
    from kubernetes.client.rest import RESTClientObject

    if loaded.tls is not None and not loaded.configuration.verify_ssl:
        # The kubeconfig wants it so; urllib3 would say at each call that it is unwise.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    try:
        pool = RESTClientObject(loaded.configuration).pool_manager
    except (urllib3.exceptions.HTTPError, ImportError, OSError, ValueError) as error:
        proxy = without_userinfo(loaded.configuration.proxy or "")
        raise DiscoveryError(
            f"The proxy {proxy} of API server {loaded.server} cannot be used ({type(error).__name__}); correct proxy-url in the"
            " kubeconfig or HTTPS_PROXY (a SOCKS proxy needs the package PySocks)."
        ) from error
    pool.connection_pool_kw["ssl_context"] = loaded.tls
    return pool


def _namespace_of(path: str) -> str | None:
    """The namespace that an object's path leads through."""
    _, found, rest = path.partition("/namespaces/")
    namespace, inside, _ = rest.partition("/")
    return namespace if found and inside else None


def _pause_s(answer: Any) -> float:
    wanted = answer.headers.get("Retry-After") or ""
    return float(wanted) if wanted.isdecimal() else PAUSE_S
