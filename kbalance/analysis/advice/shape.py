"""What advice asks of a case: how many connections there are, whether luck evens them out, what the Service speaks."""

from collections.abc import Collection

from kbalance.analysis.case import Case
from kbalance.analysis.checks.clients import crowded, slots
from kbalance.analysis.protocols import GRPC, HTTP2, says
from kbalance.analysis.samplesize import chance_above, expected_busiest
from kbalance.analysis.wording import count, listed, times
from kbalance.model.report import ProfileReport
from kbalance.model.words import Placement, Spread

UNLIKELY = 0.05
"""Chance of an uneven moment that needs no cure."""


def each_keeps(case: Case) -> int:
    """Connections of one client that carry its requests.

    A pool may put nearly all requests on few of its connections: it takes the one used last, and then a client keeps as many as
    its requests would fill at the rate of the fullest. HTTP/2 carries them side by side, so that an ordinary client keeps one,
    whatever a pool that takes turns was made to open; more where the stock profile saw a server take few streams on each.
    """
    pooled = case.pooled
    if multiplexes(case):
        return _of_an_ordinary_client(case)
    if pooled is None or not pooled.connections.requests_max:
        return case.connections
    if not crowded(pooled):
        return case.connections
    # Of slots / connections vantage points, each with a pool of its own.
    filled = pooled.requests.sent / pooled.connections.requests_max * case.connections / slots(pooled)
    return max(1, min(case.connections, round(filled)))


def _of_an_ordinary_client(case: Case) -> int:
    """Connections that it had at once, and not one after the other because the server ended them."""
    stock = case.stock
    if stock is None or not stock.connections.opened:
        return 1
    # Of slots / connections vantage points, each a client of its own.
    clients = max(1, round(slots(stock) / case.connections))
    at_once = (stock.connections.opened - stock.connections.closed_by_server) / clients
    return max(1, min(case.connections, round(at_once)))


def all_keep(case: Case) -> int:
    """Connections that carry requests, of all the user's clients."""
    return case.clients * each_keeps(case)


def averages_out(case: Case) -> bool:
    """Whether so many clients keep so many connections that luck alone hardly ever leaves an endpoint above the tolerance."""
    return case.n > 1 and chance_above(case.n, all_keep(case), case.tolerance) < UNLIKELY


def few(case: Case) -> bool:
    """Whether there are fewer connections than endpoints, so that some get nothing whatever is drawn."""
    return all_keep(case) < case.n


def is_grpc(case: Case) -> bool:
    """Whether the port says so, or it was spoken."""
    return says(case.facts.service, GRPC) is not None or _spoke(case, GRPC)


def multiplexes(case: Case) -> bool:
    """Whether clients put all their requests on one connection, as those of HTTP/2 and gRPC do."""
    return says(case.facts.service, HTTP2) is not None or _spoke(case, HTTP2)


def _spoke(case: Case, protocols: Collection[str]) -> bool:
    """Whether the run did."""
    return case.protocol.value in protocols


def draws_fairly(case: Case) -> bool:
    """Whether nothing speaks against a fair draw of fresh connections, from endpoints that all answer."""
    return not case.dead and (case.fresh is None or case.fresh.placement not in (Placement.BIASED, Placement.FIXED))


def worst(case: Case) -> float | None:
    """Busiest over fair share of the worst profile that dialled the target's address; the report compares fixes with it."""
    return max((p.busiest for p in case.through if p.busiest is not None), default=None)


def measured(report: ProfileReport | None) -> float | None:
    """The busiest endpoint's load over its fair share, where the profile could say."""
    return report.busiest if report is not None and report.spread is not Spread.FAILED else None


def kept(case: Case) -> str:
    """What clients that keep connections saw, for comparison."""
    seen = [
        f"{times(p.busiest)} with {count(p.connections.opened, 'kept connection')}" for p in case.keeping if p.busiest is not None
    ]
    return f"it was {listed(dict.fromkeys(seen))}" if seen else "clients that keep connections were not measured"


def fair(case: Case) -> float | None:
    """What a fair draw of this run's fresh connections would have given."""
    if case.fresh is None or not case.fresh.evidence.connections:
        return None
    return expected_busiest(case.fresh.evidence.connections, case.n)


def held_words(case: Case) -> str:
    """The user's connections in words: ``200 connections of 20 clients``."""
    idle = "" if each_keeps(case) >= case.connections or multiplexes(case) else " (those that carry requests)"
    return f"{count(all_keep(case), 'connection')}{idle} of {count(case.clients, 'client')}"


def verb(case: Case, plural: str, singular: str) -> str:
    """The verb that goes with `held_words`."""
    return singular if all_keep(case) == 1 else plural
