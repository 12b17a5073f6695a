"""What was saved is what is read."""

from pathlib import Path

import pytest

from bench.accuracy import saved
from bench.accuracy.run import Failed
from bench.accuracy.saved import Result
from bench.accuracy.simulated import Simulated
from tests.bench.samples import trial


def test_results_of_every_kind_come_back_in_order(tmp_path: Path) -> None:
    results: list[Result] = [
        trial(also=("server-lifetime",), findings=("connection-pinning", "server-lifetime")),
        Failed(scenario="headless", dataplane="resolver", pods=3, why="nobody answers"),
        Simulated(pods=5, runs=200, false_alarms=1, missed=9, fair_drawn=377.0, doubled_drawn=160.0),
        trial(),
    ]
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("".join(saved.line(result) + "\n" for result in results[:3]))
    second.write_text(saved.line(results[3]) + "\n")

    assert saved.read([first, second]) == results


@pytest.mark.parametrize("text", ["{", "[]", '{"trial": {}}', '{"guess": {}}'])
def test_what_is_no_result_is_named_with_its_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "saved"
    file.write_text(text)

    with pytest.raises(ValueError, match=r"saved: not a saved result"):
        saved.read([file])
