"""A schema put together from the descriptors of its files: which methods there are, and JSON to a message of it."""

from collections.abc import Iterable, Mapping

from kbalance.errors import TargetError
from kbalance.wire.descriptor_files import EnumType, File, MessageType, Method, read_file
from kbalance.wire.json_known import DEEPEST, VALUE
from kbalance.wire.json_message import Encoder

_MOST_NAMES = 20
"""That an error lists."""


class Schema:
    """What some files declare together; types of files that are not among them matter only when one is used."""

    __slots__ = ("_encoder", "_services")

    def __init__(self, files: Iterable[File]) -> None:
        messages: dict[str, MessageType] = {}
        enums: dict[str, EnumType] = {}
        services: dict[str, Mapping[str, Method]] = {}
        for file in files:
            messages |= file.messages
            enums |= file.enums
            services |= file.services
        self._services = services
        self._encoder = Encoder(messages, enums)

    def __repr__(self) -> str:
        return f"<Schema of {', '.join(sorted(self._services)) or 'no services'}>"

    @classmethod
    def of(cls, files: Iterable[bytes]) -> "Schema":
        """
        Args:
            files: serialized google.protobuf.FileDescriptorProtos, in any order.

        Raises:
            NoMessage: when one of them is none.
        """
        return cls(map(read_file, files))

    def method(self, service: str, method: str) -> Method:
        """
        Args:
            service: its full name.

        Raises:
            TargetError: when there is none; the message says which there are.
        """
        if service not in self._services:
            raise TargetError(f"The server describes no service {service!r}; it describes {_names(self._services)}.")
        methods = self._services[service]
        if method not in methods:
            raise TargetError(f"The service {service} has no method {method!r}; it has {_names(methods)}.")
        return methods[method]

    def encode(self, type_name: str, value: object) -> bytes:
        """A message from what JSON became in Python.

        Both names of a field are understood, null means that a field is absent, and unknown fields are errors. Messages of
        google.protobuf are written in their special forms; extensions cannot be given.

        Args:
            type_name: of the message, its full name.
            value: from `json.loads`; ``None`` is an empty message.

        Raises:
            TargetError: naming the field, what belongs there, and what is given.

        Source: protobuf.dev/programming-guides/json (ProtoJSON).
        """
        return b"" if value is None and type_name != VALUE else self._encoder.message(type_name, value, "", DEEPEST)


def _names(of: Iterable[str]) -> str:
    names = sorted(of)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more or "none"
