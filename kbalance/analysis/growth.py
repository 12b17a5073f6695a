"""What endpoints that joined got, and when: readiness and first answers, side by side."""

from collections.abc import Mapping, Sequence

from kbalance.model.record import FirstAnswers
from kbalance.model.report import Newcomer, ScaleOut
from kbalance.model.words import Profile, Stop


def scale_out(
    firsts: Sequence[FirstAnswers],
    since: Mapping[str, float],
    names: Mapping[str, str],
    *,
    began_s: float,
    ended_s: float,
    every_s: float,
    before: int,
) -> ScaleOut:
    """The time from a newcomer's readiness to its first answer, for each profile; of several workers the first one counts.

    Whoever is seen to answer before it was seen ready counts as at once: the look at the endpoints came a moment later.

    Args:
        since: newcomers and when they were first seen ready, in seconds since 1970 as all times here.
        names: ``ip:port`` to name.
        every_s: between two looks at the endpoints.
    """
    answered: dict[str, dict[str, float]] = {}
    requests: dict[str, int] = {}
    for told in sorted(firsts, key=lambda told: list(Profile).index(told.profile)):
        profile = told.profile.value
        requests[profile] = requests.get(profile, 0) + told.requests
        seen = answered.setdefault(profile, {})
        for who, at_s in told.firsts:
            name = names.get(who, who)
            seen[name] = min(at_s, seen.get(name, at_s))
    newcomers = (
        Newcomer(
            name=name,
            ready_s=max(0.0, ready_s - began_s),
            first_s={p: max(0.0, seen[name] - ready_s) if name in seen else None for p, seen in answered.items()},
        )
        for name, ready_s in sorted(since.items(), key=lambda item: (item[1], item[0]))
    )
    cut = {told.profile for told in firsts if told.stopped not in (Stop.DONE, Stop.DEADLINE, Stop.INTERRUPTED)}
    return ScaleOut(
        duration_s=ended_s - began_s,
        every_s=every_s,
        before=before,
        requests=requests,
        cut_short=tuple(profile.value for profile in Profile if profile in cut),
        newcomers=tuple(newcomers),
    )
