"""What is concluded where HTTP/2 or gRPC was really spoken."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kbalance.analysis.case import Case
from kbalance.analysis.rules import diagnose
from kbalance.model.report import Finding, ProfileReport
from kbalance.model.words import Closer, Confidence, Failure, Placement, PoolPolicy, Profile, Protocol, Severity
from tests.builders import (
    PODS,
    SERVICE,
    answers,
    case,
    connection,
    direct,
    facts,
    fresh,
    leaving,
    lifo,
    pooled,
    profile_plan,
    refused,
    settled,
    single,
    speaking,
    stock,
    traffic_plan,
)

CERTAIN, LIKELY, POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE
GRPC, H2, H2C = Protocol.GRPC, Protocol.H2, Protocol.H2C


def found(cause: str, of: Case) -> Finding | None:
    return next((f for f in diagnose(of).findings if f.cause == cause), None)


def known(**service: object) -> dict[str, object]:
    """Facts that stayed so during the run."""
    told = facts(service=replace(SERVICE, **service))  # type: ignore[arg-type]
    return {"facts": told, "facts_after": told}


def several_streams(who: str = PODS[0]) -> ProfileReport:
    """One connection with four requests at a time."""
    return settled([connection(answers(who, 100), streams=4)], profile_plan(Profile.SINGLE, concurrency=4, streams=4))


def overflowing() -> ProfileReport:
    """The server takes two streams on a connection, so that an ordinary client opens another one."""
    opened = [connection(answers(PODS[0], 120), streams=2), connection(answers(PODS[2], 80), streams=2)]
    return settled(opened, profile_plan(Profile.STOCK, concurrency=4, streams=4))


def recycled() -> ProfileReport:
    """An ordinary client whose connections the server ends, one after the other."""
    opened = [connection(answers(name, 70), streams=4, closed_by=Closer.SERVER) for name in (PODS[0], PODS[0])]
    opened.append(connection(answers(PODS[1], 60), streams=4))
    return settled(opened, profile_plan(Profile.STOCK, concurrency=4, streams=4))


def placed_by_stream() -> ProfileReport:
    every = connection(*(answers(name, n) for name, n in zip(PODS, (34, 33, 33), strict=True)), streams=4)
    return settled([every], profile_plan(Profile.SINGLE))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: speaking(GRPC, single(), pooled(), fresh(), stock()), CERTAIN, id="stock pinned, fresh fair"),
        pytest.param(lambda: speaking(H2, stock(), fresh()), CERTAIN, id="stock and fresh alone"),
        pytest.param(lambda: speaking(H2C, several_streams(), fresh()), CERTAIN, id="single with several streams"),
        pytest.param(lambda: speaking(GRPC, single(), pooled(), fresh()), LIKELY, id="one stream at a time, no stock"),
        pytest.param(lambda: speaking(GRPC, stock(), fresh((20, 22, 18))), LIKELY, id="fresh not enough"),
        pytest.param(lambda: speaking(GRPC, stock()), LIKELY, id="fresh not measured"),
        pytest.param(lambda: speaking(GRPC, recycled(), fresh()), LIKELY, id="several connections, one after the other"),
        pytest.param(lambda: speaking(GRPC, overflowing(), fresh()), LIKELY, id="several connections at once"),
        pytest.param(
            lambda: speaking(GRPC, stock(), **known(session_affinity="ClientIP")),
            POSSIBLE,
            id="affinity may do it",
        ),
        pytest.param(lambda: case(single(), fresh()), None, id="HTTP/1.1, and the port says nothing"),
        pytest.param(lambda: speaking(GRPC, stock(), fresh((304, 0, 0))), None, id="fresh always one"),
        pytest.param(lambda: speaking(GRPC, pooled((3, 3, 4)), fresh()), None, id="an even pool alone"),
        pytest.param(lambda: speaking(GRPC, placed_by_stream(), fresh()), None, id="a proxy places streams"),
        pytest.param(lambda: speaking(GRPC, direct()), None, id="only asked directly"),
    ],
)
def test_http2_multiplexing(make: Callable[[], Case], expected: Confidence | None) -> None:
    finding = found("http2-multiplexing", make())

    assert (finding.confidence if finding else None) == expected


def test_a_stock_client_is_told_with_its_numbers_and_the_pool_beside_it() -> None:
    diagnosis = diagnose(speaking(GRPC, single(), pooled(), fresh(), direct(), stock()))

    assert [f.cause for f in diagnosis.findings] == ["http2-multiplexing", "connection-pinning"]
    assert diagnosis.summary == (
        "An ordinary gRPC client (pick_first) puts all requests on one connection, and here a connection stays on one endpoint: "
        "each client loads one of them."
    )
    assert diagnosis.findings[0].evidence == (
        "Spoken was gRPC over HTTP/2, which carries many calls at once on a connection.",
        "stock: 200 requests of a pool of up to 10 went on 1 connection (4 streams at once), all answered by web-0 of 3 "
        "endpoints.",
        "single: 100 requests on 1 connection, all answered by web-0 of 3 endpoints.",
        "pooled: 200 requests on 10 connections, busiest endpoint 1.50 times its fair share.",
        "short-lived: 304 fresh connections reached 3 of 3 endpoints; nothing speaks against a fair draw, and none has double "
        "the weight of the others or a quarter.",
    )


def test_what_an_ordinary_client_would_do_is_asked_for_where_it_was_not_measured() -> None:
    finding = found("http2-multiplexing", speaking(H2, single(), fresh()))

    assert finding is not None
    assert finding.summary.startswith("An ordinary HTTP/2 client puts all requests on one connection")
    assert finding.evidence[-1] == "How many connections an ordinary client takes was not measured; add --profile stock."


def test_connections_that_the_server_ended_are_not_taken_for_a_pool() -> None:
    finding = found("http2-multiplexing", speaking(GRPC, recycled(), fresh()))

    assert finding is not None
    assert "puts all requests on one connection" in finding.summary
    assert finding.evidence[1] == (
        "stock: 200 requests of a pool of up to 10 went on 3 connections (one after the other ended, 4 streams at once), busiest "
        "endpoint 2.10 times its fair share."
    )


def test_a_client_whose_connections_end_loads_one_endpoint_at_a_time() -> None:
    finding = found("http2-multiplexing", speaking(GRPC, recycled(), fresh()))

    assert finding is not None
    assert finding.summary.endswith("here a connection stays on one endpoint: each client loads one of them at a time.")
    assert "The server ends connections after 70 requests or about 0.01 s, and the next one is drawn anew." in finding.evidence


def test_connections_that_broke_are_not_taken_for_several_at_once() -> None:
    broken = [
        connection(answers(name, 70), streams=4, unanswered=((Failure.RESET, 1),), closed_by=Closer.FAILURE)
        for name in (PODS[0], PODS[0])
    ]
    report = settled(
        [*broken, connection(answers(PODS[1], 60), streams=4)], profile_plan(Profile.STOCK, concurrency=4, streams=4)
    )
    finding = found("http2-multiplexing", speaking(GRPC, report, fresh()))

    assert (report.connections.opened, report.connections.closed_by_failure) == (3, 2)
    assert finding is not None
    assert "puts all requests on one connection" in finding.summary
    assert "one after the other ended" in finding.evidence[1]


def test_a_connection_that_never_opened_did_not_break() -> None:
    assert settled([refused()], profile_plan(Profile.STOCK)).connections.closed_by_failure == 0


def test_a_server_of_few_streams_makes_clients_open_more() -> None:
    finding = found("http2-multiplexing", speaking(GRPC, overflowing(), fresh()))

    assert finding is not None
    assert "opens a further connection only while the server takes no more streams on the others" in finding.summary
    assert finding.summary.endswith("each client loads few of them.")


def test_the_port_alone_is_told_as_measured_over_http1() -> None:
    finding = found("http2-multiplexing", case(single(), fresh(), **known(app_protocol="grpc")))

    assert finding is not None
    assert finding.evidence[-1] == "Measured over HTTP/1.1: what it shows of connections holds for HTTP/2 as well."


def test_the_protocol_of_profiles_counts_where_the_plan_is_not_known() -> None:
    spoken = replace(stock(), protocol="grpc")

    assert case(spoken, plan=None).protocol is GRPC
    assert case(spoken).protocol is GRPC
    assert case(replace(spoken, protocol="h9")).protocol is Protocol.HTTP1


def test_a_pool_of_ones_own_order_leads_over_http2_too_and_stock_is_no_pool() -> None:
    assert PoolPolicy.LIFO.value in str(lifo().parameters)
    assert [f.cause for f in diagnose(speaking(H2, lifo(), fresh())).findings][:2] == ["pool-order", "http2-multiplexing"]
    assert found("pool-order", speaking(H2, stock(), fresh())) is None
    assert found("small-sample", speaking(H2, stock(), fresh())) is None


def test_a_proxy_that_places_streams_is_told_in_the_words_of_the_protocol() -> None:
    for protocol, unit in ((GRPC, "calls"), (H2, "streams"), (Protocol.HTTP1, "requests")):
        diagnosis = diagnose(speaking(protocol, placed_by_stream(), fresh()))
        assert diagnosis.summary == f"A proxy on the way balances single {unit}: clients may keep their connections."

    ruled_out = {one.cause: one.because for one in diagnose(speaking(GRPC, placed_by_stream(), fresh())).ruled_out}
    assert (
        ruled_out["http2-multiplexing"] == "The calls of one connection are answered by several endpoints: each call is placed."
    )


def test_streams_at_the_same_time_are_none_that_came_one_after_the_other() -> None:
    """A hash of the address would lead all of them to one endpoint as well."""
    mixed = settled([connection(*(answers(n, 5) for n in PODS))] * 10, profile_plan(Profile.POOLED))

    assert found("proxy-keepalive", case(single(), mixed, fresh((52, 40, 40)))) is not None
    assert found("proxy-keepalive", speaking(H2, several_streams(), mixed, fresh((52, 40, 40)))) is None


STEADY = (30.02, 30.05, 30.01, 30.03)
JITTERED = (27.4, 32.1, 30.3, 29.0)


@pytest.mark.parametrize(
    ("report", "summary", "evidence"),
    [
        (
            leaving(STEADY),
            "The server closes connections after about 30.1 s, all at the same age: a whole pool moves at once.",
            "GOAWAY on 4 connections, at an age of 30.0 to 30.1 s: no jitter, and connections opened together end together; "
            "gRPC's own +-10 % would leave 4 ages so close in less than 0.1 % of runs.",
        ),
        (
            leaving(JITTERED),
            "The server closes connections after 27.4 to 32.1 s: clients already choose anew at times.",
            "GOAWAY on 4 connections, at an age of 27.4 to 32.1 s: it varies by 15 %, so that connections opened together do not "
            "end together.",
        ),
        (
            leaving(STEADY[:2]),
            "The server closes connections after about 30.1 s: clients already choose anew at times.",
            "GOAWAY on 2 connections, at an age of 30.0 to 30.1 s: too few to tell whether ages vary (3 at least; let it run "
            "longer: --requests).",
        ),
        (
            leaving((0.101, 0.102, 0.103)),
            "The server closes connections after about 0.1 s: clients already choose anew at times.",
            "GOAWAY on 3 connections, at an age of 0.1 s: too short to tell whether ages vary.",
        ),
        (
            leaving((1.0, 1.004, 1.002), requests=(41,)),
            "The server closes connections after 41 requests or about 1.0 s, all at the same age: a whole pool moves at once.",
            "GOAWAY on 3 connections, at an age of 1.0 s: no jitter, and connections opened together end together; gRPC's own "
            "+-10 % would leave 3 ages so close in 2.8 % of runs.",
        ),
        (
            leaving((2.2, 2.6, 2.4), requests=(3,)),
            "The server closes connections after 3 requests or 2.2 to 2.6 s: clients already choose anew at times.",
            "GOAWAY on 3 connections, at an age of 2.2 to 2.6 s: it varies by 15 %, so that connections opened together do not "
            "end together.",
        ),
        (
            leaving((1.0, 1.06, 1.02)),
            "The server closes connections after 1.0 to 1.1 s: clients already choose anew at times.",
            "GOAWAY on 3 connections, at an age of 1.0 to 1.1 s: too close to tell from delays whether ages vary.",
        ),
        (
            leaving((0.46, 0.54, 0.5)),
            "The server closes connections after about 0.5 s: clients already choose anew at times.",
            "GOAWAY on 3 connections, at an age of 0.5 s: too close to tell from delays whether ages vary.",
        ),
        (
            leaving((30.0, 30.9, 30.5)),
            "The server closes connections after 30.0 to 30.9 s: clients already choose anew at times.",
            "GOAWAY on 3 connections, at an age of 30.0 to 30.9 s: too close to tell from delays whether ages vary.",
        ),
        (
            leaving((0.9, 1.3, 1.1), requests=(100,)),
            "The server closes connections after 100 requests: clients already choose anew at times.",
            "GOAWAY on 3 connections, at an age of 0.9 to 1.3 s: the number of requests decides, not the age.",
        ),
    ],
)
def test_goaway_tells_the_age_and_whether_it_varies(report: ProfileReport, summary: str, evidence: str) -> None:
    finding = found("server-lifetime", speaking(GRPC, report, fresh()))

    assert finding is not None
    assert (finding.summary, finding.evidence[1]) == (summary, evidence)


def test_a_pool_that_ends_without_a_word_at_one_age_is_not_said_to_end_by_requests() -> None:
    finding = found("server-lifetime", case(leaving((1.0, 1.001), requests=(41,), said=False), fresh()))

    assert finding is not None
    assert (
        finding.summary == "The server closes connections after 41 requests or about 1.0 s: clients already choose anew at times."
    )


def test_a_server_that_closes_without_a_word_is_told_as_before() -> None:
    finding = found("server-lifetime", case(leaving(STEADY, said=False), fresh()))

    assert finding is not None
    assert finding.evidence == ("single: the server closed 4 of 4 connections after an answer.",)


def test_the_profile_speaks_in_which_most_connections_ended() -> None:
    few, many = leaving(STEADY[:2]), replace(leaving(JITTERED), profile=Profile.STOCK)

    finding = found("server-lifetime", speaking(GRPC, few, many, fresh()))

    assert finding is not None
    assert finding.evidence[0] == "stock: the server closed 4 of 4 connections after an answer."


def test_stock_alone_shows_what_chooses() -> None:
    assert stock().placement is Placement.UNKNOWN
    assert found("session-affinity", speaking(GRPC, stock(), **known(session_affinity="ClientIP"))) is not None


def excluded(of: Case) -> dict[str, str]:
    return {one.cause: one.because for one in diagnose(of).ruled_out}


def test_what_is_ruled_out_is_told_without_ranges_of_one_number() -> None:
    assert (
        excluded(case(direct(), fresh()))["slow-endpoint"]
        == "Asked directly, the slowest median is 1.0 ms, 1.00 times the fastest one."
    )
    alone = {"facts": facts(PODS[:1]), "facts_after": facts(PODS[:1])}
    met = case(fresh((300,), PODS[:1]), **alone)
    assert excluded(met)["missing-endpoint"] == "Fresh connections reached the one endpoint 300 times."


FOREIGN = "UNKNOWN: HTTP status 200, content-type text/plain"


def failing(profile: Profile, answered: int, failed: int, detail: str, who: str | None = PODS[0]) -> ProfileReport:
    """Calls on one connection, some of them with an error."""
    given = answers(who, answered + failed, failed=failed)
    return settled([connection(replace(given, detail=detail))], profile_plan(profile))


@pytest.mark.parametrize("detail", [FOREIGN, "UNIMPLEMENTED: HTTP status 404, content-type text/html"])
def test_a_server_that_speaks_no_grpc_was_not_measured(detail: str) -> None:
    diagnosis = diagnose(speaking(GRPC, failing(Profile.STOCK, 0, 200, detail, who=None)))

    assert (diagnosis.cause, diagnosis.confidence) == ("invalid-measurement", CERTAIN)
    assert diagnosis.summary == (
        f"This run gives no verdict: what answered was not a gRPC server ({detail}: 200 of 200 calls failed); check the port, or "
        "measure it as what it is (--protocol h2c, h2 or http1)."
    )


def test_a_few_answers_of_no_grpc_server_are_failures_like_others() -> None:
    assert found("invalid-measurement", speaking(GRPC, failing(Profile.STOCK, 150, 50, FOREIGN))) is None


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("UNAVAILABLE: no upstream", "UNAVAILABLE: no upstream"),
        ("UNAVAILABLE", "UNAVAILABLE"),
        ("", "an error of the server"),
    ],
)
def test_where_all_calls_fail_that_comes_first(detail: str, told: str) -> None:
    finding = found("inconclusive", speaking(GRPC, failing(Profile.STOCK, 0, 4, detail)))

    assert finding is not None
    assert finding.evidence[0] == f"Hardly any request was answered ({told})."
    code = told.partition(":")[0]
    assert finding.evidence[1] == f"stock: 100 % of the requests failed: {code} (4)."


@pytest.mark.parametrize(("answered", "leads"), [(0, True), (100, True), (150, True), (190, False)])
def test_many_failures_lead_though_no_endpoint_was_asked_directly(answered: int, leads: bool) -> None:
    failed = 200 - answered
    diagnosis = diagnose(speaking(GRPC, failing(Profile.STOCK, answered, failed, "UNAVAILABLE: no upstream")))

    assert (diagnosis.cause == "endpoint-failing") == leads
    if leads:
        assert (diagnosis.severity, diagnosis.confidence) == (Severity.PROBLEM, LIKELY)
        assert diagnosis.summary == (
            f"{failed // 2} % of the requests failed (UNAVAILABLE); asking each endpoint directly would tell whose they are "
            "(--profile per-endpoint)."
        )


def test_half_of_the_fresh_connections_failing_leads_whatever_it_fits() -> None:
    diagnosis = diagnose(case(single(), fresh((50, 52, 48), failed=150)))

    assert (diagnosis.cause, diagnosis.confidence) == ("endpoint-failing", LIKELY)


def test_where_all_calls_fail_nobody_is_asked_for_a_name() -> None:
    diagnosis = diagnose(speaking(GRPC, failing(Profile.STOCK, 0, 200, "UNAVAILABLE: no upstream", who=None)))

    assert diagnosis.summary == (
        "This run gives no verdict: 100 % of the requests failed (UNAVAILABLE: no upstream), and no answer says which endpoint "
        "gave it."
    )


def test_an_error_over_http_keeps_its_words() -> None:
    finding = found("inconclusive", speaking(H2, failing(Profile.STOCK, 0, 4, "status 503")))

    assert finding is not None
    assert finding.evidence[1] == "stock: 100 % of the requests failed: status 500 or above (4)."


def test_nobody_is_asked_for_a_header_where_calls_have_metadata() -> None:
    for protocol, place in ((GRPC, "the answer's metadata"), (H2, "a response header")):
        finding = found("invalid-measurement", speaking(protocol, stock(None)))  # type: ignore[arg-type]
        assert finding is not None
        assert f"send its Pod's name in {place} (Downward API" in finding.summary


def even_pool() -> ProfileReport:
    return pooled((4, 4, 4))


def unmeasured(*missing: Profile, interrupted: bool = True) -> Case:
    """All even so far; what else was planned did not come to its turn."""
    planned = traffic_plan()
    profiles = (*planned.profiles, *(profile_plan(p) for p in missing))
    return case(even_pool(), fresh(), direct(), interrupted=interrupted, plan=replace(planned, profiles=profiles))


def test_what_was_planned_and_cut_off_leaves_no_healthy_verdict() -> None:
    diagnosis = diagnose(unmeasured(Profile.STOCK))

    assert diagnosis.cause == "inconclusive"
    assert diagnosis.summary.endswith("the run was cut short before single and stock were measured.")


def test_what_was_cut_off_and_keeps_no_connection_is_told_as_not_run() -> None:
    planned = traffic_plan()
    profiles = tuple(p for p in planned.profiles if p.profile is not Profile.SINGLE)
    finding = found("healthy", case(even_pool(), fresh(), interrupted=True, plan=replace(planned, profiles=profiles)))

    assert finding is not None
    assert finding.summary.endswith("as far as was measured; not run: single and per-endpoint.")
