"""What is measured, and what it should come to."""

from functools import partial

from bench import discovery, ours, peers, races_http2, startup
from bench.contenders import POOL, at_least, at_most, engine, url_of
from bench.race import RATE, Contender, Race, Versus
from bench.servers import Ports

WIDE = 256
SHORT_RUN = 2000
"""Requests of a run that is mostly start and end."""


def races(ports: Ports, *, quick: bool) -> tuple[Race, ...]:
    """All races against the servers on these ports.

    Args:
        quick: a tenth of the requests of what is long, and fewer turns of what is short.
    """
    port = ports.nginx
    url = url_of(port)
    turns = 2 if quick else 7
    seconds = 0.2 if quick else 1.0
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
        _balancing(port, seconds),
        _balancing_cpu(port, seconds),
        *(_threads(port, threads, seconds) for threads in (1, 8)),
        _start(port, turns),
        _import(turns),
        _footprint(port),
        *races_http2.races(ports, seconds, turns),
    )


def _hey(url: str, connections: int, name: str = "hey", *, close: bool = False) -> Contender:
    return Contender(name=name, run=partial(peers.hey, url, connections=connections, seconds=1, close=close), program="hey")


def _wrk(url: str, connections: int, name: str = "wrk", *, close: bool = False) -> Contender:
    return Contender(name=name, run=partial(peers.wrk, url, connections=connections, seconds=1, close=close), program="wrk")


def _keep_alive(url: str, port: int) -> Race:
    return Race(
        name="keep-alive",
        unit=RATE,
        contenders=(engine("pooled", port, POOL, "engine, 16 connections"), _hey(url, POOL), _wrk(url, POOL)),
        rows=(Versus(peer="hey", target=at_least(2.0)), Versus(peer="wrk", target=at_least(0.6))),
    )


def _wide(url: str, port: int) -> Race:
    return Race(
        name="wide",
        unit=RATE,
        contenders=(
            engine("pooled", port, WIDE, "engine, 256 connections"),
            engine("pooled", port, POOL, "engine, 16 connections"),
            _hey(url, WIDE),
            _wrk(url, WIDE),
        ),
        rows=(Versus(peer="engine, 16 connections", target=at_least(0.9)), Versus(peer="hey"), Versus(peer="wrk")),
    )


def _sequential(url: str, port: int) -> Race:
    return Race(
        name="sequential",
        unit=RATE,
        contenders=(engine("single", port, 1, "engine, 1 connection"), _wrk(url, 1)),
        rows=(Versus(peer="wrk", target=at_least(0.88)),),
    )


def _fresh(url: str, port: int) -> Race:
    return Race(
        name="new-connections",
        unit=RATE,
        contenders=(
            engine("short-lived", port, POOL, "engine, short-lived"),
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
            engine("transport", port, POOL, "AsyncPoolTransport"),
            _hey(url, POOL),
            engine("httpx", port, POOL, "httpx.AsyncClient"),
        ),
        rows=(Versus(peer="hey", target=at_least(0.45)), Versus(peer="httpx.AsyncClient")),
    )


def _whole_process(url: str, turns: int) -> Race:
    return Race(
        name="whole-process",
        unit="ms",
        contenders=(
            Contender(name=f"kbalance probe, {SHORT_RUN}", run=partial(ours.probe, url, connections=POOL, requests=SHORT_RUN)),
            Contender(name="hey", run=partial(peers.hey_process, url, connections=POOL, requests=SHORT_RUN), program="hey"),
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


_STOCK_EACH = "16 x httpx.AsyncClient"
_STOCK_ONE = "connection of httpx"
_STOCK_POOL = "httpx.AsyncClient, pool of 16"


def _balancing(port: int, seconds: float) -> Race:
    best, pool = engine("httpx-each", port, POOL, _STOCK_EACH, seconds), engine("httpx", port, POOL, _STOCK_POOL, seconds)
    return Race(
        name="balancing",
        unit=RATE,
        contenders=(*_balancers(port, seconds), best, pool),
        rows=(
            *(Versus(ours=f"AsyncClient, {n}", peer=_STOCK_EACH, target=at_least(3.0)) for n in (3, 50)),
            *(Versus(ours=f"AsyncClient, {n}", peer=_STOCK_POOL) for n in (3, 50)),
            *(Versus(ours=f"direct, {n}", peer=_STOCK_EACH, target=at_least(10.0)) for n in (3, 50)),
        ),
    )


def _balancing_cpu(port: int, seconds: float) -> Race:
    return Race(
        name="balancing-cpu",
        unit="us/req",
        contenders=(*_balancers(port, seconds, "-cpu"), engine("httpx-each-cpu", port, POOL, _STOCK_EACH, seconds)),
        rows=(
            *(Versus(ours=f"AsyncClient, {n}", peer=_STOCK_EACH, target=at_most(0.333)) for n in (3, 50)),
            *(Versus(ours=f"direct, {n}", peer=_STOCK_EACH, target=at_most(0.1)) for n in (3, 50)),
        ),
    )


def _balancers(port: int, seconds: float, figure: str = "") -> tuple[Contender, ...]:
    """AsyncBalancingTransport under a client and called as it is, with few and with many endpoints."""
    return tuple(
        engine(f"{what}-{n}{figure}", port, POOL, f"{name}, {n}", seconds)
        for what, name in (("balancing", "AsyncClient"), ("balancing-direct", "direct"))
        for n in (3, 50)
    )


def _threads(port: int, threads: int, seconds: float) -> Race:
    shared = engine("threads-httpx", port, threads, "httpx.Client", seconds)
    each = engine("threads-httpx-each", port, threads, f"{threads} x httpx.Client", seconds)
    peers = (shared,) if threads == 1 else (shared, each)
    return Race(
        name=f"balancing-threads-{threads}",
        unit=RATE,
        contenders=(engine("threads", port, threads, "BalancingTransport, 3", seconds), *peers),
        rows=tuple(Versus(peer=peer.name) for peer in peers),
    )


def _start(port: int, turns: int) -> Race:
    return Race(
        name="balancing-start",
        unit="ms",
        contenders=(
            Contender(name="AsyncClient, 3", run=partial(startup.balancing, port)),
            Contender(name="httpx.AsyncClient", run=partial(startup.stock, port)),
            Contender(name="httpx.AsyncClient, verify=False", run=partial(startup.stock, port, verify=False)),
        ),
        rows=(Versus(peer="httpx.AsyncClient", target=at_most(1.3)), Versus(peer="httpx.AsyncClient, verify=False")),
        takes=turns,
    )


def _import(turns: int) -> Race:
    return Race(
        name="balancing-import",
        unit="ms",
        contenders=(
            Contender(name="kbalance.balancing", run=startup.import_balancing),
            Contender(name="import httpx", run=startup.import_httpx),
        ),
        rows=(Versus(peer="import httpx"),),
        takes=turns,
    )


def _footprint(port: int) -> Race:
    # Stock httpx looks at each connection for each request, so that a thousand take it a minute.
    each = (("known", "endpoint known", 1000), ("connected", "endpoint connected", 1000), ("httpx-connected", _STOCK_ONE, 200))
    return Race(
        name="balancing-memory",
        unit="KiB each",
        contenders=tuple(
            Contender(name=name, run=partial(ours.child, what, port, connections=0, amount=endpoints))
            for what, name, endpoints in each
        ),
        rows=tuple(Versus(ours=name, peer=_STOCK_ONE) for _, name, _ in each[:2]),
        most_rounds=3,
    )
