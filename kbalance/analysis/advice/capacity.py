"""Clients against Pods: what luck makes of their numbers, now and after a change of them."""

from collections.abc import Iterator

from kbalance.analysis.advice.shape import all_keep, averages_out, draws_fairly, each_keeps, held_words, verb
from kbalance.analysis.case import Case, spreading_fresh
from kbalance.analysis.samplesize import expected_busiest, expected_idle
from kbalance.analysis.wording import times
from kbalance.model.report import Diagnosis, Forecast, Recommendation

LUCK_MATTERS = frozenset({"connection-pinning", "http2-multiplexing", "pool-order", "small-sample", "stale-membership"})
"""Causes under which the number of connections decides how even the load is."""

MORE_CLIENTS = 10


def forecasts(case: Case, diagnosis: Diagnosis) -> tuple[Forecast, ...]:
    """The load of the user's clients now and after each change; empty where fresh connections are not drawn, or nobody asked.

    Somebody asked who gave a number of clients, or whose clients keep connections and suffer from it.
    """
    asked = case.clients > 1 or any(finding.cause in LUCK_MATTERS for finding in diagnosis.findings)
    if case.n < 2 or not asked or not spreading_fresh(case) or not draws_fairly(case):
        return ()
    return tuple(_rows(case))


def merged(n: int) -> int:
    """Endpoints after pairs of them became one of twice the size; two stay two, for one alone would be no Service to balance."""
    return max(2, -(-n // 2))


def many_clients(case: Case) -> Recommendation | None:
    """More connections than endpoints: fewer and bigger Pods, or more clients.

    Not where luck evens out already, nor where there would be fewer connections than bigger Pods: few clients never average out.
    """
    held, half = all_keep(case), merged(case.n)
    if averages_out(case) or held < half:
        return None
    now, more = expected_busiest(held, case.n), expected_busiest(MORE_CLIENTS * held, case.n)
    fewer, after = half < case.n, expected_busiest(held, half)
    return Recommendation(
        id="fewer-bigger-pods",
        title="Run fewer and bigger Pods, or more clients" if fewer else "Run more clients",
        why=f"{held_words(case)} {verb(case, 'load', 'loads')} the busiest of {case.n} endpoints {times(now)} times its fair "
        + "share on average, "
        + (f"of {half} endpoints {times(after)} times, and " if fewer else "and ")
        + f"{MORE_CLIENTS} times as many clients {times(more)} times.",
        measured_busiest=None,
        predicted_busiest=after if fewer else more,
        costs=(
            *(("a bigger Pod is harder to place and takes more with it when it fails",) if fewer else ()),
            "few clients over many Pods never average out",
        ),
    )


def _rows(case: Case) -> Iterator[Forecast]:
    clients, each, n = case.clients, each_keeps(case), case.n
    yield _row("now", clients, each, n)
    yield _row("scaled out", clients, each, 2 * n)
    if merged(n) < n:
        yield _row("merged", clients, each, merged(n))
    yield _row("more clients", MORE_CLIENTS * clients, each, n)


def _row(what: str, clients: int, each: int, n: int) -> Forecast:
    return Forecast(
        what=what,
        clients=clients,
        connections=each,
        endpoints=n,
        expected_busiest=expected_busiest(clients * each, n),
        expected_idle=expected_idle(clients * each, n),
    )
