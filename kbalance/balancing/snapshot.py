"""What a transport knows and does at one moment, as values."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from kbalance.balancing.endpoints import Endpoint
from kbalance.balancing.group import Group, State
from kbalance.balancing.members import Member
from kbalance.balancing.pool import Pool


class Standing(StrEnum):
    """Whether an endpoint gets requests."""

    IN_USE = "in-use"
    EJECTED = "ejected"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSnapshot:
    """One endpoint."""

    endpoint: Endpoint | None
    """``None``: wherever the host's name leads."""
    standing: Standing
    busy: int
    """Requests under way."""
    connections: int
    """Open ones, idle ones included."""
    idle: int
    """Connections."""
    answered: int
    """Responses so far, whatever their status."""
    failed: int
    """Attempts that ended without one."""
    failures: int
    """In a row, to this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSnapshot:
    """One origin."""

    origin: str
    state: State
    reason: str
    """Why it is stale, a fallback or elsewhere; empty where it is not."""
    age_s: float | None
    """Since the source confirmed what it told; ``None``: it told nothing yet."""
    endpoints: tuple[EndpointSnapshot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All of it."""

    hosts: tuple[HostSnapshot, ...]
    connections: int
    """Open or being opened."""
    idle: int
    """Connections."""
    waiting: int
    """Requests that wait for a connection to come free."""


def snapshot(groups: Iterable[Group], pool: Pool, now: float) -> Snapshot:
    """As it is now."""
    return Snapshot(
        hosts=tuple(_host(group, now) for group in groups), connections=pool.taken, idle=pool.idle, waiting=len(pool.queue)
    )


def _host(group: Group, now: float) -> HostSnapshot:
    known = group.told_s > float("-inf")
    return HostSnapshot(
        origin=str(group.origin),
        state=group.state,
        reason=group.reason,
        age_s=max(0.0, now - group.told_s) if known else None,
        endpoints=tuple(_endpoint(member) for member in (*group.members, *group.leaving)),
    )


def _endpoint(member: Member) -> EndpointSnapshot:
    standing = Standing.LEAVING if member.leaving else Standing.EJECTED if member.ejected_until_s else Standing.IN_USE
    return EndpointSnapshot(
        endpoint=member.endpoint,
        standing=standing,
        busy=member.busy,
        connections=member.open,
        idle=len(member.idle),
        answered=member.answered,
        failed=member.failed,
        failures=member.failures,
    )
