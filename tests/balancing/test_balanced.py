"""Both transports over real pods: who gets what, and what happens when pods come, go and fail."""

import logging
import os
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kbalance.balancing import (
    Ejection,
    Elsewhere,
    Following,
    Hooks,
    Known,
    Lifetime,
    Origin,
    Retries,
    StaticEndpoints,
    Tell,
    Trouble,
    asynchronous,
    blocking,
)
from kbalance.model.target import Address
from kbalance.model.words import EndpointPolicy
from kbalance.testbed.scenario import Fault
from tests.balancing.fleet import HOST, KINDS, PATIENCE_S, ask, ask_in_turn, calling, fleet, gate, got, met, until
from tests.wire.certificates import Certificates
from tests.wire.server import always, read_request, serving

pytestmark = pytest.mark.parametrize("kind", ["asyncio", "threads"])

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Pod-Name: there\r\n\r\nok"


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    threads, files = set(threading.enumerate()), set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    yield
    assert set(threading.enumerate()) <= threads
    assert not files or len(os.listdir("/proc/self/fd")) <= len(files)


class Told:
    """A source of every host that tells what the test tells it to."""

    def __init__(self, *news: Known | Elsewhere | Trouble) -> None:
        self._news = news
        self.tells: list[Tell] = []
        self.refreshed = 0
        self.closed = 0

    def follow(self, origin: Origin, tell: Tell) -> Following:
        self.tells.append(tell)
        for one in self._news:
            tell(one)
        return self

    def refresh(self) -> None:
        self.refreshed += 1

    def close(self) -> None:
        self.closed += 1


# Who gets what


def test_round_robin_is_exact_for_many_at_once(kind: str) -> None:
    with fleet(1, 2, 3) as pods, calling(kind, pods.source, at_once=16) as caller:
        counts = Counter(ask(caller, 301))

    assert sorted(counts.values()) == [100, 100, 101]


def test_in_turn_each_endpoint_has_one_connection(kind: str) -> None:
    with fleet(1, 2, 3) as pods, calling(kind, pods.source) as caller:
        order = ask_in_turn(caller, 12)
        accepted = [pod.accepted for pod in pods.pods.values()]

    assert order == order[:3] * 4
    assert (len(set(order)), accepted) == (3, [1, 1, 1])


@pytest.mark.parametrize("policy", [EndpointPolicy.RANDOM, "two-choices"])
def test_the_other_policies_reach_everybody(kind: str, policy: str) -> None:
    with fleet(1, 2, 3) as pods, calling(kind, pods.source, policy=policy) as caller:
        counts = Counter(ask(caller, 200))

    assert len(counts) == 3
    # Of random draws, 67 each and 7 more or less: so few come to one in less than 1 of 10^11 runs.
    assert min(counts.values()) > 20


def test_two_choices_spare_the_slow(kind: str) -> None:
    """Of six at once, one that does not answer holds three; random draws would give it all six, and nothing would go on."""
    with fleet(1, 3) as pods, gate("pod-2") as (slow, place):
        source = StaticEndpoints({HOST: [pods.endpoint(1), place, pods.endpoint(3)]})
        with calling(kind, source, policy="two-choices", at_once=6) as caller:
            futures = [caller.begin() for _ in range(120)]
            until(lambda: sum(future.done() for future in futures) >= 117)
            slow.let_go()
            counts = Counter(got(future) for future in futures)

    assert 1 <= counts["pod-2"] <= 3
    assert counts["pod-1"] + counts["pod-2"] + counts["pod-3"] == 120


def test_no_more_requests_at_once_than_an_endpoint_may_have(kind: str) -> None:
    with fleet(1, 2, fault=Fault.SLOW, delay_ms=5) as pods, calling(kind, pods.source, per_endpoint=2, at_once=12) as caller:
        counts = Counter(ask(caller, 60))
        accepted = [pod.accepted for pod in pods.pods.values()]

    assert (counts["pod-1"] + counts["pod-2"], accepted) == (60, [2, 2])


def test_a_request_that_waits_too_long_for_its_turn_says_so(kind: str) -> None:
    with (
        gate("pod-1") as (pod, place),
        calling(kind, StaticEndpoints({HOST: [place]}), per_endpoint=1) as caller,
    ):
        held = caller.begin()
        until(lambda: len(pod.asked) == 1)
        late = got(caller.begin(timeout=httpx.Timeout(PATIENCE_S, pool=0.05)))
        pod.let_go()
        answered = got(held)

    assert (late, answered) == ("PoolTimeout", "pod-1")


