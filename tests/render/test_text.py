import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kbalance.model.report import Artifact, ProfileReport, Recommendation, Report, RuledOut
from kbalance.model.words import Closer, OutputFormat, Placement, Profile
from kbalance.render import Style, render
from kbalance.render.method import incidents
from kbalance.render.names import numbered, shortened
from kbalance.render.terminal import bar, spark
from tests.builders import answers, connection, profile_plan, settled

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Style(colour=False, width=100, unicode=True)
ASCII = Style(colour=False, width=80, unicode=False)


def _text(report: Report, style: Style = PLAIN) -> str:
    return render(report, OutputFormat.TEXT, style=style)


def _lines(report: Report, style: Style = PLAIN) -> list[str]:
    return _text(report, style).splitlines()


def _uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize(("name", "style"), [("classic", PLAIN), ("classic-ascii-80", ASCII)])
def test_classic_report_is_the_golden_one(classic: Report, name: str, style: Style) -> None:
    assert _text(classic, style) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_the_protocol_is_told_once_with_its_reason_and_what_a_connection_carried(samples: Mapping[str, Report]) -> None:
    lines = _lines(samples["grpc"])
    method = lines[lines.index("How it was measured") :]

    assert "  protocol      gRPC over HTTP/2 (the port has appProtocol grpc)" in method
    assert sum("grpc" in line.lower() for line in method) == 1
    assert "  stock         up to 4 requests at once on one connection" in method
    assert "  single        GOAWAY on 4 of them, at 30 to 30.1 s (no jitter)" in method


def test_a_range_whose_ends_are_printed_alike_is_one_number() -> None:
    always = settled(
        [connection(answers("web-0", 41), closed_by=Closer.SERVER, age_s=1.0, goaway_s=1.0)] * 3, profile_plan(Profile.SINGLE)
    )
    apart = settled(
        [connection(answers("web-0", n), closed_by=Closer.SERVER, age_s=n / 40) for n in (40, 42)], profile_plan(Profile.SINGLE)
    )

    assert list(incidents(always)) == [
        "the server closed 3 connections after 41 requests, 1 s",
        "GOAWAY on 3 of them, at 1 s (no jitter)",
    ]
    assert list(incidents(apart)) == ["the server closed 2 connections after 40 to 42 requests, 1 to 1.05 s"]


def test_an_ordinary_client_has_a_row_beside_the_others(samples: Mapping[str, Report]) -> None:
    rows = [line for line in _lines(samples["grpc"]) if re.match(r" *stock +1 ", line)]

    assert len(rows) == 1
    assert rows[0].endswith("3.00x    3.00x  pinned")


def test_streams_are_not_told_where_there_are_none(classic: Report) -> None:
    assert "at once" not in _text(classic)
    assert "  protocol      HTTP/1.1" in _lines(classic)


@pytest.mark.parametrize("width", [80, 93, 100, 1000])
@pytest.mark.parametrize("unicode", [True, False])
def test_every_line_fits(report: Report, width: int, unicode: bool) -> None:
    text = _text(report, Style(colour=True, width=width, unicode=unicode))

    assert max(map(len, _uncoloured(text).splitlines())) <= min(width, 100)


def test_narrow_terminal_gets_eighty_columns(classic: Report) -> None:
    assert _text(classic, replace(PLAIN, width=20)) == _text(classic, replace(PLAIN, width=80))


def test_colours_come_only_when_wanted_and_change_nothing_else(report: Report) -> None:
    plain, coloured = _text(report), _text(report, replace(PLAIN, colour=True))

    assert "\x1b" not in plain
    assert "\x1b[1m" in coloured
    assert _uncoloured(coloured) == plain


def test_stream_without_unicode_gets_ascii(report: Report) -> None:
    text = _text(replace(report, notices=("pod \u2192 \u201cweb\u201d \u2026 caf\u00e9",)), replace(PLAIN, unicode=False))

    assert text.isascii()
    assert '  - pod -> "web" ... caf\\xe9\n' in text


def test_first_line_is_the_verdict(report: Report) -> None:
    diagnosis = report.diagnosis

    assert _lines(report)[0].startswith(f"{diagnosis.severity.upper()}  {diagnosis.cause} ({diagnosis.confidence}")


def test_words_of_servers_reach_the_terminal_harmless(samples: Mapping[str, Report]) -> None:
    text = _text(samples["failing"])

    assert "evil\\x1b[31m\\nRISK  forged (2 requests)" in text
    assert "RISK  forged" not in [line[:12] for line in text.splitlines()]


