"""The embedded API beside the real one: every answer has at least the fields that a real API server gave, and its words."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from kbalance.testbed.cluster import Cluster

from .calls import STEPS, differences, play, value_of
from .record import RECORDED


class EmbeddedSide:
    """The embedded cluster as a side of the comparison."""

    namespace = "shop"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def ask(self, method: str, path: str, body: object = None, accept: str = "application/json") -> tuple[int, str, Any]:
        connection = http.client.HTTPConnection(urlsplit(self._cluster.api_url).netloc, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Accept": accept})
            answer = connection.getresponse()
            text, media = answer.read().decode(), answer.headers.get("Content-Type", "")
            return answer.status, media, value_of(path, media, text)
        finally:
            connection.close()

    def trouble(self, fault: str | None) -> None:
        self._cluster.set_job_fault(fault)

    def lock(self) -> None:
        self._cluster.allow_only([])


@pytest.mark.parametrize("step", STEPS)
def test_the_embedded_api_answers_as_the_real_one_did(step: str) -> None:
    recorded = json.loads((RECORDED / f"{step}.json").read_text(encoding="utf-8"))

    with Cluster.start() as cluster:
        ours = play(STEPS[step], EmbeddedSide(cluster))

    assert list(differences(recorded, ours)) == []


def test_every_recording_has_its_step() -> None:
    assert {file.stem for file in RECORDED.glob("*.json")} == set(STEPS)


def test_a_difference_is_seen() -> None:
    recorded = {"a": {"b": [1, {"c": "x"}]}, "d": None}

    assert list(differences(recorded, recorded | {"more": 1})) == []
    assert list(differences(recorded, {"a": {"b": [1, {}]}, "d": None})) == ['.a.b[1].c is missing, recorded as "x"']
    assert list(differences(recorded, {"a": {"b": [1]}, "d": 0})) == [
        ".a.b has 1 elements, recorded 2",
        ".d is 0, recorded None",
    ]
