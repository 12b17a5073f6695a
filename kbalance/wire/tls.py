"""How a connection to an https target is encrypted; `ssl` is loaded only then, so that http runs never pay for it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kbalance.errors import TargetError
from kbalance.wire.dialled import Tls

if TYPE_CHECKING:
    import ssl


def make_tls(
    host: str,
    *,
    insecure: bool = False,
    cacert: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    alpn: Sequence[str] = ("http/1.1",),
) -> Tls:
    """What a connection needs to speak TLS with this host.

    Args:
        host: the name or address that is sent (SNI; never for an address) and verified.
        insecure: verify neither the certificate nor the name, as ``curl --insecure``.
        cacert: a PEM file of authorities to trust instead of the system's.
        cert: a PEM file with the client's certificate, with its key unless `key` names another file.
        alpn: what is offered, the most wanted first; ``selected_alpn_protocol()`` of the socket says what the server chose, and
            ``None`` that it does not choose, which means HTTP/1.1.

    Raises:
        TargetError: when a file cannot be read or is not what it should be.

    Source: RFC 9325, 3.1.1 (TLS 1.2 at least); RFC 7301 (ALPN), since a server that prefers h2 would not answer in HTTP/1.1.
    """
    import ssl

    if key is not None and cert is None:
        raise TargetError(f"The key {key} stands alone; name its certificate too with --cert.")
    context = _verifying(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), insecure, cacert)
    if cert is not None:
        _identify(context, cert, key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    tls = Tls(context, host)
    tls.offer(alpn)
    return tls


def _verifying(context: "ssl.SSLContext", insecure: bool, cacert: str | None) -> "ssl.SSLContext":
    import ssl

    if cacert is not None:
        try:
            context.load_verify_locations(cafile=cacert)
        except OSError as error:
            raise _unusable("CA file", cacert, error, "PEM certificates") from error
    elif not insecure:
        context.load_default_certs()
    if insecure:
        # In this order: a context that checks names refuses to stop verifying.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _identify(context: "ssl.SSLContext", cert: str, key: str | None) -> None:
    """Loads the client's certificate; an encrypted key is refused, since OpenSSL would stop and ask for its password."""
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, _NeedsPassword) as error:
        named = f"{cert} with key {key}" if key is not None else cert
        raise _unusable("client certificate", named, error, "a PEM certificate and its unencrypted key") from error


class _NeedsPassword(Exception):
    def __str__(self) -> str:
        return "the key is encrypted"


def _no_password() -> str:
    raise _NeedsPassword


def _unusable(what: str, path: str, error: Exception, wanted: str) -> TargetError:
    return TargetError(f"The {what} {path} cannot be used ({_words(error)}); give a readable file with {wanted}.")


def _words(error: Exception) -> str:
    import ssl

    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else "not the expected PEM data"
    return (isinstance(error, OSError) and error.strerror) or str(error)
