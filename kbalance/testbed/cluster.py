"""A handle on an embedded cluster that runs in a child process, so that it does not share the prober's interpreter lock."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from kbalance.model.target import Address
from kbalance.testbed.jobfaults import JobFault
from kbalance.testbed.outages import Outage, WatchEnd
from kbalance.testbed.scenario import NAMESPACE, SCENARIOS, SERVICE, Fault, Scenario
from kbalance.testbed.transfer import to_json

REPLY_TIMEOUT_S = 10.0
"""Far above what a reply takes; a child that is silent for so long is broken."""
END_TIMEOUT_S = 5.0


class ClusterError(Exception):
    """The embedded cluster did not start, or does not do what it was told; the message has its own words."""


class Cluster:
    """An embedded cluster; use it as a context manager. Safe to use from several threads."""

    def __init__(self, process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors
        self._lock = threading.Lock()
        self._unread = b""
        ready = self._read()
        self.service = Address(*ready["service"])
        """The Service address."""
        self.api_url = f"http://{Address(*ready['api'])}"
        self.pods: tuple[str, ...] = tuple(ready["pods"])
        """Names of the endpoints' pods, in the order of the scenario; follows `scale`."""

    @classmethod
    def start(cls, scenario: Scenario | str = "default") -> Self:
        """Start a scenario, given by name or value, and wait until all of it listens.

        Raises:
            ClusterError: when there is no such scenario, or it does not start.
        """
        if isinstance(scenario, str):
            if scenario not in SCENARIOS:
                raise ClusterError(f"there is no scenario {scenario!r}; there are {', '.join(SCENARIOS)}")
            scenario = SCENARIOS[scenario]
        errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        process = _spawn(scenario, errors)
        try:
            return cls(process, errors)
        except BaseException:
            _end(process)
            errors.close()
            raise

    @property
    def pid(self) -> int:
        """Of the child process."""
        return self._process.pid

    def objects(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The Service and its EndpointSlices, read from the API."""
        selector = f"labelSelector=kubernetes.io%2Fservice-name%3D{SERVICE}"
        service = self.get(f"/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}")
        slices = self.get(f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices?{selector}")
        return service, slices["items"]

    def get(self, path: str) -> Any:
        """The JSON value at a path of the API.

        Raises:
            ClusterError: when the API does not answer with 200.
        """
        # Imported here for its weight; with no handlers but its own, it asks no proxy of the environment.
        import urllib.request

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.api_url + path, timeout=REPLY_TIMEOUT_S) as answer:
                return json.load(answer)
        except OSError as error:
            raise ClusterError(f"the embedded API did not answer {path}: {error}") from error

    def scale(self, pods: int) -> tuple[str, ...]:
        """Have so many endpoints at once; returns their pods' names. Pods beyond that keep the connections they have."""
        self.pods = tuple(self._ask(do="scale", pods=pods)["pods"])
        return self.pods

    def set_fault(self, pod: str, fault: Fault, delay_ms: int | None = None) -> None:
        """Make a pod misbehave, or behave, from its next request on."""
        self._ask(do="fault", pod=pod, fault=fault.value, delay_ms=delay_ms)

    def set_job_fault(self, fault: JobFault | str | None) -> None:
        """Have something be wrong with the Jobs that are created from now on; ``None``: nothing is."""
        self._ask(do="job-fault", fault=None if fault is None else str(fault))

    def deny(self, verb: str, resource: str) -> None:
        """Take a verb on a resource (``pods``, ``pods/log``) away from whoever uses the API."""
        self._ask(do="deny", verb=verb, resource=resource)

    def allow_only(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Have whoever uses the API do what these rules of a Role say and nothing else."""
        self._ask(do="allow-only", rules=list(rules))

    def expire_lists(self) -> None:
        """Have every continue token that was given out so far be too old, and every version before this one for a watch."""
        self._ask(do="expire-lists")

    def set_outage(self, outage: Outage) -> None:
        """Have the API be away, silent, or back; watches that were open when it went away are not."""
        self._ask(do="outage", outage=outage.value)

    def bookmark(self) -> None:
        """Have every watch that wants bookmarks send one now."""
        self._ask(do="bookmark")

    def end_watches(self, how: WatchEnd = WatchEnd.CLEAN) -> int:
        """End every watch before its time; how many there were."""
        return int(self._ask(do="end-watches", how=how.value)["ended"])

    def put(self, resource: str, found: Mapping[str, Any]) -> None:
        """Have this object in the API, in the place of what has its name; a `scale` of the scenario still writes its own."""
        self._ask(do="put", resource=resource, object=dict(found))

    def remove(self, resource: str, name: str, namespace: str = NAMESPACE) -> None:
        """Have an object be gone from the API.

        Raises:
            ClusterError: when there is none.
        """
        self._ask(do="remove", resource=resource, namespace=namespace, name=name)

    def picks(self) -> dict[str, int]:
        """Pod to connections given to it by the balancer, or requests where a proxy picks per request."""
        return dict(self._ask(do="picks")["picks"])

    def answered(self) -> dict[str, int]:
        """Pod to requests that it answered completely, whatever the status."""
        return dict(self._ask(do="answered")["answered"])

    def kubeconfig(self) -> str:
        """A kubeconfig file's text, for kubectl and other clients."""
        return KUBECONFIG.format(server=self.api_url, namespace=NAMESPACE)

    def _ask(self, **command: object) -> Any:
        with self._lock:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(command).encode() + b"\n")
                self._process.stdin.flush()
            except (OSError, ValueError) as error:
                raise ClusterError(f"the embedded cluster is gone: {self._last_words() or error}") from error
            reply = self._read()
        if "error" in reply:
            raise ClusterError(f"the embedded cluster cannot {command['do']}: {reply['error']}")
        return reply

    def _read(self) -> Any:
        """One line from the child, read past Python's buffers so that waiting for it can be bounded."""
        assert self._process.stdout is not None
        fd, due = self._process.stdout.fileno(), time.monotonic() + REPLY_TIMEOUT_S
        while b"\n" not in self._unread:
            if not select.select([fd], [], [], max(0.0, due - time.monotonic()))[0]:
                raise ClusterError(f"the embedded cluster is silent: {self._last_words()}")
            data = os.read(fd, 65536)
            if not data:
                raise ClusterError(f"the embedded cluster ended: {self._last_words()}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def _last_words(self) -> str:
        if self._errors.closed:
            return "it was closed"
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip() or "it wrote no error"

    def close(self) -> None:
        """Stop the child; does nothing the second time."""
        _end(self._process)
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def _spawn(scenario: Scenario, errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    # -P keeps modules in the user's folder from being taken for the standard library's.
    command = [sys.executable, "-P", "-m", "kbalance.testbed", scenario.name, to_json(scenario)]
    environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": path}
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            # Out of the terminal's foreground group: Ctrl-C must not reach it, not even before it can ignore it.
            process_group=0,
        )
    except OSError as error:
        errors.close()
        raise ClusterError(f"the embedded cluster did not start: {error}") from error


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError):
        # Closing flushes; the child may be gone already.
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: kbalance
clusters:
- name: kbalance
  cluster:
    server: {server}
contexts:
- name: kbalance
  context:
    cluster: kbalance
    namespace: {namespace}
    user: kbalance
users:
- name: kbalance
  user: {{}}
"""
