"""The watch of EndpointSlices, over real sockets, against the embedded cluster and servers that answer as they are told."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kbalance.errors import ApiError, DiscoveryError
from kbalance.kube.client import Access, Client, Listed, connect
from kbalance.kube.watching import Slices, Timing, Watching
from kbalance.testbed.cluster import Cluster
from kbalance.testbed.outages import Outage, WatchEnd

from .apis import Answer, api, json_answer, kubeconfig, status
from .hearing import Heard

Json = dict[str, Any]

GONE = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}
QUICK = Timing(pause_s=0.01, longest_pause_s=0.05, refresh_s=0.05)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster.start() as started:
        yield started


def one(name: str = "web-1", version: str = "1", *addresses: str) -> Json:
    metadata = {"name": name, "resourceVersion": version}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [{"addresses": [a]} for a in addresses]}


def event(kind: str, found: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode()


def begun(*slices: Json, version: str = "1") -> Slices:
    slices_ = Slices()
    slices_.begin(Listed(items=list(slices), version=version))
    return slices_


class Desk:
    """Notes what it is told: the slices, or the error."""

    def __init__(self, wanted_s: float | None = None) -> None:
        self.heard: Heard[tuple[Json, ...] | DiscoveryError] = Heard()
        self.fails: list[DiscoveryError] = []
        self._wanted_s = wanted_s

    def found(self, slices: Any) -> None:
        if self.fails:
            raise self.fails.pop()
        self.heard(slices)

    def failed(self, error: DiscoveryError) -> float | None:
        self.heard(error)
        return self._wanted_s

    def endpoints(self, number: int) -> Any:
        """Waits until slices with so many endpoints are told."""
        return self.heard.until(lambda told: isinstance(told, tuple) and count(told) == number)

    def failure(self) -> DiscoveryError:
        error = self.heard.until(lambda told: isinstance(told, DiscoveryError))
        assert isinstance(error, DiscoveryError)
        return error


def count(slices: tuple[Json, ...]) -> int:
    return sum(len(slice_["endpoints"] or ()) for slice_ in slices)


class Running:
    """A watch in a thread."""

    def __init__(
        self,
        folder: Path,
        server: str,
        timing: Timing,
        desk: Desk | None = None,
        *,
        timeout_s: float = 10.0,
        random: Random | None = None,
    ) -> None:
        self.calls: Heard[str] = Heard()
        self.times_s: list[float] = []
        """When each of these was over, as the thread that made it saw that."""
        access = Access(kubeconfig=kubeconfig(folder, server), namespace="shop")
        self.desk = desk or Desk()
        self.watching = Watching(
            lambda: connect(access, timeout_s=timeout_s, trace=self._trace),
            "web",
            None,
            self.desk,
            timing=timing,
            random=random or Random(1),
        )
        self.thread = threading.Thread(target=self.watching.run)
        self.thread.start()

    def _trace(self, line: str) -> None:
        self.times_s.append(time.monotonic())
        self.calls(line)

    def listed(self) -> str:
        return self.calls.until(lambda line: "limit=500" in line)

    def watched(self) -> str:
        """The version that the next watch begins from, once it has begun."""
        line = self.calls.until(lambda line: "watch=true" in line and " 200 " in line)
        found = re.search("resourceVersion=([0-9]+)", line)
        assert found is not None
        return found[1]

    def close(self) -> None:
        self.watching.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


@contextmanager
def running(folder: Path, server: str, timing: Timing = QUICK, desk: Desk | None = None, **more: Any) -> Iterator[Running]:
    held = Running(folder, server, timing, desk, **more)
    try:
        yield held
    finally:
        held.close()


def told(error: pytest.ExceptionInfo[ApiError]) -> tuple[int | None, str]:
    return error.value.status, error.value.answer


# Events in, slices out.


def test_events_change_what_was_listed() -> None:
    slices = begun(one("web-1"), one("web-2"))

    slices.feed(event("ADDED", one("web-3", "2")))
    slices.feed(event("MODIFIED", one("web-1", "3", "198.18.2.1")))
    slices.feed(event("DELETED", one("web-2", "4")))

    assert {slice_["metadata"]["name"]: count((dict(slice_),)) for slice_ in slices.all()} == {"web-1": 1, "web-3": 0}
    assert slices.version == "4"


def test_a_bookmark_moves_the_version_and_nothing_else() -> None:
    slices = begun(one("web-1"))

    slices.feed(event("BOOKMARK", {"kind": "EndpointSlice", "metadata": {"resourceVersion": "9"}, "endpoints": None}))

    assert (slices.version, slices.all()) == ("9", (one("web-1"),))


def test_a_new_list_replaces_everything() -> None:
    slices = begun(one("web-1"))

    slices.begin(Listed(items=[one("web-2")], version="7"))

    assert (slices.version, slices.all()) == ("7", (one("web-2"),))


def test_an_event_may_say_that_the_watch_failed() -> None:
    slices = begun()

    with pytest.raises(ApiError) as old:
        slices.feed(event("ERROR", GONE))
    with pytest.raises(ApiError) as broken:
        slices.feed(event("ERROR", {"kind": "Status"}))

    assert told(old) == (410, "too old")
    assert told(broken) == (None, "")


@pytest.mark.parametrize("line", [b"<html>", b"[]", b"{}", b'{"type": "ADDED"}', b'{"type": "ADDED", "object": null}', b"\xff"])
def test_what_is_no_event_is_an_error(line: bytes) -> None:
    slices = begun(one())

    with pytest.raises(ApiError):
        slices.feed(line)

    assert (slices.version, slices.all()) == ("1", (one(),))


# A list, and what changes after it.


def test_changes_are_told_as_they_happen(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.api_url) as held:
        held.desk.endpoints(3)
        held.watched()
        for number in (5, 0, 2):
            cluster.scale(number)
            held.desk.endpoints(number)


def test_the_watch_is_asked_for_with_bookmarks_and_a_time(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.api_url) as held:
        held.watched()

    (line,) = [line for line in held.calls.all if "watch=true" in line]
    asked = dict(word.split("=") for word in line.split(" ")[1].partition("?")[2].split("&"))
    assert asked.pop("timeoutSeconds") in {str(seconds) for seconds in range(60, 91)}
    assert asked == {
        "labelSelector": "kubernetes.io%2Fservice-name%3Dweb",
        "resourceVersion": "1001",
        "allowWatchBookmarks": "true",
        "watch": "true",
    }


def test_lengths_of_watches_differ() -> None:
    drawn = {Random(seed).randint(*Timing().lasting_s) for seed in range(100)}

    assert len(drawn) > 20


def test_a_bookmark_is_told_as_contact(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.api_url) as held:
        held.desk.endpoints(3)
        held.watched()
        cluster.bookmark()
        held.desk.endpoints(3)


@pytest.mark.parametrize("how", [WatchEnd.CLEAN, WatchEnd.RESET])
def test_a_watch_that_ended_goes_on_from_the_last_version(cluster: Cluster, tmp_path: Path, how: WatchEnd) -> None:
    with running(tmp_path, cluster.api_url) as held:
        assert held.watched() == "1001"
        cluster.scale(4)
        held.desk.endpoints(4)
        cluster.end_watches(how)
        assert held.watched() == "1002"
        cluster.scale(5)
        held.desk.endpoints(5)

        assert [line for line in held.calls.all if "limit=500" in line] == held.calls.all[:1]
    assert [told for told in held.desk.heard.all if isinstance(told, DiscoveryError)] == []


def test_a_resumed_watch_goes_on_from_a_bookmark(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.api_url) as held:
        held.desk.endpoints(3)
        held.watched()
        # Changes of other objects, so that the bookmark is later than any slice.
        for _ in range(3):
            cluster.put("configmaps", {"metadata": {"name": "other", "namespace": "shop"}})
        cluster.bookmark()
        held.desk.endpoints(3)
        cluster.expire_lists()
        cluster.end_watches()

        assert held.watched() == "1004"


def test_a_watch_that_ends_in_its_time_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.api_url, replace(QUICK, lasting_s=(1, 1))) as held:
        held.desk.endpoints(3)
        assert [held.watched(), held.watched()] == ["1001", "1001"]
        # It was told again, as the server has just said that nothing changed.
        held.desk.endpoints(3)


def test_a_version_that_is_too_old_leads_to_a_new_list(cluster: Cluster, tmp_path: Path) -> None:
    class Holding(Random):
        """Lets nobody go on to a pause before it is told to."""

        may = threading.Event()

        def uniform(self, a: float, b: float) -> float:
            self.may.wait(10)
            return super().uniform(a, b)

    pauses = Holding(1)
    with running(tmp_path, cluster.api_url, random=pauses) as held:
        held.desk.endpoints(3)
        held.watched()
        held.calls.skip()
        # Whoever watched comes back only when the history is gone.
        cluster.end_watches(WatchEnd.RESET)
        cluster.scale(7)
        cluster.expire_lists()
        pauses.may.set()
        held.listed()
        held.desk.endpoints(7)

    assert [told for told in held.desk.heard.all if isinstance(told, DiscoveryError)] == []


def listing(version: str = "5") -> Answer:
    return json_answer({"items": [one("web-1", version, "198.18.2.1")], "metadata": {"resourceVersion": version}})


def pouring(*lines: bytes, until: threading.Event | None = None) -> Answer:
    def stream() -> Iterator[bytes]:
        for line in lines:
            yield line + b"\n"
        if until is not None:
            until.wait(10)

    return Answer(stream=stream)


@pytest.mark.parametrize("gone", [status(410, "Expired", "too old"), pouring(event("ERROR", GONE))])
def test_the_server_may_say_410_by_its_status_or_in_an_event(tmp_path: Path, gone: Answer) -> None:
    done = threading.Event()
    with api(listing("5"), gone, listing("8"), pouring(until=done)) as server, running(tmp_path, server.url) as held:
        assert held.calls.until(lambda line: "resourceVersion=8" in line)
        done.set()

    assert [told for told in held.desk.heard.all if isinstance(told, DiscoveryError)] == []
    assert [asked.path.partition("?")[2].partition("&")[0] for asked in server.asked[:3]] == [
        "limit=500",
        "labelSelector=kubernetes.io%2Fservice-name%3Dweb",
        "limit=500",
    ]


def test_another_error_in_the_watch_is_told_and_mended_by_a_list(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.api_url) as held:
        held.desk.endpoints(3)
        held.watched()
        cluster.end_watches(WatchEnd.ERROR)
        assert "was told to fail" in str(held.desk.failure())
        held.desk.endpoints(3)


def test_a_server_that_ends_every_watch_at_once_is_not_asked_in_a_loop(tmp_path: Path) -> None:
    timing = replace(QUICK, pause_s=0.02, longest_pause_s=60.0)
    with api(listing(), pouring()) as server, running(tmp_path, server.url, timing) as held:
        for _ in range(7):
            held.watched()
        watched_s = [at for line, at in zip(held.calls.all, held.times_s, strict=False) if "watch=true" in line]

    # The sixth pause is at least half of 0.02 s times 32.
    assert watched_s[6] - watched_s[5] > 0.3


def test_what_may_be_listed_but_not_watched_is_listed_again_and_again(cluster: Cluster, tmp_path: Path) -> None:
    cluster.deny("watch", "endpointslices")
    with running(tmp_path, cluster.api_url) as held:
        held.desk.endpoints(3)
        assert "may not watch endpointslices" in str(held.desk.failure())
        cluster.scale(4)
        held.desk.endpoints(4)


def test_more_that_cannot_be_asked_is_a_failure_like_any_other(cluster: Cluster, tmp_path: Path) -> None:
    desk = Desk()
    desk.fails = [ApiError("The Service cannot be read.")]
    with running(tmp_path, cluster.api_url, QUICK, desk) as held:
        assert str(desk.failure()) == "The Service cannot be read."
        desk.endpoints(3)
        held.watched()


# No server, and then one.


def test_an_api_that_goes_away_is_told_and_found_again(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.api_url) as held:
        held.desk.endpoints(3)
        held.watched()
        cluster.set_outage(Outage.AWAY)
        assert "refused the connection" in str(held.desk.failure())
        cluster.scale(6)
        cluster.set_outage(Outage.NONE)
        held.desk.endpoints(6)
        held.watched()
        cluster.scale(7)
        held.desk.endpoints(7)


def test_a_server_that_vanished_is_noticed_soon_after_the_watch_should_have_ended(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kbalance.kube.client.LATE_S", 0.2)
    with running(tmp_path, cluster.api_url, replace(QUICK, lasting_s=(1, 1)), timeout_s=1.0) as held:
        held.desk.endpoints(3)
        held.watched()
        before = len(held.calls.all)
        held.desk.heard.skip()
        cluster.set_outage(Outage.SILENT)
        assert "did not answer in time" in str(held.desk.failure())
        cluster.scale(4)
        cluster.set_outage(Outage.NONE)
        held.desk.endpoints(4)

    unanswered = next(n for n, line in enumerate(held.calls.all) if n >= before and "no answer" in line)
    # The silence of the watch itself was none: it had its second first.
    assert held.times_s[unanswered] - held.times_s[unanswered - 1] > 1


def test_events_do_not_put_off_the_end_of_a_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event would begin a silence of its own, if a silence were what is bounded, and this watch would not end."""
    monkeypatch.setattr("kbalance.kube.client.LATE_S", 0.0)
    done = threading.Event()

    def stream() -> Iterator[bytes]:
        while not done.wait(0.05):
            yield event("BOOKMARK", {"metadata": {"resourceVersion": "6"}}) + b"\n"

    with (
        api(listing(), Answer(stream=stream)) as server,
        running(tmp_path, server.url, replace(QUICK, lasting_s=(1, 1))) as held,
    ):
        held.calls.until(lambda line: "watch=true" in line and "resourceVersion=6" in line)
        done.set()


