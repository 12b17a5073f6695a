"""The story on one page: target -> facts -> records of one or several vantage points -> distribution -> diagnosis -> Report.

What is examined, what becomes of its endpoints and what is concluded have files of their own; traffic and judgement live below.
"""

from collections.abc import Callable, Iterable
from time import gmtime, strftime

from kbalance.analysis import planning
from kbalance.analysis.account import Account
from kbalance.analysis.pooling import pooled
from kbalance.model.plan import Options
from kbalance.model.record import Progressed, Record, Started, WatchBegan
from kbalance.model.report import Report
from kbalance.model.target import Facts
from kbalance.model.words import FactsSource
from kbalance.pipeline.after import After
from kbalance.pipeline.subject import Subject, facts_of_addresses, nobody
from kbalance.traffic.session import Session
from kbalance.vantage.measuring import Measuring, Task

__all__ = ["Progress", "Subject", "Workers", "facts_of_addresses", "measure", "measure_elsewhere"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many requests ended, and how many are planned."""

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
    after = After(subject.read_facts)

    def tell(record: Record) -> None:
        if isinstance(record, Progressed):
            progress(record.what, record.done, record.planned)
            return
        if isinstance(record, WatchBegan):
            after.watch()
        account.add(record)

    with after:
        if not nobody(facts):
            task = Task(target=subject.target, addresses=subject.addresses, facts=facts, options=options)
            look_up = after.joining.endpoints if facts.source is FactsSource.API else None
            Measuring(task, session, tell, lambda: account.certain, look_up).run()
    # Loaded when the traffic is over, which would start later otherwise.
    from kbalance.pipeline.conclusion import conclude

    return conclude(subject, facts, [account], account, options, started, lambda: session.elapsed_s, after)


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
    with (after := After(subject.read_facts)):
        for worker, record in () if nobody(facts) else send(facts):
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
    from kbalance.pipeline.conclusion import conclude

    together = accounts[0] if workers == 1 else pooled(facts, options, records)
    return conclude(subject, facts, accounts, together, options, started, lambda: clock() - began_s, after)


def _check_thresholds(options: Options, facts: Facts) -> None:
    if options.thresholds:
        from kbalance.analysis import thresholds

        thresholds.check_facts(options, facts)


def _now() -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
