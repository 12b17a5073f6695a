"""What races have in common."""

from functools import partial

from bench import ours
from bench.race import Bound, Contender, Target

POOL = 16
"""Connections, or requests under way, where nothing else is said."""


def url_of(port: int, path: str = "/") -> str:
    return f"http://127.0.0.1:{port}{path}"


def at_least(ratio: float) -> Target:
    return Target(bound=Bound.AT_LEAST, ratio=ratio)


def at_most(ratio: float) -> Target:
    return Target(bound=Bound.AT_MOST, ratio=ratio)


def engine(what: str, port: int, connections: int, name: str = "engine", seconds: float = 1.0) -> Contender:
    """One of the numbers of `bench.child`."""
    return Contender(name=name, run=partial(ours.child, what, port, connections=connections, amount=seconds))
