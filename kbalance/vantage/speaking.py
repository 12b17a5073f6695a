"""What is said to the target: the protocol, and the call and its message where that is gRPC; settled before the first sample."""

from dataclasses import dataclass, replace

from kbalance.analysis import planning, protocols
from kbalance.errors import TargetError, TrafficError
from kbalance.model.plan import Options, RequestSpec
from kbalance.model.target import Address, ServiceFacts, Target
from kbalance.model.words import Failure, Protocol
from kbalance.traffic.sampling import Sampling
from kbalance.traffic.session import Session
from kbalance.wire.grpc import HEALTH

WITHOUT_TLS = frozenset((Failure.CLOSED, Failure.RESET, Failure.MALFORMED))
"""How servers of TLS meet a request without it; some find words, with status 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """What every request of a run has in common."""

    target: Target
    """The user's; its path names the call where one is made, even if nobody knew before that it would be."""
    options: Options
    protocol: Protocol
    because: str
    """As in `Report`."""
    message: bytes = b""
    """Of a call."""

    @property
    def grpc(self) -> bool:
        return self.protocol is Protocol.GRPC

    def request(self, path: str, *, nonce: str = "") -> RequestSpec:
        return planning.request(self.target, self.options, path=path, nonce=nonce, protocol=self.protocol, message=self.message)


def settle(target: Target, options: Options, service: ServiceFacts | None, address: Address, session: Session) -> Speech:
    """Settles it with the server's help, where nobody else knows, or a method of its own is to be called.

    Raises:
        TargetError: options that make no sense, for this server at least.
        TrafficError: the server does not tell what it has to.
    """
    wanted = protocols.settle(options, target, service)
    protocol = session.negotiate(address, wanted=wanted.protocol)
    because = wanted.because if wanted.protocol or protocol is Protocol.H2 else ""
    speech = Speech(target=target, options=options, protocol=protocol, because=because)
    if wanted.protocol is None and protocol is Protocol.H2:
        speech = _recognised(speech, address, session)
    return _with_message(speech, address, session) if speech.grpc else speech


def _recognised(speech: Speech, address: Address, session: Session) -> Speech:
    """The same, or gRPC where the server shows that it speaks nothing else over HTTP/2."""
    if not protocols.may_be_grpc(speech.options, speech.target):
        return speech
    calling = replace(speech, protocol=Protocol.GRPC)
    did = session.recognised(speech.request(speech.target.path), calling.request(f"/{HEALTH}"), address)
    if did is None:
        return speech
    because = f"the server, which chose HTTP/2 in the TLS handshake (ALPN), {did}"
    return replace(calling, target=protocols.called(speech.target), because=because)


def _with_message(speech: Speech, address: Address, session: Session) -> Speech:
    """With the user's message, after a look at whether the user's method is a unary one."""
    path, data = speech.target.path, speech.options.grpc_data
    if data:
        try:
            speech = replace(speech, message=session.message(data, speech.request(path), address))
        except TrafficError:
            check_tls(speech.target, address, session)
            raise
    # A message given as JSON was encoded by the method's description.
    if speech.target.path_given and (not data or data.startswith("hex:")):
        session.check_unary(speech.request(path), address)
    return speech


def as_without_tls(sampling: Sampling) -> bool:
    """Whether the answers are what servers of TLS say to requests without it."""
    if not sampling.samples:
        return not sampling.failures.isdisjoint(WITHOUT_TLS)
    return {sample.status for sample in sampling.samples} == {400}


def check_tls(target: Target, address: Address, session: Session) -> None:
    """Of a target that was asked without TLS, and did not answer well.

    Raises:
        TargetError: the server speaks TLS.
    """
    if target.scheme == "http" and session.over is None and session.speaks_tls(address, target.host):
        raise TargetError(protocols.needs_tls(target))
