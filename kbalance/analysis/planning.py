"""How much traffic answers the question: facts and options become a traffic plan."""

import math
from collections.abc import Sequence
from dataclasses import replace

from kbalance.analysis.samplesize import draws_to_tell
from kbalance.errors import TargetError
from kbalance.model.plan import Lifetime, Options, ProfilePlan, RequestSpec, TrafficPlan
from kbalance.model.target import Address, EndpointFacts, Facts, Target
from kbalance.model.words import MOST_CONNECTIONS, Profile, Protocol
from kbalance.wire.grpc import frame

SINGLE_REQUESTS = 100
"""Enough for a 99th percentile and to meet a server that closes after 100 requests."""

POOLED_REQUESTS = 20
"""Per connection, so that each endpoint's share is known to within a request in twenty."""

ENDPOINT_REQUESTS = 20
"""Per endpoint: one that fails every tenth request is seen with 88 %."""

ENDPOINT_REQUESTS_IN_ALL = 2000
ENDPOINT_REQUESTS_LEAST = 2
"""The second request tells a slow connection from a slow endpoint."""

ASSUMED_ENDPOINTS = 5
"""Where nobody said how many there are."""

REACH_DRAWS = 20
"""Fresh connections where one endpoint stands behind the target, and how they are drawn is no question."""

SPARE = 1.05
"""Short-lived plans so many times the draws that are enough: a connection that fails or is not identified is no draw."""

FASTEST = 200_000.0
"""Requests per second that no Python client exceeds; stands in for the rate of a closed loop, which nobody knows beforehand."""

ALPHA_WEIGHTS = {Profile.SINGLE: 1, Profile.POOLED: 4, Profile.SHORT_LIVED: 5, Profile.PER_ENDPOINT: 0, Profile.STOCK: 1}
"""Shares of the run's alpha. Per-endpoint tests nothing. Single and stock have one draw, or a few if the server closes
connections. Pooled gets enough that ten connections on one endpoint of three count as no accident."""


def alpha_share(profile: Profile, options: Options) -> float:
    """This profile's part of the run's chance of a false alarm; the parts of the profiles that run add up to alpha."""
    return options.alpha * ALPHA_WEIGHTS[profile] / max(1, sum(ALPHA_WEIGHTS[p] for p in set(options.profiles)))


def stops_early(options: Options) -> bool:
    """Whether short-lived may end once its question is settled.

    Not where the user demands something of its numbers: fewer connections would make them vary more by luck, and how often a
    demand fails by luck could not be said beforehand.
    """
    return options.early_stop and not any(limit.profile is Profile.SHORT_LIVED for limit in options.thresholds)


def reachable(facts: Facts) -> tuple[EndpointFacts, ...]:
    """The ready endpoints that can be dialled directly."""
    return tuple(e for e in facts.ready if e.address is not None)


def request(
    target: Target, options: Options, *, path: str, nonce: str, protocol: Protocol = Protocol.HTTP1, message: bytes = b""
) -> RequestSpec:
    """The one request that calibration and every profile repeat.

    Args:
        message: of a call of gRPC.
    """
    grpc = protocol is Protocol.GRPC
    return RequestSpec(
        method="POST" if grpc else options.method,
        authority=options.host or target.authority,
        path=path,
        headers=options.headers,
        body=frame(message) if grpc else options.body,
        nonce=nonce,
        protocol=protocol,
        scheme=target.scheme,
        timeout_s=options.timeout_s if grpc else None,
    )


def plan(facts: Facts, address: Address, options: Options, request: RequestSpec, *, reserved: int = 0) -> TrafficPlan:
    """The traffic of a run.

    Without `options.requests`, short-lived gives way: it makes as many fresh connections as tell a fair draw, or as many as
    the other profiles leave of `options.max_connections`. Per-endpoint is left out where no endpoint's address is known.

    Args:
        address: What the target's name resolved to.
        request: What each profile repeats.
        reserved: New connections that finding out about identity may take.

    Raises:
        TargetError: When the plan would open more than `options.max_connections`, or short-lived connections would never end.
    """
    return TrafficPlan(
        request=request,
        profiles=_within_cap(_profiles(facts, address, options, request.protocol), options, reserved),
        timeout_s=options.timeout_s,
        deadline_s=options.deadline_s,
        max_connections=options.max_connections,
        seed=options.seed,
    )


