"""Endpoints by DNS, asked of a real server on loopback."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import Any

import pytest

from kbalance.balancing import names
from kbalance.balancing.endpoints import Endpoint, Following, Known, News, Origin, Trouble
from kbalance.balancing.names import LOOK_UP_S, REFRESH_S, SERVER_S, DnsEndpoints
from kbalance.model.target import Address
from kbalance.testbed.names import AAAA, A, NameFault, NameServer, Question, Record, address, alias, service
from tests.testbed.conftest import Background

PATIENCE_S = 10.0
"""Only a broken test ever waits so long."""
URL = Origin("http", "shop.example", 8080)
NO_ADDRESS = "The name {} has no address at the moment; look whether its headless Service exists and has ready Pods."


class Bench:
    """A name server, and what followers of its names are told."""

    def __init__(self, background: Background, resolv_conf: Path) -> None:
        self.questions: SimpleQueue[Question] = SimpleQueue()
        self.news: SimpleQueue[News] = SimpleQueue()
        self.server = background.start(lambda: NameServer(self.questions.put))
        self.resolv_conf = resolv_conf
        self._background = background
        self._following: list[Following] = []

    def another_server(self) -> NameServer:
        return self._background.start(NameServer)

    def has(self, name: str, *records: Record) -> None:
        self.server.records[name] = records

    def source(self, hosts: Any = ("shop.example",), **options: Any) -> DnsEndpoints:
        return DnsEndpoints(hosts, **{"nameservers": [self.server.address], "resolv_conf": str(self.resolv_conf)} | options)

    def follow(self, hosts: Any = ("shop.example",), origin: Origin = URL, **options: Any) -> Following:
        following = self.source(hosts, **options).follow(origin, self.news.put)
        assert following is not None
        self._following.append(following)
        return following

    def told(self) -> News:
        return self.news.get(timeout=PATIENCE_S)

    def until(self, wanted: News) -> News:
        """What was told before it may repeat what was so before."""
        while (news := self.told()) != wanted:
            pass
        return news

    def asked(self, count: int) -> list[Question]:
        return [self.questions.get(timeout=PATIENCE_S) for _ in range(count)]

    def pauses_s(self, count: int) -> list[float]:
        """Between questions, of which each look-up asks one; a pause that exceeds all patience is an error here."""
        times = [question.asked_s for question in self.asked(count + 1)]
        return [after - before for before, after in pairwise(times)]

    def close(self) -> None:
        for following in self._following:
            following.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("domain .\n")  # no search list
    background = Background()
    bench = Bench(background, resolv_conf)
    yield bench
    bench.close()
    background.close()
    assert threads() == []


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kbalance-dns")]


def known(*addresses: tuple[str, int], names: tuple[str, ...] = ()) -> Known:
    names = names or ("",) * len(addresses)
    pairs = zip(addresses, names, strict=True)
    return Known(endpoints=tuple(Endpoint(address=Address(*where), name=name) for where, name in pairs))


# What is asked and what it means


def test_a_host_that_is_not_listed_is_somebody_elses(bench: Bench) -> None:
    assert bench.source().follow(Origin("http", "other.example", 80), bench.news.put) is None
    assert threads() == []


def test_addresses_come_sorted_with_the_port_of_the_url_from_a_thread_of_that_name(bench: Bench) -> None:
    bench.has("shop.example", address("10.0.0.3"), address("10.0.0.1"), address("10.0.0.2"), address("fd00::1"))

    bench.follow()

    assert threads() == ["kbalance-dns shop.example"]
    assert bench.told() == known(("10.0.0.1", 8080), ("10.0.0.2", 8080), ("10.0.0.3", 8080))
    assert [question.kind for question in bench.asked(1)] == [A]


def test_ipv6_is_for_names_without_ipv4(bench: Bench) -> None:
    bench.has("shop.example", address("fd00::2"), address("fd00::1"))

    bench.follow("Shop.Example")

    assert bench.told() == known(("fd00::1", 8080), ("fd00::2", 8080))
    assert [question.kind for question in bench.asked(2)] == [A, AAAA]


@pytest.mark.parametrize(("name", "port"), [("pods.example", 8080), ("pods.example:9000", 9000)])
def test_a_host_may_stand_for_another_name_and_port(bench: Bench, name: str, port: int) -> None:
    bench.has("pods.example", address("10.0.0.1"))

    bench.follow({"SHOP.example": name})

    assert bench.told() == known(("10.0.0.1", port))


def test_each_port_of_a_host_is_followed_by_itself(bench: Bench) -> None:
    bench.has("shop.example", address("10.0.0.1"))

    bench.follow()
    first = bench.told()
    bench.follow(origin=Origin("http", "shop.example", 80))

    assert (first, bench.told()) == (known(("10.0.0.1", 8080)), known(("10.0.0.1", 80)))


@pytest.mark.parametrize("along", [True, False])
def test_services_tell_ports_and_names(bench: Bench, along: bool) -> None:
    """Each target's addresses are asked for where they do not come along; only the best priority counts."""
    bench.server.adds_addresses = along
    bench.has("_http._tcp.pods.example", service("b.pods.example", 81), service("a.pods.example", 80), service(".", 80))
    bench.server.records["_http._tcp.pods.example"] += (service("far.pods.example", 80, priority=1),)
    bench.has("a.pods.example", address("10.0.0.1"), address("fd00::1"))
    bench.has("b.pods.example", address("fd00::2"))

    bench.follow({"shop.example": "_http._tcp.pods.example"})

    assert bench.told() == known(("10.0.0.1", 80), ("fd00::2", 81), names=("a", "b"))
    assert bench.questions.qsize() == (1 if along else 4)


