"""Whether a server that chose HTTP/2 is one of gRPC, though nobody said so."""

from collections.abc import Callable

from kbalance.errors import ExchangeError
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.model.words import Failure
from kbalance.traffic.asking import Heard, ask
from kbalance.traffic.handshake import Wait
from kbalance.wire.dialled import Tls
from kbalance.wire.grpc import is_grpc
from kbalance.wire.grpc_status import Code, outcome

DOUBTFUL = (405, 415, 502, 503)
"""What servers of gRPC, or proxies before them, say of a plain request, and web servers as well."""


def shown(plain: RequestSpec, call: RequestSpec, address: Address, tls: Tls | None, patience: Callable[[], Wait]) -> str | None:
    """What the server did that only one of gRPC does, as a clause; ``None``: nothing.

    A page is never asked as a call. What may be the answer of either, an error or a reset, is settled by a call: to count, it
    has to be answered as gRPC, by more than the error that a proxy makes of its own.

    Args:
        plain: a request as for a page.
        call: of gRPC.
        patience: how long to wait for each answer.
    """
    try:
        heard = ask(address, tls, plain, patience())
    except ExchangeError as error:
        if error.failure is not Failure.RESET:
            return None
        did = "reset a plain request"
    else:
        if is_grpc(heard.content_type):
            return f"answered a plain request with content-type {heard.content_type}"
        if heard.status not in DOUBTFUL:
            return None
        did = f"answered a plain request with status {heard.status}"
    try:
        called = ask(address, tls, call, patience())
    except ExchangeError:
        return None
    return f"{did} and answered a call as gRPC does" if _as_grpc(called) else None


def _as_grpc(heard: Heard) -> bool:
    own = any(name == b"grpc-status" for name, _ in (*heard.fields, *heard.trailers))
    if not (heard.ended and own and is_grpc(heard.content_type)):
        return False
    status = outcome(heard.status, heard.fields, heard.trailers)
    return status.code == Code.OK or bool(status.message and status.code != Code.UNAVAILABLE)
