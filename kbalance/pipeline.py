"""The story on one page: target -> facts -> identity -> plan -> traffic -> distribution -> diagnosis -> Report."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import gmtime, strftime

from kbalance import __version__
from kbalance.analysis import advice, identity, planning, rules
from kbalance.analysis.fold import ProfileFold
from kbalance.errors import TargetError, TrafficError
from kbalance.model.plan import Options, ProfilePlan, TrafficPlan
from kbalance.model.report import IdentityReport, ProfileReport, Report, Vantage
from kbalance.model.target import Address, EndpointFacts, Facts, Target
from kbalance.model.words import FactsSource, Stop
from kbalance.traffic.identify import Identify
from kbalance.traffic.sampling import Sampler, Sampling
from kbalance.traffic.session import Session

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many requests ended, and how many are planned."""


MOST_DOWNLOADED = 2_000_000_000
"""Bytes of bodies that a plan may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is examined: the target, where it is, and how to find out what stands behind it."""

    target: Target
    addresses: tuple[Address, ...]
    """Where the target's name leads; traffic goes to the first, as with a client that takes the first."""
    read_facts: Callable[[], Facts]
    """Read before and after the traffic; a change in between spoils the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What calibration settled."""

    plan: TrafficPlan
    """Asks on the path that tells who answers."""
    calibration: identity.Calibration
    local: str | None
    """This side's address."""
    statuses: tuple[int, ...]
    """Of the answers it was found in, each once."""
    largest: int
    """Bytes of the largest body among them."""
    sampler: Sampler


def measure(
    subject: Subject, options: Options, session: Session, progress: Progress = lambda what, done, planned: None
) -> Report:
    """Runs the whole measurement.

    Raises:
        TargetError: the plan asks for something impossible.
        TrafficError: nothing answered at all, and nothing is known of what should have.
    """
    started = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    facts = subject.read_facts()
    found = _identify(subject, facts, options, session, progress)
    plan = found.plan
    profiles = _run(facts, found, options, session, progress)
    partial = any(p.stopped in (Stop.INTERRUPTED, Stop.DEADLINE) for p in profiles) or len(profiles) < len(plan.profiles)
    case = rules.Case(
        target=subject.target,
        facts=facts,
        facts_after=subject.read_facts(),
        plan=plan,
        identity=_identity_report(found, subject.target, profiles),
        vantage=Vantage(kind="local", address=found.local),
        profiles=profiles,
        tolerance=options.tolerance,
        interrupted=partial,
    )
    diagnosis = rules.diagnose(case)
    return Report(
        kbalance=__version__,
        started=started,
        duration_s=session.elapsed_s,
        partial=partial,
        target=subject.target,
        vantage=Vantage(kind="local", address=found.local),
        facts=facts,
        identity=case.identity,
        profiles=profiles,
        diagnosis=diagnosis,
        recommendations=advice.recommend(case, diagnosis),
        seed=options.seed,
        notices=tuple(_notices(subject, facts, found, profiles)),
    )


def _identify(subject: Subject, facts: Facts, options: Options, session: Session, progress: Progress) -> _Found:
    """Finds out how to tell who answered: asks on the user's path, then on those of the whitelist where the user chose none."""
    identity.parse_spec(options.identity)
    nonce = f"{Random(f'{options.seed} nonce').getrandbits(64):016x}"
    known = [(e.name, e.address) for e in facts.ready if e.address is not None]
    sampler = Sampler(session, known, subject.addresses[0], rate=options.rate, concurrency=options.concurrency)
    paths = identity.paths_to_try(subject.target, options.method)
    reserved = sampler.connections * len(paths)
    tried = []
    for path in paths:
        progress("identity", 0, 0)
        request = planning.request(subject.target, options, path=path, nonce=nonce)
        plan = planning.plan(facts, subject.addresses[0], options, request, reserved=reserved)
        sampling = sampler.ask(request)
        if not sampling.samples and facts.source is FactsSource.ANSWERS and session.over is None:
            raise TrafficError(_nothing_answered(subject, sampling))
        calibration = identity.calibrate(sampling.samples, facts, request, options.identity)
        tried.append(
            _Found(
                plan=plan,
                calibration=calibration,
                local=sampling.samples[0].local if sampling.samples else None,
                statuses=tuple(sorted({sample.status for sample in sampling.samples})),
                largest=sampling.largest,
                sampler=sampler,
            )
        )
        contradicted = any(map(identity.contradicts, calibration.reasons))
        if calibration.identifier is not None or contradicted or not sampling.samples:
            break
    found = tried[-1] if tried[-1].calibration.identifier is not None or contradicted else tried[0]
    _check_download(found)
    return found


