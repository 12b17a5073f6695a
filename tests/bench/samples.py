"""Trials as plain values."""

from dataclasses import replace

from bench.accuracy.trial import Trial


def trial(cause: str = "connection-pinning", **changes: object) -> Trial:
    """A right verdict on kube-proxy's plain rules, unless something else is said."""
    base = Trial(
        scenario="plain",
        dataplane="iptables",
        pods=3,
        seed=1,
        expected=("connection-pinning",),
        also=(),
        fair=True,
        cause=cause,
        confidence="certain",
        severity="risk",
        findings=(cause,),
        requests=650,
        connections=310,
        drawn=294,
        seconds=0.4,
    )
    return replace(base, **changes)  # type: ignore[arg-type]
