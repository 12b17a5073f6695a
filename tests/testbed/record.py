"""Records what a real Kubernetes API answers to `calls`: ``python -m tests.testbed.record [STEP ...]`` against $KUBECONFIG.

Every step has a namespace of its own, which is deleted at the end. Needs kubectl, and the images that the steps name.
"""

import base64
import http.client
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .calls import STEPS, Value, play, until, value_of

RECORDED = Path(__file__).with_name("recorded")


class RealSide:
    """A namespace on a real cluster, asked with the client certificate of the current kubeconfig."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        view = subprocess.run(["kubectl", "config", "view", "--raw", "--minify", "-o", "json"], capture_output=True, check=True)
        config = json.loads(view.stdout)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._address = urlsplit(cluster["server"]).netloc
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._context.load_cert_chain(pair.name)
        self._headers: dict[str, str] = {}

    def ask(self, method: str, path: str, body: object = None, accept: str = "application/json") -> tuple[int, str, Any]:
        connection = http.client.HTTPSConnection(self._address, context=self._context, timeout=60)
        headers = {"Accept": accept, "Content-Type": "application/json", **self._headers}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text, media = answer.read().decode(), answer.headers.get("Content-Type", "")
            return answer.status, media, value_of(path, media, text)
        finally:
            connection.close()

    def trouble(self, fault: str | None) -> None:
        hard = {"quota": {"pods": "0"}, "config-refused": {"count/configmaps": "0"}}
        if fault in hard:
            path = f"/api/v1/namespaces/{self.namespace}/resourcequotas"
            self.ask("POST", path, {"metadata": {"name": "embedded"}, "spec": {"hard": hard[fault]}})
            until(lambda: self.ask("GET", f"{path}/embedded")[2]["status"] or None)
        if fault == "admission":
            self._kubectl("label", "namespace", self.namespace, "pod-security.kubernetes.io/enforce=restricted")

    def lock(self) -> None:
        self._headers["Impersonate-User"] = "embedded"

    def _kubectl(self, *arguments: str, given: str = "") -> None:
        subprocess.run(["kubectl", *arguments], check=True, stdout=subprocess.DEVNULL, input=given, text=True)

    def set_up(self) -> None:
        """The namespace, and in it a Service of three pods."""
        self._kubectl("create", "namespace", self.namespace)
        self._kubectl("create", "-f", "-", given=self._web())
        self._kubectl("-n", self.namespace, "rollout", "status", "deployment/web", "--timeout=60s")
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"

        def all_ready() -> Value | None:
            listed = [e for one in self.ask("GET", slices)[2]["items"] for e in one["endpoints"] or ()]
            return {} if [e["conditions"]["ready"] for e in listed] == [True] * 3 else None

        until(all_ready)

    def _web(self) -> str:
        port = {"name": "http", "containerPort": 9898, "protocol": "TCP"}
        image = "ghcr.io/stefanprodan/podinfo:latest"
        container = {"name": "web", "image": image, "ports": [port], "imagePullPolicy": "IfNotPresent"}
        labels = {"app": "web"}
        spec = {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "automountServiceAccountToken": False},
            },
        }
        service = {"selector": labels, "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}]}
        where = {"name": "web", "namespace": self.namespace, "labels": labels}
        items = [
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": where, "spec": spec},
            {"apiVersion": "v1", "kind": "Service", "metadata": where, "spec": service},
        ]
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})

    def tear_down(self) -> None:
        self._kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")


@contextmanager
def real_side(namespace: str) -> Iterator[RealSide]:
    """A namespace on the real cluster for as long as it is needed."""
    side = RealSide(namespace)
    try:
        side.set_up()
        yield side
    finally:
        side.tear_down()


def record(step: str) -> dict[str, Value]:
    """What the real cluster answers to a step."""
    with real_side(f"kbalance-record-{step}") as side:
        return play(STEPS[step], side)


def main(steps: list[str]) -> None:
    RECORDED.mkdir(exist_ok=True)
    for step in steps or STEPS:
        text = json.dumps(record(step), indent=1, sort_keys=True, ensure_ascii=False)
        (RECORDED / f"{step}.json").write_text(text + "\n", encoding="utf-8")
        print(step, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