# The name stays


def test_the_host_header_keeps_the_name(kind: str) -> None:
    heard: list[bytes] = []

    def script(sock: Any) -> None:
        while request := read_request(sock):
            heard.append(request)
            sock.sendall(OK)

    with serving(script) as server, calling(kind, StaticEndpoints({HOST: [server.address]})) as caller:
        ask(caller, 1)
        ask(caller, 1, url=f"http://{HOST}:8080/path?q=1")

    assert b"\r\nHost: web.shop\r\n" in heard[0]
    assert heard[1].startswith(b"GET /path?q=1 HTTP/1.1\r\nHost: web.shop:8080\r\n")


def test_the_certificate_has_to_be_for_the_name(kind: str, certificates: Certificates) -> None:
    name = "web.test"
    with serving(always(OK), certificates.server(name)) as server:
        source = StaticEndpoints({name: [server.address], "other.test": [server.address]})
        with calling(kind, source, verify=ssl.create_default_context(cafile=certificates.cacert)) as caller:
            answers = [got(caller.begin(url=f"https://{host}/")) for host in (name, "other.test")]

    assert answers == ["there", "ConnectError"]


# Hosts that are not Services


def test_other_hosts_go_through_an_ordinary_transport(kind: str) -> None:
    with fleet(1) as pods, serving(always(OK)) as server, calling(kind, pods.source) as caller:
        elsewhere = got(caller.begin(url=server.url))
        here = got(caller.begin())
        told = {host.origin: host.state.value for host in caller.snapshot().hosts}

    assert (elsewhere, here) == ("there", "pod-1")
    assert told == {server.url: "elsewhere", f"http://{HOST}:80": "known"}


def test_several_services_through_one_client(kind: str) -> None:
    with fleet(1, 2) as pods:
        source = StaticEndpoints({"a.shop": [pods.endpoint(1)], "b.shop": [pods.endpoint(2)]})
        with calling(kind, source) as caller:
            answers = [got(caller.begin(url=f"http://{host}/")) for host in ("a.shop", "b.shop", "A.shop")]

    assert answers == ["pod-1", "pod-2", "pod-1"]


def test_neither_http_nor_https_is_refused(kind: str) -> None:
    with fleet(1) as pods, calling(kind, pods.source) as caller, pytest.raises(httpx.UnsupportedProtocol):
        caller.begin(url=f"ftp://{HOST}/").result(PATIENCE_S)


# Pods come and go


def test_a_new_endpoint_gets_traffic_at_once(kind: str) -> None:
    with fleet(1) as pods, calling(kind, pods.source) as caller:
        ask(caller, 3)
        pods.start(2)
        pods.list(1, 2)

        assert Counter(ask_in_turn(caller, 10)) == {"pod-1": 5, "pod-2": 5}


def test_idle_connections_to_an_endpoint_that_left_are_closed_at_once(kind: str) -> None:
    with fleet(1, 2) as pods, calling(kind, pods.source) as caller:
        ask_in_turn(caller, 4)
        pods.list(2)
        until(lambda: pods.connections(1) == 0)

        assert (pods.connections(2), set(ask(caller, 5))) == (1, {"pod-2"})
        assert [str(e.endpoint) for e in caller.snapshot().hosts[0].endpoints] == ["pod-2"]


def test_a_request_under_way_is_finished_at_an_endpoint_that_leaves(kind: str) -> None:
    with gate("pod-1") as (leaving, there), gate("pod-2") as (staying, here):
        source = StaticEndpoints({HOST: [there, here]})
        with calling(kind, source) as caller:
            under_way = [caller.begin() for _ in range(2)]
            until(lambda: len(leaving.asked) == len(staying.asked) == 1)
            source.update(HOST, [here])
            standings = Counter(e.standing.value for e in caller.snapshot().hosts[0].endpoints)
            leaving.let_go()
            staying.let_go()
            answered = sorted(got(future) for future in under_way)
            until(lambda: not leaving.connections)

    assert (answered, standings) == (["pod-1", "pod-2"], {"in-use": 1, "leaving": 1})