def test_who_cannot_connect_tries_again(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "late"
    desk = Desk()
    watching = Watching(lambda: connect(Access(kubeconfig=str(path))), "web", "shop", desk, timing=QUICK)
    thread = threading.Thread(target=watching.run)
    thread.start()
    try:
        assert "does not exist" in str(desk.failure())
        path.write_text(cluster.kubeconfig())
        desk.endpoints(3)
    finally:
        watching.close()
        thread.join(10)

    assert not thread.is_alive()


def test_pauses_grow_to_a_limit_and_begin_anew_after_success(cluster: Cluster, tmp_path: Path) -> None:
    waits = Watching(_never, "web", None, Desk(), random=Random(1))
    steps = [waits._backoff_s(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 8, 1000)]

    assert all(0.5 * full <= step <= full for step, full in zip(steps, (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10), strict=True))
    assert len({round(step / full, 3) for step, full in zip(steps[-3:], (10, 10, 10), strict=True)}) == 3
    # Were it not begun anew, the second outage would begin with a pause of half a minute, beyond all patience.
    with running(tmp_path, cluster.api_url, replace(QUICK, pause_s=0.05, longest_pause_s=60.0)) as held:
        held.desk.endpoints(3)
        held.watched()
        cluster.set_outage(Outage.AWAY)
        for _ in range(12):
            held.desk.failure()
            held.watching.refresh()
        cluster.set_outage(Outage.NONE)
        held.watching.refresh()
        held.desk.endpoints(3)
        cluster.scale(4)
        held.desk.endpoints(4)
        cluster.set_outage(Outage.AWAY)
        held.desk.failure()
        held.desk.failure()


def _never() -> Client:
    raise AssertionError


# Refresh and close.


def test_a_refresh_lists_anew_while_a_watch_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.api_url) as held:
        held.desk.endpoints(3)
        held.watched()
        held.calls.skip()
        held.watching.refresh()
        held.listed()
        held.desk.endpoints(3)
        held.watched()
        cluster.scale(4)
        held.desk.endpoints(4)


