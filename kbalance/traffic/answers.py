"""A complete answer as those see it who look at it closely: to tell who gave it, and whether it is a good one."""

from typing import NamedTuple


class Answer(NamedTuple):
    """One complete answer."""

    status: int
    """Of HTTP, or what HTTP says for the status of a gRPC call."""
    head: bytes
    """Status line and header lines, trailers too where HTTP/2 has them, without the blank line."""
    body: bytes
    """Its first bytes; of a gRPC call the message as JSON by field numbers."""
    length: int
    """Of the body in bytes, where it was announced or has all come; 0 or less: not known."""
    trouble: str = ""
    """What a gRPC server said, where it did not do what it was asked; one sentence for the user."""
