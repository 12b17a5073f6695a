"""The whole story in one process, against the embedded cluster."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from kbalance.analysis.thresholds import parse
from kbalance.errors import TargetError
from kbalance.kube.convert import facts
from kbalance.model.plan import Options
from kbalance.model.report import Report, Threshold
from kbalance.model.target import Address, Facts, Target
from kbalance.model.words import FactsSource, Profile, Spread, Stop, TargetKind
from kbalance.pipeline import Subject, facts_of_addresses, measure
from kbalance.testbed.cluster import Cluster
from kbalance.traffic.session import Session

QUICK = Options(rate=None, seed=5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.start("default") as started:
        yield started


def known(cluster: Cluster) -> Facts:
    return facts(*cluster.objects())


def subject(*addresses: Address, read_facts: Callable[[], Facts], path: str | None = None) -> Subject:
    target = Target(
        kind=TargetKind.URL,
        scheme="http",
        host=addresses[0].ip,
        port=addresses[0].port,
        path=path or "/",
        path_given=path is not None,
    )
    return Subject(target=target, addresses=addresses, read_facts=read_facts)


def run(examined: Subject, options: Options = QUICK, session: Session | None = None) -> Report:
    return measure(
        examined,
        options,
        session
        or Session(
            timeout_s=options.timeout_s,
            deadline_s=options.deadline_s,
            max_connections=options.max_connections,
            seed=options.seed,
        ),
    )


def test_a_name_with_several_addresses_leads_to_the_first_alone(cluster: Cluster) -> None:
    """Every address is an endpoint's own, so who answers is known without any identity."""
    addresses = tuple(e.address for e in known(cluster).endpoints if e.address)
    report = run(subject(*addresses, read_facts=lambda: facts_of_addresses(addresses), path="/"))

    assert report.facts.source is FactsSource.DNS
    assert report.diagnosis.cause == "headless-first-address"
    assert str(addresses[0]) in report.diagnosis.summary
    assert [p.spread for p in report.profiles] == [Spread.PINNED, Spread.PINNED, Spread.PINNED, Spread.EVEN]


def test_an_endpoint_as_the_target_is_no_measurement_of_a_balancer(cluster: Cluster) -> None:
    found = replace(known(cluster), source=FactsSource.GIVEN, service=None)
    address = found.endpoints[1].address
    assert address is not None

    report = run(subject(address, read_facts=lambda: found))

    assert report.diagnosis.cause == "invalid-measurement"
    assert found.endpoints[1].name in report.diagnosis.summary


def test_a_path_that_the_user_chose_is_the_only_one_asked(cluster: Cluster) -> None:
    """`/` tells nobody's name here; it is not left all the same."""
    report = run(subject(cluster.service, read_facts=lambda: known(cluster), path="/"))

    assert report.identity.source is None
    assert report.identity.path is None
    assert report.identity.rejected
    assert report.diagnosis.cause == "invalid-measurement"


def test_facts_that_change_during_the_run_spoil_the_verdict(cluster: Cluster) -> None:
    readings = [known(cluster), replace(known(cluster), endpoints=known(cluster).endpoints[:2])]

    report = run(subject(cluster.service, read_facts=lambda: readings.pop(0)))

    assert report.diagnosis.cause == "invalid-measurement"
    assert f"{known(cluster).endpoints[2].name} left" in report.diagnosis.summary


def test_connections_of_the_whole_run_stay_within_the_limit() -> None:
    """On a cluster of its own, whose seed gives these connections the same endpoints every time: no luck makes it certain."""
    options = replace(QUICK, max_connections=120, early_stop=False)

    with Cluster.start("default") as cluster:
        report = run(subject(cluster.service, read_facts=lambda: known(cluster)), options)
        through = sum(cluster.picks().values())

    opened = sum(p.connections.opened for p in report.profiles)
    assert through <= opened + report.identity.connections <= 120
    assert [p.stopped for p in report.profiles] == [Stop.DONE] * 4
    assert report.diagnosis.confidence != "certain"


def test_the_run_is_the_same_for_the_same_seed(cluster: Cluster) -> None:
    options = replace(QUICK, profiles=(Profile.PER_ENDPOINT,))

    first, second = (run(subject(cluster.service, read_facts=lambda: known(cluster)), options) for _ in range(2))

    assert [p.endpoints[0].requests for p in first.profiles] == [p.endpoints[0].requests for p in second.profiles]
    assert (first.seed, first.diagnosis.findings) == (second.seed, second.diagnosis.findings)


def test_a_session_that_is_over_measures_nothing_and_says_so(cluster: Cluster) -> None:
    session = Session(timeout_s=1, deadline_s=None, max_connections=100, seed=1)
    session.interrupt()

    report = run(subject(cluster.service, read_facts=lambda: known(cluster)), session=session)

    assert report.partial
    assert report.profiles == ()
    assert report.diagnosis.cause == "invalid-measurement"
    assert report.notices == ("The run ended before these profiles could start: single, pooled, short-lived, per-endpoint.",)


def test_the_users_clients_are_what_is_foretold(cluster: Cluster) -> None:
    options = replace(QUICK, clients=20, connections=5, window_s=300.0)

    report = run(subject(cluster.service, read_facts=lambda: known(cluster)), options)

    assert [(f.what, f.clients, f.connections, f.endpoints) for f in report.forecasts] == [
        ("now", 20, 5, 3),
        ("scaled out", 20, 5, 6),
        ("merged", 20, 5, 2),
        ("more clients", 200, 5, 3),
    ]
    assert "end connections after 5 minutes" in next(r.title for r in report.recommendations if r.id == "shorter-lifetime")


def test_a_threshold_that_nothing_can_answer_is_refused_before_any_traffic(cluster: Cluster) -> None:
    before = cluster.picks()
    options = replace(QUICK, thresholds=(parse("per-endpoint.failed==0"),))

    with pytest.raises(TargetError, match="name them with --endpoint"):
        run(subject(cluster.service, read_facts=lambda: facts_of_addresses((cluster.service,))), options)

    assert cluster.picks() == before


def test_a_threshold_on_a_profile_that_never_began_fails(cluster: Cluster) -> None:
    session = Session(timeout_s=1, deadline_s=None, max_connections=100, seed=1)
    session.interrupt()
    options = replace(QUICK, thresholds=(parse("pooled.idle==0"), parse("requests==0")))

    report = run(subject(cluster.service, read_facts=lambda: known(cluster)), options, session)

    assert report.thresholds == (
        Threshold(expression="pooled.idle==0", value=None, passed=False),
        Threshold(expression="requests==0", value=0.0, passed=True),
    )
