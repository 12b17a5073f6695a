"""Which protocol is spoken with a target, and why."""

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from kbalance.errors import TargetError
from kbalance.model.plan import Options
from kbalance.model.target import ServiceFacts, Target
from kbalance.model.words import Protocol, ProtocolChoice, TargetKind
from kbalance.wire.grpc import HEALTH, method_path, names_method

GRPC = frozenset(("grpc", "grpcs"))
HTTP2 = GRPC | {"http2", "h2", "h2c"}


class Settled(NamedTuple):
    """A protocol, and the reason for it as a clause."""

    protocol: Protocol | None
    """``None``: the server is to choose, when the TLS handshake offers it both versions of HTTP."""
    because: str


def settle(options: Options, target: Target, service: ServiceFacts | None) -> Settled:
    """What the user wants, else what the Service's port says, else HTTP/1.1 or whatever the server chooses.

    Raises:
        TargetError: the target's scheme cannot go with what was asked for.
    """
    secure = target.scheme == "https"
    choice = options.protocol
    if choice is ProtocolChoice.AUTO:
        return _automatic(options, secure, service)
    if choice is ProtocolChoice.H2 and not secure:
        raise TargetError(f"--protocol h2 is HTTP/2 over TLS, and {target.scheme}://{target.authority} has none: give h2c.")
    if choice is ProtocolChoice.H2C and secure:
        raise TargetError(f"--protocol h2c is HTTP/2 without TLS, and {target.scheme}://{target.authority} has it: give h2.")
    return Settled(Protocol(choice.value), "--protocol says so")


def _automatic(options: Options, secure: bool, service: ServiceFacts | None) -> Settled:
    for option, value in (("--grpc-method", options.grpc_method), ("--grpc-data", options.grpc_data)):
        if value is not None:
            return Settled(Protocol.GRPC, f"{option} is about a call of gRPC")
    if (words := says(service, GRPC)) is not None:
        return Settled(Protocol.GRPC, f"the Service's port has {words}")
    if (words := says(service, HTTP2)) is not None:
        return Settled(Protocol.H2 if secure else Protocol.H2C, f"the Service's port has {words}")
    return Settled(None, "the server chose it in the TLS handshake (ALPN)") if secure else Settled(Protocol.HTTP1, "")


def says(service: ServiceFacts | None, protocols: Collection[str]) -> str | None:
    """The words by which the API tells that a port speaks one of these, `GRPC` or `HTTP2`.

    Source: KEP-3726 (kubernetes.io/h2c); istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection (names are
    ``protocol-suffix``; grpc-web goes over HTTP/1.1 as well).
    """
    protocol, name = (service.app_protocol or "", service.port_name or "") if service is not None else ("", "")
    if _word(protocol) in protocols:
        return f"appProtocol {protocol}"
    return f"the name {name}" if _word(name) in protocols and not protocol else None


def _word(text: str) -> str:
    text = text.lower().removeprefix("kubernetes.io/")
    return "grpc-web" if text.startswith("grpc-web") else text.partition("-")[0]


def aimed(target: Target, options: Options, service: ServiceFacts | None) -> Target:
    """The target with the path that a call of gRPC has, where one is made: the user's method, or the health check.

    Raises:
        TargetError: as `settle`; options that do not go together, or a path that is no method.
    """
    grpc = settle(options, target, service).protocol is Protocol.GRPC
    if not grpc:
        for option, value in (("--grpc-method", options.grpc_method), ("--grpc-data", options.grpc_data)):
            if value is not None:
                raise TargetError(f"{option} is about a call of gRPC, and --protocol {options.protocol} was asked for.")
        return target
    if options.method != "GET" or options.body:
        raise TargetError("A call of gRPC has neither --method nor --body: give --grpc-method and --grpc-data.")
    given = options.grpc_method
    if given is None:
        return called(target)
    if target.path_given:
        raise TargetError(f"{target.path} and --grpc-method {given} both name a method; give one of them.")
    return replace(target, path=method_path(given), path_given=True)


def called(target: Target) -> Target:
    """The target of a call of gRPC: of the method that the user gave as a path, else of the health check.

    Raises:
        TargetError: the path is no method.
    """
    return replace(target, path=method_path(target.path if target.path_given else HEALTH))


def may_be_grpc(options: Options, target: Target) -> bool:
    """Whether what the user wants asked could be a call of gRPC, if the server turns out to speak that."""
    plain = options.method == "GET" and not options.body
    return plain and (not target.path_given or names_method(target.path))


def needs_tls(target: Target) -> str:
    """What to do about a server that takes nothing but TLS, where nobody said that it does; a sentence."""
    secure = replace(target, scheme="https").authority
    trust = "with --cacert FILE, or -k, where the certificate is of no public authority"
    if target.kind is TargetKind.URL:
        return f"{target.scheme}://{target.authority} speaks TLS, and was asked without: write https://{secure} ({trust})."
    return (
        f"svc/{target.name}:{target.port} in namespace {target.namespace} speaks TLS, and its port does not say so: give the port"
        f" appProtocol https, or grpcs for gRPC, or probe https://{secure} where the cluster can be reached ({trust})."
    )
