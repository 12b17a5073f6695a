"""How a server ends connections: after how many requests or at which age, and whether ages vary from connection to connection."""

from enum import Enum, auto

from kbalance.analysis.wording import between, count, percent
from kbalance.model.report import ServerLifetime

RESOLUTION_S = 0.02
"""Ages within so much of each other are the same: timers, the way of a frame and a busy client make no less."""

SAME = 0.02
"""Part of the age within which ages are the same, however long they are."""

GRPC_JITTER = 0.1
"""By how much gRPC's servers vary MAX_CONNECTION_AGE, either way (gRFC A9)."""

NOISE_S = 0.1
"""What delays alone may add to an age: a busy machine, a late timer, a GOAWAY that waits behind an answer."""

NOISE = 0.05
"""And the part of the age above which it is told as meant; +-10 % spread three ages wider than that in five of six runs."""

FEWEST = 3
"""Ages that say something of how they vary."""


class Jitter(Enum):
    """Whether the ages at which GOAWAY came vary on purpose."""

    NONE = auto()
    SOME = auto()
    UNTOLD = auto()
    """Too few of them, too short ones, too close for delays, or the number of requests decides and not the age."""


def ending(lifetime: ServerLifetime) -> str:
    """After how much a server closes: requests where they decide, the age where that does, or both; with GOAWAY, the age then."""
    low, high = _ages(lifetime)
    if _requests_decide(lifetime):
        return f"after {count(lifetime.requests_max, 'request')}"
    if lifetime.requests_min == lifetime.requests_max:
        return f"after {count(lifetime.requests_max, 'request')} or {_about(low, high)}"
    if high <= (1 + GRPC_JITTER) / (1 - GRPC_JITTER) * low:
        return f"after {_about(low, high)}"
    return f"after {lifetime.requests_min} to {lifetime.requests_max} requests or {_about(low, high)}"


def varies(lifetime: ServerLifetime) -> Jitter:
    """Whether the ages vary from connection to connection."""
    ages = _goaway_ages(lifetime)
    if ages is None or lifetime.goaways < FEWEST or _requests_decide(lifetime):
        return Jitter.UNTOLD
    low, high = ages
    if high - low > max(NOISE_S, NOISE * high):
        return Jitter.SOME
    return Jitter.NONE if _same(low, high) and SAME * high >= RESOLUTION_S else Jitter.UNTOLD


def goaway(lifetime: ServerLifetime) -> tuple[str, ...]:
    """At which ages the server said that it takes no more, and what that says of jitter; empty where it did not."""
    ages = _goaway_ages(lifetime)
    if ages is None:
        return ()
    low, high = ages
    said = f"GOAWAY on {count(lifetime.goaways, 'connection')}, at an age of {between(_tenths(low), _tenths(high))} s"
    return (f"{said}: {_jitter(lifetime, low, high)}.",)


def goaway_briefly(lifetime: ServerLifetime) -> str:
    """The same in a few words; empty where there was no GOAWAY."""
    ages = _goaway_ages(lifetime)
    if ages is None:
        return ""
    low, high = ages
    words = {
        Jitter.NONE: "no jitter",
        Jitter.SOME: f"varies by {percent((high - low) / high)}",
        Jitter.UNTOLD: "whether it varies cannot be told",
    }
    return f"GOAWAY on {lifetime.goaways} of them, at {between(f'{low:.3g}', f'{high:.3g}')} s ({words[varies(lifetime)]})"


def _jitter(lifetime: ServerLifetime, low: float, high: float) -> str:
    match varies(lifetime):
        case Jitter.SOME:
            return f"it varies by {percent((high - low) / high)}, so that connections opened together do not end together"
        case Jitter.NONE:
            chance = _as_close(lifetime.goaways, low, high)
            odds = "less than 0.1 %" if chance < 0.001 else percent(chance)
            return (
                f"no jitter, and connections opened together end together; gRPC's own +-{GRPC_JITTER * 100:.0f} % would leave "
                f"{lifetime.goaways} ages so close in {odds} of runs"
            )
        case Jitter.UNTOLD:
            if _requests_decide(lifetime):
                return "the number of requests decides, not the age"
            if lifetime.goaways < FEWEST:
                return f"too few to tell whether ages vary ({FEWEST} at least; let it run longer: --requests)"
            return (
                "too short to tell whether ages vary" if _same(low, high) else "too close to tell from delays whether ages vary"
            )


def _requests_decide(lifetime: ServerLifetime) -> bool:
    """Whether the server counts requests: always the same number, at ages that differ by more than one request takes.

    A fixed age gives the same number of requests as well, where they come at a steady pace or a pool is taken in turn.
    """
    low, high = _ages(lifetime)
    requests = lifetime.requests_max
    return lifetime.requests_min == requests and not _same(low, high) and high - low > high / requests


def _same(low: float, high: float) -> bool:
    return high - low <= max(RESOLUTION_S, SAME * high)


def _as_close(n: int, low: float, high: float) -> float:
    """The chance that n ages drawn evenly from +-10 % lie within the observed range; at least as far apart as clocks tell.

    The distribution function of a uniform sample's range (David and Nagaraja, "Order Statistics", 2.3): n r^(n-1) - (n-1) r^n.
    """
    width = GRPC_JITTER * (low + high)
    r = min(1.0, max(high - low, RESOLUTION_S) / width)
    return float(n * r ** (n - 1) - (n - 1) * r**n)


def _about(low: float, high: float) -> str:
    """One age, or from the lowest to the highest where they differ by more than a reader would round away."""
    alike = high - low <= SAME * high or _tenths(low) == _tenths(high)
    return f"about {_tenths(high)} s" if alike else f"{_tenths(low)} to {_tenths(high)} s"


def _tenths(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 0.1 else f"{seconds:.2g}"


def _ages(lifetime: ServerLifetime) -> tuple[float, float]:
    """Lowest and highest age at GOAWAY, or at the end where there was none."""
    return _goaway_ages(lifetime) or (lifetime.age_min_s, lifetime.age_max_s)


def _goaway_ages(lifetime: ServerLifetime) -> tuple[float, float] | None:
    if not lifetime.goaways or lifetime.goaway_min_s is None or lifetime.goaway_max_s is None:
        return None
    return lifetime.goaway_min_s, lifetime.goaway_max_s