def test_endless_word_of_a_server_is_cut(classic: Report) -> None:
    assert len(_text(replace(classic, notices=("x" * 100_000,)))) < len(_text(classic)) + 1000


def test_partial_run_is_marked_at_the_top(samples: Mapping[str, Report]) -> None:
    first, _, mark, *_ = _lines(samples["partial"])

    assert first.startswith("RISK  connection-pinning (possible, partial run): ")
    assert mark == "PARTIAL  The run was cut short (interrupted): what follows was measured until then."


def test_failed_thresholds_stand_at_the_top(samples: Mapping[str, Report]) -> None:
    lines = _lines(samples["failing"])

    assert lines[2] == "FAILED  2 of 3 thresholds: failed_share<0.01, single.p99_ms<50"
    assert "  FAILED  failed_share<0.01  (measured: 0.165)" in lines
    assert "  FAILED  single.p99_ms<50  (measured: no value)" in lines
    assert "  ok      pooled.idle==0  (measured: 0)" in lines


def test_failures_name_endpoint_kind_and_reason(samples: Mapping[str, Report]) -> None:
    lines = _lines(samples["failing"])

    assert "  short-lived   1 of 300: timeout, endpoint not known" in lines
    assert "  ! per-endpoint: web-7d4b9c6f5-lw8ds failed 100 of 100" in lines


def test_unattributed_profile_shows_no_counts(samples: Mapping[str, Report]) -> None:
    row = next(line for line in _lines(samples["unidentified"]) if line.startswith("  pooled"))

    assert row.split() == ["pooled", "10", "-", "-", "-", "-", "-", "failed"]


def test_six_endpoints_have_a_column_each_and_seven_have_a_skyline(classic: Report) -> None:
    def report(count: int) -> Report:
        return replace(classic, profiles=tuple(_spread_out(profile, count) for profile in classic.profiles))

    assert "web-6" in _text(report(6)).splitlines()[6]
    assert "7 endpoints" in _text(report(7)).splitlines()[6]


def _spread_out(profile: ProfileReport, count: int) -> ProfileReport:
    """The profile over `count` endpoints, each with 1000 requests."""
    loads = tuple(replace(profile.endpoints[0], name=f"web-{i}", requests=1000, share=1 / count) for i in range(1, count + 1))
    return replace(profile, endpoints=loads, placement=Placement.UNKNOWN)


def test_crowd_is_told_by_its_ends_and_its_idle(samples: Mapping[str, Report]) -> None:
    text = _text(samples["200-endpoints"])

    assert "nothing for 199 of 200: " in text
    assert " and 193 more\n" in text
    assert "6 endpoints to a bar, busiest first" in text
    assert "per-endpoint  20 requests each" in text
    assert len(text[text.index("Requests per endpoint") : text.index("Why\n")].splitlines()) < 25


def test_long_names_are_numbered_and_listed(samples: Mapping[str, Report]) -> None:
    lines = _lines(samples["long-names"])

    assert lines[6].split() == ["conns", "#1", "#2", "#3", "#4", "busiest", "by", "luck", "verdict"]
    assert "  #4 is gamma-very-long-release-name-of-the-shop-frontend-deploym-gamma" in lines


@pytest.mark.parametrize("count", [2, 6, 7, 40])
@pytest.mark.parametrize("width", [80, 100])
def test_longest_names_and_large_counts_fit(classic: Report, count: int, width: int) -> None:
    names = {f"web-{i}": f"{i}-".ljust(63, "x") for i in range(1, count + 1)}
    profiles = [_spread_out(profile, count) for profile in classic.profiles]
    report = replace(
        classic,
        profiles=tuple(
            replace(
                profile,
                placement=Placement.PER_REQUEST,
                endpoints=tuple(replace(load, name=names[load.name], requests=123456) for load in profile.endpoints),
            )
            for profile in profiles
        ),
    )

    assert max(map(len, _lines(report, replace(PLAIN, width=width)))) <= width


def test_single_endpoint_is_no_special_case(classic: Report) -> None:
    profiles = tuple(replace(profile, endpoints=profile.endpoints[:1]) for profile in classic.profiles)

    assert "web-7d4b9c6f5-9k4lq" in _lines(replace(classic, profiles=profiles))[6]


def test_endpoints_that_nobody_knows_leave_the_verdicts(classic: Report) -> None:
    profiles = tuple(replace(profile, endpoints=()) for profile in classic.profiles)

    assert _lines(replace(classic, profiles=profiles))[6].split() == ["conns", "busiest", "by", "luck", "verdict"]


