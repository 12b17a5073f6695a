"""What a reader should know of how a run was made, in sentences."""

from collections.abc import Iterator, Sequence

from kbalance.analysis.account import Account
from kbalance.analysis.case import Case
from kbalance.model.target import Facts
from kbalance.model.words import FactsSource, Protocol
from kbalance.pipeline.subject import Subject


def notices(subject: Subject, facts: Facts, accounts: Sequence[Account], together: Account, case: Case) -> Iterator[str]:
    yield from facts.notices
    for worker, account in enumerate(accounts):
        if account.gave_up is not None:
            yield f"Worker {worker} is not in the report: {account.gave_up.message}"
    calibrated = together.calibrated
    if calibrated is None:
        return
    yield from calibrated.troubles
    statuses = calibrated.statuses
    if statuses and not calibrated.troubles and all(300 <= status < 500 for status in statuses):
        codes = " or ".join(str(status) for status in statuses)
        yield f"Every answer to the first requests had status {codes}: is that the page you mean (--path, -H)?"
    request = calibrated.plan.request
    if request.path != subject.target.path:
        grpc = request.protocol is Protocol.GRPC
        what, asked, option = ("method", request.path[1:], "--grpc-method") if grpc else ("path", request.path, "--path")
        yield f"No {what} was given, so {asked} was asked, which tells who answers ({option} chooses another)."
    if facts.source is FactsSource.ANSWERS:
        yield (
            "The endpoints are known from their answers alone: one that never answered is not in the list, and the"
            " per-endpoint profile was left out (--endpoint NAME=IP:PORT names them)."
        )
    if facts.source is FactsSource.DNS:
        yield (
            f"The endpoints are the {len(facts.endpoints)} addresses that {subject.target.host} has in DNS; the other profiles"
            f" dial the first, {subject.addresses[0]}, as a client does that takes the first."
        )
    skipped = [p.profile.value for p in calibrated.plan.profiles[len(case.profiles) :]]
    if skipped:
        yield f"The run ended before these profiles could start: {', '.join(skipped)}."