def _check_download(found: _Found) -> None:
    """Refuses to load a network with bodies that nobody looks at."""
    largest = found.largest
    requests = sum(p.requests for p in found.plan.profiles)
    if largest * requests > MOST_DOWNLOADED:
        raise TargetError(
            f"An answer has {largest / 1e6:.1f} MB and {requests} requests are planned, {largest * requests / 1e9:.1f} GB in all"
            ": ask a smaller page (--path) or make fewer (--requests)."
        )


def _nothing_answered(subject: Subject, sampling: Sampling) -> str:
    reasons = "; ".join(sampling.problems[:3]) or "no answer"
    return f"Nothing answered at {subject.target.url}: {reasons}. Check the address and that the server is up."


def _run(facts: Facts, found: _Found, options: Options, session: Session, progress: Progress) -> tuple[ProfileReport, ...]:
    """Each profile in turn, as long as there is time."""
    names = tuple(e.name for e in facts.ready)
    learned = facts.source is FactsSource.ANSWERS
    done: list[tuple[ProfileFold, Stop, float]] = []
    for profile in found.plan.profiles:
        if session.over is not None:
            break
        alpha = planning.alpha_share(profile.profile, options)
        fold = ProfileFold(profile, names, tolerance=options.tolerance, alpha=alpha, learned=learned)
        began = session.elapsed_s
        part = 1 / (len(found.plan.profiles) - len(done))
        stopped = _drive(profile, fold, found, options, session, progress, part)
        done.append((fold, stopped, session.elapsed_s - began))
    everyone = tuple(sorted({name for fold, _, _ in done for name in fold.seen})) if learned else ()
    return tuple(fold.settle(stopped, duration_s, everyone) for fold, stopped, duration_s in done)


def _drive(
    profile: ProfilePlan,
    fold: ProfileFold,
    found: _Found,
    options: Options,
    session: Session,
    progress: Progress,
    part: float,
) -> Stop:
    """Folds the traffic of one profile, which may take its part of the time that is left; returns why it ended."""
    identifier = found.calibration.identifier
    driver = session.drive(
        profile,
        found.plan.request,
        identify=Identify(identifier, from_head=identifier.part is identity.Part.HEAD) if identifier else None,
        part=part,
        on_progress=lambda ended: progress(profile.profile, ended, profile.requests),
    )
    for observation in driver.run():
        fold.add(observation)
        if options.early_stop and fold.certain:
            driver.stop(Stop.CERTAIN)
    return driver.stopped or Stop.DONE


def _identity_report(found: _Found, target: Target, profiles: tuple[ProfileReport, ...]) -> IdentityReport:
    return IdentityReport(
        source=found.calibration.source,
        calibrated=found.calibration.calibrated,
        unidentified=sum(p.unidentified for p in profiles),
        path=found.plan.request.path if found.plan.request.path != target.path else None,
        requests=found.sampler.requests,
        connections=found.sampler.opened,
        rejected=() if found.calibration.identifier else found.calibration.reasons,
    )


def _notices(subject: Subject, facts: Facts, found: _Found, profiles: tuple[ProfileReport, ...]) -> list[str]:
    notices = []
    plan = found.plan
    if found.statuses and all(300 <= status < 500 for status in found.statuses):
        codes = " or ".join(str(status) for status in found.statuses)
        notices.append(f"Every answer to the first requests had status {codes}: is that the page you mean (--path, -H)?")
    if plan.request.path != subject.target.path:
        notices.append(f"No path was given, so {plan.request.path} was asked, which tells who answers (--path chooses another).")
    if facts.source is FactsSource.ANSWERS:
        notices.append(
            "The endpoints are known from their answers alone: one that never answered is not in the list, and the"
            " per-endpoint profile was left out (--endpoint NAME=IP:PORT names them)."
        )
    if facts.source is FactsSource.DNS:
        notices.append(
            f"The endpoints are the {len(facts.endpoints)} addresses that {subject.target.host} has in DNS; the other profiles"
            f" dial the first, {subject.addresses[0]}, as a client does that takes the first."
        )
    skipped = [p.profile.value for p in plan.profiles[len(profiles) :]]
    if skipped:
        notices.append(f"The run ended before these profiles could start: {', '.join(skipped)}.")
    return notices


def facts_of_addresses(addresses: tuple[Address, ...]) -> Facts:
    """What DNS alone tells: several addresses are endpoints, one address may hide any number."""
    if len(addresses) < 2:
        return Facts(source=FactsSource.ANSWERS)
    endpoints = (EndpointFacts(name=str(a), address=a) for a in addresses)
    return Facts(source=FactsSource.DNS, endpoints=tuple(sorted(endpoints, key=lambda e: e.name)))
