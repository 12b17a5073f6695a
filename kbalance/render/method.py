"""The small print of the text report: latencies, and how everything was measured, so that somebody else can do it again."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from kbalance.analysis.endings import goaway_briefly
from kbalance.analysis.wording import PROTOCOL_NAMES, between
from kbalance.model.report import Latency, ProfileReport, Report, ServerLifetime
from kbalance.model.words import FactsSource, Profile, Stop
from kbalance.render import Style
from kbalance.render.distribution import FEW
from kbalance.render.names import ending
from kbalance.render.terminal import columns, counted, field, heading, numbers

_FACTS_SOURCE = {
    FactsSource.API: "from the Kubernetes API",
    FactsSource.GIVEN: "given by the user",
    FactsSource.DNS: "from DNS",
    FactsSource.ANSWERS: "learned from answers alone, so an endpoint that never answered is not known",
}

_ENDED = {
    Stop.CERTAIN: "once certain",
    Stop.FAILING: "for failing too often",
    Stop.DEADLINE: "at the deadline",
    Stop.CONNECTION_CAP: "at the limit of new connections",
    Stop.INTERRUPTED: "by Ctrl-C",
}
"""Why a profile stopped before all of its requests were made."""


PERCENTILES = ("p50", "p90", "p99", "max")


def latencies(report: Report, style: Style) -> list[str]:
    """Each endpoint's latency where it was asked directly."""
    title, rows = latency_rows(report)
    if not rows:
        return []
    room = columns(style) - 36
    cut = [[ending(name, room), *values] for name, *values in rows]
    return [heading(title, style), *numbers([["", *PERCENTILES], *cut])]


def latency_rows(report: Report) -> tuple[str, list[list[str]]]:
    """A title, and a row for each endpoint that was asked directly, the slowest first; of many, the slowest and the fastest."""
    direct = next((p for p in report.profiles if p.profile is Profile.PER_ENDPOINT), None)
    known = [(load.name, load.latency_ms) for load in direct.endpoints if load.latency_ms] if direct else []
    ranked = sorted(known, key=lambda pair: (-pair[1].p99, pair[0]))
    shown = ranked if len(ranked) <= FEW else [*ranked[:3], *ranked[-1:]]
    title = "Latency in ms, asked directly"
    if len(shown) < len(ranked):
        title += f" (three slowest and the fastest of {len(ranked)})"
    return title, [[name, *_milliseconds(latency)] for name, latency in shown]


def _milliseconds(latency: Latency) -> list[str]:
    return [f"{value:.{_decimals(value)}f}" for value in (latency.p50, latency.p90, latency.p99, latency.max)]


