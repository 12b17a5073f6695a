"""Endpoints that join while kbalance watches, against the embedded cluster."""

import threading
from dataclasses import replace
from time import monotonic

import pytest

from kbalance.errors import DiscoveryError
from kbalance.kube.convert import facts
from kbalance.model.plan import Options
from kbalance.model.report import Report
from kbalance.model.target import Facts
from kbalance.model.words import Profile, ProtocolChoice
from kbalance.pipeline import measure
from kbalance.testbed.cluster import Cluster
from kbalance.testbed.scenario import SCENARIOS, PodSpec, Scenario
from kbalance.traffic.session import Session
from tests.test_pipeline import subject

WATCH_S = 5.0
STILL = replace(SCENARIOS["new-pods"], scale_out=None, options={})
RATE = 250.0
"""Requests per second of all profiles. Some 200 fresh connections are then made after two of five have joined, and miss one of
them in one run of 10^19; on a machine so busy that it makes a third of them, in one of 10^6.
"""


def session(options: Options) -> Session:
    return Session(timeout_s=5.0, deadline_s=60.0, max_connections=options.max_connections, seed=options.seed)


def watched(
    scenario: Scenario,
    *profiles: Profile,
    pods: int | None = None,
    protocol: ProtocolChoice = ProtocolChoice.AUTO,
    watch_s: float = WATCH_S,
) -> Report:
    """What is told where there are so many pods one second into the watch, when held connections are open."""
    options = Options(
        rate=RATE, seed=5, watch_s=watch_s, profiles=profiles or tuple(Profile), protocol=protocol, max_connections=10_000
    )
    joined = False

    def progress(what: str, done: int, planned: int) -> None:
        nonlocal joined
        if pods is not None and not joined and what == "scale-out" and done >= 1:
            joined = True
            cluster.scale(pods)

    path = "/info.InfoService/Info" if protocol is ProtocolChoice.GRPC else "/hostname"
    with Cluster.start(scenario) as cluster:
        examined = subject(cluster.service, read_facts=lambda: facts(*cluster.objects()), path=path)
        return measure(examined, options, session(options), progress)


@pytest.mark.parametrize("protocol", [ProtocolChoice.HTTP1, ProtocolChoice.H2C, ProtocolChoice.GRPC])
def test_held_connections_never_meet_whom_fresh_ones_meet_at_once(protocol: ProtocolChoice) -> None:
    scenario = replace(STILL, pods=(PodSpec(http2=True),) * 3)

    report = watched(scenario, pods=5, protocol=protocol)
    grown = report.scale_out

    assert report.protocol.value == protocol.value
    assert grown is not None
    assert (grown.before, len(grown.newcomers)) == (3, 2)
    for newcomer in grown.newcomers:
        assert 1 <= newcomer.ready_s < WATCH_S
        never = {profile for profile, first_s in newcomer.first_s.items() if first_s is None}
        # An ordinary client of HTTP/1.1 opens one more connection where an answer is late and the next request is due.
        assert never | ({"stock"} if protocol is ProtocolChoice.HTTP1 else set()) == {"single", "pooled", "stock"}
        assert set(newcomer.first_s) == {p.value for p in Profile}
    assert all(grown.requests.values())


def test_what_joined_afterwards_does_not_spoil_what_was_measured_before() -> None:
    report = watched(STILL, Profile.SINGLE, Profile.SHORT_LIVED, pods=5, watch_s=7.0)

    assert report.diagnosis.cause == "connection-pinning"
    stale = next(f for f in report.diagnosis.findings if f.cause == "stale-membership")
    assert all(newcomer.name in stale.summary for newcomer in report.scale_out.newcomers)  # type: ignore[union-attr]
    assert not any("changed" in notice for notice in report.notices)


def test_where_nobody_joins_nobody_is_new() -> None:
    report = watched(STILL, Profile.SINGLE, Profile.SHORT_LIVED)

    assert report.scale_out is not None
    assert (report.scale_out.newcomers, report.scale_out.before) == ((), 3)
    assert "stale-membership" not in [f.cause for f in report.diagnosis.findings]


