"""Reports as `kbalance diff` reads them, made of counts; what is not named is what healthy runs on one Service have."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kbalance.analysis.samplesize import expected_busiest
from kbalance.model.past import PastEndpoint, PastProfile, PastReport, PastTarget
from kbalance.model.report import Latency

TARGET = PastTarget(
    kind="service", namespace="shop", name="web", port="http", scheme="http", url="http://198.18.1.10/", asked="/hostname"
)


def pods(n: int, prefix: str = "web") -> tuple[str, ...]:
    return tuple(f"{prefix}-{i:02d}" for i in range(n))


def endpoint(
    name: str, requests: int, connections: int, *, share: float = 0.0, failed: int = 0, ms: float | None = None
) -> PastEndpoint:
    latency = None if ms is None else Latency(p50=ms, p90=ms * 1.1, p99=ms * 1.2, max=ms * 1.2)
    return PastEndpoint(name=name, requests=requests, connections=connections, failed=failed, share=share, latency_ms=latency)


def profile(
    kind: str, counts: Sequence[int], names: Sequence[str] | None = None, *, each: int = 1, **changes: object
) -> PastProfile:
    """So many connections for each endpoint, with so many requests on each."""
    total, n = sum(counts), len(counts)
    base = PastProfile(
        profile=kind,
        protocol="http1",
        parameters={"requests": total * each, "connections": 10, "concurrency": 4, "rate": 200.0},
        stopped="done",
        requests=total * each,
        failed=0,
        opened=total,
        not_opened=0,
        requests_most=each,
        endpoints=tuple(
            endpoint(name, c * each, c, share=c / total if total else 0.0)
            for name, c in zip(names or pods(n), counts, strict=True)
        ),
        busiest=max(counts) * n / total if total else None,
        expected_busiest=expected_busiest(total, n),
        idle=sum(not c for c in counts),
        spread="uneven",
        placement="unknown",
        several=0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def fresh(counts: Sequence[int], names: Sequence[str] | None = None, **changes: object) -> PastProfile:
    return replace(profile("short-lived", counts, names), **changes)  # type: ignore[arg-type]


def pooled(counts: Sequence[int], names: Sequence[str] | None = None, **changes: object) -> PastProfile:
    return replace(profile("pooled", counts, names, each=20), **changes)  # type: ignore[arg-type]


def direct(
    n: int = 3,
    *,
    names: Sequence[str] | None = None,
    requests: int = 20,
    failed: Mapping[int, int] | None = None,
    ms: Mapping[int, float] | None = None,
) -> PastProfile:
    """Each endpoint asked directly; some fail, some take longer."""
    bad, took = failed or {}, ms or {}
    base = profile("per-endpoint", [1] * n, names, each=requests)
    loads = tuple(
        replace(endpoint(e.name, requests, 1, share=1 / n, failed=bad.get(i, 0), ms=took.get(i, 1.0)), share=1 / n)
        for i, e in enumerate(base.endpoints)
    )
    return replace(base, endpoints=loads, failed=sum(bad.values()))


def report(*profiles: PastProfile, **changes: object) -> PastReport:
    base = PastReport(
        kbalance="0.1.0",
        started="2025-11-03T02:58:41Z",
        partial=False,
        target=TARGET,
        vantage=(("kind", "local"), ("node", None), ("zone", None)),
        source="api",
        settings={"session_affinity": "None", "internal_traffic_policy": "Cluster", "traffic_distribution": None},
        hinted=False,
        profiles=profiles,
        cause="connection-pinning",
        summary="Connections stay where they were opened.",
        causes={"connection-pinning": "risk"},
    )
    return replace(base, **changes)  # type: ignore[arg-type]
