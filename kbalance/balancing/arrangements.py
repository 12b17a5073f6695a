"""How a transport makes the group of an origin that it meets for the first time."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from kbalance.balancing.endpoints import Elsewhere, News, Origin, Source, Trouble
from kbalance.balancing.group import Group
from kbalance.balancing.hooks import Hooks
from kbalance.balancing.settings import Behaviour, Ejection, Retries

log = logging.getLogger("kbalance.balancing")

_ONE = Behaviour(ejection=Ejection(after=0), retries=Retries(attempts=1))
"""Nobody else could take the request."""


class Arrangement(Protocol):
    """Makes groups."""

    def group(self, origin: Origin, random: Random, hooks: Hooks, now: float) -> Group: ...

    def start(self, group: Group, tell: Callable[[Group, News], None]) -> None:
        """Lets the group's source begin; news may come at once, and from any thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByName:
    """Connections go wherever the resolver says that the host is, in so many places."""

    connections: int | None = None
    """Places that take requests in turn, one connection each; ``None``: as many connections as there are requests under way."""

    def __post_init__(self) -> None:
        if self.connections is not None and self.connections < 1:
            raise ValueError("connections is 1 or more")

    def group(self, origin: Origin, random: Random, hooks: Hooks, now: float) -> Group:
        places = 1 if self.connections is None else self.connections
        group = Group(origin, replace(_ONE, per_endpoint=None if self.connections is None else 1), random, hooks)
        group.settle([None] * places, now)
        return group

    def start(self, group: Group, tell: Callable[[Group, News], None]) -> None:
        """There is nothing to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """Connections go to the endpoints that a source tells."""

    source: Source
    behaviour: Behaviour

    def __post_init__(self) -> None:
        if not callable(getattr(self.source, "follow", None)):
            raise TypeError(f"source={self.source!r} has no method follow; give StaticEndpoints({{HOST: [...]}}) for a list")

    def group(self, origin: Origin, random: Random, hooks: Hooks, now: float) -> Group:
        return Group(origin, self.behaviour, random, hooks)

    def start(self, group: Group, tell: Callable[[Group, News], None]) -> None:
        try:
            group.following = self.source.follow(group.origin, lambda news: tell(group, news))
        except Exception as error:
            log.exception("%s: its source of endpoints failed", group.origin)
            tell(group, Trouble(reason=f"{type(self.source).__name__} failed ({type(error).__name__}: {error})"))
            return
        if group.following is None:
            tell(group, Elsewhere(reason="the source of endpoints does not know such hosts"))
