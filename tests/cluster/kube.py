"""A real cluster to run kbalance against, and what is known of it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.conftest import Ended

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(os.environ.get("KBALANCE_KUBE", ROOT.parent / "shared" / "kube"))
"""Holds the programs `up`, `down` and `on` of a cluster in network namespaces of this machine."""
LIMIT_S = 150
SURE = ("--alpha", "1e-7", "--max-connections", "10000", "--seed", "5")
"""A false alarm in one of ten million runs, so that all tests together have one in 100,000: the kernel's dice have no seed."""
OURS = ("jobs", "pods", "configmaps", "secrets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Commands against one cluster."""

    kubeconfig: str
    namespaces: bool
    """Whether nodes are network namespaces of this machine, so that a process can be started on one."""
    own: bool = False
    """Whether this session brought it up, and may take it down."""

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        command = ["kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, namespace: str, *objects: dict[str, Any]) -> None:
        self.kubectl(
            "apply", "-n", namespace, "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def command(self, *arguments: str, node: str | None = None) -> list[str]:
        # A node's processes know its name, which says where traffic starts.
        entered = (
            ["ip", "netns", "exec", node, "unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', node] if node else []
        )
        return [*entered, sys.executable, "-m", "kbalance", *arguments]

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "KUBECONFIG")}
        return {**kept, "KUBECONFIG": self.kubeconfig, "PYTHONPATH": str(ROOT), **extra}

    def kbalance(self, *arguments: str, node: str | None = None, **extra: str) -> Ended:
        """Runs on the laptop, or on a node."""
        done = subprocess.run(
            self.command(*arguments, node=node),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=self.environment(**extra),
            cwd=ROOT,  # Python would take the kbalance of the current folder first
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        print(done.stdout, done.stderr)  # shown where a test fails
        return Ended(code=done.returncode, out=done.stdout, err=done.stderr)

    def probe(self, namespace: str, *arguments: str, target: str = "svc/web", node: str | None = None) -> Ended:
        return self.kbalance("probe", target, "-n", namespace, *SURE, "-o", "json", *arguments, node=node)

    @contextmanager
    def started(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A probe that goes on while something is done to the cluster."""
        with subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
            cwd=ROOT,
        ) as process:
            # Whoever waits for a line that never comes is not kept waiting.
            watchdog = threading.Timer(LIMIT_S, process.kill)
            watchdog.start()
            try:
                yield process
            finally:
                watchdog.cancel()
                process.kill()

    def while_measuring(self, namespace: str, act: Callable[[], object], *arguments: str) -> Ended:
        """A probe of svc/web, and something that is done to its endpoints once its traffic runs.

        kbalance stands still meanwhile, so that its second look at the endpoints comes after the change, however long that takes.
        The traffic is the Job's and goes on.
        """
        asked = ("probe", "svc/web", "-n", namespace, *SURE, "-o", "json", "-v", "--rate", "60", *arguments)
        before = self.ready(namespace)
        with self.started(*asked) as process:
            self.until(process, r"GET .*/log\?.* 200")
            process.send_signal(signal.SIGSTOP)
            act()
            awaited(lambda: self.ready(namespace) != before, "a change of the endpoints")
            process.send_signal(signal.SIGCONT)
            out, err = process.communicate(timeout=LIMIT_S)
        assert "Traceback" not in err, err
        return Ended(code=process.returncode, out=out, err=err)

    def while_watching(self, namespace: str, act: Callable[[], object], *arguments: str) -> Ended:
        """A probe of svc/web with ``--watch-scale-out``, and something that is done once all is measured and it watches."""
        with self.started("probe", "svc/web", "-n", namespace, *SURE, "-o", "json", "-v", *arguments) as process:
            self.until(process, r"GET .*/log\?.* 200")
            # It reads what was there to the end of the measurement, and then who is old.
            for _ in range(2):
                self.until(process, r"GET .*/endpointslices\?.* 200")
            act()
            out, err = process.communicate(timeout=LIMIT_S)
        assert "Traceback" not in err, err
        return Ended(code=process.returncode, out=out, err=err)

    def interrupted(self, namespace: str, when: str, *arguments: str) -> Ended:
        """A probe of svc/web that gets Ctrl-C once a line like this is seen on stderr."""
        with self.started("probe", "svc/web", "-n", namespace, "-v", "--rate", "60", *arguments) as process:
            self.until(process, when)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=LIMIT_S)
        assert "Traceback" not in err, err
        return Ended(code=process.returncode, out=out, err=err)

    @staticmethod
    def until(process: "subprocess.Popen[str]", pattern: str) -> None:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if re.search(pattern, line):
                return
        raise AssertionError(f"{pattern} never came: {''.join(seen)}")

    def ready(self, namespace: str, service: str = "web") -> set[str]:
        """The Pods that its EndpointSlices call ready."""
        found = self.get("endpointslices", "-n", namespace, "-l", f"kubernetes.io/service-name={service}")["items"]
        return {e["targetRef"]["name"] for one in found for e in one["endpoints"] or () if e["conditions"].get("ready")}

    def may(self, account: str, verb: str, resource: str, namespace: str) -> bool:
        """Whether the API server lets a ServiceAccount of the namespace do this; of a Role it learns in its own time."""
        kind, _, subresource = resource.partition("/")  # kubectl takes what follows the stroke for a name
        who = f"--as=system:serviceaccount:{namespace}:{account}"
        asked = ("auth", "can-i", verb, kind, f"--subresource={subresource}", "-n", namespace, who)
        return self.kubectl(*asked, check=False).strip() == "yes"

    def leftovers(self, namespace: str) -> list[str]:
        """Whatever kbalance made that is still there."""
        found = self.get(",".join(OURS), "-n", namespace, "-l", "app.kubernetes.io/managed-by=kbalance")["items"]
        return [f"{one['kind']}/{one['metadata']['name']}" for one in found]


def awaited(holds: Callable[[], bool], what: str) -> None:
    """Looks again and again until it holds."""
    pause, until_s = threading.Event(), time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < until_s, f"{what}: not within {LIMIT_S} s"
        pause.wait(0.2)


def sentence(ended: Ended) -> str:
    """The one line that says why nothing was measured."""
    (line,) = [line for line in ended.err.splitlines() if line.startswith("kbalance: ")]
    return line


def machine(program: str, *arguments: str, **environment: str) -> str:
    """Runs a program of the folder; what it prints."""
    done = subprocess.run(
        [FOLDER / program, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, f"{program} {arguments}: {done.stderr[-3000:]}"
    return done.stdout.strip()


def is_up() -> bool:
    return subprocess.run([FOLDER / "status"], capture_output=True, check=False).returncode == 0


def names(items: Sequence[Any]) -> list[str]:
    return sorted(one["metadata"]["name"] for one in items)
