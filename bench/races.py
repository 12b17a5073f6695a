"""What is measured, and what it should come to."""

from functools import partial

from bench import discovery, ours, peers
from bench.race import RATE, Bound, Contender, Race, Target, Versus

POOL = 16
"""Connections where nothing else is said."""
WIDE = 256
SHORT_RUN = 2000
"""Requests of a run that is mostly start and end."""


def races(port: int, *, quick: bool) -> tuple[Race, ...]:
    """All races against the server on this port.

    Args:
        quick: a tenth of the requests of what is long, and fewer turns of what is short.
    """
    url = f"http://127.0.0.1:{port}/"
    turns = 2 if quick else 7
    return (
        _keep_alive(url, port),
        _wide(url, port),
        _sequential(url, port),
        _fresh(url, port),
        _library(url, port),
        _whole_process(url, turns),
        _help(turns),
        _discovery(turns),
        _memory(port, 200_000 if quick else 2_000_000),
    )


def at_least(ratio: float) -> Target:
    return Target(bound=Bound.AT_LEAST, ratio=ratio)


def at_most(ratio: float) -> Target:
    return Target(bound=Bound.AT_MOST, ratio=ratio)


def _engine(what: str, port: int, connections: int, name: str = "engine") -> Contender:
    return Contender(name=name, run=partial(ours.child, what, port, connections=connections, amount=1.0))


def _hey(url: str, connections: int, name: str = "hey", *, close: bool = False) -> Contender:
    return Contender(name=name, run=partial(peers.hey, url, connections=connections, seconds=1, close=close))


def _wrk(url: str, connections: int, name: str = "wrk", *, close: bool = False) -> Contender:
    return Contender(name=name, run=partial(peers.wrk, url, connections=connections, seconds=1, close=close))


def _keep_alive(url: str, port: int) -> Race:
    return Race(
        name="keep-alive",
        unit=RATE,
        contenders=(_engine("pooled", port, POOL, "engine, 16 connections"), _hey(url, POOL), _wrk(url, POOL)),
        rows=(Versus(peer="hey", target=at_least(2.0)), Versus(peer="wrk", target=at_least(0.6))),
    )


def _wide(url: str, port: int) -> Race:
    return Race(
        name="wide",
        unit=RATE,
        contenders=(
            _engine("pooled", port, WIDE, "engine, 256 connections"),
            _engine("pooled", port, POOL, "engine, 16 connections"),
            _hey(url, WIDE),
            _wrk(url, WIDE),
        ),
        rows=(Versus(peer="engine, 16 connections", target=at_least(0.9)), Versus(peer="hey"), Versus(peer="wrk")),
    )


def _sequential(url: str, port: int) -> Race:
    return Race(
        name="sequential",
        unit=RATE,
        contenders=(_engine("single", port, 1, "engine, 1 connection"), _wrk(url, 1)),
        rows=(Versus(peer="wrk", target=at_least(0.88)),),
    )


def _fresh(url: str, port: int) -> Race:
    return Race(
        name="new-connections",
        unit=RATE,
        contenders=(
            _engine("short-lived", port, POOL, "engine, short-lived"),
            _hey(url, POOL, "hey -disable-keepalive", close=True),
            _wrk(url, POOL, "wrk, Connection: close", close=True),
        ),
        rows=(Versus(peer="hey -disable-keepalive", target=at_least(0.9)), Versus(peer="wrk, Connection: close")),
    )


def _library(url: str, port: int) -> Race:
    return Race(
        name="httpx-transport",
        unit=RATE,
        contenders=(
            _engine("transport", port, POOL, "AsyncPoolTransport"),
            _hey(url, POOL),
            _engine("httpx", port, POOL, "httpx.AsyncClient"),
        ),
        rows=(Versus(peer="hey", target=at_least(0.45)), Versus(peer="httpx.AsyncClient")),
    )


def _whole_process(url: str, turns: int) -> Race:
    return Race(
        name="whole-process",
        unit="ms",
        contenders=(
            Contender(name=f"kbalance probe, {SHORT_RUN}", run=partial(ours.probe, url, connections=POOL, requests=SHORT_RUN)),
            Contender(name="hey", run=partial(peers.hey_process, url, connections=POOL, requests=SHORT_RUN)),
        ),
        rows=(Versus(peer="hey", target=at_most(1.2)),),
        takes=turns,
    )


def _help(turns: int) -> Race:
    return Race(
        name="help",
        unit="ms",
        contenders=(
            Contender(name="kbalance --help", run=ours.help_page),
            Contender(name="python -c pass", run=ours.bare_python),
        ),
        rows=(Versus(peer="python -c pass", target=at_most(4.5)),),
        takes=turns,
    )


def _discovery(turns: int) -> Race:
    return Race(
        name="discovery",
        unit="ms",
        contenders=(
            Contender(name="200 endpoints, raw JSON", run=discovery.ours),
            Contender(name="typed models", run=discovery.typed),
        ),
        rows=(Versus(peer="typed models", target=at_most(0.35)),),
        takes=max(1, turns // 3),
    )


def _memory(port: int, many: int) -> Race:
    few = 20_000
    return Race(
        name="memory",
        unit="MiB",
        contenders=tuple(
            Contender(name=f"{n:,} requests", run=partial(ours.child, "memory", port, connections=POOL, amount=n))
            for n in (many, few)
        ),
        rows=(Versus(peer=f"{few:,} requests", target=at_most(1.05)),),
        most_rounds=1,
    )
