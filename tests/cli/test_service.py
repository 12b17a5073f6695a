"""``kbalance probe svc/NAME`` against the embedded API: from here and from its Jobs, whose Pods are real processes."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kbalance.render.json import schema
from kbalance.testbed.cluster import Cluster
from tests.cli.conftest import Ended, command, environment, kbalance

FAST = ("--rate", "0", "--seed", "3", "-o", "json")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of the test's own: Jobs and permissions are left behind in no other."""
    with Cluster.start("default") as started:
        yield started


@pytest.fixture
def kubeconfig(cluster: Cluster, tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(cluster.kubeconfig(), encoding="utf-8")
    return str(path)


def probe(kubeconfig: str, *arguments: str, target: str = "svc/web") -> Ended:
    return kbalance("probe", target, "-n", "shop", "--kubeconfig", kubeconfig, *arguments)


def leftovers(cluster: Cluster) -> list[str]:
    """Whatever of ours is still in the namespace."""
    kinds = ("/apis/batch/v1/namespaces/shop/jobs", "/api/v1/namespaces/shop/configmaps", "/api/v1/namespaces/shop/secrets")
    listed = [one for kind in kinds for one in cluster.get(kind)["items"]] + cluster.get("/api/v1/namespaces/shop/pods")["items"]
    return [one["metadata"]["name"] for one in listed if one["metadata"]["name"].startswith("kbalance-")]


def one_sentence(ended: Ended) -> str:
    """The last line on stderr, which says why."""
    assert "Traceback" not in ended.err
    (line,) = [line for line in ended.err.splitlines() if line.startswith("kbalance: ")]
    return line


def test_a_service_within_reach_is_measured_from_here(cluster: Cluster, kubeconfig: str) -> None:
    ended = probe(kubeconfig, *FAST)

    assert ended.code == 0
    jsonschema.validate(ended.report, schema())
    assert ended.report["vantage"]["kind"] == "local"
    assert ended.report["diagnosis"]["cause"] == "connection-pinning"
    assert ended.report["target"]["kind"] == "service"
    assert all(e["owner"].startswith("ReplicaSet/") and e["created"] for e in ended.report["facts"]["endpoints"])
    assert ended.err == ""


def test_a_job_measures_the_same_and_leaves_nothing(cluster: Cluster, kubeconfig: str) -> None:
    ended = probe(kubeconfig, *FAST, "--vantage", "job")

    assert ended.code == 0, ended.err
    jsonschema.validate(ended.report, schema())
    assert ended.report["vantage"]["kind"] == "job"
    assert ended.report["vantage"]["node"] in ("node-1", "node-2")
    assert ended.report["diagnosis"]["cause"] == "connection-pinning"
    assert not ended.report["partial"]
    assert re.search(r"Job and ConfigMap kbalance-\w+ \(1 Pod of python:3\.12-slim\) are made in namespace shop", ended.err)
    assert leftovers(cluster) == []


def test_workers_merge_exactly(cluster: Cluster, kubeconfig: str) -> None:
    ended = probe(kubeconfig, *FAST, "--workers", "2", "--requests", "90", "--no-early-stop")

    report: Any = ended.report
    jsonschema.validate(report, schema())
    assert [v["vantage"]["zone"] for v in report["vantages"]] == ["zone-a", "zone-b"]
    for at, whole in enumerate(report["profiles"]):
        parts = [v["profiles"][at] for v in report["vantages"]]
        assert whole["requests"]["sent"] == sum(p["requests"]["sent"] for p in parts) == 90
        assert whole["connections"]["opened"] == sum(p["connections"]["opened"] for p in parts)
        for i, load in enumerate(whole["endpoints"]):
            assert load["requests"] == sum(p["endpoints"][i]["requests"] for p in parts)
            assert load["connections"] == sum(p["endpoints"][i]["connections"] for p in parts)
    assert leftovers(cluster) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("image-pull", r"image python:3\.12-slim of Pod .* cannot be pulled .*not found.*--image"),
        ("no-python", r"has no python3.*--image"),
        ("quota", r"ResourceQuota does not let Job .* create its Pod: .*exceeded quota"),
        ("admission", r"does not let Job .* create its Pod: .*violates PodSecurity"),
        ("config-refused", r"kbalance: .*(quota|configmaps)"),
        ("oom", r"killed for using more memory than its limit \(OOMKilled\)"),
        ("crash", r"ended with exit code \d+"),
    ],
)
def test_what_keeps_a_job_from_measuring_is_one_sentence(cluster: Cluster, kubeconfig: str, fault: str, words: str) -> None:
    cluster.set_job_fault(fault)

    ended = probe(kubeconfig, *FAST, "--vantage", "job")

    assert ended.code == 3
    assert ended.out == ""
    assert re.search(words, one_sentence(ended)), ended.err
    assert leftovers(cluster) == []


def test_a_log_that_breaks_off_is_read_on(cluster: Cluster, kubeconfig: str) -> None:
    cluster.set_job_fault("log-break")

    ended = probe(kubeconfig, *FAST, "--vantage", "job")

    assert ended.code == 0, ended.err
    assert not ended.report["partial"]


