"""What went wrong with a call, in one sentence with the next step; what the library, TLS and sockets raise ends here.

Source: kubernetes/apimachinery `pkg/apis/meta/v1/types.go` (Status, StatusReason).
"""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kbalance.errors import ApiError
from kbalance.kube.credentials import Credentials

if TYPE_CHECKING:
    import ssl

MAX_WORDS = 500
"""Characters of somebody else's message; the API's own are shorter."""

_DENIED = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)
_OTHER_NAME = (62, 64)
"""OpenSSL's numbers for a certificate of another host name or address."""
_NOT_VALID_NOW = {9: "is not valid yet", 10: "has expired"}
_CLIENT_CERTIFICATE = re.compile("ALERT_BAD_CERTIFICATE|CERTIFICATE_EXPIRED|CERTIFICATE_UNKNOWN|ALERT_UNKNOWN_CA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where calls go, in words."""

    server: str
    context: str | None
    credentials: Credentials
    proxy: str | None = None
    """Without its credentials; ``None``: connections are direct."""

    def __str__(self) -> str:
        return f"API server {self.server}" + (f" of context {self.context}" if self.context else "")


def without_userinfo(url: str) -> str:
    """The URL without user name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def unreachable(error: BaseException, place: Place) -> ApiError:
    """For a call that got no answer, or not all of one."""
    via = f", tried through proxy {place.proxy}," if place.proxy else ""
    return ApiError(place.credentials.hide(_no_answer(list(_causes(error)), f"{place}{via}", place)))


def not_the_api(call: str, status: int, content_type: str | None, place: Place) -> ApiError:
    """For an answer that no API server would give."""
    what = f"{content_type.partition(';')[0]}, " if content_type else ""
    return ApiError(
        f"What answers at {place} is not a Kubernetes API ({call}: {what}HTTP {status}); is a login page or a proxy in between?",
        status=status,
    )


def refused(call: str, status: int, content_type: str | None, body: bytes, place: Place) -> ApiError:
    """For an answer that says no."""
    told = _status(body)
    if told is None and status not in (401, 404):
        if b"HTTPS server" in body:
            return ApiError(f"The {place} speaks HTTPS; correct its server in the kubeconfig to https://.", status=status)
        if status < 500 and status != 429:
            return not_the_api(call, status, content_type, place)
    reason = str((told or {}).get("reason") or "")
    hide = place.credentials.hide
    answer = hide(" ".join(str((told or {}).get("message") or "").split())).rstrip(".")[:MAX_WORDS]
    words = _sentence(call, status, reason, answer, (told or {}).get("details"), place)
    return ApiError(hide(words), status=status, reason=reason, answer=answer)


def namespace_missing(namespace: str, error: ApiError, place: Place) -> ApiError:
    """For an object that cannot be there, as there is no such namespace."""
    where = f"context {place.context}" if place.context else "this cluster"
    return ApiError(
        f"Namespace {namespace} does not exist in {where}; choose one of `kubectl get namespaces` with -n.",
        status=error.status,
        reason=error.reason,
        answer=error.answer,
    )


def _no_answer(causes: list[BaseException], server: str, place: Place) -> str:
    import ssl

    from urllib3 import exceptions

    # Exactly this one: a connection that was refused is one of its kind to urllib3.
    if any(type(error) is exceptions.ConnectTimeoutError for error in causes):
        return f"The {server} could not be reached in time; is the cluster up, and the VPN connected?"
    for error in causes:
        match error:
            case ssl.SSLCertVerificationError():
                return _distrusted(error, server, place)
            case ssl.SSLError():
                return _no_tls(error, server, place)
            case socket.gaierror():
                return f"The name of {server} does not resolve; is the VPN connected, and the server in the kubeconfig right?"
            case ConnectionRefusedError():
                return f"The {server} refused the connection; is the cluster up, and the VPN connected?"
            case ConnectionError() | exceptions.IncompleteRead():
                return f"The {server} broke off the connection; {_why_broken(place)}"
            case exceptions.ReadTimeoutError() | TimeoutError():
                return f"The {server} did not answer in time; is the cluster up and not overloaded?"
            case OSError() if error.strerror:
                return f"The {server} cannot be reached ({error.strerror.lower()}); is the cluster up, and the VPN connected?"
    kind = type(causes[-1]).__name__
    return f"The {server} cannot be talked to ({kind}); is it a Kubernetes API, and does nothing in between garble it?"


def _why_broken(place: Place) -> str:
    # A server of HTTPS says so, but resets the connection for the rest of the request, which may come first.
    if place.server.startswith("http:"):
        return "is the cluster up, and should its server not begin with https://?"
    return "is the cluster up, and does nothing in between close connections?"


def _distrusted(error: "ssl.SSLCertVerificationError", server: str, place: Place) -> str:
    if error.verify_code in _OTHER_NAME:
        return (
            f"The certificate of {server} is for another name ({error.verify_message.rstrip('.')}); correct server or"
            " tls-server-name in the kubeconfig."
        )
    if error.verify_code in _NOT_VALID_NOW:
        return f"The certificate of {server} {_NOT_VALID_NOW[error.verify_code]}; renew it, or check this machine's clock."
    whose = "certificate-authority of the kubeconfig" if place.context else "service account's certificate authority"
    return (
        f"The certificate of {server} is not signed by the {whose} ({error.verify_message}); the cluster may have been made"
        " anew, so fetch its kubeconfig again, or correct certificate-authority with kubectl config."
    )


def _no_tls(error: "ssl.SSLError", server: str, place: Place) -> str:
    reason = error.reason or ""
    if "CERTIFICATE_REQUIRED" in reason:
        return (
            f"The {server} wants a client certificate, and {place.credentials.owner} has none; log in, or choose another context."
        )
    if _CLIENT_CERTIFICATE.search(reason):
        return f"The {server} does not accept the client certificate of {place.credentials.owner}; log in again."
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return f"The {server} does not speak TLS; correct its server in the kubeconfig, perhaps to http://."
    words = reason.replace("_", " ").lower() or "no reason given"
    return f"TLS with {server} failed ({words}); is it a Kubernetes API, and nothing in between?"


def _sentence(call: str, status: int, reason: str, answer: str, details: Any, place: Place) -> str:
    said = f": {answer}" if answer and answer != reason else ""
    match status:
        case 401:
            return _unauthorized(place)
        case 403:
            return _forbidden(call, answer, place)
        case 404:
            return _missing(call, answer, details, place)
        case 409 if reason == "AlreadyExists":
            return f"It is there already{said}; remove it, or choose another name."
        case 409:
            return f"The {place} found a conflict{said}; try again."
        case 410:
            return f"The {place} no longer has that state of its objects{said}; list them again."
        case 422:
            return f"The {place} does not accept what was to be made{said}; compare its version with what kbalance supports."
        case 429:
            return f"The {place} is asked too much at the moment{said}; try again later."
        case _ if status >= 500:
            return f"The {place} failed with HTTP {status} at {call}{said}; try again later, or look into its log."
    return f"The {place} refused {call} with HTTP {status}{said or f': {reason}'}; check what was asked for."


def _unauthorized(place: Place) -> str:
    owner = place.credentials.owner
    if place.credentials.anonymous:
        return f"The {place} wants to know who asks, and {owner} has no credentials; log in, or choose another context."
    return f"The {place} does not accept the credentials of {owner}, which may have expired; log in again."


def _forbidden(call: str, answer: str, place: Place) -> str:
    denied = _DENIED.search(answer)
    if denied is None:
        step = "log in" if place.credentials.anonymous else "ask whoever runs the cluster"
        return f"The {place} does not allow {call}{_colon(answer)}; {step}."
    found = denied.groupdict()
    resource = f"{found['resource']}.{found['group']}" if found["group"] else found["resource"]
    where = f"in namespace {found['namespace']}" if found["namespace"] else "in the whole cluster"
    if found["verb"] == "impersonate":
        return f"User {found['user']} may not act as others ({resource}); remove `as` from the kubeconfig, or have it allowed."
    if place.credentials.anonymous:
        return f"Whoever has no credentials may not {found['verb']} {resource} {where}, like {place.credentials.owner}; log in."
    role = "Role" if found["namespace"] else "ClusterRole"
    return (
        f"User {found['user']} may not {found['verb']} {resource} {where}; have it allowed with a {role}"
        f' (apiGroups: ["{found["group"]}"], resources: ["{found["resource"]}"], verbs: ["{found["verb"]}"]).'
    )


def _missing(call: str, answer: str, details: Any, place: Place) -> str:
    kind, name = (details.get("kind"), details.get("name")) if isinstance(details, dict) else (None, None)
    if kind == "namespaces" and name:
        return str(namespace_missing(str(name), ApiError(""), place))
    if name:
        inside = re.search("/namespaces/([^/]+)/", call)
        where, option = (f" of namespace {inside[1]}", f" -n {inside[1]}") if inside else ("", "")
        kind = kind or "objects"
        return f"There is no {name} among the {kind}{where} at {place}; `kubectl get {kind}{option}` shows what there is."
    return f"The {place} does not know {call.partition(' ')[2]}{_colon(answer)}; is it a Kubernetes API, and new enough?"


def _colon(answer: str) -> str:
    return f": {answer}" if answer else ""


def _status(body: bytes) -> dict[str, Any] | None:
    """The API's Status, if that is what it is."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.get("kind") == "Status" else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The innermost first: urllib3 keeps what it caught as its cause, as its reason or among its arguments."""
    inner = error.__cause__ or error.__context__
    for one in (getattr(error, "reason", None), *error.args, inner):
        if isinstance(one, BaseException) and one is not error:
            yield from _causes(one)
            break
    yield error
