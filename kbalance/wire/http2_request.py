"""The one request of a run as HTTP/2 or gRPC sends it."""

from kbalance import __version__
from kbalance.errors import TargetError
from kbalance.model.plan import RequestSpec
from kbalance.model.words import Protocol
from kbalance.wire.grpc import timeout_value
from kbalance.wire.http1 import NONCE_HEADER, encode
from kbalance.wire.http2_fields import Fields, fields_of


def fields_for(request: RequestSpec) -> Fields:
    """The fields of every exchange of a run; the body goes behind them.

    Raises:
        TargetError: when a part cannot stand in a request.

    Source: grpc/grpc `doc/PROTOCOL-HTTP2.md` (Requests: path, te, grpc-timeout, content-type).
    """
    own = {name.lower() for name, _ in request.headers}
    grpc = request.protocol is Protocol.GRPC
    if not grpc:
        encode(request)  # which says best what is wrong
    fields = [("User-Agent", f"kbalance/{__version__}")]
    if grpc:
        timeout = [("Grpc-Timeout", timeout_value(request.timeout_s))] if request.timeout_s is not None else []
        fields = [("Te", "trailers"), ("Content-Type", "application/grpc"), *fields, *timeout]
    else:
        fields.append(("Accept", "*/*"))
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            fields.append(("Content-Length", str(len(request.body))))
    fields += [(NONCE_HEADER, request.nonce)] if request.nonce else []
    fields = [field for field in fields if field[0].lower() not in own] + list(request.headers)
    try:
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        words = ("POST" if grpc else request.method, request.scheme, request.authority, request.path)
        method, scheme, authority, path = (word.encode("latin-1") for word in words)
        return fields_of(method, scheme, authority, path, pairs)
    except ValueError as error:
        raise TargetError(f"The request cannot be sent: {error}.") from error