def test_credentials_travel_in_a_secret_and_show_nowhere(cluster: Cluster, kubeconfig: str) -> None:
    ended = probe(kubeconfig, *FAST, "--vantage", "job", "-H", "Authorization: Bearer s3cr3t", "-vv")
    printed = probe(kubeconfig, "-H", "Authorization: Bearer s3cr3t", "--print-manifests")

    assert ended.code == 0, ended.err
    assert "s3cr3t" not in ended.out + ended.err
    assert "POST /api/v1/namespaces/shop/secrets 201" in ended.err
    assert "kind: Secret" in printed.out
    assert "s3cr3t" not in printed.out
    assert leftovers(cluster) == []


def test_manifests_are_printed_and_nothing_is_made(cluster: Cluster, kubeconfig: str) -> None:
    ended = probe(
        kubeconfig, "--print-manifests", "--workers", "3", "--node-selector", "disk=ssd", "--toleration", "gpu:NoSchedule"
    )

    assert ended.code == 0
    assert [line for line in ended.out.splitlines() if line.startswith("kind: ")] == ["kind: ConfigMap", "kind: Job"]
    assert "completions: 3" in ended.out
    assert "disk: ssd" in ended.out
    assert leftovers(cluster) == []


def test_less_permission_gives_a_smaller_report_and_the_rule_that_would_help(cluster: Cluster, kubeconfig: str) -> None:
    cluster.deny("list", "pods")
    cluster.deny("list", "nodes")

    ended = probe(kubeconfig, *FAST)

    assert ended.code == 0, ended.err
    (notice,) = [text for text in ended.report["notices"] if "Pods" in text]
    assert 'resources: ["pods"]' in notice
    assert all(e["owner"] is None for e in ended.report["facts"]["endpoints"])


@pytest.mark.parametrize(
    ("verb", "resource", "rule"),
    [("get", "services", "services"), ("list", "endpointslices", "endpointslices"), ("create", "jobs", "jobs")],
)
def test_a_missing_permission_is_named(cluster: Cluster, kubeconfig: str, verb: str, resource: str, rule: str) -> None:
    cluster.deny(verb, resource)

    ended = probe(kubeconfig, *FAST, "--vantage", "job")

    assert ended.code == 3
    assert f'resources: ["{rule}"]' in one_sentence(ended)
    assert leftovers(cluster) == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("svc/wep", "did you mean svc/web?"),
        ("svc/web:8123", "has no TCP port 8123"),
        ("svc/web:nope", "has no TCP port nope"),
    ],
)
def test_a_wrong_name_is_told_with_what_there_is(kubeconfig: str, target: str, words: str) -> None:
    ended = probe(kubeconfig, target=target)

    assert ended.code == 3
    assert words in one_sentence(ended)


def test_a_namespace_that_is_not_there_is_told(kubeconfig: str) -> None:
    ended = kbalance("probe", "svc/web", "-n", "shoq", "--kubeconfig", kubeconfig)

    assert ended.code == 3
    assert "There is no namespace 'shoq'" in one_sentence(ended)


def test_a_service_out_of_reach_is_not_guessed_at(cluster: Cluster, kubeconfig: str, tmp_path: Path) -> None:
    """What is measured from here must be reachable from here; options of a Job make no sense then."""
    ended = probe(kubeconfig, "--vantage", "local", "--workers", "2")

    assert ended.code == 2
    assert "--workers is about a Job" in one_sentence(ended)


def interrupted(kubeconfig: str, cluster: Cluster, when: str) -> tuple[int, str]:
    """Presses Ctrl-C once the line is seen on stderr."""
    arguments = ("probe", "svc/web", "-n", "shop", "--kubeconfig", kubeconfig, "--vantage", "job", "--rate", "50", "-v")
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(when, line):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out


@pytest.mark.parametrize(
    "when",
    [r"POST /apis/batch/v1/namespaces/shop/jobs", r"POST .*configmaps", r"GET .*/pods\?.*job-name", r"GET .*/log\?"],
    ids=["job made", "all made", "starting", "measuring"],
)
def test_ctrl_c_at_any_moment_leaves_nothing(cluster: Cluster, kubeconfig: str, when: str) -> None:
    code, _ = interrupted(kubeconfig, cluster, when)

    assert code == 130
    assert leftovers(cluster) == []


def test_two_probes_at_once_keep_out_of_each_others_way(cluster: Cluster, kubeconfig: str) -> None:
    arguments = command("probe", "svc/web", "-n", "shop", "--kubeconfig", kubeconfig, "--vantage", "job", "--rate", "0")
    processes = [
        subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()) for _ in range(2)
    ]

    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert leftovers(cluster) == []


def test_kubectl_completes_its_plugin(kubeconfig: str) -> None:
    def completed(*words: str) -> list[str]:
        code = "from kbalance.cli.complete import for_kubectl; for_kubectl()"
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            env=environment(KUBECONFIG=kubeconfig),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.split()

    assert completed("probe", "-n", "shop", "svc/w") == ["svc/web", ":4"]
    assert completed("probe", "sv") == ["svc/", ":6"]
    assert completed("pro") == ["probe", ":4"]


def test_names_are_completed_from_the_cluster(kubeconfig: str) -> None:
    def completed(words: str, at: int) -> list[str]:
        done = subprocess.run(
            command(),
            env=environment(_KBALANCE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(at), KUBECONFIG=kubeconfig),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("kbalance probe -n shop svc/", 4) == ["svc/web"]
    assert "shop" in completed("kbalance probe -n s", 3)
    assert completed("kbalance probe --context ", 3)
