"""Facts -> identity -> plan -> traffic: what is measured from one place, told record by record."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from kbalance.analysis import identity, planning
from kbalance.analysis.proxies import proxy_signs
from kbalance.errors import TargetError, TrafficError
from kbalance.model.plan import Options, ProfilePlan, TrafficPlan
from kbalance.model.record import AtOnce, Calibrated, Ended, ProfileBegan, ProfileEnded, Progressed, Record
from kbalance.model.report import IdentityReport
from kbalance.model.target import Address, Facts, Target
from kbalance.model.words import FactsSource, Protocol, Stop
from kbalance.traffic.identify import Identify
from kbalance.traffic.sampling import Sampler, Sampling
from kbalance.traffic.session import Session
from kbalance.vantage.speaking import Speech, as_without_tls, check_tls, settle
from kbalance.vantage.watching import LookUp, Watching

WATCH_PART = 4
"""Of the connections of a run, one in so many is for watching who joins, where that is wanted."""
UNIMPLEMENTED = 501
"""What HTTP says for the status of a call whose method nobody knows."""
MOST_DOWNLOADED = 2_000_000_000
"""Bytes of bodies that a plan may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to measure."""

    target: Target
    addresses: tuple[Address, ...]
    """Where the target's name leads; traffic goes to the first, as with a client that takes the first."""
    facts: Facts
    options: Options


class Measuring:
    """The measurement of one vantage point.

    Args:
        tell: takes each record.
        certain: whether the records so far settle the profile under way.
        look_up: the endpoints as they are now, for clients that dial them; ``None``: nobody can say.
    """

    def __init__(
        self,
        task: Task,
        session: Session,
        tell: Callable[[Record], None],
        certain: Callable[[], bool],
        look_up: LookUp | None = None,
    ) -> None:
        self._look_up = look_up
        self._task = task
        self._session = session
        self._tell = tell
        self._certain = certain

    def run(self) -> None:
        """Runs it all, from the first request for identity to the end of the last profile.

        Raises:
            TargetError: the plan asks for something impossible.
            TrafficError: nothing answered at all, and nothing is known of what should have.
        """
        calibrating = _Calibrating(self._task, self._session, self._tell)
        found = calibrating.run()
        self._tell(found.record)
        profiles = found.record.plan.profiles
        for done, profile in enumerate(profiles):
            if self._session.over is not None:
                break
            began = self._session.elapsed_s
            self._tell(ProfileBegan(profile=profile.profile))
            stopped = self._drive(profile, found, part=1 / (len(profiles) - done))
            self._tell(ProfileEnded(stopped=stopped, duration_s=self._session.elapsed_s - began))
        if self._session.over is None and (last := calibrating.at_once(found)) is not None:
            self._tell(last)
        watch_s = self._task.options.watch_s
        if watch_s is not None and self._session.over is None:
            plan, tell = found.record.plan, self._tell
            Watching(
                plan.profiles,
                plan.request,
                lambda: _identify(found),
                self._session,
                tell,
                watch_s=watch_s,
                look_up=self._look_up,
            ).run()
        self._tell(Ended(duration_s=self._session.elapsed_s))

    def _drive(self, profile: ProfilePlan, found: "_Found", part: float) -> Stop:
        """The traffic of one profile, which may take its part of the time that is left; gives why it ended."""
        driver = self._session.drive(
            profile,
            found.record.plan.request,
            identify=_identify(found),
            part=part,
            on_progress=lambda ended: self._tell(Progressed(what=profile.profile, done=ended, planned=profile.requests)),
        )
        for observation in driver.run():
            self._tell(observation)
            if planning.stops_early(self._task.options) and self._certain():
                driver.stop(Stop.CERTAIN)
        return driver.stopped or Stop.DONE


