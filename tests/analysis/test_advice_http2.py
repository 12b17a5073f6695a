"""Advice for clients of HTTP/2 and gRPC."""

from dataclasses import replace

import pytest

from kbalance.analysis.advice import recommend
from kbalance.analysis.advice.settings import setting_of
from kbalance.analysis.case import NOBODY, Case
from kbalance.analysis.rules import diagnose
from kbalance.model.report import Recommendation
from kbalance.model.words import Protocol
from tests.builders import case, direct, fresh, leaving, pooled, single, speaking, stock

H2, H2C, GRPC = Protocol.H2, Protocol.H2C, Protocol.GRPC


def run(protocol: Protocol, **changes: object) -> Case:
    return speaking(protocol, single(), pooled(), fresh(), direct(), stock(), **changes)


def advised(of: Case) -> dict[str, Recommendation]:
    return {one.id: one for one in recommend(of, diagnose(of))}


@pytest.mark.parametrize("protocol", [GRPC, H2, H2C])
def test_a_choice_per_call_comes_first_with_what_was_measured(protocol: Protocol) -> None:
    given = advised(run(protocol))

    assert list(given)[:2] == ["client-side-balancing", "meshed-client"]
    assert {"shorter-lifetime", "stream-proxy"} <= set(given)
    assert given["client-side-balancing"].measured_busiest == 1.0
    assert given["shorter-lifetime"].measured_busiest == pytest.approx(1.036, abs=0.001)
    assert given["stream-proxy"].predicted_busiest == 1.0


def test_grpc_is_told_that_it_takes_a_headless_name_and_round_robin() -> None:
    given = advised(run(GRPC))

    first = given["client-side-balancing"]
    assert first.title == "Balance in the client: gRPC's round_robin over a headless Service"
    assert first.why == (
        "A connection to each endpoint, the next one for each call: the busiest endpoint got 1.00 times its fair share; it was "
        "3.00 with 1 kept connection and 1.50 with 10 kept connections. It takes both: over the Service's own name there is one "
        "address to choose from, and over a headless one gRPC's default, pick_first, still stays with the first that answers."
    )
    assert any("without MAX_CONNECTION_AGE at the servers as well, new Pods are not seen" in cost for cost in first.costs)
    assert "xds:///" in given["meshed-client"].why
    assert given["stream-proxy"].title == "Put a proxy that reads HTTP/2 in front, and let it place each call"
    assert "(MAX_CONNECTION_AGE), with jitter" in given["shorter-lifetime"].title
    assert any("keepalive pings are no substitute" in cost for cost in given["shorter-lifetime"].costs)


def test_http2_without_grpc_is_told_nothing_of_it() -> None:
    given = advised(run(H2C))

    said = " ".join(f"{one.title} {one.why} {' '.join(one.costs)}" for one in given.values())
    assert "gRPC" not in said
    assert "An HTTP/2 client has one connection for each name" in given["client-side-balancing"].why
    assert given["stream-proxy"].title.endswith("place each stream")


def test_what_the_server_does_now_stands_beside_what_is_advised() -> None:
    steady = leaving((30.01, 30.05, 30.02))
    of = speaking(GRPC, steady, fresh(), direct(), stock())

    assert advised(of)["shorter-lifetime"].why.endswith("The server ends them now after about 30.1 s, without jitter.")


@pytest.mark.parametrize(
    ("of", "grpc", "http2", "http1"),
    [
        (run(GRPC), True, True, False),
        (run(H2C), False, True, False),
        (run(H2C, identity=NOBODY), None, True, False),
        (replace(run(H2), target=replace(case().target, scheme="https")), False, True, True),
        (case(single(), fresh()), False, False, True),
    ],
)
def test_texts_follow_what_was_spoken(of: Case, grpc: bool | None, http2: bool, http1: bool) -> None:
    setting = setting_of(of)

    assert (setting.grpc, setting.http2, setting.http1) == (grpc, http2, http1)
