"""All that is known when a run is over, and what several rules ask of it."""

from dataclasses import dataclass

from kbalance.analysis.expectation import Expectation, expectation
from kbalance.model.plan import TrafficPlan
from kbalance.model.report import IdentityReport, ProfileReport, ScaleOut, Vantage
from kbalance.model.target import Facts, Target
from kbalance.model.words import Confidence, FactsSource, Failure, Placement, Profile, Protocol, Spread

NOBODY = IdentityReport(source=None, calibrated=False, unidentified=0)
"""No identity was looked for or found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the rules look at: nothing else decides a diagnosis."""

    target: Target
    facts: Facts
    """Before the traffic."""
    facts_after: Facts | None = None
    """After it; ``None``: not asked again."""
    plan: TrafficPlan | None = None
    """``None``: there was nobody to send traffic to."""
    identity: IdentityReport = NOBODY
    vantage: Vantage | None = None
    profiles: tuple[ProfileReport, ...] = ()
    tolerance: float = 1.5
    alpha: float = 0.01
    at_once: tuple[str | None, ...] = ()
    """Who answered requests that were sent at the same time, each on a fresh connection to the target."""
    proxy_signs: tuple[str, ...] = ()
    started: str = ""
    """When the run began, RFC 3339 in UTC; empty: not known, so that nobody's age is."""
    clients: int = 1
    """Processes that the user has talking to the Service."""
    connections: int = 10
    """That each of them keeps: the size of its pool."""
    window_s: float = 900.0
    """Over which load should even out."""
    tunnel: str | None = None
    """The command that leads from the target's address into a cluster; ``None``: none is known."""
    scale_out: ScaleOut | None = None
    """What endpoints that joined after all was measured got."""
    interrupted: bool = False
    """Whether the run was cut short by Ctrl-C or the deadline."""

    def profile(self, profile: Profile) -> ProfileReport | None:
        """What this profile measured; ``None``: it was not run."""
        return next((p for p in self.profiles if p.profile is profile), None)

    @property
    def single(self) -> ProfileReport | None:
        return self.profile(Profile.SINGLE)

    @property
    def pooled(self) -> ProfileReport | None:
        return self.profile(Profile.POOLED)

    @property
    def fresh(self) -> ProfileReport | None:
        """The short-lived profile: fresh connections to the target's address."""
        return self.profile(Profile.SHORT_LIVED)

    @property
    def direct(self) -> ProfileReport | None:
        """The per-endpoint profile: connections that were directed to each endpoint."""
        return self.profile(Profile.PER_ENDPOINT)

    @property
    def stock(self) -> ProfileReport | None:
        """An ordinary HTTP/2 or gRPC client, which puts all requests on its first connection while the server takes more."""
        return self.profile(Profile.STOCK)

    @property
    def keeping(self) -> tuple[ProfileReport, ...]:
        """The profiles that keep their connections to the target's address."""
        return tuple(p for p in (self.single, self.pooled, self.stock) if p is not None)

    @property
    def protocol(self) -> Protocol:
        """What was really spoken; HTTP/1.1 where nothing was."""
        if self.plan is not None and self.plan.request.protocol.multiplexes:
            return self.plan.request.protocol
        spoken = (Protocol(p.protocol) for p in self.profiles if p.protocol in set(Protocol))
        return next(spoken, Protocol.HTTP1)

    @property
    def through(self) -> tuple[ProfileReport, ...]:
        """The profiles that dialled the target's address, where something else chose the endpoint."""
        return tuple(p for p in self.profiles if p.profile is not Profile.PER_ENDPOINT)

    @property
    def strangers(self) -> dict[str, int]:
        """Names that answered and are no ready endpoint's, sorted, with the number of their answers."""
        answers: dict[str, int] = {}
        for unknown in sorted((u for p in self.profiles for u in p.unknown), key=lambda u: u.name):
            answers[unknown.name] = answers.get(unknown.name, 0) + unknown.requests
        return answers

    @property
    def dead(self) -> frozenset[str]:
        """Endpoints that answered nothing when asked directly."""
        return frozenset(e.name for e in self.direct.endpoints if e.requests == e.failed > 0) if self.direct else frozenset()

    @property
    def nothing_through(self) -> bool:
        """Whether requests were sent to the target's address and nobody came back from there."""
        return bool(self.through) and not any(came_back(p) for p in self.through)

    @property
    def dialled(self) -> str | None:
        """The endpoint whose own address the target's is, so that nothing on the way chooses; ``None``: something does."""
        plans = self.plan.profiles if self.plan is not None else ()
        return next((p.endpoints[0] for p in plans if p.profile is not Profile.PER_ENDPOINT and p.endpoints), None)

    @property
    def expected(self) -> Expectation:
        """Who is to be reached from here, by what the API says."""
        return expectation(self.facts, self.vantage)

    @property
    def proxied(self) -> bool:
        """Whether something on the way reads HTTP."""
        return bool(self.proxy_signs) or any(p.several for p in self.through)

    @property
    def learned(self) -> bool:
        """Whether endpoints are known from answers alone, so that silent ones would not be known."""
        return self.facts.source is FactsSource.ANSWERS

    @property
    def n(self) -> int:
        """Endpoints that should get traffic, or that were seen where nobody named them."""
        seen = max((len(p.endpoints) for p in self.profiles), default=0)
        return max(seen, len(self.facts.ready)) if self.learned else len(self.facts.ready)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What a rule's check found; its id and severity are the rule's."""

    confidence: Confidence
    summary: str
    """One sentence for somebody who was just woken up."""
    evidence: tuple[str, ...]
    """The numbers it stands on, one sentence each."""


def static_explanations(facts: Facts) -> tuple[str, ...]:
    """Facts by which some endpoints rightly get more or nothing, in the API's words."""
    service = facts.service
    found = []
    if service is not None:
        if service.session_affinity != "None":
            found.append(f"sessionAffinity: {service.session_affinity}")
        if service.internal_traffic_policy != "Cluster":
            found.append(f"internalTrafficPolicy: {service.internal_traffic_policy}")
        if service.traffic_distribution is not None:
            found.append(f"trafficDistribution: {service.traffic_distribution}")
        if service.cluster_ip == "None":
            found.append("clusterIP: None")
    if any(endpoint.hints for endpoint in facts.ready):
        found.append("EndpointSlice hints")
    return tuple(found)


