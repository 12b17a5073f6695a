"""``--threshold``: what is understood, what is refused, and what holds."""

from dataclasses import replace
from math import comb, exp, lgamma, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbalance.analysis.thresholds import PROFILE_METRICS, RUN_METRICS, check_facts, check_profiles, judged, parse
from kbalance.errors import TargetError
from kbalance.model.plan import Limit, Options
from kbalance.model.report import Latency, Report, Threshold
from kbalance.model.target import Facts
from kbalance.model.words import Comparison, FactsSource, Profile, Spread
from tests.builders import facts, traffic_plan
from tests.render.conftest import SAMPLES

OF_A_PROFILE = [metric.name for metric in PROFILE_METRICS]
OF_THE_RUN = [metric.name for metric in RUN_METRICS]


def _value(report: Report, name: str) -> float | None:
    (threshold,) = judged(report, [parse(f"{name}<=0")])
    return threshold.value


@pytest.mark.parametrize(
    ("text", "profile", "metric", "comparison", "bound"),
    [
        ("short-lived.busiest<=1.3", Profile.SHORT_LIVED, "busiest", Comparison.AT_MOST, 1.3),
        ("pooled.idle==0", Profile.POOLED, "idle", Comparison.EQUAL, 0.0),
        ("single.p99_ms<50", Profile.SINGLE, "p99_ms", Comparison.LESS, 50.0),
        ("failed_share<0.01", None, "failed_share", Comparison.LESS, 0.01),
        ("connections > 5e2", None, "connections", Comparison.MORE, 500.0),
        (" requests >= .5 ", None, "requests", Comparison.AT_LEAST, 0.5),
        ("endpoints!=-1", None, "endpoints", Comparison.NOT_EQUAL, -1.0),
    ],
)
def test_an_expression_is_understood(
    text: str, profile: Profile | None, metric: str, comparison: Comparison, bound: float
) -> None:
    assert parse(text) == Limit(expression=text.strip(), profile=profile, metric=metric, comparison=comparison, bound=bound)


@given(
    st.sampled_from([None, *Profile]),
    st.data(),
    st.sampled_from(Comparison),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", " ", "  "]),
)
def test_every_expression_that_can_be_written_is_understood(
    profile: Profile | None, data: st.DataObject, comparison: Comparison, bound: float, space: str
) -> None:
    metric = data.draw(st.sampled_from(OF_THE_RUN if profile is None else OF_A_PROFILE))
    text = f"{'' if profile is None else f'{profile}.'}{metric}{space}{comparison}{space}{bound!r}"

    limit = parse(text)

    assert limit == Limit(expression=text, profile=profile, metric=metric, comparison=comparison, bound=bound)


@given(st.text() | st.from_regex(r"[a-z.-]{0,12}[<>=!]{0,3}[0-9a-z.]{0,5}", fullmatch=True))
def test_anything_else_is_refused_in_one_sentence(text: str) -> None:
    told = _refusal(text)

    if told is not None:
        assert told.startswith(f"--threshold {text!r}: ")
        assert told.endswith(".")
        assert "\n" not in told