def test_more_endpoints_than_a_datagram_holds_come_by_tcp(bench: Bench) -> None:
    ips = sorted(f"10.0.0.{n}" for n in range(1, 201))
    bench.has("shop.example", *[address(ip) for ip in ips])

    bench.follow()

    assert bench.told() == known(*[(ip, 8080) for ip in ips])
    assert [question.by_tcp for question in bench.asked(2)] == [False, True]


@pytest.mark.parametrize(
    ("ndots", "tried"),
    [
        (5, ["pods.shop.example", "pods.shop.svc.example"]),
        (1, ["pods.shop", "pods.shop.example", "pods.shop.svc.example"]),
    ],
)
def test_search_list_and_ndots_are_those_of_the_system(bench: Bench, ndots: int, tried: list[str]) -> None:
    bench.resolv_conf.write_text(f"nameserver 192.0.2.1\nsearch example svc.example\noptions ndots:{ndots}\n")
    bench.has("pods.shop.svc.example", address("10.0.0.1"))

    bench.follow({"shop": "pods.shop"}, Origin("http", "shop", 80))

    assert bench.told() == known(("10.0.0.1", 80))
    assert [question.name for question in bench.asked(len(tried))] == tried


# When


@pytest.mark.parametrize(
    ("ttl_s", "least_s", "most_s", "expected_s"), [(0, 0.3, 3600, 0.3), (3600, 0.1, 0.4, 0.4), (1, 0.1, 3600, 1.0)]
)
def test_the_next_look_up_comes_when_the_answer_is_over(
    bench: Bench, ttl_s: int, least_s: float, most_s: float, expected_s: float
) -> None:
    bench.has("shop.example", address("10.0.0.1", ttl_s))

    bench.follow(least_s=least_s, most_s=most_s)

    assert min(bench.pauses_s(2)) >= expected_s


def test_the_shortest_time_to_live_of_all_records_counts(bench: Bench) -> None:
    bench.has("shop.example", alias("pods.example", ttl_s=0))
    bench.has("pods.example", address("10.0.0.1", ttl_s=3600))

    bench.follow(least_s=0.1, most_s=3600)

    assert [bench.told() for _ in range(2)] == [known(("10.0.0.1", 8080))] * 2


def test_what_has_not_changed_is_told_again_and_what_has_is_told(bench: Bench) -> None:
    bench.has("shop.example", address("10.0.0.1", ttl_s=0))

    bench.follow(least_s=0.05)
    before = [bench.told() for _ in range(3)]
    bench.has("shop.example", address("10.0.0.2", ttl_s=0))

    assert before == [known(("10.0.0.1", 8080))] * 3
    assert bench.until(known(("10.0.0.2", 8080)))


def test_refresh_looks_up_at_once_but_once_a_second(bench: Bench) -> None:
    bench.has("shop.example", address("10.0.0.1", ttl_s=3600))
    following = bench.follow(most_s=3600)
    bench.told()

    for _ in range(2):
        for _ in range(50):
            following.refresh()
        bench.told()

    assert min(bench.pauses_s(2)) >= REFRESH_S - 0.05
    assert (bench.questions.qsize(), bench.news.qsize()) == (0, 0)


def test_refresh_is_at_once_where_the_last_look_up_is_long_ago(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, passed_s = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(passed_s))
    monkeypatch.setattr(names, "REFRESH_S", 3600.0)
    bench.has("shop.example", address("10.0.0.1", ttl_s=3 * 3600))
    following = bench.follow(most_s=3 * 3600)
    bench.told()
    bench.questions.get_nowait()

    passed_s.append(3600.0)
    with pytest.raises(Empty):
        bench.questions.get(timeout=0.1)  # nothing is asked without being wanted
    following.refresh()

    assert len(bench.asked(1)) == 1


# Trouble


def test_a_name_that_is_gone_for_a_moment_is_trouble_and_no_empty_list(bench: Bench) -> None:
    bench.follow(least_s=0.05)
    missing = bench.told()
    bench.has("shop.example", address("10.0.0.1", ttl_s=0))
    bench.until(known(("10.0.0.1", 8080)))
    bench.has("shop.example")
    empty = Trouble(reason=NO_ADDRESS.format("shop.example"))

    assert missing == empty
    assert bench.until(empty)


