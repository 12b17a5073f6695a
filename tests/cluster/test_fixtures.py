"""What the other tests stand on: the cluster or the reason for its absence, its servers, and the documented Role."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.cluster.images import provide_fortio
from tests.cluster.kube import ROOT, Cluster, awaited
from tests.cluster.workloads import NODES, accepting, deployment, service, stand

ALLOWED = [
    (verb, resource)
    for one in yaml.safe_load_all((ROOT / "docs" / "rbac.yaml").read_text(encoding="utf-8"))
    if one["kind"] == "Role"
    for rule in one["rules"]
    for resource in rule["resources"]
    for verb in rule["verbs"]
]


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({}, 0, "SKIPPED [1] "),
        ({"CI": "1"}, 1, "CI skips nothing unsaid: needs a cluster"),
        ({"CI": "1", "KBALANCE_NO_CLUSTER": "they run elsewhere"}, 0, "they run elsewhere"),
    ],
    ids=["at home", "in CI", "in CI, with a reason"],
)
def test_no_cluster_is_a_reason_at_home_and_a_failure_in_ci(given: dict[str, str], code: int, words: str) -> None:
    names = ("CI", "KBALANCE_NO_CLUSTER", "KBALANCE_TEST_KUBECONFIG", "PYTEST_ADDOPTS")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    asked = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/cluster/test_probe.py", "-k", "nobody_is_ready"]

    done = subprocess.run(
        asked,
        cwd=ROOT,
        env={**kept, "KBALANCE_KUBE": "nowhere", **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, words in done.stdout) == (code, True), done.stdout


def test_fortio_stands_on_two_nodes_and_kube_proxy_follows(cluster: Cluster, namespace: str) -> None:
    provide_fortio(cluster)
    stand(cluster, namespace, deployment(server="fortio", replicas=2), service())

    nodes = {pod["spec"]["nodeName"] for pod in cluster.get("pods", "-n", namespace)["items"]}

    assert len(nodes) == 2
    for node in NODES if cluster.namespaces else ():
        accepting(node, cluster.get("service", "web", "-n", namespace)["spec"]["clusterIP"], 80)


def test_the_documented_role_allows_what_it_lists_and_no_more(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", str(ROOT / "docs" / "rbac.yaml"))
    awaited(lambda: cluster.may("kbalance", *ALLOWED[0], namespace), "the Role")

    refused = (("get", "secrets"), ("list", "secrets"), ("update", "services"), ("delete", "pods"))

    assert {one: cluster.may("kbalance", *one, namespace) for one in ALLOWED} == dict.fromkeys(ALLOWED, True)
    assert {one: cluster.may("kbalance", *one, namespace) for one in refused} == dict.fromkeys(refused, False)
