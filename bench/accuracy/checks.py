"""What a dataplane must do to be what the arrangement calls it, by the pods' own counts; each gives a `Check`."""

import math
from collections.abc import Mapping, Sequence
from time import perf_counter

from bench.accuracy.site import Check, drawn, held, need
from tests.kernel import chance
from tests.kernel.cluster import Cluster


def every(*checks: Check) -> Check:
    """All of them, one after the other."""

    def check(site: Cluster) -> None:
        for one in checks:
            one(site)

    return check


def fairly(*, each: int = 30) -> Check:
    """Fresh connections reach every pod and are not told from a fair draw; one connection stays where it is."""

    def check(site: Cluster) -> None:
        seen = drawn(site, each * len(site.pods))
        need(
            chance.unfair(list(seen.values())) < chance.CERTAIN and min(seen.values()) > 0, "each connection is a fair draw", seen
        )
        pinned(site)

    return check


def pinned(site: Cluster) -> None:
    """One connection stays with one pod."""
    seen = held(site, 10)
    need(sorted(seen.values())[-1] == 10, "a connection stays with one pod", seen)


def in_turn(site: Cluster) -> None:
    """Fresh connections go to the pods in turn."""
    seen = drawn(site, 10 * len(site.pods))
    need(max(seen.values()) - min(seen.values()) <= 1, "connections are placed in turn", seen)


def request_by_request(site: Cluster) -> None:
    """One connection is answered by every pod."""
    seen = held(site, 10 * len(site.pods))
    need(min(seen.values()) > 0, "requests of one connection are shared out", seen)


def on_one(site: Cluster) -> None:
    """Fresh connections from the prober's address all reach one pod."""
    seen = drawn(site, 40)
    need(max(seen.values()) == 40, "this client is kept on one pod", seen)


def by_address(site: Cluster) -> None:
    """One pod for each client address, and not the same for all."""
    on_one(site)
    seen = {source: drawn(site, 5, source=source) for source in (f"127.0.2.{i}" for i in range(1, 31))}
    reached = {name for one in seen.values() for name, got in one.items() if got}
    need(len(reached) > 1 and all(max(one.values()) == 5 for one in seen.values()), "clients are kept apart", seen)


def only(names: Sequence[str], *, connections: int = 120) -> Check:
    """Fresh connections reach these pods, each of them, and no other."""

    def check(site: Cluster) -> None:
        seen = drawn(site, connections)
        need({name for name, got in seen.items() if got} == set(names), f"connections reach {', '.join(names)} alone", seen)

    return check


def weighted(weights: Mapping[str, int], *, connections: int = 600) -> Check:
    """Fresh connections are shared out by weight, to within five standard deviations of a random draw."""

    def check(site: Cluster) -> None:
        seen, total = drawn(site, connections), sum(weights.values())
        for name, weight in weights.items():
            share = weight / total
            off = abs(seen[name] - connections * share)
            need(off <= 5 * math.sqrt(connections * share * (1 - share)), f"shares are {dict(weights)}", seen)

    return check


def failing(*names: str, how: str) -> Check:
    """These pods fail with that error or status when asked directly, and no other pod does."""

    def check(site: Cluster) -> None:
        seen = {name: site.direct(name, 0.2) for name in site.pods}
        wanted = {name: how if name in names else name for name in site.pods}
        need(seen == wanted, f"{', '.join(names)} fail with {how}", seen)

    return check


def flaky(name: str) -> Check:
    """This pod, asked directly on fresh connections, refuses some and answers some, and no other pod refuses any."""

    def check(site: Cluster) -> None:
        seen = {one: {site.direct(one) for _ in range(40)} for one in site.pods}
        wanted = {one: {one, "ECONNREFUSED"} if one == name else {one} for one in site.pods}
        need(seen == wanted, f"{name} alone refuses some connections", seen)

    return check


def slow(*names: str, by_s: float) -> Check:
    """These pods, asked directly, take so long and all others do not; the best of three, for a busy machine delays anybody."""

    def check(site: Cluster) -> None:
        seen = {name: min(_asked_s(site, name) for _ in range(3)) for name in site.pods}
        late = {name for name, took_s in seen.items() if took_s >= by_s}
        need(late == set(names), f"{', '.join(names)} take {by_s} s", seen)

    return check


def _asked_s(site: Cluster, name: str) -> float:
    began = perf_counter()
    need(site.direct(name) == name, f"{name} answers", ())
    return perf_counter() - began


def few_connections(most: int, *, requests: int = 60) -> Check:
    """Many fresh connections of the client become few at the pods."""

    def check(site: Cluster) -> None:
        before = site.connections()
        seen = drawn(site, requests)
        opened = sum(site.connections().values()) - sum(before.values())
        need(opened <= most and sum(seen.values()) == requests, f"at most {most} connections reach the pods", (opened, seen))

    return check


def lives(requests: int) -> Check:
    """A connection is ended by the other side after so many requests."""

    def check(site: Cluster) -> None:
        answered = len(_until_ended(site, requests + 1))
        need(answered == requests, f"connections end after {requests} requests", answered)

    return check


def ages(site: Cluster) -> None:
    """A connection is ended by the other side at some time, and its requests are shared out until then."""
    answers = _until_ended(site, 20_000)
    need(len(answers) < 20_000 and len(set(answers)) > 1, "connections end, and are shared out until then", answers[:20])


def _until_ended(site: Cluster, most: int) -> list[str]:
    """Who answered on one connection until it ended, or so many times."""
    answers: list[str] = []
    with site.connect("127.0.0.1") as connection:
        try:
            while len(answers) < most:
                answers.append(connection.ask())
        except ConnectionError:
            pass
    return answers
