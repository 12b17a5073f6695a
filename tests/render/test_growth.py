"""When each profile first heard from endpoints that joined."""

from collections.abc import Sequence
from dataclasses import replace

from kbalance.model.report import Newcomer, Report, ScaleOut
from kbalance.render import Style, markdown, text
from kbalance.render.growth import MOST, growth


def grown(*newcomers: Newcomer) -> ScaleOut:
    requests = {"single": 1500, "short-lived": 400, "stock": 1500}
    return ScaleOut(duration_s=60.0, every_s=0.5, before=3, requests=requests, cut_short=(), newcomers=newcomers)


def newcomer(name: str, ready_s: float = 12.34) -> Newcomer:
    return Newcomer(name=name, ready_s=ready_s, first_s={"single": None, "short-lived": 0.42, "stock": None})


def words(lines: Sequence[str]) -> list[list[str]]:
    return [line.split() for line in lines]


def test_nothing_where_nobody_watched(classic: Report, style: Style) -> None:
    assert growth(classic, style) == []


def test_a_row_for_each_newcomer_and_how_to_read_it(classic: Report, style: Style) -> None:
    lines = growth(replace(classic, scale_out=grown(newcomer("web-4"), newcomer("web-5", 13.0))), style)

    assert words(lines[1:4]) == [
        ["ready", "at", "single", "short-lived", "stock"],
        ["web-4", "12.3", "s", "never", "0.4", "never"],
        ["web-5", "13.0", "s", "never", "0.4", "never"],
    ]
    told = " ".join(" ".join(lines[4:]).split())
    assert told == (
        "never: not within the 60 s that were watched; 3 endpoints before; endpoints looked at every 0.5 s; "
        "requests meanwhile: single 1,500, short-lived 400, stock 1,500."
    )


def test_of_many_the_first_are_shown_and_the_others_counted(classic: Report, style: Style) -> None:
    lines = growth(replace(classic, scale_out=grown(*(newcomer(f"web-{i}") for i in range(MOST + 3)))), style)

    assert sum("web-" in line for line in lines) == MOST
    assert "and 3 more; never:" in " ".join(lines)


def test_where_nobody_joined_it_says_so_and_what_to_do(classic: Report, style: Style) -> None:
    told = " ".join(" ".join(growth(replace(classic, scale_out=grown()), style)[1:]).split())

    assert told == (
        "No endpoint became ready within 60 s; 3 endpoints were there before. Scale out while kbalance watches, or watch longer."
    )


def test_a_long_name_keeps_the_table_within_its_columns(classic: Report, style: Style) -> None:
    report = replace(classic, scale_out=grown(newcomer("web-" + "x" * 200)))

    assert max(map(len, growth(report, style))) <= 100


def test_both_renderings_have_it(classic: Report, style: Style) -> None:
    report = replace(classic, scale_out=grown(newcomer("web-4")))

    assert "seconds from ready to the first answer" in text.render(report, style)
    assert "| `web-4` | 12.3 s | never | 0.4 | never |" in markdown.render(report, style)
