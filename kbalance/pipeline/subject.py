"""What is examined, and what is known of it before any traffic."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kbalance.model.report import Vantage
from kbalance.model.target import Address, EndpointFacts, Facts, Target
from kbalance.model.words import FactsSource

LOCAL = Vantage(kind="local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is examined: the target, where it is, and how to find out what stands behind it."""

    target: Target
    addresses: tuple[Address, ...]
    """Where the target's name leads; traffic goes to the first, as with a client that takes the first."""
    read_facts: Callable[[], Facts]
    """Read before and after the traffic; a change in between spoils the verdict."""
    vantage: Vantage = LOCAL
    """What is known beforehand of where local traffic starts."""
    zones: Mapping[str, str] = field(default_factory=dict)
    """Node to zone."""


def facts_of_addresses(addresses: tuple[Address, ...]) -> Facts:
    """What DNS alone tells: several addresses are endpoints, one address may hide any number."""
    if len(addresses) < 2:
        return Facts(source=FactsSource.ANSWERS)
    endpoints = (EndpointFacts(name=str(a), address=a) for a in addresses)
    return Facts(source=FactsSource.DNS, endpoints=tuple(sorted(endpoints, key=lambda e: e.name)))


def nobody(facts: Facts) -> bool:
    """Whether the API knows that there is nobody to ask."""
    return facts.source is FactsSource.API and not facts.ready
