"""The page says what went wrong, first."""

from bench.accuracy.page import alarms, page
from bench.accuracy.run import Failed
from bench.accuracy.saved import Result
from bench.accuracy.simulated import Simulated
from tests.bench.samples import trial

RESULTS: tuple[Result, ...] = (
    trial(),
    trial(seed=2),
    trial(pods=10, connections=660, drawn=639, requests=1139),
    trial("balancer-biased", pods=10, connections=400, drawn=380, requests=860),
    trial("slow-endpoint", scenario="hints", also=("topology-hints",), expected=("slow-endpoint",), fair=False),
    Failed(scenario="headless", dataplane="resolver", pods=3, why="nobody answers"),
    Simulated(pods=5, runs=200, false_alarms=1, missed=9, fair_drawn=377, doubled_drawn=160),
)


def _rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    lines = text.partition(heading)[2].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    stop = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[start:stop]]


def test_wrong_verdicts_come_first_and_are_marked() -> None:
    text = page(RESULTS, "python -m bench.accuracy", "1.0")

    matrix = _rows(text, "## Confusion")
    detail = _rows(text, "## Every arrangement")
    assert matrix == [
        ["", "arranged", "`balancer-biased`", "`connection-pinning`", "`slow-endpoint`"],
        ["---"] * 5,
        ["✗", "`connection-pinning`", "1 ✗", "3", ""],
        ["◐", "`slow-endpoint`", "", "", "1 ◐"],
    ]
    assert [row[:6] for row in detail[2:]] == [
        ["✗", "plain", "iptables", "3 / 10", "4", "**✗ `balancer-biased` 1 at 10**; `connection-pinning` 3"],
        ["◐", "hints (with `topology-hints`)", "iptables", "3", "1", "◐ `slow-endpoint` without `topology-hints` 1"],
    ]


def test_medians_stand_beside_what_a_test_of_fixed_size_needs() -> None:
    detail = _rows(page(RESULTS, "", ""), "## Every arrangement")

    assert detail[0][6:] == ["requests", "connections", "fresh", "fixed", "seconds"]
    assert detail[2][6:] == ["650 / 1000", "310 / 530", "294 / 510", "216 / 514", "0.4"]


def test_shares_of_all_verdicts() -> None:
    shares = _rows(page(RESULTS, "", ""), "Written by")

    assert shares[2:] == [
        ["wrong", "1", "20.0%"],
        ["right, but lacking a finding", "1", "20.0%"],
        ["inconclusive", "0", "0.0%"],
        ["right", "3", "60.0%"],
        ["all", "5", ""],
    ]


def test_false_alarms_are_counted_on_fair_draws_alone() -> None:
    biased = trial("balancer-biased")
    expected = trial("pool-order", expected=("pool-order",))
    arranged = trial("balancer-biased", fair=False, expected=("balancer-biased",))
    second = trial(findings=("connection-pinning", "missing-endpoint"))

    assert alarms([biased, expected, arranged, second, trial()]) == [biased, second]


def test_simulated_runs_and_what_could_not_be_measured() -> None:
    text = page(RESULTS, "", "")

    assert _rows(text, "Simulated runs")[2] == ["5", "200", "1 (0.5%)", "9 (4.5%)", "377", "160", "281"]
    assert "- headless, resolver, 3 pods: nobody answers" in text
    assert "1 of 4 real runs on kube-proxy's plain rules" in text


def test_of_nothing_there_is_a_page() -> None:
    assert "| all | 0 |  |" in page([], "", "")