def test_refreshes_are_no_faster_than_one_in_a_while(cluster: Cluster, tmp_path: Path) -> None:
    done = threading.Event()
    with running(tmp_path, cluster.api_url, replace(QUICK, refresh_s=0.3)) as held:
        held.desk.endpoints(3)
        held.watched()
        began_s = time.monotonic()
        wishes = threading.Thread(target=_wish, args=(held.watching.refresh, done))
        wishes.start()
        for _ in range(4):
            held.desk.endpoints(3)
        done.set()
        wishes.join()
        lists = [line for line in held.calls.all if "limit=500" in line]
        took_s = time.monotonic() - began_s

    assert took_s > 0.3
    assert len(lists) <= 2 + took_s / 0.3 + 1


def _wish(refresh: Callable[[], None], done: threading.Event) -> None:
    while not done.wait(0.01):
        refresh()


def test_a_refresh_ends_a_pause(cluster: Cluster, tmp_path: Path) -> None:
    cluster.set_outage(Outage.AWAY)
    with running(tmp_path, cluster.api_url, replace(QUICK, pause_s=60.0, longest_pause_s=60.0)) as held:
        held.desk.failure()
        cluster.set_outage(Outage.NONE)
        held.watching.refresh()
        held.desk.endpoints(3)


def test_refreshes_while_nothing_can_be_asked_are_not_a_loop(tmp_path: Path) -> None:
    desk, done = Desk(), threading.Event()

    def nowhere() -> Client:
        raise DiscoveryError("There is no kubeconfig.")

    watching = Watching(nowhere, "web", None, desk, timing=replace(QUICK, pause_s=60.0, longest_pause_s=60.0, refresh_s=0.2))
    thread = threading.Thread(target=watching.run)
    wishes = threading.Thread(target=_wish, args=(watching.refresh, done))
    began_s = time.monotonic()
    thread.start()
    wishes.start()
    for _ in range(3):
        desk.failure()
    done.set()
    wishes.join()
    watching.close()
    thread.join(10)

    assert time.monotonic() - began_s > 0.3
    assert len(desk.heard.all) <= 4 + (time.monotonic() - began_s) / 0.2