def _decimals(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0


def method(report: Report, style: Style) -> list[str]:
    """How it was measured, so that somebody else can do it again."""
    rows = traffic(report.profiles)
    return [
        heading("How it was measured", style),
        *chain.from_iterable(field(name, text, style) for name, text in circumstances(report)),
        *(["", *numbers(rows)] if rows else []),
        *chain.from_iterable(field(p.profile.value, text, style) for p in report.profiles for text in incidents(p)),
    ]


def circumstances(report: Report) -> list[tuple[str, str]]:
    """When, from where, what was asked, who was known, and with which settings: names and texts."""
    return [
        ("started", f"{report.started} with kbalance {report.kbalance}, seed {report.seed}"),
        ("from", vantage(report)),
        ("asked", _asked(report)),
        ("protocol", protocol(report)),
        ("endpoints", _facts(report)),
        ("identity", _identity(report)),
        *_settings(report),
    ]


def protocol(report: Report) -> str:
    """What was spoken, and why where it is not the default."""
    because = f" ({report.protocol_because})" if report.protocol_because else ""
    return f"{PROTOCOL_NAMES[report.protocol]}{because}"


def vantage(report: Report) -> str:
    """Where the traffic started."""
    if report.vantages:
        places = [f"{one.vantage.node or 'worker'} ({one.vantage.zone or one.vantage.address})" for one in report.vantages]
        return f"a Job of {len(places)} Pods in the cluster: {', '.join(places)}"
    here = report.vantage
    kind = {"local": "this machine", "job": "a Job in the cluster"}.get(here.kind, here.kind)
    where = (("node", here.node), ("zone", here.zone), ("address", here.address))
    return ", ".join([kind, *(f"{name} {value}" for name, value in where if value)])


def _asked(report: Report) -> str:
    target, path = report.target, report.identity.path
    if path is None or path == target.path:
        return target.url
    return f"{target.url.removesuffix(target.path)}{path} (a known path that tells who answered)"


def _facts(report: Report) -> str:
    text = f"{len(report.facts.endpoints)}, {_FACTS_SOURCE[report.facts.source]}"
    service = report.facts.service
    if service is None:
        return text
    words = [
        f"type {service.type}",
        f"session affinity {service.session_affinity}",
        f"internal traffic policy {service.internal_traffic_policy}",
        service.external_traffic_policy and f"external traffic policy {service.external_traffic_policy}",
        service.traffic_distribution and f"traffic distribution {service.traffic_distribution}",
    ]
    return f"{text}; {', '.join(word for word in words if word)}"


def _identity(report: Report) -> str:
    identity = report.identity
    if identity.source is None:
        return "none found: no answer told who gave it"
    checked = "checked on direct connections" if identity.calibrated else "not checked on direct connections"
    rest = "every answer attributed"
    if identity.unidentified:
        rest = f"{counted(identity.unidentified, 'answer')} not attributed"
    asked = f"{counted(identity.requests, 'request')} on {counted(identity.connections, 'connection')} beside those below"
    return f"{identity.source}, {checked}; {rest}; found by {asked}"


def _settings(report: Report) -> list[tuple[str, str]]:
    """Parameters that all profiles share once, then what is particular to each."""
    settings = {p.profile.value: _telling(p, report) for p in report.profiles}
    if not settings:
        return []
    shared = dict(set.intersection(*(set(items.items()) for items in settings.values())))
    first = next(iter(settings.values()))
    told = [("all", _pairs({name: first[name] for name in first if name in shared}))] if shared else []
    for profile, items in settings.items():
        own = {name: value for name, value in items.items() if name not in shared}
        told += [(profile, _pairs(own))] if own else []
    return told


def _telling(profile: ProfileReport, report: Report) -> dict[str, object]:
    """What was set, without what is told elsewhere and what was not used."""
    items: dict[str, object] = {
        name: value for name, value in profile.parameters.items() if value and name not in ("requests", "connections")
    }
    other = {} if profile.protocol == report.protocol.value else {"protocol": profile.protocol}
    how: dict[str, object] = {**other, **({} if items.get("rate") else {"rate": "as fast as answers come"})}
    return how | items | ({"ended": _ENDED[profile.stopped]} if profile.stopped in _ENDED else {})


def _pairs(items: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_setting(value)}" for name, value in items.items())


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def traffic(profiles: Sequence[ProfileReport]) -> list[list[str]]:
    """What was really sent and opened: a header and a row per profile, or nothing."""
    if not profiles:
        return []
    rows = [
        [
            p.profile.value,
            str(p.requests.sent),
            str(p.requests.failed),
            f"{p.connections.opened} of {p.connections.planned}",
            _each(p),
            ", ".join(_milliseconds(p.connect_ms)[::2]) + " ms" if p.connect_ms else "-",
        ]
        for p in profiles
    ]
    return [["", "requests", "failed", "connections", "requests each", "connect p50, p99"], *rows]


def _each(profile: ProfileReport) -> str:
    """Requests per connection: one number, or least to most."""
    least, most = profile.connections.requests_min, profile.connections.requests_max
    return between(str(least), str(most))


def _requests(lifetime: ServerLifetime) -> str:
    least, most = lifetime.requests_min, lifetime.requests_max
    return counted(most, "request") if least == most else f"{least} to {most} requests"


def incidents(profile: ProfileReport) -> Iterator[str]:
    """What a reader of the counts would wonder about."""
    requests, connections, lifetime = profile.requests, profile.connections, profile.server_lifetime
    if connections.streams_max > 1:
        yield f"up to {connections.streams_max} requests at once on one connection"
    if profile.several:
        yield f"{profile.several} of {counted(connections.opened, 'connection')} carried answers of several endpoints"
    if connections.failed:
        yield f"{counted(connections.failed, 'connection')} could not be opened"
    if lifetime is not None:
        yield (
            f"the server closed {counted(lifetime.connections, 'connection')} after {_requests(lifetime)}, "
            f"{between(f'{lifetime.age_min_s:.3g}', f'{lifetime.age_max_s:.3g}')} s"
        )
        left = goaway_briefly(lifetime)
        if left:
            yield left
    if requests.retried:
        yield f"{counted(requests.retried, 'request')} sent again after the server had closed the connection"
    if requests.abandoned:
        yield f"{counted(requests.abandoned, 'request')} under way when the run stopped"
