"""The experiments of the README, on real dataplanes."""

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from kbalance.render.json import schema
from tests.cli.conftest import Ended
from tests.cluster.images import provide_fortio
from tests.cluster.kube import LIMIT_S, SURE, Cluster, sentence
from tests.cluster.stage import Stage
from tests.cluster.workloads import by_hand, deployment, followed, resolved, service, stand


def profiles(ended: Ended) -> dict[str, Any]:
    return {p["profile"]: p for p in ended.report["profiles"]}


def cause(ended: Ended) -> str:
    return str(ended.report["diagnosis"]["cause"])


def reached(vantage: Any) -> set[str]:
    """The endpoints that one vantage point's fresh connections reached."""
    fresh = next(p for p in vantage["profiles"] if p["profile"] == "short-lived")
    return {e["name"] for e in fresh["endpoints"] if e["connections"]}


@pytest.mark.parametrize("server", ["agnhost", "podinfo", "fortio"])
def test_the_classic_experiment_from_the_laptop(cluster: Cluster, namespace: str, server: str) -> None:
    """One connection meets one Pod, fresh ones meet all, and nothing stays behind."""
    if server == "fortio":
        provide_fortio(cluster)
    stand(cluster, namespace, deployment(server=server), service())

    ended = cluster.probe(namespace)

    assert ended.code == 0, ended.err
    jsonschema.validate(ended.report, schema())
    assert cause(ended) == "connection-pinning"
    assert profiles(ended)["single"]["spread"] == "pinned"
    assert profiles(ended)["short-lived"]["placement"] == "random"
    assert profiles(ended)["per-endpoint"]["spread"] == "even"
    assert ended.report["identity"]["calibrated"]
    assert ended.report["vantage"]["kind"] == "job"
    assert ended.report["vantage"]["zone"]
    assert all(e["owner"].startswith("ReplicaSet/web-") and e["zone"] for e in ended.report["facts"]["endpoints"])
    assert "removed at the end" in ended.err
    assert cluster.leftovers(namespace) == []


def test_a_node_measures_by_itself(cluster: Cluster, namespace: str) -> None:
    if not cluster.namespaces:
        pytest.skip("needs nodes that are network namespaces of this machine")
    stand(cluster, namespace, deployment(), service())

    ended = cluster.probe(namespace, node="kb-node1")

    assert (ended.code, cause(ended)) == (0, "connection-pinning")
    assert ended.report["vantage"]["kind"] == "local"
    assert ended.err == ""


def test_the_laptop_refuses_to_pretend(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service())

    ended = cluster.probe(namespace, "--vantage", "local")

    assert ended.code == 3
    assert "cannot be reached from here" in sentence(ended)
    assert cluster.leftovers(namespace) == []


def test_client_ip_affinity(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service(sessionAffinity="ClientIP"))

    ended = cluster.probe(namespace)

    assert (ended.code, cause(ended)) == (0, "session-affinity")
    assert ended.report["facts"]["service"]["affinity_timeout_s"] == 10800


def test_workers_on_two_nodes_add_up(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service())

    ended = cluster.probe(namespace, "--workers", "2")

    report = ended.report
    assert (ended.code, cause(ended)) == (0, "connection-pinning")
    assert len({v["vantage"]["node"] for v in report["vantages"]}) == 2
    assert len({v["vantage"]["zone"] for v in report["vantages"]}) == 2
    for at, whole in enumerate(report["profiles"]):
        parts = [v["profiles"][at] for v in report["vantages"]]
        assert whole["connections"]["opened"] == sum(p["connections"]["opened"] for p in parts)
        for i, load in enumerate(whole["endpoints"]):
            assert load["requests"] == sum(p["endpoints"][i]["requests"] for p in parts)
    assert cluster.leftovers(namespace) == []


def test_local_traffic_policy_shows_each_node_its_own(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(replicas=4), service(internalTrafficPolicy="Local"))
    Stage(cluster=cluster, namespace=namespace).settle()

    ended = cluster.probe(namespace, "--workers", "2")

    nodes = {e["name"]: e["node"] for e in ended.report["facts"]["endpoints"]}
    for vantage in ended.report["vantages"]:
        assert {nodes[name] for name in reached(vantage)} == {vantage["vantage"]["node"]}
    assert cause(ended) == "traffic-policy-local", ended.report["diagnosis"]