def _refusal(text: str) -> str | None:
    try:
        parse(text)
    except TargetError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "write it as PROFILE.METRIC<=NUMBER or METRIC<=NUMBER"),
        ("busiest", "write it as PROFILE.METRIC<=NUMBER"),
        ("<=1", "write it as"),
        ("pooled.idle<=", "write it as"),
        ("a.b.c<1", "write it as"),
        ("pooled.idle=0", "= compares nothing; use <, <=, >, >=, == or !="),
        ("pooled.idle=<0", "=< compares nothing"),
        ("pooled.idle<>0", "<> compares nothing"),
        ("single.p99_ms<50ms", "'50ms' is not a number"),
        ("failed_share<1%", "'1%' is not a number"),
        ("failed_share<nan", "'nan' is not a number"),
        ("failed_share<1e999", "'1e999' is not a number"),
        ("failed_share<\u0661", "'\u0661' is not a number"),
        ("shortlived.busiest<=1.3", "there is no profile 'shortlived'; did you mean short-lived?"),
        (".busiest<=1.3", "there is no profile ''; all are single, pooled, short-lived, per-endpoint, stock"),
        ("pooled.bussiest<=1.3", "a profile has no number 'bussiest'; did you mean busiest"),
        ("single.p95_ms<5", "did you mean p99_ms or p90_ms?"),
        ("single.xyzzy<5", f"a profile has no number 'xyzzy'; all are {', '.join(OF_A_PROFILE)}."),
        ("conections<5", "the run has no number 'conections'; did you mean connections?"),
        ("busiest<=1.3", "busiest is a profile's number; write for example short-lived.busiest"),
        ("pooled.endpoints==3", "endpoints is the whole run's number; write it without the profile"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse(text)

    assert told in str(caught.value)


def test_a_profile_that_is_not_run_is_refused() -> None:
    options = Options(
        profiles=(Profile.SINGLE,), thresholds=(parse("requests<9"), parse("single.idle<9"), parse("pooled.idle==0"))
    )

    with pytest.raises(TargetError, match=r"'pooled.idle==0': the profile pooled is not run; add --profile pooled"):
        check_profiles(options)

    check_profiles(replace(options, profiles=(Profile.SINGLE, Profile.POOLED)))


def test_direct_connections_to_nobody_are_refused() -> None:
    options = Options(thresholds=(parse("single.idle==0"), parse("per-endpoint.failed==0")))

    with pytest.raises(TargetError, match="no endpoint's address is known, so per-endpoint is not run"):
        check_facts(options, Facts(source=FactsSource.ANSWERS))

    check_facts(options, facts())
    check_facts(replace(options, thresholds=options.thresholds[:1]), Facts(source=FactsSource.ANSWERS))
    # A Service without endpoints is a verdict of its own.
    check_facts(options, Facts(source=FactsSource.API))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pooled.busiest", 1.8),
        ("pooled.busiest_share", 0.6),
        ("pooled.quietest_share", 0.1),
        ("single.idle", 2),
        ("pooled.unknown", 0),
        ("pooled.unidentified", 0),
        ("pooled.requests", 300),
        ("pooled.failed", 0),
        ("pooled.failed_share", 0),
        ("pooled.connections", 10),
        ("pooled.streams", 1),
        ("pooled.failed_connections", 0),
        ("pooled.p50_ms", 1.4),
        ("pooled.p90_ms", 1.82),
        ("pooled.p99_ms", 2.94),
        ("pooled.max_ms", 5.88),
        ("pooled.connect_p50_ms", 0.31),
        ("pooled.connect_p90_ms", 0.403),
        ("pooled.connect_p99_ms", 0.651),
        ("pooled.connect_max_ms", 1.302),
        ("pooled.duration_s", 1.5),
        ("endpoints", 3),
        ("unidentified", 0),
        ("requests", 1200),
        ("failed", 0),
        ("failed_share", 0),
        ("connections", 314),
        ("duration_s", 6.204),
    ],
)
def test_every_metric_has_its_value(name: str, value: float) -> None:
    assert _value(SAMPLES["classic"](), name) == value


def test_every_metric_is_in_the_test_above() -> None:
    marks = test_every_metric_has_its_value.pytestmark  # type: ignore[attr-defined]
    tried = {name for name, _ in marks[0].args[1]}

    assert {name.rpartition(".")[2] for name in tried if "." in name} == set(OF_A_PROFILE)
    assert {name for name in tried if "." not in name} == set(OF_THE_RUN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("short-lived.failed", 98),
        ("short-lived.failed_share", 0.328859),  # two of 300 were under way when the run stopped
        ("short-lived.unknown", 23),
        ("short-lived.unidentified", 4),
        ("short-lived.failed_connections", 97),
        ("failed", 198),
        ("failed_share", 0.165275),
        ("unidentified", 4),
        ("endpoints", 2),
        ("per-endpoint.connect_p50_ms", None),
    ],
)
def test_failures_are_counted(name: str, value: float | None) -> None:
    assert _value(SAMPLES["failing"](), name) == value


@pytest.mark.parametrize("name", ["pooled.busiest", "pooled.idle", "pooled.busiest_share", "pooled.p99_ms"])
def test_what_could_not_be_attributed_has_no_value(name: str) -> None:
    """No endpoint is idle for certain where nobody knows who answered."""
    assert _value(SAMPLES["unidentified"](), name) is None


def test_the_slowest_endpoint_speaks_for_a_profile() -> None:
    report = SAMPLES["classic"]()
    pooled = report.profiles[1]
    slow = replace(pooled.endpoints[0], latency_ms=Latency(p50=1, p90=2, p99=300, max=300))
    late = replace(pooled.endpoints[1], latency_ms=None)
    pooled = replace(pooled, endpoints=(slow, late, pooled.endpoints[2]))

    assert _value(replace(report, profiles=(pooled,)), "pooled.p99_ms") == 300


def test_endpoints_that_were_learned_are_counted_from_the_answers() -> None:
    report = replace(SAMPLES["classic"](), facts=Facts(source=FactsSource.ANSWERS))

    assert _value(report, "endpoints") == 3
    assert _value(replace(report, profiles=()), "endpoints") is None


