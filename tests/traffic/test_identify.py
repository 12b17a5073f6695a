"""An answer that was seen before is not examined again, and what is remembered stays bounded."""

import tracemalloc

import pytest

from kbalance.model.words import Profile
from kbalance.traffic import carrier
from kbalance.traffic.identify import REMEMBERED, Identify
from kbalance.wire.connection import KEPT_BODY

from .runs import finish, make_driver, plan
from .servers import Peer, Server, answer, steady


@pytest.mark.parametrize("from_head", [True, False])
def test_equal_answers_are_examined_once(from_head: bool) -> None:
    examined: list[bytes] = []

    def extract(raw: bytes) -> str:
        examined.append(raw)
        return "pod-a"

    with Server(steady(answer(b"I am pod-a", headers=(b"X-Pod: a",)))) as server:
        driver = make_driver(plan(Profile.SHORT_LIVED, server.address, 20), identify=Identify(extract, from_head=from_head))
        observations, _ = finish(driver)

    assert {a.who for o in observations for a in o.answers} == {"pod-a"}
    assert len(examined) == 1
    assert (b"X-Pod: a" in examined[0]) is from_head
    assert (b"I am" in examined[0]) is not from_head


def test_bodies_that_all_differ_are_not_all_kept() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.reply(answer(b"%d" % len(peer.requests) + b"." * KEPT_BODY))

    identify = Identify(lambda body: None, from_head=False)
    requests = 3 * REMEMBERED // KEPT_BODY
    tracemalloc.start(1)
    try:
        with Server(script) as server:
            finish(make_driver(plan(Profile.SINGLE, server.address, requests), identify=identify))
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/kbalance/*")])
    finally:
        tracemalloc.stop()

    assert sum(trace.size for trace in ours.traces) < 1.5 * REMEMBERED


def test_names_without_end_are_counted_as_nobody_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that changes with every answer is no identity."""
    monkeypatch.setattr(carrier, "MOST_NAMES", 5)

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.reply(answer(b"%d" % min(len(peer.requests), 8)))

    with Server(script) as server:
        driver = make_driver(
            plan(Profile.SINGLE, server.address, 20), identify=Identify(lambda body: body.decode(), from_head=False)
        )
        (only,), sums = finish(driver)

    assert sums.answered == 20
    assert [(a.who, a.requests) for a in only.answers] == [*((str(i), 1) for i in range(1, 6)), (None, 15)]
