"""The endpoints and draws of two reports, put side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kbalance.model.past import PastEndpoint, PastProfile
from kbalance.model.words import Matching, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Who got how many draws in one report, over the profiles that are compared."""

    names: tuple[str, ...]
    counts: tuple[int, ...]
    per_request: bool

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def busiest(self) -> float:
        return max(self.counts) * len(self.counts) / self.total

    @property
    def quietest(self) -> float:
        return min(self.counts) * len(self.counts) / self.total


def per_request(profile: PastProfile) -> bool:
    """Whether a proxy places each request, which makes requests the draws."""
    return profile.several * 2 > profile.opened


def through(profile: PastProfile) -> bool:
    """Whether its connections go through the target's address, and are drawn."""
    return profile.profile != Profile.PER_ENDPOINT


def draws_of(profiles: Sequence[PastProfile]) -> Draws:
    """The draws of every profile that goes through the target's address, added up."""
    counts: dict[str, int] = {}
    drawn = [p for p in profiles if through(p)]
    for profile in drawn:
        for e in profile.endpoints:
            counts[e.name] = counts.get(e.name, 0) + (e.requests if per_request(profile) else e.connections)
    names = tuple(sorted(counts))
    return Draws(names=names, counts=tuple(counts[n] for n in names), per_request=any(map(per_request, drawn)))


def widened(before: Draws, after: Draws) -> tuple[Draws, Draws]:
    """Both over as many endpoints: of those who are learned from answers, only who answered is known."""
    if not set(before.names) & set(after.names):
        size = max(len(before.names), len(after.names))
        return _padded(before, size), _padded(after, size)
    names = tuple(sorted({*before.names, *after.names}))
    return _over(before, names), _over(after, names)


def _padded(draws: Draws, size: int) -> Draws:
    missing = size - len(draws.names)
    return replace(draws, names=draws.names + ("",) * missing, counts=draws.counts + (0,) * missing)


def _over(draws: Draws, names: tuple[str, ...]) -> Draws:
    known = dict(zip(draws.names, draws.counts, strict=True))
    return replace(draws, names=names, counts=tuple(known.get(name, 0) for name in names))


def matched(shared: Sequence[tuple[PastProfile, PastProfile]], *, learned: bool) -> tuple[Matching, Matching]:
    """How endpoints are shown, and how they are compared.

    They are shown by name if any name stands in both reports. They are compared by name only where all do (or, learned from
    answers, some), since a newcomer has nothing to be compared with; else chances are compared whoever has them.
    """
    old, new = ({e.name for pair in shared for e in pair[side].endpoints} for side in (0, 1))
    shown = Matching.NAME if old & new else Matching.RANK
    return shown, shown if learned or old == new else Matching.RANK


def by_endpoint(
    olds: Sequence[PastEndpoint], news: Sequence[PastEndpoint], matching: Matching
) -> tuple[list[PastEndpoint], list[PastEndpoint]]:
    """Both sides; matched by name, only who is in both and in one order."""
    if matching is Matching.RANK:
        return list(olds), list(news)
    both = [(one, other) for one, other in pairs(olds, news, matching) if one is not None and other is not None]
    return [one for one, _ in both], [other for _, other in both]


def pairs(
    olds: Sequence[PastEndpoint], news: Sequence[PastEndpoint], matching: Matching
) -> Iterator[tuple[PastEndpoint | None, PastEndpoint | None]]:
    """Every endpoint of either side beside its match, if it has one."""
    if matching is Matching.NAME:
        one, other = ({e.name: e for e in side} for side in (olds, news))
        yield from ((one.get(name), other.get(name)) for name in sorted({*one, *other}))
        return
    ranked = [sorted(side, key=lambda e: (-e.requests, e.name)) for side in (olds, news)]
    for i in range(max(map(len, ranked))):
        yield ranked[0][i] if i < len(olds) else None, ranked[1][i] if i < len(news) else None