@pytest.mark.parametrize(
    ("comparison", "holds"),
    [
        ("<", [False, False, True]),
        ("<=", [False, True, True]),
        (">", [True, False, False]),
        (">=", [True, True, False]),
        ("==", [False, True, False]),
        ("!=", [True, False, True]),
    ],
)
def test_comparisons_hold_as_they_are_written(comparison: str, holds: list[bool]) -> None:
    limits = [parse(f"pooled.busiest{comparison}{bound}") for bound in ("1.7", "1.8", "1.9")]

    assert [threshold.passed for threshold in judged(SAMPLES["classic"](), limits)] == holds


@pytest.mark.parametrize("comparison", Comparison)
def test_what_has_no_value_fails_whatever_is_demanded(comparison: Comparison) -> None:
    limits = [parse(f"short-lived.requests{comparison}0"), parse(f"failed_share{comparison}0")]
    report = replace(SAMPLES["classic"](), profiles=())

    assert judged(report, limits) == (
        Threshold(expression=f"short-lived.requests{comparison}0", value=None, passed=False),
        Threshold(expression=f"failed_share{comparison}0", value=None, passed=False),
    )


def test_what_is_compared_is_what_is_shown() -> None:
    """Else a report could say that 1.33333 is not at most 1.33333."""
    report = SAMPLES["classic"]()
    pooled = replace(report.profiles[1], busiest=4 / 3, spread=Spread.EVEN)

    (threshold,) = judged(replace(report, profiles=(pooled,)), [parse("pooled.busiest<=1.33333")])

    assert threshold == Threshold(expression="pooled.busiest<=1.33333", value=1.33333, passed=True)


def test_names_outlive_any_rewording() -> None:
    """They stand in users' pipelines: new ones may be added to this list, none may leave it."""
    of_a_profile = [
        *("busiest", "busiest_share", "quietest_share", "idle", "unknown", "unidentified"),
        *("requests", "failed", "failed_share", "connections", "streams", "failed_connections"),
        *("p50_ms", "p90_ms", "p99_ms", "max_ms"),
        *("connect_p50_ms", "connect_p90_ms", "connect_p99_ms", "connect_max_ms", "duration_s"),
    ]
    of_the_run = ["endpoints", "unidentified", "requests", "failed", "failed_share", "connections", "duration_s"]

    assert (of_a_profile, of_the_run) == (OF_A_PROFILE, OF_THE_RUN)


@pytest.mark.parametrize(
    ("endpoints", "bound", "least", "most"),
    [
        (3, 1.5, 0, 0.001),
        (10, 1.5, 0, 0.001),
        (15, 1.5, 0, 0.001),
        (20, 1.5, 0.008, 0.0095),
        (50, 1.5, 0.5, 1),
        (3, 1.3, 0.00001, 0.00003),
        (5, 1.3, 0.001, 0.002),
        (10, 1.3, 0.01, 0.02),
    ],
)
def test_luck_breaks_a_threshold_as_often_as_the_page_says(endpoints: int, bound: float, least: float, most: float) -> None:
    """docs/thresholds.md, at the connections that a run with the defaults makes."""
    plan = traffic_plan(facts([f"web-{i}" for i in range(endpoints)]), Options())
    (planned,) = (p for p in plan.profiles if p.profile is Profile.SHORT_LIVED)

    assert least <= _busiest_above(bound, endpoints, planned.requests) <= most


def _busiest_above(bound: float, endpoints: int, draws: int) -> float:
    """The chance that the busiest of so many fairly drawn endpoints gets more than so many times its share."""
    most = int(bound * draws / endpoints + 1e-9)
    # After each endpoint, the chance of every number of draws left while nobody got more than `most`.
    left = {draws: 1.0}
    for others in range(endpoints - 1, 0, -1):
        after: dict[int, float] = {}
        for remaining, chance in left.items():
            for got in range(min(remaining, most) + 1):
                rest = remaining - got
                after[rest] = after.get(rest, 0.0) + chance * _binomial(got, remaining, 1 / (others + 1))
        left = after
    return 1 - sum(chance for remaining, chance in left.items() if remaining <= most)


def _binomial(k: int, n: int, p: float) -> float:
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log(1 - p))


@pytest.mark.parametrize(("connections", "chance"), [(10, 0.05), (20, 0.001)])
def test_luck_leaves_an_endpoint_idle_as_often_as_the_page_says(connections: int, chance: float) -> None:
    nobody = sum((-1) ** (k + 1) * comb(3, k) * ((3 - k) / 3) ** connections for k in range(1, 4))

    assert nobody == pytest.approx(chance, rel=0.15)
