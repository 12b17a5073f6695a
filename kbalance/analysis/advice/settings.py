"""What the texts to paste are filled in with."""

from kbalance.analysis.advice.lifetimes import renewal, requests_in
from kbalance.analysis.artifacts import Setting
from kbalance.analysis.case import Case
from kbalance.analysis.lifetime import JITTER
from kbalance.model.words import TargetKind

REQUESTS = 1000
"""Per connection, where the run set no pace: nginx's own default, which a lifetime by age stands beside in any case."""


def setting_of(case: Case) -> Setting:
    """The names, ports and advised values of a case."""
    target, service = case.target, case.facts.service
    named = target.kind is TargetKind.SERVICE and target.name is not None
    advised = renewal(case)
    paced = requests_in(advised.lifetime_s, case)
    return Setting(
        service=target.name if named and target.name is not None else target.host,
        namespace=target.namespace if named else None,
        port=target.port,
        port_name=service.port_name if service is not None else None,
        target_port=service.target_port if service is not None else None,
        scheme=target.scheme,
        connections=case.connections,
        lifetime_s=advised.lifetime_s,
        lifetime_requests=REQUESTS if paced is None else _human(paced[1]),
        jitter=JITTER,
    )


def _human(number: float) -> int:
    """Rounded down to a digit and zeros, at least 1."""
    whole = max(1, int(number))
    power = int(10 ** (len(str(whole)) - 1))
    return whole // power * power
