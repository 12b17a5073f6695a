"""The embedded API is compared with recordings; here the recordings are compared with a server of today."""

import json

import pytest

from tests.cluster.kube import Cluster
from tests.testbed.calls import STEPS, differences
from tests.testbed.record import RECORDED, record


@pytest.mark.parametrize("step", ["reading", "watching", "refusals", "writing", "success", "deletion"])
def test_the_real_server_still_answers_as_recorded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setenv("KUBECONFIG", cluster.kubeconfig)
    assert step in {one if isinstance(one, str) else one.__name__ for one in STEPS}

    recorded = json.loads((RECORDED / f"{step}.json").read_text(encoding="utf-8"))

    assert list(differences(recorded, record(step))) == []
