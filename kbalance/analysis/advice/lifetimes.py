"""A shorter life of connections, with its arithmetic for this Service."""

from kbalance.analysis.advice.shape import all_keep, averages_out, each_keeps, held_words, is_grpc, measured, multiplexes, verb
from kbalance.analysis.case import Case
from kbalance.analysis.checks.clients import slots
from kbalance.analysis.checks.measurement import ends
from kbalance.analysis.endings import Jitter, ending, varies
from kbalance.analysis.lifetime import HANDSHAKE_SHARE, JITTER, LIFETIMES_S, Renewal, advise
from kbalance.analysis.samplesize import expected_busiest
from kbalance.analysis.wording import count, duration, percent, times
from kbalance.model.report import Recommendation


def renewal(case: Case) -> Renewal:
    """The lifetime advised for the user's clients."""
    connect = case.fresh.connect_ms if case.fresh is not None else None
    return advise(
        all_keep(case),
        case.n,
        window_s=case.window_s,
        tolerance=case.tolerance,
        connect_s=connect.p50 / 1000 if connect is not None else None,
    )


def requests_in(lifetime_s: float, case: Case) -> tuple[float, float] | None:
    """Requests per second on a connection of this run's pool, and in such a lifetime; ``None``: nobody set a pace.

    Without a pace (`--rate 0`) the run goes as fast as answers come, which says nothing about a client's days. Over HTTP/2 the
    few connections of an ordinary client carry what the pool's would.
    """
    pooled = case.pooled
    rate = pooled.parameters.get("rate") if pooled is not None else None
    if pooled is None or not isinstance(rate, int | float):
        return None
    each = rate / slots(pooled) * (case.connections / each_keeps(case) if multiplexes(case) else 1)
    return each, each * lifetime_s


NO_BETTER = 0.99
"""Of what connections as they are do on average; a window that is shorter than the shortest life gains nothing."""


def shorter_lifetime(case: Case) -> Recommendation | None:
    """Connections end at an age, so that their endpoints are drawn anew."""
    advised = renewal(case)
    if not averages_out(case) and advised.busiest >= NO_BETTER * expected_busiest(all_keep(case), case.n):
        return None
    return Recommendation(
        id="shorter-lifetime",
        title=_title(case, advised),
        why=" ".join((*_arithmetic(case, advised), *_limit(case), *_in_requests(case, advised), *_already(case))),
        measured_busiest=None if averages_out(case) else measured(case.fresh),
        predicted_busiest=advised.busiest,
        costs=_costs(case, advised),
    )


def _title(case: Case, advised: Renewal) -> str:
    age = duration(advised.lifetime_s)
    where = " at the server (MAX_CONNECTION_AGE)" if is_grpc(case) else ""
    if averages_out(case):
        return f"Nothing is needed for balance; end connections after {age}{where}, with jitter, so that new Pods get their share"
    return f"End connections after {age}{where}, with jitter" + ("" if advised.enough else "; that alone is not enough")


def _arithmetic(case: Case, advised: Renewal) -> tuple[str, ...]:
    """What the lifetime does to the average over the window."""
    age, held = duration(advised.lifetime_s), held_words(case)
    new = f"A new Pod has its share of kept connections after {age}."
    if averages_out(case):
        as_is = expected_busiest(all_keep(case), case.n)
        return f"As they are, {held} load the busiest of {case.n} endpoints {times(as_is)} times its fair share on average.", new
    counts = (
        f"Over {duration(case.window_s)}, {held} that {verb(case, 'live', 'lives')} {age} {verb(case, 'count', 'counts')} as "
        f"{advised.draws:,.0f} draws: the busiest of {case.n} endpoints is at {times(advised.busiest)} times its fair share on "
        "average"
    )
    if advised.enough:
        return f"{counts}.", new
    too_short = (
        "a shorter life would leave more than two sockets in TIME_WAIT for each in use"
        if advised.lifetime_s == LIFETIMES_S[0]
        else f"a shorter life would spend more than {HANDSHAKE_SHARE * 100:g} % on handshakes"
    )
    return f"{counts}, above {case.tolerance:g}; {too_short}.", new


def _limit(case: Case) -> tuple[str, ...]:
    """What connections of one request each did in this run."""
    fresh = measured(case.fresh)
    if case.fresh is None or fresh is None or averages_out(case):
        return ()
    opened = count(case.fresh.evidence.connections or case.fresh.connections.opened, "fresh connection")
    return (f"This run's {opened}, the limit of ever shorter lives, gave {times(fresh)}.",)


def _in_requests(case: Case, advised: Renewal) -> tuple[str, ...]:
    """The lifetime as a number of requests, where the run kept a pace."""
    found = requests_in(advised.lifetime_s, case)
    if found is None:
        return ()
    rate, requests = found
    age = duration(advised.lifetime_s)
    return (
        f"At this run's {rate:.3g} requests per second on a connection, {age} are {requests:,.0f} requests; count with your own.",
    )


def _already(case: Case) -> tuple[str, ...]:
    """What the server does now."""
    lifetime = ends(case)
    if lifetime is None:
        return ()
    jitter = ", without jitter" if varies(lifetime) is Jitter.NONE else ""
    return (f"The server ends them now {ending(lifetime)}{jitter}.",)


def _costs(case: Case, advised: Renewal) -> tuple[str, ...]:
    """Handshakes and what comes with them."""
    held = all_keep(case)
    own = " (which gRPC's own servers add)" if is_grpc(case) else ""
    grace = (
        (
            "calls under way need MAX_CONNECTION_AGE_GRACE to end, and streams that live longer are cut off",
            "keepalive pings are no substitute: they find a dead peer and move nothing, and a client that pings more often than "
            "the server allows (gRPC's default: every 5 minutes) gets GOAWAY with ENHANCE_YOUR_CALM (too_many_pings)",
        )
        if is_grpc(case)
        else ()
    )
    return (
        f"{_rate(advised.handshakes_per_s)} over all clients{_each(case, advised)}",
        f"about {count(round(advised.waiting), 'socket')} in TIME_WAIT on the side that closes"
        if advised.waiting >= 1
        else "a socket in TIME_WAIT now and then on the side that closes",
        "evens out over the window, not at each moment",
        *grace,
        f"without jitter of {JITTER * 100:.0f} %{own}, connections that were opened together end together: "
        + (f"{held:,} handshakes and all of their load at once, though the average stays" if held > 1 else "all clients at once"),
    )


def _rate(handshakes_per_s: float) -> str:
    """The rate in the shortest unit in which it is about one or more, an hour at most."""
    units = {"second": handshakes_per_s, "minute": 60 * handshakes_per_s, "hour": 3600 * handshakes_per_s}
    unit = next((unit for unit, number in units.items() if number >= 0.95), "hour")
    return f"{count(round(units[unit]), 'handshake')} per {unit}"


def _each(case: Case, advised: Renewal) -> str:
    """What one handshake takes, beside what it is paid for."""
    if case.fresh is None or case.fresh.connect_ms is None or advised.life_share is None:
        return ""
    took = case.fresh.connect_ms.p50
    share = "under 0.1 %" if advised.life_share < 0.001 else percent(advised.life_share)
    return f", each {took:.{2 if took < 1 else 1}f} ms (median here): {share} of a connection's life"