def unexplained(case: Case) -> tuple[str, ...]:
    """Settings that may rightly make some endpoints get more or nothing, beyond what is expected from here because of them."""
    found = static_explanations(case.facts)
    place_known = case.vantage is not None and case.vantage.node is not None
    if not place_known or not _as_expected(case):
        return found
    return tuple(f for f in found if f.startswith(("sessionAffinity", "clusterIP")))


def _as_expected(case: Case) -> bool:
    """Whether connections kept to the endpoints that the settings say."""
    among = set(case.expected.among)
    return all(met(p) <= among for p in case.through)


def choosing(case: Case) -> ProfileReport | None:
    """The profile that shows best what chooses the endpoint: the one with most connections."""
    return case.fresh or case.pooled or case.single or case.stock


def met(report: ProfileReport) -> set[str]:
    """Who got a connection."""
    return {load.name for load in report.endpoints if load.connections}


def stranded(case: Case) -> str | None:
    """The client's node, where a local policy leaves it no endpoint; ``None``: it has one, or that is not known."""
    service, node = case.facts.service, case.vantage.node if case.vantage is not None else None
    if service is None or service.internal_traffic_policy != "Local" or node is None or not case.n:
        return None
    known = all(e.node is not None for e in case.facts.ready)
    return node if known and all(e.node != node for e in case.facts.ready) else None


def settings(facts: Facts) -> tuple[str, ...]:
    """What the API says that matters to a finding which no setting explains; nothing where nothing is set."""
    if facts.service is None:
        return (
            "The Service's settings are not known for this target, so session affinity, local traffic policy and topology hints "
            "could not be ruled out.",
        )
    found = static_explanations(facts)
    return (f"Set for this Service: {', '.join(found)}.",) if found else ()


def fair_fresh(case: Case) -> bool:
    """Whether fresh connections were shown to be shared out fairly."""
    return case.fresh is not None and case.fresh.placement in (Placement.RANDOM, Placement.EVEN)


def spreading_fresh(case: Case) -> bool:
    """Whether fresh connections reached several endpoints and nothing speaks against a fair draw."""
    return (
        case.fresh is not None
        and case.fresh.placement in (Placement.RANDOM, Placement.EVEN, Placement.UNKNOWN)
        and case.fresh.spread in (Spread.EVEN, Spread.UNEVEN)
    )


def held(report: ProfileReport | None) -> bool:
    """Whether requests followed their connections: enough of them, and no connection was answered by two endpoints."""
    return (
        report is not None
        and not report.several
        and report.spread is not Spread.FAILED
        and report.requests.answered >= 2 * max(1, report.connections.opened)
    )


def failed_share(report: ProfileReport) -> float:
    """Failed requests over those that ended."""
    ended = report.requests.answered + report.requests.failed
    return report.requests.failed / ended if ended else 0.0


def came_back(report: ProfileReport) -> bool:
    """Whether anybody answered, be it with an error."""
    return report.requests.answered > 0 or any(f.kind is Failure.STATUS for f in report.failures)