def test_no_endpoint_is_an_error_at_once_and_a_new_one_ends_it(kind: str) -> None:
    with fleet(1) as pods, calling(kind, pods.source) as caller:
        pods.list()
        with pytest.raises(httpx.ConnectError, match="has no endpoint that is ready"):
            caller.begin().result(PATIENCE_S)
        pods.list(1)

        assert ask(caller, 1) == ["pod-1"]


def test_whoever_waits_is_told_when_everybody_leaves(kind: str) -> None:
    with gate("pod-1") as (pod, place):
        source = StaticEndpoints({HOST: [place]})
        with calling(kind, source, per_endpoint=1) as caller:
            held = caller.begin()
            until(lambda: len(pod.asked) == 1)
            waiting = caller.begin()
            until(lambda: caller.snapshot().waiting == 1)
            source.update(HOST, [])
            told = got(waiting)
            pod.let_go()
            answered = got(held)

    assert (told, answered) == ("ConnectError", "pod-1")


# Pods fail


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_pod_that_refuses_costs_no_request(kind: str, method: str) -> None:
    with fleet(1, 2, 3) as pods, calling(kind, pods.source, ejection=Ejection(for_s=300.0)) as caller:
        pods.fault(2, Fault.REFUSE)
        answers = Counter(ask_in_turn(caller, 60, method))
        standing = {str(e.endpoint): (e.standing.value, e.failed) for e in caller.snapshot().hosts[0].endpoints}

    assert answers["pod-1"] + answers["pod-3"] == 60
    assert standing["pod-2"] == ("ejected", 5)


def test_a_pod_that_resets_costs_no_request_that_may_be_repeated(kind: str) -> None:
    with fleet(1, 2, 3) as pods, calling(kind, pods.source, ejection=Ejection(after=0)) as caller:
        pods.fault(2, Fault.RESET)
        repeated = Counter(ask_in_turn(caller, 30, "PUT"))
        not_repeated = Counter(ask_in_turn(caller, 30, "POST"))

    assert set(repeated) == {"pod-1", "pod-3"}
    assert not_repeated["ReadError"] + not_repeated["RemoteProtocolError"] == 10


def test_a_pod_that_is_silent_costs_time_outs_until_it_is_ejected(kind: str) -> None:
    with fleet(1, 2, 3) as pods, calling(kind, pods.source, ejection=Ejection(after=2, for_s=300.0)) as caller:
        order = ask_in_turn(caller, 3)
        turns = (order * 2)[: 3 + order.index("pod-2") + 1]
        pods.fault(2, Fault.HANG)
        # Little patience only with the silent one, so that no other can be late.
        hasty: dict[str, Any] = {"timeout": httpx.Timeout(PATIENCE_S, read=0.1)}
        met = [got(caller.begin(**(hasty if turn == "pod-2" else {}))) for turn in turns]
        later = set(ask_in_turn(caller, 24))

    assert met == ["ReadTimeout" if turn == "pod-2" else turn for turn in turns]
    assert later == {"pod-1", "pod-3"}


def test_an_ejected_pod_is_tried_again(kind: str) -> None:
    with fleet(1, 2) as pods, calling(kind, pods.source, ejection=Ejection(after=1, for_s=0.05)) as caller:
        pods.fault(2, Fault.REFUSE)
        ask_in_turn(caller, 4)
        pods.fault(2, Fault.NONE)

        until(lambda: "pod-2" in ask_in_turn(caller, 2))


def test_when_everybody_refuses_the_error_is_httpx_s_and_each_was_tried_once(kind: str) -> None:
    retried: list[str] = []

    class Count(Hooks):
        def retried(self, origin: Origin, endpoint: str, error: Exception) -> None:
            retried.append(endpoint)

    with fleet(1, 2, 3, 4, 5) as pods, calling(kind, pods.source, hooks=Count()) as caller:
        for number in range(1, 6):
            pods.fault(number, Fault.REFUSE)

        assert ask(caller, 1) == ["ConnectError"]
    assert len(retried) == len(set(retried)) == 4


def test_retries_stay_within_their_budget(kind: str) -> None:
    budget = Retries(share=0.0, least_per_s=0.0)
    with fleet(1, 2) as pods, calling(kind, pods.source, retries=budget, ejection=Ejection(after=0)) as caller:
        pods.fault(2, Fault.RESET)
        answers = Counter(ask_in_turn(caller, 60))

    # Without any, half of them fail; a connection that is refused costs nothing of it.
    assert (answers["pod-1"], answers["ReadError"]) == (30, 30)


