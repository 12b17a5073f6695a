"""``--threshold``: what may be demanded of a report, how it is written, and whether it holds."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kbalance.analysis.planning import reachable
from kbalance.errors import TargetError
from kbalance.model.plan import Limit, Options
from kbalance.model.report import EndpointLoad, Latency, ProfileReport, Report, Threshold
from kbalance.model.target import Facts
from kbalance.model.words import Comparison, FactsSource, Profile

T = TypeVar("T", ProfileReport, Report)
Value = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Generic[T]):
    """A number of the report that can be compared."""

    name: str
    """Outlives any rewording: it stands in users' pipelines."""
    text: str
    """What it is, with its unit."""
    of: Callable[[T], Value]
    """``None``: it was not measured."""


def _latency(pick: Callable[[Latency], float]) -> Callable[[ProfileReport], Value]:
    """The slowest endpoint's: percentiles of several endpoints do not add up to that of all their answers, but none of all the
    answers together lies above the highest of theirs."""
    return lambda p: max((pick(load.latency_ms) for load in p.endpoints if load.latency_ms), default=None)


def _connect(pick: Callable[[Latency], float]) -> Callable[[ProfileReport], Value]:
    return lambda p: pick(p.connect_ms) if p.connect_ms else None


def _share(pick: Callable[[Iterable[float]], float]) -> Callable[[ProfileReport], Value]:
    def value(profile: ProfileReport) -> Value:
        shares = [load.share for load in profile.endpoints if load.share is not None]
        return pick(shares) if shares else None

    return value


def _failed_share(profiles: Sequence[ProfileReport]) -> Value:
    failed = sum(p.requests.failed for p in profiles)
    ended = failed + sum(p.requests.answered for p in profiles)
    return failed / ended if ended else None


def _all(count: Callable[[ProfileReport], int]) -> Callable[[Report], Value]:
    return lambda report: sum(map(count, report.profiles))


def _endpoints(report: Report) -> Value:
    if report.facts.source is not FactsSource.ANSWERS:
        return len(report.facts.ready)
    seen: list[Sequence[EndpointLoad]] = [p.endpoints for p in report.profiles]
    return max(map(len, seen), default=None)


PROFILE_METRICS: tuple[Metric[ProfileReport], ...] = (
    Metric(
        name="busiest",
        text="The busiest endpoint's requests over the fair share: 1 is even, n is all on one of n.",
        of=lambda p: p.busiest,
    ),
    Metric(name="busiest_share", text="The busiest endpoint's share of the requests, 0 to 1.", of=_share(max)),
    Metric(name="quietest_share", text="The quietest endpoint's share of the requests, 0 to 1.", of=_share(min)),
    Metric(name="idle", text="Endpoints that got nothing.", of=lambda p: None if p.busiest is None else p.idle),
    Metric(
        name="unknown",
        text="Requests answered by what was no endpoint when the run began.",
        of=lambda p: sum(load.requests for load in p.unknown),
    ),
    Metric(name="unidentified", text="Answers that could not be attributed to anybody.", of=lambda p: p.unidentified),
    Metric(name="requests", text="Requests sent.", of=lambda p: p.requests.sent),
    Metric(
        name="failed",
        text="Requests that got no complete answer, or one with a status of 500 or above.",
        of=lambda p: p.requests.failed,
    ),
    Metric(name="failed_share", text="Failed requests over all that ended, 0 to 1.", of=lambda p: _failed_share([p])),
    Metric(name="connections", text="Connections opened.", of=lambda p: p.connections.opened),
    Metric(
        name="streams",
        text="Requests under way at once on one connection, at most; more than 1 over HTTP/2 and gRPC alone.",
        of=lambda p: p.connections.streams_max if p.connections.opened else None,
    ),
    Metric(name="failed_connections", text="Connections that could not be opened.", of=lambda p: p.connections.failed),
    Metric(
        name="p50_ms",
        text="Median latency of the endpoint where it is highest, in milliseconds; all answers together have no more.",
        of=_latency(lambda one: one.p50),
    ),
    Metric(
        name="p90_ms",
        text="90th percentile of latency, likewise.",
        of=_latency(lambda one: one.p90),
    ),
    Metric(
        name="p99_ms",
        text="99th percentile of latency, likewise.",
        of=_latency(lambda one: one.p99),
    ),
    Metric(name="max_ms", text="Latency of the slowest attributed answer.", of=_latency(lambda one: one.max)),
    Metric(
        name="connect_p50_ms",
        text="Median time to open a connection (TLS included), in milliseconds.",
        of=_connect(lambda one: one.p50),
    ),
    Metric(name="connect_p90_ms", text="90th percentile of the time to open a connection.", of=_connect(lambda one: one.p90)),
    Metric(name="connect_p99_ms", text="99th percentile of the time to open a connection.", of=_connect(lambda one: one.p99)),
    Metric(name="connect_max_ms", text="The longest time to open a connection.", of=_connect(lambda one: one.max)),
    Metric(name="duration_s", text="Seconds that the profile took.", of=lambda p: p.duration_s),
)
"""Written behind a profile's name and a dot."""