def test_a_server_that_fails_is_trouble_until_it_answers(bench: Bench) -> None:
    bench.has("shop.example", address("10.0.0.1"))
    bench.server.faults["shop.example"] = NameFault.SERVER_FAILURE

    bench.follow()
    trouble = bench.told()
    bench.server.faults.clear()

    assert trouble == Trouble(
        reason="The DNS servers cannot tell what shop.example is (SERVFAIL); the logs of CoreDNS should say why."
    )
    assert bench.until(known(("10.0.0.1", 8080)))


def test_silence_is_trouble_within_two_seconds(bench: Bench) -> None:
    """A question each half second and a bit: dnspython's own five seconds would bring five, however slow the machine is."""
    bench.server.faults["shop.example"] = NameFault.SILENT

    bench.follow()

    assert bench.told() == Trouble(
        reason="No DNS server answered for shop.example in time; look whether CoreDNS runs, and whether this Pod may reach it."
    )
    assert (LOOK_UP_S + SERVER_S <= 2.0, bench.questions.qsize() <= 3) == (True, True)


def test_a_silent_server_leaves_time_for_the_next_one(bench: Bench) -> None:
    silent = bench.another_server()
    silent.faults["shop.example"] = NameFault.SILENT
    bench.has("shop.example", address("10.0.0.1"))

    bench.follow(nameservers=[silent.address, bench.server.address])

    assert bench.told() == known(("10.0.0.1", 8080))


@pytest.mark.parametrize("text", ["search example\n", None])
def test_a_system_without_servers_is_trouble(bench: Bench, text: str | None) -> None:
    bench.resolv_conf.unlink() if text is None else bench.resolv_conf.write_text(text)

    bench.follow(nameservers=None)

    assert bench.told() == Trouble(
        reason=f"No DNS server is named in {bench.resolv_conf}; give nameservers, or mend the Pod's dnsPolicy."
    )


def test_a_name_that_dns_cannot_carry_is_trouble(bench: Bench) -> None:
    bench.follow({"shop.example": "pods..example"})

    assert bench.told() == Trouble(
        reason="The name pods..example could not be looked up (EmptyLabel: A DNS label is empty.); check its spelling."
    )


def test_after_failures_the_pauses_keep_to_their_limits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the upper one there would be 16.2 s after the fifth failure, beyond all patience."""

    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    monkeypatch.setattr(names, "BACK_OFF_S", (0.2, 0.8))

    bench.follow(random=Longest())
    pauses_s = bench.pauses_s(5)

    assert [p >= least_s for p, least_s in zip(pauses_s, (0.2, 0.6, 0.8, 0.8, 0.8), strict=True)] == [True] * 5
    assert bench.told() == Trouble(reason=NO_ADDRESS.format("shop.example"))


# The end


def test_close_ends_a_pause_at_once(bench: Bench) -> None:
    bench.has("shop.example", address("10.0.0.1", ttl_s=3600))
    following = bench.follow(most_s=3600)
    bench.told()

    following.close()
    following.close()

    assert threads() == []


def test_close_waits_for_a_look_up_whose_answer_nobody_hears(bench: Bench) -> None:
    bench.server.faults["shop.example"] = NameFault.SILENT
    following = bench.follow()
    bench.asked(1)

    following.close()

    assert (threads(), bench.news.qsize()) == ([], 0)


def test_whoever_is_told_may_close(bench: Bench) -> None:
    bench.has("shop.example", address("10.0.0.1", ttl_s=0))
    started, heard = threading.Event(), SimpleQueue[News]()
    holder: list[Following] = []

    def tell(news: News) -> None:
        started.wait(PATIENCE_S)
        holder[0].close()
        heard.put(news)

    following = bench.source(least_s=0.01).follow(URL, tell)
    assert following is not None
    holder.append(following)
    started.set()

    assert heard.get(timeout=PATIENCE_S) == known(("10.0.0.1", 8080))
    following.close()
    assert (threads(), heard.qsize()) == ([], 0)


# Arguments


@pytest.mark.parametrize(
    "make",
    [
        lambda: DnsEndpoints(["http://shop.example"]),
        lambda: DnsEndpoints(["shop.example:80"]),
        lambda: DnsEndpoints([""]),
        lambda: DnsEndpoints({"shop.example": ""}),
        lambda: DnsEndpoints({"shop.example": "pods.example:http"}),
        lambda: DnsEndpoints({"shop.example": "pods.example:0"}),
        lambda: DnsEndpoints({"shop.example": ":80"}),
        lambda: DnsEndpoints({"shop.example": "_http._tcp.pods.example:80"}),
        lambda: DnsEndpoints({"shop.example": "http://pods.example:80"}),
        lambda: DnsEndpoints(["shop.example"], least_s=0),
        lambda: DnsEndpoints(["shop.example"], least_s=2, most_s=1),
        lambda: DnsEndpoints(["shop.example"], nameservers=[Address("coredns", 53)]),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(make: Callable[[], DnsEndpoints]) -> None:
    with pytest.raises(ValueError, match=r"is no |has no port|give a shortest|does not appear"):
        make()


def test_dnspython_is_loaded_by_its_user_alone() -> None:
    code = "import sys, kbalance.balancing.names; print(*sys.modules)"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    assert [name for name in out.split() if name.partition(".")[0] == "dns"] == []
