"""What is measured over HTTP/2 without TLS, and over gRPC."""

from functools import partial

from bench import ours, peers, startup
from bench.contenders import POOL, at_least, at_most, engine, url_of
from bench.race import RATE, Contender, Race, Versus
from bench.servers import BODY, Kind, Ports

SHAPES = (1, POOL)
"""Connections over which so many requests under way are spread."""


def races(ports: Ports, seconds: float, turns: int) -> tuple[Race, ...]:
    """
    Args:
        seconds: of a take.
        turns: of what is short.
    """
    return (
        *_rates(ports, seconds),
        *_grpc_rates(ports.grpc_go, seconds),
        _fresh(ports.nginx_http2, seconds),
        *_library(ports.nginx_http2, seconds),
        _start(ports.nginx_http2, turns),
        _footprint(ports.nginx_http2),
    )


def _shape(connections: int) -> str:
    return f"{connections} x {POOL // connections}"


def _h2load(name: str, url: str, connections: int, seconds: float) -> Contender:
    run = partial(peers.h2load, url, connections=connections, streams=POOL // connections, seconds=seconds)
    return Contender(name=name, run=run, program="h2load")


def _rates(ports: Ports, seconds: float) -> tuple[Race, ...]:
    """Who answered is read from the header, or from the body, which of nghttpd's is all that tells."""
    nginx, nghttpd = (Kind.NGINX, ports.nginx_http2), (Kind.NGHTTPD, ports.nghttpd)
    asked = (("header", "http2", "/", *nginx), ("body", "http2-body", BODY, *nginx), ("nghttpd", "http2-page", "/", *nghttpd))
    return tuple(
        Race(
            name=f"http2-{name}",
            unit=RATE,
            contenders=tuple(
                one
                for n in SHAPES
                for one in (
                    engine(what, port, n, f"engine, {_shape(n)}", seconds),
                    _h2load(f"h2load, {_shape(n)}", url_of(port, path), n, seconds),
                )
            ),
            rows=tuple(Versus(ours=f"engine, {_shape(n)}", peer=f"h2load, {_shape(n)}", target=at_least(0.6)) for n in SHAPES),
            server=server,
        )
        for name, what, path, server, port in asked
    )


def _grpc_rates(port: int, seconds: float) -> tuple[Race, ...]:
    url = url_of(port, "/grpc.health.v1.Health/Check")
    return tuple(
        Race(
            name="grpc" if n == 1 else "grpc-wide",
            unit=RATE,
            contenders=(
                engine("grpc", port, n, f"engine, {_shape(n)}", seconds),
                Contender(name="ghz", run=partial(peers.ghz, port, connections=n, calls=POOL, seconds=seconds), program="go"),
                Contender(
                    name="h2load -d",
                    run=partial(peers.h2load_grpc, url, connections=n, streams=POOL // n, seconds=seconds),
                    program="h2load",
                ),
                *([engine("grpcio", port, POOL, "grpcio", seconds)] if n == 1 else []),
            ),
            rows=(
                Versus(peer="ghz", target=at_least(1.0)),
                Versus(peer="h2load -d", target=at_least(0.6)),
                *([Versus(peer="grpcio")] if n == 1 else []),
            ),
            server=Kind.GRPC_GO,
        )
        for n in SHAPES
    )


def _fresh(port: int, seconds: float) -> Race:
    h2load = partial(peers.h2load_fresh, url_of(port), connections=POOL, runs=max(2, round(20 * seconds)))
    return Race(
        name="http2-new-connections",
        unit=RATE,
        contenders=(
            engine("http2-short-lived", port, POOL, "engine, short-lived", seconds),
            Contender(name="h2load, -n 16 -c 16 again and again", run=h2load, program="h2load"),
            engine("http2-httpx-fresh", port, POOL, "httpx.AsyncClient each", seconds),
        ),
        rows=(
            Versus(peer="h2load, -n 16 -c 16 again and again", target=at_least(0.6)),
            Versus(peer="httpx.AsyncClient each", target=at_least(1.0)),
        ),
    )


_STOCK_HTTP2 = "httpx.AsyncClient, http2"
_STOCK_CONNECTION = "connection of httpx"


def _library(port: int, seconds: float) -> tuple[Race, ...]:
    """By every measure no slower than stock httpx, one connection each."""
    figures = (
        ("http2-httpx", RATE, "", POOL, at_least(1.0)),
        ("http2-httpx-cpu", "us/req", "-cpu", POOL, at_most(1.0)),
        ("http2-httpx-latency", "us p50", "-p50", 1, at_most(1.0)),
    )
    return tuple(
        Race(
            name=name,
            unit=unit,
            contenders=tuple(
                engine(f"{what}{figure}", port, loops, contender, seconds)
                for what, contender in (
                    ("http2-client", "AsyncClient"),
                    ("http2-direct", "direct"),
                    ("http2-httpx", _STOCK_HTTP2),
                )
            ),
            rows=tuple(Versus(ours=one, peer=_STOCK_HTTP2, target=target) for one in ("AsyncClient", "direct")),
        )
        for name, unit, figure, loops, target in figures
    )


def _start(port: int, turns: int) -> Race:
    return Race(
        name="http2-start",
        unit="ms",
        contenders=(
            Contender(name="AsyncClient", run=partial(startup.http2, port)),
            Contender(name=_STOCK_HTTP2, run=partial(startup.stock_http2, port)),
            Contender(name=f"{_STOCK_HTTP2}, verify=False", run=partial(startup.stock_http2, port, verify=False)),
        ),
        rows=tuple(Versus(peer=f"{_STOCK_HTTP2}{more}", target=at_most(1.0)) for more in ("", ", verify=False")),
        takes=turns,
    )


def _footprint(port: int) -> Race:
    return Race(
        name="http2-memory",
        unit="KiB each",
        contenders=tuple(
            Contender(name=name, run=partial(ours.child, what, port, connections=0, amount=200))
            for what, name in (("http2-connected", "endpoint connected"), ("http2-httpx-connected", _STOCK_CONNECTION))
        ),
        rows=(Versus(peer=_STOCK_CONNECTION, target=at_most(1.0)),),
        most_rounds=3,
    )
