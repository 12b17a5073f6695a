"""What every client of a kind must do, whatever its language; each test file runs its own programs and asks here."""

from collections.abc import Sequence

from tests.artifacts.pods import Pod

WORKERS = 4
REQUESTS = 12
"""Of each worker of a retiring client; each request takes `SLOW_S`, so that some are always under way."""
TURNS = 30
NOBODY = "127.0.1.99"
"""Nothing listens there."""


def retired(pod: Pod, failed: int, *, closes: bool = True) -> None:
    """After `WORKERS` times `REQUESTS` slow requests with connections that live for 0.2 s, while a request takes 0.15 s."""
    assert failed == 0
    assert sum(pod.requests) == WORKERS * REQUESTS
    # A pool that keeps its connections needs one for each worker. The requests take 1.8 s, and none begins after 0.22 s.
    assert pod.connections >= 4 * WORKERS
    assert max(pod.requests) <= 4
    if closes:
        # Whoever closes none has all of them open in the end. Of six generations, with two requests on a connection, two are open
        # at once, and what a closing side has not heard of yet; a slow machine makes more of both.
        assert pod.most_open <= pod.connections // 2


def balanced(three: Sequence[Pod], answers: Sequence[str]) -> None:
    """After `TURNS` requests one after the other, to three pods and an address where nobody listens."""
    counts = [answers.count(pod.name) for pod in three]
    assert sum(counts) == len(answers) == TURNS
    assert max(counts) - min(counts) <= 1
    assert [pod.connections for pod in three] == [1, 1, 1]
    assert {host for pod in three for host in pod.hosts} == {"web.shop.svc.cluster.local"}


def followed(answers: Sequence[str]) -> None:
    """The last requests after the third pod left the list, and the second had not been on it before."""
    assert sorted(set(answers)) == ["pod-1", "pod-2"]
    assert abs(answers.count("pod-1") - answers.count("pod-2")) <= 1