def test_zone_hints_show_each_zone_its_own(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(replicas=4), service(trafficDistribution="PreferClose"))
    Stage(cluster=cluster, namespace=namespace).settle()

    ended = cluster.probe(namespace, "--workers", "2")

    assert all(e["hints"] == [e["zone"]] for e in ended.report["facts"]["endpoints"])
    zones = {e["name"]: e["zone"] for e in ended.report["facts"]["endpoints"]}
    for vantage in ended.report["vantages"]:
        assert {zones[name] for name in reached(vantage)} == {vantage["vantage"]["zone"]}
    assert cause(ended) == "topology-hints", ended.report["diagnosis"]


def test_a_headless_name_through_coredns(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service(clusterIP="None"))
    if cluster.namespaces:
        resolved(cluster, f"web.{namespace}.svc.cluster.local", 3)

    ended = cluster.probe(namespace)

    assert cause(ended) == "headless-first-address", ended.report["diagnosis"]
    assert ended.report["target"]["host"] == f"web.{namespace}.svc"
    assert ended.report["target"]["port"] == 8080
    assert any("own port" in notice for notice in ended.report["notices"])


@pytest.mark.parametrize("change", ["scale", "rollout", "delete"])
def test_a_change_during_the_run_spoils_the_verdict(cluster: Cluster, namespace: str, change: str) -> None:
    stand(cluster, namespace, deployment(), service())
    pod = cluster.get("pods", "-n", namespace)["items"][0]["metadata"]["name"]

    def act() -> None:
        match change:
            case "scale":
                cluster.kubectl("scale", "deployment/web", "-n", namespace, "--replicas=6")
                cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
            case "rollout":
                cluster.kubectl("rollout", "restart", "deployment/web", "-n", namespace)
                cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
            case _:
                cluster.kubectl("delete", "pod", pod, "-n", namespace)

    ended = cluster.while_measuring(namespace, act, "--timeout", "1s")

    assert (ended.code, cause(ended)) == (3, "invalid-measurement")
    assert "changed while it was measured" in ended.report["diagnosis"]["summary"]
    # Of many changes the summary tells the first few, by name: Pods that joined, or those that left.
    summary = ended.report["diagnosis"]["summary"]
    assert {"scale": "joined" in summary, "rollout": "joined" in summary or "left" in summary, "delete": pod in summary}[change]
    assert cluster.leftovers(namespace) == []


def test_a_pod_that_is_ready_and_fails(cluster: Cluster, namespace: str) -> None:
    """Its readiness probe lies: nothing listens on the port that the Service sends to."""
    broken = deployment("broken", replicas=1)
    container = broken["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"name": "http", "containerPort": 8081}]
    stand(cluster, namespace, deployment(replicas=2), broken, service())

    ended = cluster.probe(namespace)

    assert (ended.code, cause(ended)) == (1, "endpoint-failing")
    (load,) = [e for e in profiles(ended)["per-endpoint"]["endpoints"] if e["failed"]]
    assert load["name"].startswith("broken-")


def test_nobody_is_ready(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(replicas=0), service())

    ended = cluster.probe(namespace)

    assert (ended.code, cause(ended)) == (3, "no-endpoints")
    assert cluster.leftovers(namespace) == []


def test_an_external_name_is_refused_with_advice(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, service(type="ExternalName", externalName="db.example"))

    ended = cluster.probe(namespace)

    assert ended.code == 3
    assert "http://db.example:80/" in sentence(ended)


def test_a_port_forward_gives_no_verdict(cluster: Cluster, namespace: str) -> None:
    import subprocess

    stand(cluster, namespace, deployment(), service())
    forward = ["kubectl", "--kubeconfig", cluster.kubeconfig, "port-forward", "-n", namespace, "svc/web", ":80"]
    with subprocess.Popen(forward, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().split("127.0.0.1:")[1].split()[0]
            ended = cluster.kbalance("probe", f"http://127.0.0.1:{port}/", "-o", "json")
        finally:
            process.terminate()

    assert (ended.code, cause(ended)) == (3, "invalid-measurement")
    assert "kubectl port-forward" in ended.report["diagnosis"]["summary"]


def test_the_restricted_pod_security_level_admits_the_job(cluster: Cluster, namespaced: Callable[..., str]) -> None:
    namespace = namespaced(enforce="restricted")
    stand(cluster, namespace, deployment(), service())

    ended = cluster.probe(namespace, "-H", "X-Test: 1")

    assert (ended.code, cause(ended)) == (0, "connection-pinning"), ended.err


def test_two_probes_at_once(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service())
    arguments = ("probe", "svc/web", "-n", namespace, *SURE)

    with cluster.started(*arguments) as one, cluster.started(*arguments) as other:
        for process in (one, other):
            process.communicate(timeout=LIMIT_S)

    assert (one.returncode, other.returncode) == (0, 0)
    assert cluster.leftovers(namespace) == []


@pytest.mark.parametrize(
    "when",
    [r"POST /apis/batch/", r"POST .*/configmaps", r"GET .*/pods\?.*job-name", r"GET .*/log\?.* 200", r"DELETE .*jobs"],
    ids=["job made", "all made", "starting", "measuring", "removing"],
)
def test_ctrl_c_at_every_stage_leaves_nothing(cluster: Cluster, namespace: str, when: str) -> None:
    stand(cluster, namespace, deployment(), service())

    # Until it is removed the Job has more to do than anybody takes to press Ctrl-C.
    longer = () if "DELETE" in when else ("--requests", "3000")
    ended = cluster.interrupted(namespace, when, "--profile", "single", *longer)

    assert ended.code == 130, ended.err
    assert cluster.leftovers(namespace) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--image", "kbalance.test/missing:1"), "kbalance.test/missing:1 of Pod"),
        (("--node-selector", "kbalance.test/none=here"), "No node takes Pod"),
        (("--image", "registry.k8s.io/e2e-test-images/agnhost:2.53"), "has no python3"),
    ],
    ids=["image", "unschedulable", "no python"],
)
def test_a_job_that_cannot_start_is_one_sentence(cluster: Cluster, namespace: str, options: tuple[str, ...], words: str) -> None:
    stand(cluster, namespace, deployment(), service())

    ended = cluster.probe(namespace, *options)

    assert ended.code == 3
    assert words in sentence(ended)
    assert cluster.leftovers(namespace) == []