def test_without_slices_it_looks_again_only_after_a_while_or_when_asked(cluster: Cluster, tmp_path: Path) -> None:
    desk = Desk()
    access = Access(kubeconfig=kubeconfig(tmp_path, cluster.api_url))
    calls: Heard[str] = Heard()
    watching = Watching(lambda: connect(access, trace=calls), "late", "shop", desk, timing=QUICK)
    thread = threading.Thread(target=watching.run)
    thread.start()
    try:
        assert desk.heard.next() == ()
        found = {"metadata": {"name": "late-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "late"}}}
        cluster.put(
            "endpointslices", {**found, "addressType": "IPv4", "endpoints": [{"addresses": ["198.18.2.1"]}], "ports": None}
        )
        watching.refresh()
        desk.endpoints(1)
        calls.until(lambda line: "watch=true" in line)
    finally:
        watching.close()
        thread.join(10)

    assert [line for line in calls.all if "limit=500" not in line and "resourceVersion=" not in line] == []
    assert not thread.is_alive()


def test_without_slices_it_does_look_again(cluster: Cluster, tmp_path: Path) -> None:
    desk = Desk()
    access = Access(kubeconfig=kubeconfig(tmp_path, cluster.api_url))
    watching = Watching(lambda: connect(access), "late", "shop", desk, timing=replace(QUICK, idle_s=0.05))
    thread = threading.Thread(target=watching.run)
    thread.start()
    try:
        assert [desk.heard.next() for _ in range(3)] == [()] * 3
    finally:
        watching.close()
        thread.join(10)


def test_who_is_told_of_a_failure_may_want_a_longer_pause(cluster: Cluster, tmp_path: Path) -> None:
    cluster.deny("list", "endpointslices")
    # The usual pauses would lead to many failures before the cluster has done as it is told.
    with running(tmp_path, cluster.api_url, replace(QUICK, longest_pause_s=0.001), Desk(60.0)) as held:
        held.desk.failure()
        cluster.allow_only([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
        held.watching.refresh()
        held.desk.endpoints(3)

    assert len([told for told in held.desk.heard.all if isinstance(told, DiscoveryError)]) == 1


@pytest.mark.parametrize("state", ["watching", "pausing", "idle"])
def test_closing_leaves_no_thread_whatever_it_does(cluster: Cluster, tmp_path: Path, state: str) -> None:
    """Nothing that it does would be over by itself before patience is."""
    before = set(threading.enumerate())
    held = Running(tmp_path, cluster.api_url, Timing(pause_s=60.0, longest_pause_s=60.0))
    held.watched()
    if state == "pausing":
        cluster.set_outage(Outage.AWAY)
        held.watching.refresh()
        held.desk.failure()
    if state == "idle":
        cluster.remove("endpointslices", f"web-{cluster.objects()[1][0]['ports'][0]['port']}-0")
        held.watching.refresh()
        held.desk.endpoints(0)

    held.close()

    assert set(threading.enumerate()) <= before


def test_nothing_is_told_once_it_is_closed(cluster: Cluster, tmp_path: Path) -> None:
    held = Running(tmp_path, cluster.api_url, QUICK)
    held.watched()
    held.close()
    before = held.desk.heard.all

    cluster.scale(5)
    cluster.set_outage(Outage.AWAY)

    assert held.desk.heard.all == before


def test_closing_and_refreshing_before_and_after_it_runs_is_harmless(cluster: Cluster, tmp_path: Path) -> None:
    desk = Desk()
    watching = Watching(_never, "web", None, desk)
    watching.refresh()
    watching.close()
    watching.run()
    watching.refresh()
    watching.close()

    assert desk.heard.all == []
