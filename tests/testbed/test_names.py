"""The name server, as raw bytes and as dnspython reads it."""

import socket
import struct
from collections.abc import Callable
from queue import SimpleQueue

import dns.message
import dns.query
import dns.rcode
import dns.resolver
import pytest
from dns.nameserver import Do53Nameserver

from kbalance.testbed.names import AAAA, CNAME, SRV, A, NameFault, NameServer, Question, Record, address, alias, service

from .client import connect
from .conftest import Background

QUESTION = b"\4shop\7example\0" + struct.pack("!2H", A, 1)
QUERY = struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0) + QUESTION
Serve = Callable[..., NameServer]


@pytest.fixture
def serve(background: Background) -> Serve:
    """Starts a server with these records."""

    def start(records: dict[str, tuple[Record, ...]], asked: Callable[[Question], None] = lambda question: None) -> NameServer:
        server = background.start(lambda: NameServer(asked))
        server.records |= records
        return server

    return start


def _by_udp(server: NameServer, query: bytes, patience_s: float = 10) -> bytes:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(patience_s)
        sock.sendto(query, server.address)
        return sock.recv(65535)


def _by_tcp(server: NameServer, *queries: bytes) -> list[bytes]:
    with connect(server.address) as sock, sock.makefile("rb") as stream:
        sock.sendall(b"".join(len(query).to_bytes(2, "big") + query for query in queries))
        return [stream.read(int.from_bytes(stream.read(2), "big")) for _ in queries]


def _resolver(server: NameServer) -> dns.resolver.Resolver:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [Do53Nameserver(*server.address)]
    return resolver


def test_an_answer_byte_by_byte(serve: Serve) -> None:
    server = serve({"shop.example": (address("10.1.2.3", ttl_s=7),)})

    answer = _by_udp(server, QUERY)

    record = b"\4shop\7example\0" + bytes.fromhex("0001 0001 00000007 0004 0a010203")
    assert answer == bytes.fromhex("1234 8580 0001 0001 0000 0000") + QUESTION + record
    assert _by_tcp(server, QUERY, QUERY) == [answer, answer]


def test_what_is_no_question_gets_no_answer_and_harms_nobody(serve: Serve) -> None:
    server = serve({"shop.example": (address("10.1.2.3"),)})

    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        for nonsense in (b"", b"\0", QUERY[:-3], QUERY[:14], b"\x12\x34\x80" + QUERY[3:], QUERY[:14] + b"\xff" * 40):
            sock.sendto(nonsense, server.address)
        sock.sendto(b"\xab\xcd" + QUERY[2:], server.address)
        first = sock.recv(65535)

    assert first[:2] == b"\xab\xcd"


def test_a_question_is_reported_in_lower_case_before_it_is_answered(serve: Serve) -> None:
    heard: SimpleQueue[Question] = SimpleQueue()
    server = serve({"shop.example": (address("10.1.2.3"),)}, heard.put)

    answers = (_by_udp(server, QUERY.replace(b"shop", b"ShOp")), *_by_tcp(server, QUERY))

    questions = [heard.get_nowait() for _ in answers]
    assert [(one.name, one.kind, one.by_tcp) for one in questions] == [("shop.example", A, False), ("shop.example", A, True)]
    assert questions[0].asked_s <= questions[1].asked_s
    assert b"\4ShOp" in answers[0]


@pytest.mark.parametrize(("name", "kind", "records"), [("A", A, ("10.0.0.1", "10.0.0.2")), ("AAAA", AAAA, ("fd00::1",))])
def test_addresses_of_both_families(serve: Serve, name: str, kind: int, records: tuple[str, ...]) -> None:
    server = serve({"shop.example": (address("10.0.0.1"), address("fd00::1"), address("10.0.0.2"))})

    answer = _resolver(server).resolve("shop.example", name)

    assert ({one.address for one in answer}, answer.rdtype, answer.chaining_result.minimum_ttl) == (set(records), kind, 5)


def test_an_alias_is_followed_and_a_ring_of_them_ends(serve: Serve) -> None:
    server = serve({"www.example": (alias("shop.example.", ttl_s=3),), "shop.example": (address("10.0.0.1", ttl_s=9),)})
    server.records |= {"ring.example": (alias("ring.example"),)}

    answer = _resolver(server).resolve("www.example", "A")
    ring = dns.query.udp(dns.message.make_query("ring.example", "A"), server.address.ip, port=server.address.port, timeout=10)

    assert ([one.address for one in answer], str(answer.canonical_name)) == (["10.0.0.1"], "shop.example.")
    assert answer.chaining_result.minimum_ttl == 3
    assert [rrset.rdtype for rrset in ring.answer] == [CNAME]


@pytest.mark.parametrize("along", [True, False])
def test_services_with_their_addresses_or_without(serve: Serve, along: bool) -> None:
    target = address("10.0.0.1", ttl_s=4)
    server = serve({"_http._tcp.shop.example": (service("p1.shop.example", 8080, priority=1),), "p1.shop.example": (target,)})
    server.adds_addresses = along

    answer = _resolver(server).resolve("_http._tcp.shop.example", "SRV")

    assert [(one.priority, one.weight, one.port, str(one.target)) for one in answer] == [(1, 100, 8080, "p1.shop.example.")]
    assert [(str(rrset.name), rrset.ttl) for rrset in answer.response.additional] == [("p1.shop.example.", 4)] * along
    assert answer.rdtype == SRV


def test_a_name_without_records_exists_and_one_that_is_not_listed_does_not(serve: Serve) -> None:
    server = serve({"shop.example": ()})

    with pytest.raises(dns.resolver.NoAnswer):
        _resolver(server).resolve("shop.example", "A")
    with pytest.raises(dns.resolver.NXDOMAIN):
        _resolver(server).resolve("shop2.example", "A")


def test_faults_as_told_and_taken_back(serve: Serve) -> None:
    server = serve({"shop.example": (address("10.0.0.1"),)})

    server.faults["shop.example"] = NameFault.SERVER_FAILURE
    failure = dns.message.from_wire(_by_udp(server, QUERY))
    server.faults["shop.example"] = NameFault.SILENT
    with pytest.raises(TimeoutError):
        _by_udp(server, QUERY, patience_s=0.2)
    del server.faults["shop.example"]

    assert failure.rcode() == dns.rcode.SERVFAIL
    assert dns.message.from_wire(_by_udp(server, QUERY)).rcode() == dns.rcode.NOERROR


def test_what_is_too_long_for_a_datagram_comes_by_tcp(serve: Serve) -> None:
    heard: SimpleQueue[Question] = SimpleQueue()
    server = serve({"shop.example": tuple(address(f"10.0.0.{n}") for n in range(1, 101))}, heard.put)

    cut = _by_udp(server, QUERY)
    answer = _resolver(server).resolve("shop.example", "A")

    assert cut == bytes.fromhex("1234 8780 0001 0000 0000 0000") + QUESTION
    assert len(answer) == 100
    assert [heard.get_nowait().by_tcp for _ in range(3)] == [False, False, True]


def test_every_answer_by_udp_can_be_cut(serve: Serve) -> None:
    server = serve({"shop.example": (address("10.0.0.1"),)})
    server.udp_bytes = 0

    assert _by_udp(server, QUERY)[2:4] == b"\x87\x80"
