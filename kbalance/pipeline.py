"""The story on one page: target -> facts -> records of one or several vantage points -> distribution -> diagnosis -> Report."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import gmtime, strftime

from kbalance import __version__
from kbalance.analysis import planning
from kbalance.analysis.account import Account
from kbalance.analysis.case import NOBODY, Case
from kbalance.analysis.growth import scale_out
from kbalance.errors import DiscoveryError, KbalanceError, TargetError, TrafficError
from kbalance.kube.joining import EVERY_S, Joining
from kbalance.model.plan import Options
from kbalance.model.record import (
    AtOnce,
    Calibrated,
    Ended,
    GaveUp,
    ProfileBegan,
    ProfileEnded,
    Progressed,
    Record,
    Started,
    WatchBegan,
)
from kbalance.model.report import IdentityReport, ProfileReport, Report, ScaleOut, Vantage, VantageReport
from kbalance.model.target import Address, EndpointFacts, Facts, Target
from kbalance.model.words import FactsSource, Placement, Profile, Protocol, Stop
from kbalance.traffic.session import Session
from kbalance.traffic.tunnel import listener
from kbalance.vantage.measuring import Measuring, Task

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many requests ended, and how many are planned."""


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


Workers = Callable[[Facts], Iterable[tuple[int, Record]]]
"""Starts workers elsewhere with these facts, and gives their records as they come, each with the worker's index."""


def measure(
    subject: Subject, options: Options, session: Session, progress: Progress = lambda what, done, planned: None
) -> Report:
    """Measures from here.

    Raises:
        TargetError: the plan or a threshold asks for something impossible.
        TrafficError: nothing answered at all, and nothing is known of what should have.
    """
    started = _now()
    facts = subject.read_facts()
    _check_thresholds(options, facts)
    account = Account(facts, options, subject.zones)
    account.add(Started(vantage=subject.vantage))
    after = _After(subject)

    def tell(record: Record) -> None:
        if isinstance(record, Progressed):
            progress(record.what, record.done, record.planned)
            return
        if isinstance(record, WatchBegan):
            after.watch()
        account.add(record)

    with after:
        if not _nobody(facts):
            task = Task(target=subject.target, addresses=subject.addresses, facts=facts, options=options)
            look_up = after.joining.endpoints if facts.source is FactsSource.API else None
            Measuring(task, session, tell, lambda: account.certain, look_up).run()
    return _conclude(subject, facts, [account], account, options, started, lambda: session.elapsed_s, after)


def measure_elsewhere(
    subject: Subject,
    options: Options,
    workers: int,
    send: Workers,
    clock: Callable[[], float],
    progress: Progress = lambda what, done, planned: None,
) -> Report:
    """Measures from where others are sent; each makes its share of the traffic.

    Raises:
        TargetError, TrafficError: as `measure`, when no worker could measure.
    """
    started, began_s = _now(), clock()
    facts = subject.read_facts()
    _check_thresholds(options, facts)
    accounts = [Account(facts, planning.share(options, workers, worker), subject.zones) for worker in range(workers)]
    records: list[list[Record]] = [[] for _ in range(workers)]
    told: dict[int, Progressed] = {}
    with (after := _After(subject)):
        for worker, record in () if _nobody(facts) else send(facts):
            if isinstance(record, Progressed):
                told[worker] = record
                same = [p for p in told.values() if p.what == record.what]
                progress(record.what, sum(p.done for p in same), sum(p.planned for p in same))
                continue
            if isinstance(record, WatchBegan):
                after.watch()
            accounts[worker].add(record)
            if workers > 1:
                records[worker].append(record)
    together = accounts[0] if workers == 1 else _pooled(facts, options, records)
    return _conclude(subject, facts, accounts, together, options, started, lambda: clock() - began_s, after)