def _identify(found: "_Found") -> Identify | None:
    """Who answered, from the part of an answer that tells it; a message of gRPC is looked at as text."""
    identifier = found.identifier
    if identifier is None:
        return None
    if identifier.part is identity.Part.HEAD:
        return Identify(identifier, from_head=True)
    if found.record.plan.request.protocol is not Protocol.GRPC:
        return Identify(identifier, from_head=False)
    from kbalance.traffic.readable import readable

    return Identify(lambda body: identifier(readable(body)), from_head=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What calibration settled."""

    record: Calibrated
    identifier: identity.Identifier | None
    largest: int
    """Bytes of the largest body among the answers."""
    samples: tuple[identity.Sample, ...]


class _Calibrating:
    """Finds out how to tell who answered: asks on the user's path, then on those of the whitelist where the user chose none."""

    def __init__(self, task: Task, session: Session, tell: Callable[[Record], None]) -> None:
        self._task = task
        self._session = session
        self._tell = tell
        known = [(e.name, e.address) for e in task.facts.ready if e.address is not None]
        rate, concurrency = task.options.rate, task.options.concurrency
        self._sampler = Sampler(session, known, task.addresses[0], rate=rate, concurrency=concurrency)

    def run(self) -> _Found:
        task = self._task
        identity.parse_spec(task.options.identity)
        speech = settle(task.target, task.options, task.facts.service, task.addresses[0], self._session)
        tried = []
        paths = identity.paths_to_try(speech.target, "POST" if speech.message else task.options.method, grpc=speech.grpc)
        for path in paths:
            self._tell(Progressed(what="identity", done=self._sampler.requests, planned=0))
            found = self._try(speech, path, reserved=self._sampler.connections * len(paths) + self._other_connections)
            tried.append(found)
            contradicted = any(map(identity.contradicts, found.record.identity.rejected))
            if found.identifier is not None or contradicted or not found.record.statuses:
                break
        found = tried[-1] if tried[-1].identifier is not None or contradicted else tried[0]
        if found.samples and all(sample.status == UNIMPLEMENTED and sample.trouble for sample in found.samples):
            raise TargetError(found.samples[0].trouble)
        _check_download(found.record.plan, found.largest)
        opened = self._sampler.opened + self._session.beside
        asked = replace(found.record.identity, requests=self._sampler.requests, connections=opened)
        return replace(found, record=replace(found.record, identity=asked))

    @property
    def _other_connections(self) -> int:
        """New ones that were opened before, or are kept for the burst at the end and for the time in which endpoints may join."""
        options = self._task.options
        watching = 0 if options.watch_s is None else options.max_connections // WATCH_PART
        return self._session.beside + self._sampler.burst + watching

    def at_once(self, found: "_Found") -> AtOnce | None:
        """What the target answers to requests at the same time; ``None``: that would tell nothing here.

        It comes last: it makes a proxy open connections, which the profiles would then meet.
        """
        identifier = found.identifier
        if identifier is None or not self._sampler.burst:
            return None
        requests, opened = self._sampler.requests, self._sampler.opened
        through = self._sampler.at_once(found.record.plan.request)
        return AtOnce(
            who=tuple(identifier(sample.raw(identifier.part)) for sample in through),
            requests=self._sampler.requests - requests,
            connections=self._sampler.opened - opened,
            proxy_signs=proxy_signs([s.head for s in found.samples if s.endpoint], [s.head for s in through]),
        )

    def _try(self, speech: Speech, path: str, reserved: int) -> _Found:
        task = self._task
        options = task.options
        nonce = f"{Random(f'{options.seed} nonce').getrandbits(64):016x}"
        request = speech.request(path, nonce=nonce)
        plan = planning.plan(task.facts, task.addresses[0], options, request, reserved=reserved)
        sampling = self._sampler.ask(request)
        if path == speech.target.path and as_without_tls(sampling):
            check_tls(task.target, task.addresses[0], self._session)
        if not sampling.samples and task.facts.source is FactsSource.ANSWERS and self._session.over is None:
            raise TrafficError(_nothing_answered(speech.target, sampling))
        calibration = identity.calibrate(sampling.samples, task.facts, request, options.identity)
        record = Calibrated(
            plan=plan,
            identity=_report(calibration, path, speech.target),
            statuses=tuple(sorted({sample.status for sample in sampling.samples})),
            local=sampling.samples[0].local if sampling.samples else None,
            protocol_because=speech.because,
            troubles=_troubles(sampling),
        )
        return _Found(record=record, identifier=calibration.identifier, largest=sampling.largest, samples=sampling.samples)


def _report(calibration: identity.Calibration, path: str, target: Target) -> IdentityReport:
    return IdentityReport(
        source=calibration.source,
        calibrated=calibration.calibrated,
        unidentified=0,
        path=path if path != target.path else None,
        rejected=() if calibration.identifier else calibration.reasons,
    )


def _troubles(sampling: Sampling) -> tuple[str, ...]:
    """What gRPC servers said that did not do what they were asked, and who it was where that were not all."""
    who: dict[str, dict[str, None]] = {}
    for sample in sampling.samples:
        if sample.trouble:
            who.setdefault(sample.trouble, {})[sample.endpoint or ""] = None
    asked = {sample.endpoint for sample in sampling.samples}
    return tuple(
        f"{identity.listed(endpoints)}: {trouble}" if "" not in endpoints and len(endpoints) < len(asked) else trouble
        for trouble, endpoints in who.items()
    )


def _check_download(plan: TrafficPlan, largest: int) -> None:
    """Refuses to load a network with bodies that nobody looks at."""
    requests = sum(p.requests for p in plan.profiles)
    if largest * requests > MOST_DOWNLOADED:
        raise TargetError(
            f"An answer has {largest / 1e6:.1f} MB and {requests} requests are planned, {largest * requests / 1e9:.1f} GB in all"
            ": ask a smaller page (--path) or make fewer (--requests)."
        )


def _nothing_answered(target: Target, sampling: Sampling) -> str:
    reasons = "; ".join(sampling.problems[:3]) or "no answer"
    return f"Nothing answered at {target.url}: {reasons}. Check the address and that the server is up."