def test_fresh_connections_of_the_watch_stay_within_the_limit() -> None:
    options = Options(rate=None, seed=5, watch_s=1.0, profiles=(Profile.SHORT_LIVED,), max_connections=120)
    running = session(options)
    with Cluster.start(STILL) as cluster:
        examined = subject(cluster.service, read_facts=lambda: facts(*cluster.objects()), path="/hostname")
        report = measure(examined, options, running)

    assert report.scale_out is not None
    assert report.scale_out.requests["short-lived"] > 0
    assert running.connections_left > 0


def test_an_interrupt_ends_the_watch_and_the_report_keeps_what_was_measured() -> None:
    options = Options(rate=None, seed=5, watch_s=600.0, profiles=(Profile.SINGLE, Profile.SHORT_LIVED))
    running = session(options)
    seen: list[str] = []

    def progress(what: str, done: int, planned: int) -> None:
        seen.append(what)
        if what == "scale-out":
            running.interrupt()

    began = monotonic()
    with Cluster.start(STILL) as cluster:
        examined = subject(cluster.service, read_facts=lambda: facts(*cluster.objects()), path="/hostname")
        report = measure(examined, options, running, progress)

    assert "scale-out" in seen
    assert monotonic() - began < 60
    assert [p.profile for p in report.profiles] == [Profile.SINGLE, Profile.SHORT_LIVED]
    assert all(not thread.name.startswith("kbalance-") for thread in threading.enumerate())


def test_clients_that_dial_endpoints_keep_their_connections_while_nobody_joins() -> None:
    options = Options(rate=None, seed=5, watch_s=3.0, profiles=(Profile.PER_ENDPOINT,))
    running = session(options)
    with Cluster.start(STILL) as cluster:
        examined = subject(cluster.service, read_facts=lambda: facts(*cluster.objects()), path="/hostname")
        report = measure(examined, options, running)

    assert report.scale_out is not None
    assert report.scale_out.requests["per-endpoint"] > 20
    # For identity, for the profile, and for the watch: a few for each of three endpoints.
    assert options.max_connections - running.connections_left < 20


@pytest.mark.parametrize("blind", [True, False])
def test_an_api_that_cannot_be_read_meanwhile_is_told(blind: bool) -> None:
    """Nobody can be called new where nothing was read, and nobody is said to be missing."""
    options = Options(rate=None, seed=5, watch_s=2.0, profiles=(Profile.SINGLE, Profile.SHORT_LIVED))
    with Cluster.start(STILL) as cluster:
        readings = 0

        def read() -> Facts:
            nonlocal readings
            readings += 1
            # The first is before the traffic, the second after what is measured, the third as the watch begins.
            if readings > 2 and (blind or readings == 4):
                raise DiscoveryError("The API server does not answer.")
            return facts(*cluster.objects())

        report = measure(subject(cluster.service, read_facts=read, path="/hostname"), options, session(options))

    assert (report.scale_out is None) is blind
    (told,) = [notice for notice in report.notices if "While kbalance watched" in notice]
    assert told.endswith("The API server does not answer.")
    assert ("is not known" in told) is blind


def test_whoever_fails_to_be_told_leaves_no_thread_behind() -> None:
    options = Options(rate=None, seed=5, watch_s=600.0, profiles=(Profile.SINGLE, Profile.SHORT_LIVED))

    def progress(what: str, done: int, planned: int) -> None:
        if what == "scale-out":
            raise BrokenPipeError

    began = monotonic()
    with Cluster.start(STILL) as cluster:
        examined = subject(cluster.service, read_facts=lambda: facts(*cluster.objects()), path="/hostname")
        with pytest.raises(BrokenPipeError):
            measure(examined, options, session(options), progress)

    assert monotonic() - began < 60
    assert all(not thread.name.startswith("kbalance-") for thread in threading.enumerate())
