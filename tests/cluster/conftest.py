"""One cluster for the whole session, and a namespace with a Deployment for each module that wants one."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster.kube import FOLDER, Cluster, is_up, machine

GIVEN = os.environ.get("KBALANCE_TEST_KUBECONFIG")


def _why_not() -> str | None:
    """Why there is no cluster here; KBALANCE_NO_CLUSTER says it in words of its own."""
    if excuse := os.environ.get("KBALANCE_NO_CLUSTER"):
        return excuse
    if GIVEN:
        return None
    if not (FOLDER / "up").exists():
        return "needs a cluster: set KBALANCE_TEST_KUBECONFIG, or KBALANCE_KUBE to the folder of a cluster that can be started"
    if os.geteuid():
        return "needs root to start a cluster in namespaces of this machine, or KBALANCE_TEST_KUBECONFIG"
    return None if shutil.which("kubectl") else "needs kubectl"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes last, and the change of kube-proxy's mode at the very end."""
    own = Path(__file__).parent
    for item in items:
        if own in item.path.parents:
            item.add_marker(pytest.mark.cluster)
    items.sort(key=lambda item: (own in item.path.parents, item.path.name == "test_nftables.py"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    why_not = _why_not()
    if why_not and os.environ.get("CI") and not os.environ.get("KBALANCE_NO_CLUSTER"):
        pytest.fail(
            f"CI skips nothing unsaid: {why_not}; where that is meant, KBALANCE_NO_CLUSTER gives the reason", pytrace=False
        )
    if why_not:
        pytest.skip(why_not)
    if GIVEN:
        yield Cluster(kubeconfig=GIVEN, namespaces=False)
        return
    stood = is_up()
    yield Cluster(kubeconfig=machine("up"), namespaces=True, own=not stood)
    if not stood and is_up():
        machine("down")


@pytest.fixture
def namespaced(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Makes namespaces, and takes them away without waiting."""
    made: list[str] = []

    def make(**labels: str) -> str:
        name = f"kb-{uuid4().hex[:8]}"
        cluster.kubectl("create", "namespace", name)
        if labels:
            cluster.kubectl("label", "namespace", name, *(f"pod-security.kubernetes.io/{k}={v}" for k, v in labels.items()))
        made.append(name)
        return name

    yield make
    if made:
        cluster.kubectl("delete", "namespace", "--wait=false", *made)


@pytest.fixture
def namespace(namespaced: Callable[..., str]) -> str:
    return namespaced()
