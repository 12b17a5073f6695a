"""What to do where the run could not tell."""

from kbalance.analysis.case import Case
from kbalance.model.report import Recommendation


def next_step(case: Case) -> Recommendation:
    """What the run lacked."""
    if case.identity.source is None and any(p.unidentified for p in case.profiles):
        return _tell_who_answers()
    return Recommendation(
        id="measure-again",
        title="Measure again, with what was lacking",
        why="What that is stands in the finding.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("another run",),
    )


def _tell_who_answers() -> Recommendation:
    """The application names its Pod."""
    return Recommendation(
        id="tell-who-answers",
        title="Let every answer say which Pod gave it",
        why="One response header with the Pod's name is enough, for example X-Pod-Name from the variable below.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("a line of configuration or code in the application", "the name becomes visible to clients"),
    )
