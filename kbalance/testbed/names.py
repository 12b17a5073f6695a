"""A name server on loopback, by UDP and TCP (RFC 1035), that answers from a table which its test changes while it runs.

Where it differs from CoreDNS: it knows no zone, so a name that is not in the table does not exist, and answers without records
come without an SOA record.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from kbalance.model.target import Address
from kbalance.testbed.sockets import Port, Receiver, local_ip, spawn

A, CNAME, AAAA, SRV = 1, 5, 28, 33
"""Types of records (RFC 1035, 3.2.2; RFC 3596; RFC 2782)."""
_INTERNET = 1
_NAME_ERROR, _SERVER_FAILURE = 3, 2
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_HEADER = struct.Struct("!6H")


class NameFault(Enum):
    """How the server fails for a name."""

    SERVER_FAILURE = "server_failure"
    SILENT = "silent"


class Record(NamedTuple):
    """One record of a name."""

    kind: int
    data: bytes
    ttl_s: int
    target: str = ""
    """The name that it leads to."""


class Question(NamedTuple):
    """What somebody asked."""

    name: str
    """In lower case, without the last dot."""
    kind: int
    by_tcp: bool
    asked_s: float
    """On the monotonic clock."""


def address(ip: str, ttl_s: int = 5) -> Record:
    """An A or AAAA record, as the address is one of IPv4 or IPv6."""
    family, kind = (socket.AF_INET6, AAAA) if ":" in ip else (socket.AF_INET, A)
    return Record(kind, socket.inet_pton(family, ip), ttl_s)


def alias(target: str, ttl_s: int = 5) -> Record:
    """A CNAME record."""
    return Record(CNAME, _wire_name(target), ttl_s, target)


def service(target: str, port: int, ttl_s: int = 5, *, priority: int = 0, weight: int = 100) -> Record:
    """An SRV record."""
    return Record(SRV, struct.pack("!3H", priority, weight, port) + _wire_name(target), ttl_s, target)


class NameServer:
    """Listens from the start."""

    def __init__(self, asked: Callable[[Question], None] = lambda question: None, *, ip: str = "127.0.0.1") -> None:
        """Needs a running event loop.

        Args:
            asked: called with each question before it is answered; what it changes holds for this answer already.
        """
        self.records: dict[str, tuple[Record, ...]] = {}
        """By name, in lower case and without the last dot; a name with no record at all still exists."""
        self.faults: dict[str, NameFault] = {}
        """By name, whether or not it has records."""
        self.udp_bytes = 512
        """The longest answer by UDP (RFC 1035, 4.2.1); of a longer one the head goes out, marked as truncated."""
        self.adds_addresses = True
        """Whether the addresses of SRV targets come along, as CoreDNS sends them."""
        self._asked = asked
        self._port, self._udp = _both(local_ip(ip))
        self._callers: set[_Caller] = set()
        self._port.open(self._accept)
        asyncio.get_running_loop().add_reader(self._udp.fileno(), self._datagrams)

    @property
    def address(self) -> Address:
        return self._port.address

    def _datagrams(self) -> None:
        while True:
            try:
                query, peer = self._udp.recvfrom(65535)
            except OSError:
                return
            answer = self.answer(query, by_tcp=False)
            if answer is not None:
                self._udp.sendto(answer, peer)

    def _accept(self, sock: socket.socket, source: str) -> None:
        spawn(asyncio.get_running_loop().connect_accepted_socket(lambda: _Caller(self, self._callers), sock))

    def answer(self, query: bytes, *, by_tcp: bool) -> bytes | None:
        """The answer as bytes; ``None``: silence, also for what is no question."""
        try:
            number, flags, questions, *_ = _HEADER.unpack_from(query)
            name, end = _read_name(query, _HEADER.size)
            kind, _ = struct.unpack_from("!2H", query, end)
        except (struct.error, IndexError, UnicodeDecodeError):
            return None
        if flags & _RESPONSE or questions != 1:
            return None
        self._asked(Question(name, kind, by_tcp, time.monotonic()))
        fault = self.faults.get(name)
        if fault is NameFault.SILENT:
            return None
        flags = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | flags & _RECURSION_DESIRED
        asked = query[_HEADER.size : end + 4]
        if fault is NameFault.SERVER_FAILURE:
            return _HEADER.pack(number, flags | _SERVER_FAILURE, 1, 0, 0, 0) + asked
        if name not in self.records:
            return _HEADER.pack(number, flags | _NAME_ERROR, 1, 0, 0, 0) + asked
        found = list(self._found(name, kind))
        added = list(self._added(found)) if self.adds_addresses else []
        body = asked + b"".join(_wire_record(owner, record) for owner, record in found + added)
        if not by_tcp and _HEADER.size + len(body) > self.udp_bytes:
            return _HEADER.pack(number, flags | _TRUNCATED, 1, 0, 0, 0) + asked
        return _HEADER.pack(number, flags, 1, len(found), 0, len(added)) + body

    def _found(self, name: str, kind: int) -> Iterator[tuple[str, Record]]:
        """Records of this type, behind the aliases that lead to them."""
        passed: set[str] = set()
        while name not in passed:
            passed.add(name)
            records = self.records.get(name, ())
            yield from ((name, record) for record in records if record.kind == kind)
            for record in records:
                if record.kind == CNAME != kind:
                    yield name, record
                    name = record.target.lower().rstrip(".")

    def _added(self, found: list[tuple[str, Record]]) -> Iterator[tuple[str, Record]]:
        for target in dict.fromkeys(record.target for _, record in found if record.kind == SRV):
            known = self.records.get(target.lower().rstrip("."), ())
            yield from ((target, record) for record in known if record.kind in (A, AAAA))

    def close(self) -> None:
        """Stop, with every connection."""
        asyncio.get_running_loop().remove_reader(self._udp.fileno())
        self._udp.close()
        self._port.close()
        for caller in tuple(self._callers):
            caller.transport.abort()


class _Caller(Receiver):
    """A TCP connection: every message stands behind its length (RFC 1035, 4.2.2)."""

    def __init__(self, server: NameServer, everyone: "set[_Caller]") -> None:
        self._server, self._everyone = server, everyone
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._everyone.add(self)

    def received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= 2 and len(self._data) >= (end := 2 + int.from_bytes(self._data[:2], "big")):
            query, self._data = self._data[2:end], self._data[end:]
            answer = self._server.answer(query, by_tcp=True)
            if answer is not None:
                self.transport.write(len(answer).to_bytes(2, "big") + answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._everyone.discard(self)


def _both(ip: str) -> tuple[Port, socket.socket]:
    """A port that is free for TCP and UDP alike."""
    for _ in range(100):
        port = Port(ip)
        udp = socket.socket(type=socket.SOCK_DGRAM)
        udp.setblocking(False)
        try:
            udp.bind(port.address)
        except OSError:
            udp.close()
            port.close()
        else:
            return port, udp
    raise OSError(f"no port of {ip} is free for both TCP and UDP")


def _wire_name(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _wire_record(owner: str, record: Record) -> bytes:
    fixed = struct.pack("!2HIH", record.kind, _INTERNET, record.ttl_s, len(record.data))
    return _wire_name(owner) + fixed + record.data


def _read_name(message: bytes, place: int) -> tuple[str, int]:
    """The name that stands here, and where it ends; a question has no need of compression, so none is understood."""
    labels = []
    while size := message[place]:
        labels.append(message[place + 1 : place + 1 + size].decode("ascii"))
        place += 1 + size
    return ".".join(labels).lower(), place + 1