@pytest.mark.parametrize(
    ("measured", "predicted", "effect"),
    [
        (1.02, None, ": measured 1.02x instead of 3.00x"),
        (3.0, None, ": measured 3.00x, no better than 3.00x"),
        (None, 1.2, ": predicted 1.20x instead of 3.00x"),
        (None, None, ""),
    ],
)
def test_fix_is_told_with_its_effect(classic: Report, measured: float | None, predicted: float | None, effect: str) -> None:
    fix = Recommendation(
        id="fix", title="Fix it", why="It helps.", measured_busiest=measured, predicted_busiest=predicted, costs=()
    )

    assert f"  1. Fix it{effect}" in _lines(replace(classic, recommendations=(fix,)))


def test_artifact_of_the_best_fix_is_printed_to_be_copied(classic: Report) -> None:
    artifact = Artifact(name="main.go", kind="go", content="func main() {\n\tdial()\n}\n")

    text = _text(replace(classic, recommendations=(replace(classic.recommendations[0], artifacts=(artifact,)),)))

    assert "     main.go (go):\n       func main() {\n           dial()\n       }\n" in text


def test_effect_stands_alone_without_a_profile_to_compare_with(classic: Report) -> None:
    direct = tuple(profile for profile in classic.profiles if profile.profile is Profile.PER_ENDPOINT)

    assert "  1. Balance in the client: measured 1.00x" in _lines(replace(classic, profiles=direct))


def test_labels_leave_off_whole_words_that_all_names_share() -> None:
    labels = shortened(["web-7d4b9c6f5-9k4lq", "web-7d4b9c6f5-9x2x2"])

    assert (labels.prefix, labels["web-7d4b9c6f5-9k4lq"]) == ("web-7d4b9c6f5-", "9k4lq")


def test_labels_keep_enough_to_tell() -> None:
    labels = shortened(["a-database-name-0", "a-database-name-1"])

    assert (labels.prefix, labels["a-database-name-0"]) == ("a-database-", "name-0")


@pytest.mark.parametrize(
    "names", [[], ["only-one-name-however-long"], ["web-0", "web-1"], ["alpha-of-everything", "beta-of-everything"]]
)
def test_labels_are_the_names_where_nothing_can_go(names: list[str]) -> None:
    assert shortened(names).by_name == {name: name for name in names}


def test_numbers_start_at_one() -> None:
    assert numbered(["a", "b"]).by_name == {"a": "#1", "b": "#2"}


@pytest.mark.parametrize(
    ("share", "in_unicode", "in_ascii"),
    [(0.0, "····", "...."), (0.001, "▏···", "#..."), (0.4, "█▋··", "##.."), (1.0, "████", "####")],
)
def test_bar_shows_whatever_is_more_than_nothing(share: float, in_unicode: str, in_ascii: str) -> None:
    assert (bar(share, 4, PLAIN), bar(share, 4, ASCII)) == (in_unicode, in_ascii)


def test_skyline_is_relative_to_its_highest() -> None:
    assert (spark([0, 1, 50, 100], PLAIN), spark([0, 1, 50, 100], ASCII)) == ("·▁▅█", ".159")


def test_a_limit_that_the_advised_value_does_not_reach_is_not_its_effect(classic: Report) -> None:
    """Connections of one request each were measured; a lifetime of a quarter of an hour is advised."""
    advised = replace(classic.recommendations[1], measured_busiest=1.05, predicted_busiest=1.39)

    lines = _lines(replace(classic, recommendations=(advised,)))

    assert "  1. Give connections a shorter life, with jitter: predicted 1.39x instead of 3.00x (measured at its" in lines


def test_what_was_ruled_out_stands_once_for_each_reason(classic: Report) -> None:
    ruled_out = (
        RuledOut(cause="session-affinity", because="sessionAffinity is None."),
        RuledOut(cause="proxy-policy", because="300 requests on 11 connections, each answered by one endpoint alone."),
        RuledOut(cause="per-request-balancing", because="300 requests on 11 connections, each answered by one endpoint alone."),
    )

    lines = _lines(replace(classic, diagnosis=replace(classic.diagnosis, ruled_out=ruled_out)))

    at = lines.index("Ruled out")
    assert lines[at + 1] == "  - session-affinity: sessionAffinity is None."
    assert lines[at + 2].startswith("  - proxy-policy, per-request-balancing: 300 requests on 11 connections")
    assert "Ruled out" not in _lines(classic)
