"""What counts as right."""

import pytest

from bench.accuracy.trial import Mark
from tests.bench.samples import trial


@pytest.mark.parametrize(
    ("cause", "findings", "mark"),
    [
        ("slow-endpoint", ("slow-endpoint", "topology-hints"), Mark.RIGHT),
        ("proxy-policy", ("proxy-policy", "topology-hints"), Mark.RIGHT),
        ("slow-endpoint", ("slow-endpoint",), Mark.LACKS),
        ("inconclusive", ("inconclusive",), Mark.INCONCLUSIVE),
        ("invalid-measurement", ("invalid-measurement",), Mark.INCONCLUSIVE),
        ("source-hash", ("source-hash", "topology-hints"), Mark.WRONG),
        ("no-report", (), Mark.WRONG),
    ],
)
def test_a_verdict_is_judged_by_what_was_arranged(cause: str, findings: tuple[str, ...], mark: Mark) -> None:
    done = trial(cause, findings=findings, expected=("slow-endpoint", "proxy-policy"), also=("topology-hints",))

    assert done.mark is mark