RUN_METRICS: tuple[Metric[Report], ...] = (
    Metric(name="endpoints", text="Endpoints that should get traffic: the ready ones.", of=_endpoints),
    Metric(
        name="unidentified",
        text="Answers of all profiles that could not be attributed to anybody.",
        of=_all(lambda p: p.unidentified),
    ),
    Metric(name="requests", text="Requests sent by all profiles.", of=_all(lambda p: p.requests.sent)),
    Metric(name="failed", text="Failed requests of all profiles.", of=_all(lambda p: p.requests.failed)),
    Metric(
        name="failed_share",
        text="Failed requests of all profiles over all that ended, 0 to 1.",
        of=lambda report: _failed_share(report.profiles),
    ),
    Metric(name="connections", text="Connections opened by all profiles.", of=_all(lambda p: p.connections.opened)),
    Metric(name="duration_s", text="Seconds that the run took.", of=lambda report: report.duration_s),
)
"""Written alone."""

_COMPARE: dict[Comparison, Callable[[float, float], bool]] = {
    Comparison.LESS: operator.lt,
    Comparison.AT_MOST: operator.le,
    Comparison.MORE: operator.gt,
    Comparison.AT_LEAST: operator.ge,
    Comparison.EQUAL: operator.eq,
    Comparison.NOT_EQUAL: operator.ne,
}
_EXPRESSION = re.compile(r"\s*(?:([^\s<>=!.]*)\.)?([^\s<>=!.]+)\s*([<>=!]+)\s*([^\s<>=!]+)\s*", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_FORM = "write it as PROFILE.METRIC<=NUMBER or METRIC<=NUMBER, for example short-lived.busiest<=1.3"


def parse(text: str) -> Limit:
    """One expression.

    Raises:
        TargetError: it is none, and what would be one.
    """
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise _wrong(text, _FORM)
    profile, metric, sign, number = match.groups()
    if sign not in set(Comparison):
        raise _wrong(text, f"{sign} compares nothing; use {_either(Comparison)}")
    bound = float(number) if _NUMBER.fullmatch(number) else math.nan
    if not math.isfinite(bound):
        raise _wrong(text, f"{number!r} is not a number; it has no unit, the metric's name says which (50, 0.01)")
    return Limit(
        expression=text.strip(),
        profile=_profile(text, profile, metric),
        metric=metric,
        comparison=Comparison(sign),
        bound=bound,
    )


def check_profiles(options: Options) -> None:
    """Refuses thresholds on profiles that were not asked for.

    Raises:
        TargetError: there is one.
    """
    for limit in options.thresholds:
        if limit.profile is not None and limit.profile not in options.profiles:
            raise _wrong(limit.expression, f"the profile {limit.profile} is not run; add --profile {limit.profile}")


def check_facts(options: Options, facts: Facts) -> None:
    """Refuses thresholds on the one profile that cannot be run where nobody knows an endpoint's address.

    Raises:
        TargetError: there is one.
    """
    if facts.source is FactsSource.API or reachable(facts):
        return
    for limit in options.thresholds:
        if limit.profile is Profile.PER_ENDPOINT:
            raise _wrong(
                limit.expression, "no endpoint's address is known, so per-endpoint is not run; name them with --endpoint"
            )


def judged(report: Report, limits: Iterable[Limit]) -> tuple[Threshold, ...]:
    """Each limit with its value; one without a value fails.

    What is compared is the value to six digits, as it stands in the JSON report: whoever checks it again comes to the same.
    """
    return tuple(_judged(report, limit) for limit in limits)


def _judged(report: Report, limit: Limit) -> Threshold:
    value = _value(report, limit)
    passed = value is not None and _COMPARE[limit.comparison](value, limit.bound)
    return Threshold(expression=limit.expression, value=value, passed=passed)


def _value(report: Report, limit: Limit) -> Value:
    value: Value
    if limit.profile is None:
        value = _named(RUN_METRICS, limit.metric).of(report)
    else:
        profile = next((p for p in report.profiles if p.profile is limit.profile), None)
        value = None if profile is None else _named(PROFILE_METRICS, limit.metric).of(profile)
    return None if value is None else float(f"{value:.6g}")


def _named(table: Sequence[Metric[T]], name: str) -> Metric[T]:
    return next(metric for metric in table if metric.name == name)


def _profile(text: str, profile: str | None, metric: str) -> Profile | None:
    """The profile that is meant, once its name and the metric's were found right."""
    of_profile, of_run = [m.name for m in PROFILE_METRICS], [m.name for m in RUN_METRICS]
    if profile is None:
        if metric in of_profile and metric not in of_run:
            raise _wrong(text, f"{metric} is a profile's number; write for example short-lived.{metric}")
        _check(text, "the run has no number", metric, of_run)
        return None
    _check(text, "there is no profile", profile, [p.value for p in Profile])
    if metric in of_run and metric not in of_profile:
        raise _wrong(text, f"{metric} is the whole run's number; write it without the profile")
    _check(text, "a profile has no number", metric, of_profile)
    return Profile(profile)


def _check(text: str, denial: str, name: str, known: Sequence[str]) -> None:
    from difflib import get_close_matches

    if name in known:
        return
    near = get_close_matches(name, known, n=2, cutoff=0.6)
    meant = f"; did you mean {' or '.join(near)}? All are" if near else "; all are"
    raise _wrong(text, f"{denial} {name!r}{meant} {', '.join(known)}")


def _wrong(text: str, why: str) -> TargetError:
    return TargetError(f"--threshold {text!r}: {why}.")


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"
