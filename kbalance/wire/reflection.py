"""Asking a gRPC server what it offers: the messages of its reflection service.

Source: grpc/grpc src/proto/grpc/reflection/v1/reflection.proto; v1alpha differs in nothing but its name.
"""

from collections.abc import Iterable

from kbalance.errors import TargetError
from kbalance.wire.grpc_status import code_name, harmless
from kbalance.wire.protobuf import NoMessage, Record, length_delimited

METHODS = (
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
"""To be tried in this order: older servers, all of those in Python among them, know only the second. A call may end after one
request, though it is a stream in both directions."""


def request(symbol: str) -> bytes:
    """Asks for the file that declares a service, method or message, given by its full name (file_containing_symbol)."""
    return length_delimited(4, symbol.encode())


def request_file(name: str) -> bytes:
    """Asks for a file by the name that imports of it use (file_by_filename)."""
    return length_delimited(3, name.encode())


def answer(message: bytes) -> list[bytes]:
    """The serialized FileDescriptorProtos of an answer; some servers send those of the imported files along.

    Raises:
        TargetError: with the server's words, when it does not know what was asked for.
        NoMessage: when the answer is no ServerReflectionResponse with files.
    """
    record = Record(message)
    if 7 in record:
        error = record.message(7)
        words = harmless(error.text(2)) or "no reason given"
        raise TargetError(f"The server's reflection does not tell what was asked for ({code_name(error.number(1))}: {words}).")
    if 4 not in record:
        raise NoMessage("the server's reflection answered with something other than files")
    return record.message(4).parts(1)


def missing(files: Iterable[bytes]) -> list[str]:
    """Names of files that some of these import and that are not among them, sorted.

    Not all of them need to be had: those of custom options, which servers often do not know, declare no message of a method.

    Raises:
        NoMessage: when one is no FileDescriptorProto.
    """
    records = [Record(file) for file in files]
    imported = {name for record in records for name in record.texts(3)}
    return sorted(imported - {record.text(1) for record in records})
