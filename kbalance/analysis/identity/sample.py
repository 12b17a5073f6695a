"""One answer as material for telling who gave it."""

from dataclasses import dataclass
from enum import StrEnum

from kbalance.model.target import Address


class Part(StrEnum):
    """Where in a response an identity stands; equal bytes of that part mean the same pod."""

    HEAD = "head"
    BODY = "body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One complete answer, and whom it came from where that is known."""

    endpoint: str | None
    """The endpoint that was dialled directly; ``None``: the target's address was dialled."""
    connection: int
    """Serial of the connection; two samples with the same number came over the same one."""
    status: int
    head: bytes
    """Status line and header lines as received, without the blank line."""
    body: bytes
    """Its first 64 KiB."""
    local: str
    """The client's own IP address on this connection."""
    local_port: int
    trouble: str = ""
    """What a gRPC server said, where it did not do what it was asked."""

    @property
    def good(self) -> bool:
        """Whether the pod itself may be expected to have made this answer."""
        return self.status < 500

    @property
    def client(self) -> Address:
        """The client's end of the connection, which many servers write into their answers."""
        return Address(self.local, self.local_port)

    def raw(self, part: Part) -> bytes:
        """The bytes of one part."""
        return self.head if part is Part.HEAD else self.body