def test_a_source_is_asked_to_look_again_when_an_endpoint_cannot_be_reached(kind: str) -> None:
    with fleet(1, 2) as pods:
        source = Told(Known(endpoints=(pods.endpoint(1), pods.endpoint(2))))
        with calling(kind, source) as caller:
            ask_in_turn(caller, 2)
            before = source.refreshed
            pods.fault(2, Fault.REFUSE)
            answers = ask_in_turn(caller, 2)

    assert (before, set(answers), source.closed) == (0, {"pod-1"}, 1)
    assert source.refreshed >= 1


def test_a_connection_that_the_server_closed_while_idle_costs_nothing(kind: str) -> None:
    """It closes after every third answer without a word; a POST may meet that only in the moment of closing."""
    with fleet(1, 2, close_after_requests=3, announce_close=False) as pods, calling(kind, pods.source) as caller:
        answers = Counter(ask_in_turn(caller, 60))
        failed = sum(e.failures for e in caller.snapshot().hosts[0].endpoints)

    assert (answers, failed) == ({"pod-1": 30, "pod-2": 30}, 0)


# Connections


def test_connections_end_after_so_many_requests(kind: str) -> None:
    with fleet(1, 2) as pods, calling(kind, pods.source, lifetime=Lifetime(requests=5, jitter=0.0)) as caller:
        ask_in_turn(caller, 60)
        accepted = [pod.accepted for pod in pods.pods.values()]

    assert accepted == [6, 6]


def test_connections_end_at_an_age(kind: str) -> None:
    with fleet(1) as pods, calling(kind, pods.source, lifetime=Lifetime(age_s=0.05)) as caller:
        until(lambda: ask(caller, 1) == ["pod-1"] and pods.pods[1].accepted >= 4)
        answers = pods.pods[1].answered

    assert answers >= 4


def test_one_connection_of_each_endpoint_outlasts_idleness(kind: str) -> None:
    limits = httpx.Limits(keepalive_expiry=0.05)
    with fleet(1, 2, fault=Fault.SLOW, delay_ms=20) as pods, calling(kind, pods.source, limits=limits) as caller:
        ask(caller, 8)
        until(lambda: set(ask(caller, 1)) <= {"pod-1", "pod-2"} and pods.connections(1) == pods.connections(2) == 1)
        kept = [e.connections for e in caller.snapshot().hosts[0].endpoints]

    assert kept == [1, 1]


def test_a_limit_over_all_endpoints_holds(kind: str) -> None:
    limits = httpx.Limits(max_connections=2)
    with fleet(1, 2, 3) as pods, calling(kind, pods.source, limits=limits) as caller:
        answers = Counter(ask(caller, 30))
        most = caller.snapshot().connections

    assert (sorted(answers.values()), most <= 2) == ([10, 10, 10], True)


# What is told


def test_trouble_keeps_what_is_known_and_says_so(kind: str) -> None:
    with fleet(1) as pods:
        source = Told(Known(endpoints=(pods.endpoint(1),)), Trouble(reason="The API is away."))
        with calling(kind, source) as caller:
            answers = ask(caller, 2)
            (host,) = caller.snapshot().hosts
            line = caller.line()

    assert (answers, host.state.value, host.reason) == (["pod-1", "pod-1"], "stale", "The API is away.")
    assert host.age_s is not None
    assert "at 1 endpoint (stale)" in line


