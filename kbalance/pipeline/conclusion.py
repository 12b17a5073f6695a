"""Accounts, and what became of the endpoints -> case -> diagnosis -> Report. Loaded when the traffic is over."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from kbalance import __version__
from kbalance.analysis import advice, rules
from kbalance.analysis.account import Account
from kbalance.analysis.case import NOBODY, Case
from kbalance.analysis.protocols import called
from kbalance.errors import DiscoveryError, KbalanceError, TargetError, TrafficError
from kbalance.model.plan import Options
from kbalance.model.record import GaveUp
from kbalance.model.report import IdentityReport, ProfileReport, Report, Vantage, VantageReport
from kbalance.model.target import Facts
from kbalance.model.words import Placement, Protocol
from kbalance.pipeline.after import After
from kbalance.pipeline.notices import notices
from kbalance.pipeline.subject import Subject, nobody
from kbalance.traffic.tunnel import listener


def conclude(
    subject: Subject,
    facts: Facts,
    accounts: Sequence[Account],
    together: Account,
    options: Options,
    started: str,
    elapsed_s: Callable[[], float],
    later: After,
) -> Report:
    """What the accounts say, once the cluster was asked again."""
    measured = [a for a in accounts if a.calibrated is not None]
    for account in accounts:
        if account.gave_up is not None and not measured:
            raise _error(account.gave_up)
    if not measured and not nobody(facts):
        raise TrafficError("Nothing was measured before the run was ended.")
    calibrated = together.calibrated
    if calibrated is not None and calibrated.plan.request.protocol is Protocol.GRPC:
        # That the server is one of gRPC may have been found out by asking it.
        subject = replace(subject, target=called(subject.target))
    after, unread = later.read()
    grown = later.scale_out(accounts)
    case = replace(_case(subject, facts, after, together, options, started), scale_out=grown)
    apart = {
        worker: _case(subject, facts, after, account, options, started)
        for worker, account in enumerate(accounts)
        if len(accounts) > 1 and account.calibrated is not None
    }
    diagnosis = rules.diagnose_all(case, {_place(one, worker): one for worker, one in apart.items()})
    report = Report(
        kbalance=__version__,
        started=started,
        duration_s=elapsed_s(),
        partial=case.interrupted,
        target=subject.target,
        vantage=case.vantage or subject.vantage,
        facts=facts,
        identity=case.identity,
        profiles=_of_no_one_draw(case.profiles) if any(one.expected.because for one in apart.values()) else case.profiles,
        diagnosis=diagnosis,
        recommendations=advice.recommend(case, diagnosis),
        seed=options.seed,
        forecasts=advice.forecasts(case, diagnosis),
        notices=(*notices(subject, facts, accounts, together, case), *unread, *later.troubles()),
        proxy_signs=case.proxy_signs,
        vantages=tuple(
            VantageReport(worker=worker, vantage=one.vantage or subject.vantage, profiles=one.profiles)
            for worker, one in apart.items()
        ),
        fail_on=options.fail_on,
        protocol=calibrated.plan.request.protocol if calibrated else Protocol.HTTP1,
        protocol_because=calibrated.protocol_because if calibrated else "",
        scale_out=grown,
    )
    if not options.thresholds:
        return report
    from kbalance.analysis import thresholds

    return replace(report, thresholds=thresholds.judged(report, options.thresholds))


def _of_no_one_draw(profiles: Sequence[ProfileReport]) -> tuple[ProfileReport, ...]:
    """All vantage points' connections together, where each is led to endpoints of its own: no one draw made them."""
    return tuple(
        replace(p, placement=Placement.UNKNOWN, evidence=replace(p.evidence, e_value=None, against_uneven=None, more=None))
        for p in profiles
    )


def _case(subject: Subject, facts: Facts, after: Facts | None, account: Account, options: Options, started: str) -> Case:
    profiles = account.settle()
    calibrated = account.calibrated
    vantage = _vantage(subject, account)
    return Case(
        target=subject.target,
        facts=facts,
        facts_after=after,
        plan=calibrated.plan if calibrated else None,
        identity=_identity(account, profiles),
        vantage=vantage,
        profiles=profiles,
        tolerance=options.tolerance,
        alpha=options.alpha,
        at_once=account.at_once.who if account.at_once else (),
        proxy_signs=account.at_once.proxy_signs if account.at_once else (),
        started=started,
        clients=options.clients,
        connections=options.connections,
        window_s=options.window_s,
        interrupted=account.partial and not nobody(facts),
        tunnel=listener(subject.addresses[0]) if vantage.kind == "local" and subject.addresses else None,
    )


def _identity(account: Account, profiles: Sequence[ProfileReport]) -> IdentityReport:
    """How it was known who answered, with all requests that were made beside those of the profiles."""
    found = account.calibrated.identity if account.calibrated is not None else NOBODY
    last = account.at_once
    return replace(
        found,
        unidentified=sum(p.unidentified for p in profiles),
        requests=found.requests + (last.requests if last is not None else 0),
        connections=found.connections + (last.connections if last is not None else 0),
    )


def _vantage(subject: Subject, account: Account) -> Vantage:
    """Where an account's traffic started, with the zone that the cluster knows of its node."""
    vantage = account.place or Vantage(kind="job")
    local = account.calibrated.local if account.calibrated else None
    return replace(vantage, address=vantage.address or local)


def _place(case: Case, worker: int) -> str:
    """What a reader calls a vantage point: its node; the index tells two on one node apart."""
    node = case.vantage.node if case.vantage is not None else None
    return f"{node} (worker {worker})" if node else f"worker {worker}"


def _error(gave_up: GaveUp) -> KbalanceError:
    kinds = {kind.__name__: kind for kind in (TargetError, DiscoveryError, TrafficError)}
    return kinds.get(gave_up.kind, TrafficError)(gave_up.message)
