"""What to change, what that did in this run or would do, and what it costs; best first for this Service.

Each room holds makers, `Case -> Recommendation | None`, for one place where a change can be made; `ways` says which cause leads
to which, `ranking` in which order. The texts to paste are in `kbalance.analysis.artifacts`.
"""

from kbalance.analysis.advice.capacity import forecasts
from kbalance.analysis.case import Case
from kbalance.model.report import Diagnosis, Recommendation

__all__ = ["NO_WAY_OUT", "forecasts", "recommend"]

NO_WAY_OUT = frozenset({"healthy", "per-request-balancing", "server-lifetime"})
"""Causes that ask for no change; whoever finds nothing else need not wait until all the texts are loaded."""


def recommend(case: Case, diagnosis: Diagnosis) -> tuple[Recommendation, ...]:
    """The ways out of every finding, those of the leading one first."""
    if NO_WAY_OUT.issuperset(finding.cause for finding in diagnosis.findings):
        return ()
    from kbalance.analysis.advice import ways

    return ways.recommend(case, diagnosis)
