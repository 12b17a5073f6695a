"""What to do where the run could not tell."""

from kbalance.analysis.advice.shape import is_grpc
from kbalance.analysis.case import Case
from kbalance.analysis.checks.measurement import inconclusive, invalid_measurement
from kbalance.analysis.identity import contradicts
from kbalance.analysis.wording import listed
from kbalance.model.report import Recommendation
from kbalance.model.words import FactsSource


def next_step(case: Case) -> Recommendation:
    """What the run lacked."""
    if any(map(contradicts, case.identity.rejected)):
        return _correct_the_list()
    if case.identity.source is None and any(p.unidentified for p in case.profiles):
        return _tell_who_answers(case)
    lacking = invalid_measurement(case) or inconclusive(case)
    return Recommendation(
        id="measure-again",
        title="Measure again, with what was lacking",
        why=lacking.evidence[0],
        measured_busiest=None,
        predicted_busiest=None,
        costs=("another run",),
    )


def _correct_the_list() -> Recommendation:
    """Answers name other endpoints than the ones that were asked."""
    return Recommendation(
        id="correct-endpoints",
        title="Correct the --endpoint list: each NAME with the address that it has",
        why="An endpoint that was asked directly answered with the name of another one.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("none",),
    )


def complete_list(case: Case) -> Recommendation | None:
    """Somebody answers whom the user did not name; where the API told the list, it is complete."""
    if case.facts.source is not FactsSource.GIVEN:
        return None
    return Recommendation(
        id="correct-endpoints",
        title=f"Name {listed(case.strangers)} with --endpoint as well, and measure again",
        why="Shares are over the endpoints that were named; whoever is missing there makes them wrong.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("another run",),
    )


def _tell_who_answers(case: Case) -> Recommendation:
    """The application names its Pod."""
    return Recommendation(
        id="tell-who-answers",
        title="Let every answer say which Pod gave it",
        why="One field of the answer's metadata or trailers with the Pod's name is enough, for example x-pod-name from the "
        "variable below."
        if is_grpc(case)
        else "One response header with the Pod's name is enough, for example X-Pod-Name from the variable below.",
        measured_busiest=None,
        predicted_busiest=None,
        costs=("a line of configuration or code in the application", "the name becomes visible to clients"),
    )