class _After:
    """What becomes of the endpoints once all is measured: read once more, or watched while they may join."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._facts: Facts | None = None
        self._unread: tuple[str, ...] = ()
        self._begun = False
        self.joining = Joining(subject.read_facts)

    def __enter__(self) -> "_After":
        return self

    def __exit__(self, *_: object) -> None:
        self.joining.stop()

    def watch(self) -> None:
        """From now on endpoints may join without spoiling what was measured."""
        if not self._begun:
            self._begun = True
            self._facts, self._unread = _read_again(self._subject)
            self.joining.start()

    def read(self) -> tuple[Facts | None, tuple[str, ...]]:
        """The facts after the traffic that was measured, and what could not be read."""
        return (self._facts, self._unread) if self._begun else _read_again(self._subject)

    def troubles(self) -> tuple[str, ...]:
        """What could not be read of the endpoints while they may have joined, in a sentence."""
        failed = self.joining.troubles
        if not self._begun or not failed:
            return ()
        so = "so who joined meanwhile is not known" if self.joining.blind else "so who joined just then may be missing or late"
        return (f"While kbalance watched, the endpoints could not be read {len(failed)} times, {so}: {failed[-1]}",)

    def scale_out(self, accounts: Sequence[Account]) -> ScaleOut | None:
        """What newcomers got; ``None``: nobody watched."""
        began = [a.watch_began.at_s for a in accounts if a.watch_began is not None]
        ended = [a.watch_ended.at_s for a in accounts if a.watch_ended is not None]
        if not began or not ended or self.joining.blind:
            return None
        return scale_out(
            [told for a in accounts for told in a.firsts],
            self.joining.since,
            self.joining.names,
            began_s=min(began),
            ended_s=max(ended),
            every_s=EVERY_S,
            before=len(self._facts.ready) if self._facts is not None else 0,
        )


def _check_thresholds(options: Options, facts: Facts) -> None:
    if options.thresholds:
        from kbalance.analysis import thresholds

        thresholds.check_facts(options, facts)


def facts_of_addresses(addresses: tuple[Address, ...]) -> Facts:
    """What DNS alone tells: several addresses are endpoints, one address may hide any number."""
    if len(addresses) < 2:
        return Facts(source=FactsSource.ANSWERS)
    endpoints = (EndpointFacts(name=str(a), address=a) for a in addresses)
    return Facts(source=FactsSource.DNS, endpoints=tuple(sorted(endpoints, key=lambda e: e.name)))


def _now() -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())


def _nobody(facts: Facts) -> bool:
    """Whether the API knows that there is nobody to ask."""
    return facts.source is FactsSource.API and not facts.ready


def _pooled(facts: Facts, options: Options, records: Sequence[Sequence[Record]]) -> Account:
    """All workers' connections in one account, worker after worker, so that the order in which logs arrive changes nothing."""
    pooled = Account(facts, options)
    calibrated = [r for told in records for r in told if isinstance(r, Calibrated)]
    if not calibrated:
        return pooled
    plans = [p for c in calibrated for p in c.plan.profiles]
    kinds = tuple(dict.fromkeys(p.profile for p in plans))
    profiles = tuple(planning.pooled([p for p in plans if p.profile is kind]) for kind in kinds)
    asked = replace(
        calibrated[0].identity,
        requests=sum(c.identity.requests for c in calibrated),
        connections=sum(c.identity.connections for c in calibrated),
    )
    plan = replace(calibrated[0].plan, profiles=profiles)
    pooled.add(replace(calibrated[0], plan=plan, identity=asked))
    for kind in kinds:
        parts = [part for told in records for part in _of_profile(told, kind)]
        ends = [r for r in parts if isinstance(r, ProfileEnded)]
        pooled.add(ProfileBegan(profile=kind))
        for record in parts:
            if not isinstance(record, ProfileEnded):
                pooled.add(record)
        if ends:
            # A worker that was lost before the end leaves less than was planned.
            lost = len(ends) < sum(p.profile is kind for p in plans)
            worst = Stop.INTERRUPTED if lost else max((e.stopped for e in ends), key=list(Stop).index)
            pooled.add(ProfileEnded(stopped=worst, duration_s=max(e.duration_s for e in ends)))
    for last in [r for told in records for r in told if isinstance(r, AtOnce | Ended)]:
        pooled.add(last)
    return pooled


def _of_profile(told: Sequence[Record], kind: Profile) -> Iterator[Record]:
    """What one worker told of one profile."""
    inside = False
    for record in told:
        if isinstance(record, ProfileBegan):
            inside = record.profile is kind
        elif inside:
            yield record
            inside = not isinstance(record, ProfileEnded)


def _conclude(
    subject: Subject,
    facts: Facts,
    accounts: Sequence[Account],
    together: Account,
    options: Options,
    started: str,
    elapsed_s: Callable[[], float],
    later: _After,
) -> Report:
    """What the accounts say, once the cluster was asked again."""
    # Loaded when the traffic is over, which would start later otherwise.
    from kbalance.analysis import advice, rules

    measured = [a for a in accounts if a.calibrated is not None]
    for account in accounts:
        if account.gave_up is not None and not measured:
            raise _error(account.gave_up)
    if not measured and not _nobody(facts):
        raise TrafficError("Nothing was measured before the run was ended.")
    after, unread = later.read()
    grown = later.scale_out(accounts)
    case = replace(_case(subject, facts, after, together, options, started), scale_out=grown)
    apart = {
        worker: _case(subject, facts, after, account, options, started)
        for worker, account in enumerate(accounts)
        if len(accounts) > 1 and account.calibrated is not None
    }
    calibrated = together.calibrated
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
        notices=(*_notices(subject, facts, accounts, together, case), *unread, *later.troubles()),
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


def _read_again(subject: Subject) -> tuple[Facts | None, tuple[str, ...]]:
    """The facts after the traffic; what was measured is not thrown away because the API does not answer now."""
    try:
        return subject.read_facts(), ()
    except DiscoveryError as error:
        return None, (f"The cluster could not be asked again, so a change during the run would not be known: {error}",)


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
        interrupted=account.partial and not _nobody(facts),
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


def _notices(subject: Subject, facts: Facts, accounts: Sequence[Account], together: Account, case: Case) -> Iterator[str]:
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
