"""The manifests and commands of the recommendations, carried out on a real cluster; the numbers of replicas are 0 where nobody
needs the Pods."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kbalance.analysis.artifacts import Setting, artifacts
from tests.artifacts.settings import WEB
from tests.cluster.kube import Cluster, awaited
from tests.cluster.workloads import deployment, service, stand

ISTIO = "istio.io/api@v1.32.0"
"""The module with the published definitions."""
DEFINITION = "destinationrules.networking.istio.io"
CLIENT = """package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"snippets.test/balancing"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Arguments: the DNS server, a URL, how many endpoints there are; waits until the name has that many.
func main() {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, os.Args[1])
	}
	resolver := &net.Resolver{PreferGo: true, Dial: dial}
	transport := balancing.New()
	transport.Resolve = resolver.LookupHost
	wanted, err := strconv.Atoi(os.Args[3])
	fail(err)
	for found := 0; found < wanted; time.Sleep(time.Second) {
		addresses, err := resolver.LookupHost(context.Background(), transport.Host)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		found = len(addresses)
	}
	client := &http.Client{Transport: transport}
	for range 30 {
		response, err := client.Get(os.Args[2])
		fail(err)
		body, err := io.ReadAll(response.Body)
		fail(err)
		response.Body.Close()
		fmt.Println(string(body))
	}
}
"""


def setting(namespace: str, **changes: Any) -> Setting:
    return replace(WEB, namespace=namespace, selector=(("app", "web"),), **changes)


def text(fix: str, name: str, given: Setting) -> str:
    return next(one.content for one in artifacts(fix, given) if one.name == name)


def carried_out(cluster: Cluster, fix: str, name: str, given: Setting, **environment: str) -> str:
    """Runs a text as a shell does; what it prints."""
    done = subprocess.run(
        ["bash", "-eu", "-c", text(fix, name, given)],
        env={**os.environ, "KUBECONFIG": cluster.kubeconfig, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def tried(cluster: Cluster, manifest: str) -> list[str]:
    """What the API server would make of it, field by field."""
    out = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=manifest)
    return out.splitlines()


def test_manifests_are_taken(cluster: Cluster, namespace: str) -> None:
    given = setting(namespace)

    taken = [tried(cluster, one.content) for one in artifacts("client-side-balancing", given) if one.kind == "kubernetes"]

    assert taken == [
        ["service/web-headless created (server dry run)"],
        [
            "role.rbac.authorization.k8s.io/web-endpoint-reader created (server dry run)",
            "rolebinding.rbac.authorization.k8s.io/web-endpoint-reader created (server dry run)",
        ],
    ]


def test_a_manifest_for_a_service_of_which_nothing_is_known_is_taken_as_well(cluster: Cluster, namespace: str) -> None:
    manifest = text("client-side-balancing", "headless-service.yaml", Setting(service="w" * 63, namespace=namespace, port=80))

    assert tried(cluster, manifest) == [f"service/{'w' * 54}-headless created (server dry run)"]


def test_the_headless_service_leads_to_every_pod(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(), service())
    given = setting(namespace)

    cluster.kubectl("apply", "-f", "-", given=text("client-side-balancing", "headless-service.yaml", given))

    awaited(lambda: len(cluster.ready(namespace, "web-headless")) == 3, "its EndpointSlice")
    (found,) = cluster.get("endpointslices", "-n", namespace, "-l", "kubernetes.io/service-name=web-headless")["items"]
    assert {port["port"] for port in found["ports"]} == {given.dialled}
    pods = cluster.get("pods", "-n", namespace)["items"]
    addresses = {pod["status"]["podIP"] for pod in pods}
    assert {endpoint["addresses"][0] for endpoint in found["endpoints"]} == addresses


def test_a_client_of_the_headless_service_reaches_every_pod_in_turn(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """With the cluster's own DNS, from a node; the name and the port are those of the texts."""
    if not cluster.namespaces:
        pytest.skip("needs nodes that are network namespaces of this machine")
    stand(cluster, namespace, deployment(), service())
    given = setting(namespace)
    cluster.kubectl("apply", "-f", "-", given=text("client-side-balancing", "headless-service.yaml", given))
    dns = cluster.get("service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"]
    names = sorted(pod["metadata"]["name"] for pod in cluster.get("pods", "-n", namespace)["items"])
    (tmp_path / "go.mod").write_text("module snippets.test\n\ngo 1.22\n")
    (tmp_path / "balancing").mkdir()
    (tmp_path / "balancing" / "transport.go").write_text(text("client-side-balancing", "balancing_transport.go", given))
    (tmp_path / "main.go").write_text(CLIENT)
    subprocess.run(["go", "build", "-o", "client", "."], cwd=tmp_path, check=True, timeout=120)

    done = subprocess.run(
        ["ip", "netns", "exec", "kb-node1", tmp_path / "client", f"{dns}:53", f"{given.url}/hostname", "3"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [done.stdout.split().count(name) for name in names] == [10, 10, 10]


def test_the_reader_may_watch_endpoints_and_nothing_else(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("apply", "-f", "-", given=text("client-side-balancing", "endpoint-reader.yaml", setting(namespace)))

    awaited(lambda: cluster.may("default", "watch", "endpointslices", namespace), "the Role")
    asked = (("watch", "endpointslices"), ("list", "endpointslices"), ("list", "pods"), ("get", "secrets"))

    assert [cluster.may("default", *one, namespace) for one in asked] == [True, True, False, False]


def test_affinity_is_shortened_and_taken_away(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, service(sessionAffinity="ClientIP"))
    given = setting(namespace)

    def spec() -> dict[str, Any]:
        found: dict[str, Any] = cluster.get("service", "web", "-n", namespace)["spec"]
        return found

    assert spec()["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    carried_out(cluster, "affinity-none", "affinity-timeout.sh", given)
    assert spec()["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 600}}
    carried_out(cluster, "affinity-none", "affinity-none.sh", given)
    assert (spec()["sessionAffinity"], spec().get("sessionAffinityConfig")) == ("None", None)


def test_traffic_is_widened(cluster: Cluster, namespace: str) -> None:
    narrow = service(internalTrafficPolicy="Local", trafficDistribution="PreferClose")
    narrow["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
    stand(cluster, namespace, narrow)
    given = setting(namespace)

    for one in artifacts("widen-traffic", given):
        carried_out(cluster, "widen-traffic", one.name, given)

    found = cluster.get("service", "web", "-n", namespace)
    assert found["spec"]["internalTrafficPolicy"] == "Cluster"
    assert "trafficDistribution" not in found["spec"]
    assert "service.kubernetes.io/topology-mode" not in found["metadata"].get("annotations", {})


def test_traffic_from_outside_is_widened(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, service(type="NodePort", externalTrafficPolicy="Local"))

    carried_out(cluster, "external-spread", "external-traffic-cluster.sh", setting(namespace))

    assert cluster.get("service", "web", "-n", namespace)["spec"]["externalTrafficPolicy"] == "Cluster"


def _pod_spec(cluster: Cluster, namespace: str, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("deployment", name, "-n", namespace)["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("owner", ["web", None])
def test_pods_are_spread_over_zones_and_nodes(cluster: Cluster, namespace: str, owner: str | None) -> None:
    stand(cluster, namespace, deployment(replicas=0))

    carried_out(cluster, "spread-pods", "spread-pods.sh", setting(namespace, owner=owner), DEPLOYMENT="web")

    constraints = _pod_spec(cluster, namespace)["topologySpreadConstraints"]
    assert sorted((c["topologyKey"], c["maxSkew"], c["labelSelector"]["matchLabels"]["app"]) for c in constraints) == [
        ("kubernetes.io/hostname", 1, "web"),
        ("topology.kubernetes.io/zone", 1, "web"),
    ]


def test_pods_drain_before_they_leave(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(replicas=0))

    carried_out(cluster, "drain-and-limit-age", "drain.sh", setting(namespace), CONTAINER="agnhost")

    spec = _pod_spec(cluster, namespace)
    (one,) = spec["containers"]
    assert (spec["terminationGracePeriodSeconds"], one["name"]) == (45, "agnhost")
    assert one["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}
    assert one["command"][0] == "/agnhost"


def test_a_text_that_lacks_a_name_changes_nothing(cluster: Cluster, namespace: str) -> None:
    done = subprocess.run(
        ["bash", "-c", text("spread-pods", "spread-pods.sh", setting(namespace, owner=None))],
        env={**os.environ, "KUBECONFIG": cluster.kubeconfig},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "DEPLOYMENT: the Deployment of the Pods" in done.stderr


@pytest.mark.parametrize("node", ["known", "asked"])
def test_kube_proxy_can_be_looked_at(cluster: Cluster, namespace: str, node: str) -> None:
    stand(cluster, namespace, deployment(), service())
    name = cluster.get("nodes")["items"][0]["metadata"]["name"]
    given = setting(namespace, node=name if node == "known" else None)

    out = carried_out(cluster, "check-kube-proxy", "look-at-kube-proxy.sh", given, NODE=name)

    assert out.splitlines()[0].split()[:3] == ["NAME", "ADDRESSTYPE", "PORTS"]


def test_pods_learn_their_names(cluster: Cluster, namespace: str) -> None:
    named = deployment(replicas=0)
    named["spec"]["template"]["spec"]["containers"][0] |= yaml.safe_load(
        text("tell-who-answers", "container-env.yaml", setting(namespace))
    )
    named["metadata"]["namespace"] = namespace

    assert tried(cluster, json.dumps(named)) == ["deployment.apps/web created (server dry run)"]


def test_linkerd_finds_its_annotation(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(replicas=0))

    carried_out(cluster, "meshed-client", "linkerd-injection.sh", setting(namespace), CLIENT="web")

    template = cluster.get("deployment", "web", "-n", namespace)["spec"]["template"]
    assert template["metadata"]["annotations"]["linkerd.io/inject"] == "enabled"


def test_istio_finds_its_label(cluster: Cluster, namespace: str) -> None:
    stand(cluster, namespace, deployment(replicas=0))

    carried_out(cluster, "meshed-client", "istio-injection.sh", setting(namespace), CLIENT="web")

    assert cluster.get("namespace", namespace)["metadata"]["labels"]["istio-injection"] == "enabled"
    annotations = cluster.get("deployment", "web", "-n", namespace)["spec"]["template"]["metadata"]["annotations"]
    assert list(annotations) == ["kubectl.kubernetes.io/restartedAt"]


@pytest.fixture
def destination_rules(cluster: Cluster) -> Iterator[None]:
    """Istio's own definition of a DestinationRule, for the time of a test."""
    out = subprocess.run(
        ["go", "mod", "download", "-json", ISTIO], capture_output=True, text=True, timeout=120, check=True, cwd="/"
    ).stdout
    published = Path(json.loads(out)["Dir"]) / "kubernetes" / "customresourcedefinitions.gen.yaml"
    (definition,) = (
        one for one in yaml.safe_load_all(published.read_text(encoding="utf-8")) if one and one["metadata"]["name"] == DEFINITION
    )
    if cluster.kubectl("get", "customresourcedefinition", DEFINITION, "--ignore-not-found"):
        yield
        return
    # Applied, it would be too long for the annotation that kubectl keeps.
    cluster.kubectl("create", "-f", "-", given=json.dumps(definition))
    try:
        # The first condition must be there: kubectl wait fails on none at all.
        for sign in ("jsonpath={.status.acceptedNames.kind}=DestinationRule", "condition=Established"):
            cluster.kubectl("wait", f"customresourcedefinition/{DEFINITION}", f"--for={sign}", "--timeout=60s")
        # The list of resources, by which kubectl goes, follows a moment later.
        group = DEFINITION.partition(".")[2]
        awaited(
            lambda: DEFINITION in cluster.kubectl("api-resources", f"--api-group={group}", "-o", "name", check=False), DEFINITION
        )
        yield
    finally:
        cluster.kubectl("delete", "customresourcedefinition", DEFINITION)


def test_a_destination_rule_is_one(cluster: Cluster, namespace: str, destination_rules: None) -> None:
    manifest = text("meshed-client", "destination-rule.yaml", setting(namespace))

    assert tried(cluster, manifest) == ["destinationrule.networking.istio.io/web created (server dry run)"]
    wrong = cluster.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "-f", "-"),
        given=manifest.replace("LEAST_REQUEST", "LEAST_EFFORT"),
        check=False,
    )
    assert wrong == ""
