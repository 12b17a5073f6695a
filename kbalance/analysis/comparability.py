"""What of two reports can be put side by side, and why the rest cannot: sentences, empty where nothing stands in the way."""

from collections.abc import Iterator

from kbalance.analysis.rules import NOT_MEASURED
from kbalance.analysis.wording import PROTOCOL_NAMES, listed
from kbalance.model.past import PastProfile, PastReport
from kbalance.model.words import Profile, Protocol

_OWN_SIZE = {
    Profile.PER_ENDPOINT: {"requests", "connections", "concurrency"},
}
"""Parameters that follow from the number of endpoints; of the other profiles only the number of requests does, and more of them
is only more evidence."""

_LOCAL = ("internal_traffic_policy", "external_traffic_policy")


def of_reports(before: PastReport, after: PastReport) -> Iterator[str]:
    """Why nothing can be compared."""
    yield from _targets(before, after)
    for name, report in (("BEFORE", before), ("AFTER", after)):
        if report.cause in NOT_MEASURED:
            yield f"{name} is no measurement ({report.cause}): {report.summary.rstrip('.')}"
    if moved(before, after) and (_by_place(before) or _by_place(after)):
        yield f"the runs started at different places ({moved(before, after)}), and this Service treats places differently"
    yield from _protocols(before, after)
    measured = before.profiles and after.profiles
    if measured and not {p.profile for p in before.profiles} & {p.profile for p in after.profiles}:
        yield "no profile stands in both reports"


def of_profiles(before: PastProfile, after: PastProfile) -> tuple[str, ...]:
    """Why this profile cannot be compared."""
    if before.profile not in list(Profile):
        return ("this version of kbalance does not know the profile",)
    if before.protocol != after.protocol:
        return (f"{protocol_name(before.protocol)} was spoken before, {protocol_name(after.protocol)} after",)
    free = _OWN_SIZE.get(Profile(before.profile), {"requests"})
    old, new = before.parameters, after.parameters
    # What an older version did not know of is as it was.
    names = [name for name in old if name in new and name not in free and old[name] != new[name]]
    return tuple(f"{name.replace('_', ' ')} {_setting(old[name])} before, {_setting(new[name])} after" for name in names)


def _protocols(before: PastReport, after: PastReport) -> Iterator[str]:
    """That one protocol was spoken before and another one after, where no profile spoke the same in both."""
    after_of = {p.profile: p.protocol for p in after.profiles}
    spoken = {(p.protocol, after_of[p.profile]) for p in before.profiles if p.profile in after_of}
    if len(spoken) == 1 and (old := next(iter(spoken)))[0] != old[1]:
        yield (
            f"{protocol_name(old[0])} was spoken before, {protocol_name(old[1])} after, and what clients and proxies do with "
            "connections differs between them; measure both with the same --protocol"
        )


def protocol_name(word: str) -> str:
    """As people call it; a word that a later version wrote stays as it is."""
    return PROTOCOL_NAMES[Protocol(word)] if word in set(Protocol) else word


def alone(before: PastReport, after: PastReport) -> Iterator[str]:
    """Profiles that only one report has."""
    old, new = ([p.profile for p in report.profiles] for report in (before, after))
    yield from (f"{name}: only BEFORE has this profile" for name in old if name not in new)
    yield from (f"{name}: only AFTER has this profile" for name in new if name not in old)


def of_requests(before: PastReport, after: PastReport) -> Iterator[str]:
    """Why failures and latencies cannot be compared, though connections can."""
    if before.target.asked != after.target.asked:
        yield f"failures and latencies: {before.target.asked} was asked before, {after.target.asked} after"


def of_latencies(before: PastReport, after: PastReport) -> Iterator[str]:
    """Why latencies cannot be compared."""
    where = moved(before, after)
    if where:
        yield f"latencies: the runs started at different places ({where})"


def moved(before: PastReport, after: PastReport) -> str:
    """Where the runs started, if that is known to be different."""
    pairs = [(name, old, dict(after.vantage).get(name)) for name, old in before.vantage]
    return ", ".join(f"{name} {old} and {new}" for name, old, new in pairs if old and new and old != new)


def settings(before: PastReport, after: PastReport) -> Iterator[str]:
    """What the API says is different now, a clause each."""
    for name, old in before.settings.items():
        new = after.settings.get(name)
        if name in after.settings and old != new:
            yield f"{name.replace('_', ' ')} was {old} and is {new}"
    old_names, new_names = ({e.name for p in report.profiles for e in p.endpoints} for report in (before, after))
    if old_names and new_names:
        yield from _membership(old_names, new_names)
    if before.hinted != after.hinted:
        yield f"EndpointSlices {'no longer carry' if before.hinted else 'now carry'} hints"


def _membership(old: set[str], new: set[str]) -> Iterator[str]:
    """Who came and who went; a rollout renames everybody."""
    if not old & new:
        yield f"all endpoints have other names: {len(old)} before and {len(new)} after"
    elif old != new:
        came = f"{listed(sorted(new - old))} came" if new - old else ""
        went = f"{listed(sorted(old - new))} went" if old - new else ""
        yield f"endpoints were {len(old)} and are {len(new)}: {', '.join(part for part in (came, went) if part)}"


def _targets(before: PastReport, after: PastReport) -> Iterator[str]:
    old, new = before.target, after.target
    same_url = old.kind == "service" or old.url == new.url
    named = [(t.kind, t.namespace, t.name, t.port, t.scheme) for t in (old, new)]
    if not same_url or named[0] != named[1]:
        scheme = f" ({old.scheme} and {new.scheme})" if old.where == new.where else ""
        yield f"the targets are different: {old.where} before, {new.where} after{scheme}"


def _by_place(report: PastReport) -> bool:
    """Whether who gets a connection depends on where it comes from."""
    local = any(report.settings.get(name) == "Local" for name in _LOCAL)
    return local or report.hinted or bool(report.settings.get("traffic_distribution"))


def _setting(value: object) -> str:
    return "unlimited" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