def test_trouble_from_the_start_leads_where_the_name_leads(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(always(OK)) as server, calling(kind, Told(Trouble(reason="No permission."))) as caller:
        answer = got(caller.begin(url=f"http://localhost:{server.address.port}/"))

    assert answer == "there"
    assert ["No permission." in r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [True]


def _first_news_s(kind: str, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """How long a source's first word is waited for by those who would wait for a connection for ever."""
    monkeypatch.setattr({"asyncio": asynchronous, "threads": blocking}[kind], "FIRST_NEWS_S", seconds)


def test_a_source_that_says_nothing_is_not_waited_for_for_ever(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _first_news_s(kind, monkeypatch, 0.05)
    with serving(always(OK)) as server:
        source = Told()
        with calling(kind, source) as caller:
            url = f"http://localhost:{server.address.port}/"
            answer = got(caller.begin(url=url, timeout=httpx.Timeout(PATIENCE_S, connect=None)))
            state = caller.snapshot().hosts[0].state.value
            source.tells[0](Known(endpoints=()))
            later = got(caller.begin(url=url))

    assert (answer, state, later) == ("there", "fallback", "ConnectError")


def test_a_source_is_waited_for_no_longer_than_a_connection(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection itself has as much time again, which a busy machine may use up."""
    _first_news_s(kind, monkeypatch, 3600.0)
    with serving(always(OK)) as server, calling(kind, Told()) as caller:
        url = f"http://localhost:{server.address.port}/"
        first = got(caller.begin(url=url, timeout=httpx.Timeout(PATIENCE_S, connect=0.05)))
        second = got(caller.begin(url=url))

    assert first in ("there", "ConnectTimeout")
    assert second == "there"


def test_what_was_no_service_may_become_one(kind: str) -> None:
    with fleet(1) as pods, serving(always(OK)) as server:
        source = Told(Elsewhere(reason="There is no such Service."))
        with calling(kind, source) as caller:
            url = f"http://localhost:{server.address.port}/"
            before = got(caller.begin(url=url))
            source.tells[0](Known(endpoints=(pods.endpoint(1),)))
            after = got(caller.begin(url=url))

    assert (before, after) == ("there", "pod-1")


def test_hooks_hear_of_everything(kind: str) -> None:
    heard: Counter[str] = Counter()

    def listener(name: str) -> Any:
        return lambda self, *arguments: heard.update([name])

    names = [name for name, value in vars(Hooks).items() if callable(value)]
    hooks = type("Listening", (Hooks,), {name: listener(name) for name in names})()
    ejection = Ejection(after=2, for_s=0.05)
    with fleet(1, 2) as pods, calling(kind, pods.source, hooks=hooks, ejection=ejection) as caller:
        pods.fault(2, Fault.REFUSE)
        ask_in_turn(caller, 6)
        pods.fault(2, Fault.NONE)
        until(lambda: "pod-2" in ask_in_turn(caller, 2))
        pods.list(2)
        until(lambda: heard["closed"] >= 1)

    assert {name for name in names if heard[name]} == set(names) - {"trouble"}
    assert (heard["ejected"], heard["failed"], heard["retried"]) == (heard["returned"], heard["retried"], heard["failed"])


def test_a_hook_that_fails_harms_nobody(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Hooks):
        def answered(self, origin: Origin, endpoint: str, status: int, took_s: float) -> None:
            raise ZeroDivisionError

    with fleet(1) as pods, calling(kind, pods.source, hooks=Broken()) as caller:
        answers = ask(caller, 2)

    assert answers == ["pod-1", "pod-1"]
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ZeroDivisionError] * 2


def test_a_line_says_what_it_is(kind: str) -> None:
    with fleet(1, 2) as pods, calling(kind, pods.source) as caller:
        ask_in_turn(caller, 2)
        line = caller.line()

    name = {"asyncio": "AsyncBalancingTransport", "threads": "BalancingTransport"}[kind]
    assert line == f"<{name} 0 busy, 2 idle, 0 waiting; http://web.shop:80 at 2 endpoints>"


# Closing


def test_closing_ends_what_is_under_way_and_what_waits(kind: str) -> None:
    with fleet(1, fault=Fault.HANG) as pods, calling(kind, pods.source, per_endpoint=1) as caller:
        futures = [caller.begin() for _ in range(3)]
        until(lambda: caller.snapshot().waiting == 2)
        caller.close()

        assert [got(future) for future in futures] == ["ReadError"] * 3


# Bodies


def test_a_streamed_body_goes_to_another_endpoint_when_no_connection_opened(kind: str) -> None:
    """Nothing of it was used up; one that was begun is sent once only."""
    with fleet(1, 2) as pods, calling(kind, pods.source, ejection=Ejection(after=0)) as caller:
        pods.fault(2, Fault.REFUSE)
        refused = [got(caller.begin("POST", content=_parts(kind))) for _ in range(4)]
        pods.fault(2, Fault.RESET)
        begun = Counter(got(caller.begin("PUT", content=_parts(kind))) for _ in range(4))

    assert refused == ["pod-1"] * 4
    assert begun["pod-1"] == 2


def _parts(kind: str) -> Any:
    async def later() -> Any:
        for part in (b"one", b"two"):
            yield part

    return later() if kind == "asyncio" else iter([b"one", b"two"])


def test_a_large_body_comes_whole_from_each(kind: str) -> None:
    body = os.urandom(3_000_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Pod-Name: there\r\n\r\n%b" % (len(body), body)
    with serving(always(answer)) as server, calling(kind, StaticEndpoints({HOST: [server.address]})) as caller:
        responses = [future.result(10) for future in [caller.begin() for _ in range(4)]]

    assert all(response.content == body for response in responses)
    assert {met(response) for response in responses} == {"there"}


def test_addresses_may_be_plain_pairs(kind: str) -> None:
    with fleet(1, 2) as pods:
        pairs = [tuple(pods.pods[1].address), Address(*pods.pods[2].address), tuple(pods.pods[1].address)]
        with calling(kind, StaticEndpoints({HOST: pairs})) as caller:  # type: ignore[dict-item]
            assert len(set(ask_in_turn(caller, 2))) == 2


# Ends


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "round-roobin"},
        {"per_endpoint": 0},
        {"slow_start_s": -1.0},
        {"keep_open": -1},
        {"verify": "/etc/ssl/ca.pem"},
        {"hooks": Hooks},
        {"ordinary": object()},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_makes_no_sense_is_refused_at_once(kind: str, wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        KINDS[kind](StaticEndpoints({}), 5.0, 1, **wrong)


def test_a_source_is_something_that_can_be_followed(kind: str) -> None:
    with pytest.raises(TypeError, match="no method follow"):
        KINDS[kind]({HOST: [("127.0.0.1", 80)]}, 5.0, 1)


@pytest.mark.parametrize("fails", ["follow", "refresh"])
def test_a_source_that_fails_is_trouble_and_no_outage(kind: str, fails: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Told):
        def follow(self, origin: Origin, tell: Tell) -> Following:
            if fails == "follow":
                raise ZeroDivisionError("by design")
            return super().follow(origin, tell)

        def refresh(self) -> None:
            raise ZeroDivisionError("by design")

    with fleet(1, 2) as pods, serving(always(OK)) as server:
        pods.fault(2, Fault.REFUSE)
        source = Broken(Known(endpoints=(pods.endpoint(1), pods.endpoint(2))))
        with calling(kind, source) as caller:
            answers = set(ask_in_turn(caller, 3, url=f"http://localhost:{server.address.port}/"))

    assert answers == ({"there"} if fails == "follow" else {"pod-1"})
    assert any(r.exc_info and r.exc_info[0] is ZeroDivisionError for r in caplog.records)


def test_a_post_waits_for_an_ejection_to_end_when_all_others_are_full(kind: str) -> None:
    with fleet(1, 2) as pods:
        ejection = Ejection(after=1, for_s=0.2)
        with calling(kind, pods.source, per_endpoint=1, ejection=ejection) as caller:
            full, other = (int(name[-1]) for name in ask_in_turn(caller, 2))
            pods.fault(full, Fault.HANG)
            caller.begin()
            until(lambda: any(e.busy for e in caller.snapshot().hosts[0].endpoints))
            pods.fault(other, Fault.REFUSE)
            late = got(caller.begin(timeout=httpx.Timeout(PATIENCE_S, pool=0.01)))
            pods.fault(other, Fault.NONE)
            answer = got(caller.begin("POST"))

    assert (late, answer) == ("PoolTimeout", f"pod-{other}")


def test_a_name_whose_first_address_is_silent_is_reached_at_another(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one takes no connection, since its queue of them is full."""
    known = socket.getaddrinfo
    with serving(always(OK)) as server, socket.create_server(("127.0.0.2", server.address.port), backlog=0) as full:
        filling = [socket.socket() for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(full.getsockname())

        def resolve(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
            if host != "two.test":
                return known(host, port, *rest, **more)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in (full.getsockname(), server.address)]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with calling(kind, Told(Trouble(reason="away"))) as caller:
            answer = got(caller.begin(url=f"http://two.test:{server.address.port}/"))
        for one in filling:
            one.close()

    assert answer == "there"
