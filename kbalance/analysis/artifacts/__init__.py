"""Recommendations as texts that make the change: manifests, settings and client code, filled in for one Service.

What is advised, and in which order, is decided in `kbalance.analysis.advice`; nothing here looks at measurements.
"""

from dataclasses import dataclass

from kbalance.model.report import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a text is filled in with."""

    service: str
    """Name of the Service; for a URL the host."""
    namespace: str | None
    """``None``: the target is a URL, and there are no manifests for it."""
    port: int
    port_name: str | None = None
    target_port: str | None = None
    scheme: str = "http"
    selector: tuple[tuple[str, str], ...] = ()
    """The Service's, where it is known."""
    connections: int = 10
    """Size of a client's pool."""
    lifetime_s: float = 300.0
    """Advised age of a connection."""
    lifetime_requests: int = 1000
    """Advised requests per connection."""
    jitter: float = 0.1
    """Share by which lifetimes vary."""


def artifacts(fix: str, setting: Setting) -> tuple[Artifact, ...]:
    """The texts for a recommendation, by its id; empty where there is nothing to paste."""
    return ()
