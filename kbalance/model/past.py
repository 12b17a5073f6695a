"""A report as a later version reads it: only what a comparison needs, with room for words that are not known here."""

from collections.abc import Mapping
from dataclasses import dataclass

from kbalance.model.report import Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTarget:
    """What was measured."""

    kind: str
    namespace: str | None
    name: str | None
    port: str
    """The port's name where it has one, else its number: a name stays when the number changes."""
    scheme: str
    url: str
    asked: str | None
    """The path that was really asked."""

    @property
    def where(self) -> str:
        """As the user would type it."""
        if self.kind != "service":
            return self.url
        return f"svc/{self.name}:{self.port} in namespace {self.namespace}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEndpoint:
    """One endpoint's load in one profile."""

    name: str
    requests: int
    connections: int
    failed: int
    share: float | None
    latency_ms: Latency | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastProfile:
    """One row of the distribution; closed sets are plain words, for later versions may know more of them."""

    profile: str
    protocol: str
    parameters: Mapping[str, str | int | float | None]
    stopped: str
    requests: int
    failed: int
    opened: int
    not_opened: int
    requests_most: int
    """On one connection."""
    endpoints: tuple[PastEndpoint, ...]
    busiest: float | None
    expected_busiest: float | None
    idle: int
    spread: str
    placement: str
    several: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PastReport:
    """One report of any version of ``kbalance/report/v1``."""

    kbalance: str
    started: str
    partial: bool
    target: PastTarget
    vantage: tuple[tuple[str, str | None], ...]
    """Kind, node and zone with their values."""
    source: str
    """How the endpoints were known."""
    settings: Mapping[str, str | None]
    """What the Service says about who gets traffic, by the API's names; empty where there is no Service."""
    hinted: bool
    """Whether EndpointSlices carry hints."""
    profiles: tuple[PastProfile, ...]
    cause: str
    summary: str
    causes: Mapping[str, str]
    """Every cause that was found, and its severity."""
