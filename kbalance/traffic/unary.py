"""Whether a method of gRPC that the user named is one that can be called: those that stream are not."""

from collections.abc import Callable

from kbalance.errors import ExchangeError
from kbalance.model.plan import RequestSpec
from kbalance.model.target import Address
from kbalance.traffic.asking import Heard, ask
from kbalance.traffic.handshake import Wait
from kbalance.traffic.reflection import tells_of
from kbalance.wire.dialled import Tls
from kbalance.wire.grpc import is_grpc, messages, streams
from kbalance.wire.grpc_status import Code, outcome


def check_unary(request: RequestSpec, address: Address, tls: Tls | None, patience: Callable[[], Wait]) -> None:
    """Asks the server's reflection; where that does not tell, looks at the answer to one call.

    A call cannot show everything: a stream that takes one message and gives one back looks like a unary method, and does no harm.

    Args:
        request: the call.
        patience: how long to wait for each answer.

    Raises:
        TargetError: the method streams.
    """
    if tells_of(request, address, tls, patience):
        return
    try:
        heard = ask(address, tls, request, patience(), enough=lambda heard: messages(heard.body) > 1)
    except ExchangeError:
        return
    how = _streaming(heard)
    if how is not None:
        raise streams(request.path, how)


def _streaming(heard: Heard) -> str | None:
    """What an answer has that no unary method gives."""
    if not is_grpc(heard.content_type):
        return None
    if messages(heard.body) > 1:
        return "it answered with more than one message"
    code = outcome(heard.status, heard.fields, heard.trailers).code if heard.ended else None
    if code == Code.OK and not heard.body:
        return "it answered OK without a message"
    # A unary answer's message and its end come together.
    endless = code in (None, Code.DEADLINE_EXCEEDED) and messages(heard.body)
    return "it answered with a message and did not end" if endless else None