def test_a_quota_is_named(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service())
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "3"}}}
    cluster.apply(namespace, quota)
    cluster.kubectl("wait", "resourcequota/full", "-n", namespace, "--for=jsonpath={.status.used.pods}=3", "--timeout=30s")

    ended = cluster.probe(namespace)

    assert ended.code == 3
    assert "ResourceQuota does not let Job" in sentence(ended)
    assert cluster.leftovers(namespace) == []


def test_one_node_is_chosen(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service())
    nodes = sorted(node["metadata"]["name"] for node in cluster.get("nodes")["items"])

    ended = cluster.probe(namespace, "--node", nodes[-1], "--profile", "single")

    assert ended.report["vantage"]["node"] == nodes[-1]


def test_a_port_is_named(cluster: Cluster, namespace: str) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "admin", "port": 9000, "targetPort": 9000}]
    stand(cluster, namespace, deployment(), service(ports=ports))

    unnamed = cluster.probe(namespace)
    named = cluster.probe(namespace, "--profile", "single", target="svc/web:http/hostname")

    assert unnamed.code == 3
    assert "svc/web:http" in sentence(unnamed)
    assert named.report["target"]["port"] == 80
    assert profiles(named)["single"]["requests"]["answered"] == 100


def test_a_target_port_that_differs_by_pod(cluster: Cluster, namespace: str) -> None:
    """Both servers name their port http, and have different ones."""
    stand(cluster, namespace, deployment(replicas=2), deployment("other", "podinfo", 1), service())

    ended = cluster.probe(namespace)

    assert {e["port"] for e in ended.report["facts"]["endpoints"]} == {8080, 9898}
    assert all(e["requests"] and not e["failed"] for e in profiles(ended)["per-endpoint"]["endpoints"])


def test_a_service_without_selector(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment())
    pods = cluster.get("pods", "-n", namespace)["items"]
    nameless = [{"addresses": [pod["status"]["podIP"]], "conditions": {"ready": True}} for pod in pods]
    cluster.apply(namespace, service(selector=None), by_hand("web", nameless))
    followed(cluster, namespace)

    ended = cluster.probe(namespace)

    assert not ended.report["facts"]["service"]["has_selector"]
    assert len(ended.report["facts"]["endpoints"]) == 3
    assert cause(ended) == "connection-pinning", ended.report["diagnosis"]


def test_a_job_whose_maker_was_killed_ends_and_leaves_by_itself(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service())
    arguments = ("probe", "svc/web", "-n", namespace, "-v", "--profile", "single", "--rate", "60", "--requests", "600")

    with cluster.started(*arguments) as process:
        cluster.until(process, r"GET .*/log\?.* 200")
        process.kill()

    cluster.kubectl("wait", "jobs", "--all", "-n", namespace, "--for=condition=Complete", "--timeout=60s")
    (job,) = cluster.get("jobs", "-n", namespace)["items"]
    (config_map,) = [
        c for c in cluster.get("configmaps", "-n", namespace)["items"] if c["metadata"]["name"] != "kube-root-ca.crt"
    ]
    assert job["spec"]["ttlSecondsAfterFinished"] == 300
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