def share(options: Options, workers: int, worker: int) -> Options:
    """One worker's part of what the user asked for: the parts together keep to the limits and to alpha.

    Each worker is a client of its own, so a pool keeps its size.
    """
    if workers == 1:
        return options
    return replace(
        options,
        requests=options.requests and math.ceil(options.requests / workers),
        rate=options.rate and options.rate / workers,
        concurrency=max(1, options.concurrency // workers),
        max_connections=max(1, options.max_connections // workers),
        alpha=options.alpha / workers,
        seed=options.seed + worker,
    )


def pooled(plans: Sequence[ProfilePlan]) -> ProfilePlan:
    """One plan for the traffic of several workers with the same profile."""
    return replace(
        plans[0],
        requests=sum(p.requests for p in plans),
        slots=sum(p.slots for p in plans),
        concurrency=sum(p.concurrency for p in plans),
        rate=None if any(p.rate is None for p in plans) else sum(p.rate or 0.0 for p in plans),
        enough_connections=max(p.enough_connections for p in plans),
    )


def planned_connections(profile: ProfilePlan) -> int:
    """The most new connections that a profile opens while nothing fails and the server closes none.

    Jitter makes connections end early by as much as it makes others end late; the most counts every one as ending early.
    """
    per_connection = _requests_per_connection(profile.lifetime, profile.rate, profile.slots)
    if per_connection is None:
        return profile.slots
    shortest = per_connection * (1 - profile.lifetime.jitter)
    return max(min(profile.slots, profile.requests), math.ceil(profile.requests / max(1.0, shortest)))


def _profiles(facts: Facts, address: Address, options: Options, protocol: Protocol) -> tuple[ProfilePlan, ...]:
    """One plan for each profile that was asked for and is possible, in the order in which they run."""
    makers = {
        Profile.SINGLE: lambda: _single(address, options),
        Profile.POOLED: lambda: _pooled(address, options),
        Profile.SHORT_LIVED: lambda: _short_lived(len(facts.ready), address, options),
        Profile.PER_ENDPOINT: lambda: _per_endpoint(reachable(facts), options),
        Profile.STOCK: lambda: replace(_pooled(address, options), profile=Profile.STOCK),
    }
    possible = [p for p in Profile if p in options.profiles and (p is not Profile.PER_ENDPOINT or reachable(facts))]
    dialled = tuple(e.name for e in reachable(facts) if e.address == address)
    plans = (makers[profile]() for profile in possible)
    plans = (_multiplexed(p, options) for p in plans) if protocol.multiplexes else plans
    return tuple(p if p.endpoints else replace(p, endpoints=dialled) for p in plans)


def _multiplexed(plan: ProfilePlan, options: Options) -> ProfilePlan:
    """The same over a protocol that puts several requests on a connection at once.

    Short-lived keeps to one at a time: its connections are draws, and a crowd on each would tell nothing more.
    """
    if plan.profile is Profile.SHORT_LIVED:
        return plan
    most = min(options.concurrency, plan.requests)
    return replace(plan, concurrency=most, streams=most)


def _single(address: Address, options: Options) -> ProfilePlan:
    return ProfilePlan(
        profile=Profile.SINGLE,
        requests=options.requests or SINGLE_REQUESTS,
        slots=1,
        concurrency=1,
        rate=options.rate,
        lifetime=Lifetime(),
        pool_policy=options.pool_policy,
        addresses=(address,),
    )


def _pooled(address: Address, options: Options) -> ProfilePlan:
    requests = options.requests or POOLED_REQUESTS * options.connections
    slots = min(options.connections, requests)
    return replace(
        _single(address, options),
        profile=Profile.POOLED,
        requests=requests,
        slots=slots,
        concurrency=min(options.concurrency, slots),
    )


def _short_lived(endpoints: int, address: Address, options: Options) -> ProfilePlan:
    """Fresh connections, as many as tell a fair draw (see `draws_to_tell`) with some to spare.

    Requests are draws times the requests that one connection lives for, which is the smaller of k (by requests) and R T / C (by
    age: C connections share R requests per second and each lives T seconds).
    """
    per_connection = _requests_per_connection(options.lifetime, options.rate, options.concurrency)
    if per_connection is None:
        raise TargetError("Short-lived connections would never end: give --max-requests-per-connection or --max-connection-age")
    alpha = alpha_share(Profile.SHORT_LIVED, options)
    enough = draws_to_tell(endpoints, options.tolerance, alpha)
    draws = enough or (REACH_DRAWS if endpoints else draws_to_tell(ASSUMED_ENDPOINTS, options.tolerance, alpha))
    return replace(
        _single(address, options),
        profile=Profile.SHORT_LIVED,
        requests=options.requests or math.ceil(draws * SPARE * per_connection),
        slots=options.concurrency,
        concurrency=options.concurrency,
        lifetime=options.lifetime,
        enough_connections=enough,
    )


def _per_endpoint(endpoints: tuple[EndpointFacts, ...], options: Options) -> ProfilePlan:
    n = len(endpoints)
    each = max(ENDPOINT_REQUESTS_LEAST, min(ENDPOINT_REQUESTS, ENDPOINT_REQUESTS_IN_ALL // n))
    addresses = tuple(e.address for e in endpoints if e.address is not None)
    return replace(
        _single(addresses[0], options),
        profile=Profile.PER_ENDPOINT,
        requests=options.requests or n * each,
        slots=n,
        concurrency=min(options.concurrency, n),
        addresses=addresses,
        endpoints=tuple(e.name for e in endpoints),
    )


def _requests_per_connection(lifetime: Lifetime, rate: float | None, slots: int) -> float | None:
    """Requests that a connection carries on average before it is given up; ``None``: it never is."""
    limits: list[float] = []
    if lifetime.requests is not None:
        limits.append(lifetime.requests)
    if lifetime.age_s is not None:
        limits.append(max(1.0, (rate or FASTEST) * lifetime.age_s / slots))
    return min(limits, default=None)


def _within_cap(profiles: tuple[ProfilePlan, ...], options: Options, reserved: int) -> tuple[ProfilePlan, ...]:
    """The plan, its short-lived profile made smaller if kbalance chose the size and the cap asks for it."""
    others = reserved + sum(planned_connections(p) for p in profiles if p.profile is not Profile.SHORT_LIVED)
    room = options.max_connections - others
    fitted = profiles
    if options.requests is None:
        room = room if room > 0 else REACH_DRAWS
        fitted = tuple(_fitted(p, room) if p.profile is Profile.SHORT_LIVED else p for p in profiles)
    wanted = reserved + sum(planned_connections(p) for p in fitted)
    if wanted > options.max_connections:
        higher = f"raise it with --max-connections {wanted}, or " if wanted <= MOST_CONNECTIONS else ""
        raise TargetError(
            f"This plan opens up to {wanted} connections ({_itemised(fitted)}, identity {reserved}) and the limit is "
            f"{options.max_connections}: {higher}ask for fewer --requests, --connections or profiles."
        )
    return fitted


def _fitted(profile: ProfilePlan, room: int) -> ProfilePlan:
    """The profile with as many requests as `room` connections carry, if it has more."""
    if planned_connections(profile) <= room:
        return profile
    shortest = (_requests_per_connection(profile.lifetime, profile.rate, profile.slots) or 1) * (1 - profile.lifetime.jitter)
    slots = min(profile.slots, room)
    return replace(
        profile,
        requests=math.floor(room * max(1.0, shortest)),
        slots=slots,
        concurrency=min(profile.concurrency, slots),
    )


def _itemised(profiles: tuple[ProfilePlan, ...]) -> str:
    return ", ".join(f"{p.profile} {planned_connections(p)}" for p in profiles)
