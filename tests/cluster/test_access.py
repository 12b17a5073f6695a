"""Who may do what, and what is said where somebody may not: against the real API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kube import ROOT, Cluster, awaited, sentence
from tests.cluster.workloads import deployment, service, stand


def as_account(cluster: Cluster, namespace: str, folder: Path, account: str = "kbalance", **user: Any) -> Cluster:
    """The cluster as seen by a ServiceAccount, or by the user that is given."""
    token = user or {"token": cluster.kubectl("create", "token", account, "-n", namespace).strip()}
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    config["users"][0]["user"] = token
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return Cluster(kubeconfig=str(path), namespaces=cluster.namespaces)


@pytest.fixture
def shop(cluster: Cluster, namespace: str) -> str:
    """A namespace with the classic Service and the Role of the documentation, as it stands."""
    stand(cluster, namespace, deployment(), service())
    grant(cluster, namespace)
    return namespace


def grant(cluster: Cluster, namespace: str) -> None:
    """The Role as it stands, once the API server goes by it."""
    cluster.kubectl("apply", "-n", namespace, "-f", str(ROOT / "docs" / "rbac.yaml"))
    rules = cluster.get("role/kbalance", "-n", namespace)["rules"]
    awaited(lambda: all(_allowed(cluster, namespace, rules)), "the Role")


def restrict(cluster: Cluster, namespace: str, without: str) -> None:
    """Takes the rules for a resource out of the Role, and waits until the API server goes by that."""
    role = cluster.get("role/kbalance", "-n", namespace)
    removed = [rule for rule in role["rules"] if without in rule["resources"]]
    role["rules"] = [rule for rule in role["rules"] if rule not in removed]
    cluster.apply(namespace, {key: role[key] for key in ("apiVersion", "kind", "metadata", "rules")})
    awaited(lambda: not any(_allowed(cluster, namespace, removed)), f"a Role without {without}")


def _allowed(cluster: Cluster, namespace: str, rules: list[Any]) -> Iterator[bool]:
    """Whether the account may do the first thing of each rule."""
    return (cluster.may("kbalance", rule["verbs"][0], rule["resources"][0], namespace) for rule in rules)


def test_the_documented_role_is_enough(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    ended = as_account(cluster, shop, tmp_path).probe(shop, "-H", "Authorization: Bearer s3cr3t", "-vv")

    assert ended.code == 0, ended.err
    assert ended.report["diagnosis"]["cause"] == "connection-pinning"
    assert "s3cr3t" not in ended.out + ended.err
    assert cluster.leftovers(shop) == []


def test_the_documented_role_holds_nothing_that_is_not_needed(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    account = as_account(cluster, shop, tmp_path)

    for resource in ("services", "endpointslices", "jobs", "configmaps", "pods/log"):
        restrict(cluster, shop, resource)
        assert account.probe(shop, "--profile", "single").code == 3, resource
        grant(cluster, shop)
    assert cluster.leftovers(shop) == []


@pytest.mark.parametrize("resource", ["services", "endpointslices", "jobs"])
def test_a_missing_rule_is_spelled_out(cluster: Cluster, shop: str, tmp_path: Path, resource: str) -> None:
    restrict(cluster, shop, resource)

    ended = as_account(cluster, shop, tmp_path).probe(shop)

    assert ended.code == 3
    assert f'resources: ["{resource}"]' in sentence(ended)


def test_impersonation_in_the_kubeconfig_is_honoured(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    """The library alone would ask as the real user, who may do everything."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    user = {**config["users"][0]["user"], "as": f"system:serviceaccount:{shop}:default"}

    ended = as_account(cluster, shop, tmp_path, **user).probe(shop)

    assert ended.code == 3
    assert f"system:serviceaccount:{shop}:default" in sentence(ended)


def test_a_token_that_is_not_accepted(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    ended = as_account(cluster, shop, tmp_path, token="expired-s3cr3t").probe(shop, "-vv")

    assert ended.code == 3
    assert "log in again" in sentence(ended)
    assert "s3cr3t" not in ended.err


def test_another_authority_is_not_trusted(cluster: Cluster, shop: str, tmp_path: Path) -> None:
    account = as_account(cluster, shop, tmp_path)
    path = Path(account.kubeconfig)
    config = json.loads(path.read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"].pop("certificate-authority-data")
    path.write_text(json.dumps(config), encoding="utf-8")

    ended = account.probe(shop)

    assert ended.code == 3
    assert "certificate" in sentence(ended)
