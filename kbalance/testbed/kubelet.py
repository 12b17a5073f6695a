"""The nodes: they take the pods of Jobs and run each as a process on this machine."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kbalance.testbed import jobfaults, placement, podobjects, volumes
from kbalance.testbed.events import Recorder
from kbalance.testbed.jobfaults import JobFault
from kbalance.testbed.objects import Object
from kbalance.testbed.podlogs import PodLog
from kbalance.testbed.processes import Process
from kbalance.testbed.resources import NODES, PODS
from kbalance.testbed.sockets import local_ip
from kbalance.testbed.store import Store

_DEADLY = {JobFault.OOM: signal.SIGKILL, JobFault.CRASH: signal.SIGSEGV}
"""Faults that strike after the first line of output."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """A pod's life on its node; changes as it goes on."""

    pod: Object
    fault: JobFault | None
    ip: str
    log: PodLog = field(default_factory=PodLog)
    task: "asyncio.Task[None] | None" = None
    process: Process | None = None
    killer: asyncio.TimerHandle | None = None
    struck: bool = False


class Kubelet:
    """Scheduler, nodes and container runtime in one."""

    def __init__(self, store: Store, events: Recorder, now: Callable[[], str], changed: Callable[[Object], None]) -> None:
        """Needs a running event loop; `changed` is called with every pod whose status is another one, or that is gone."""
        self._store = store
        self._events = events
        self._now = now
        self._changed = changed
        self._runs: dict[str, _Run] = {}
        self._taken = 0
        self._placed = 0
        self._folder: Path | None = None
        self.variables: dict[str, str] = {}
        """Of every container."""

    def log(self, pod: Object) -> PodLog:
        """What the pod printed; empty for one that does not run here."""
        run = self._runs.get(pod["metadata"]["uid"])
        if run is not None:
            return run.log
        empty = PodLog()
        empty.end()
        return empty

    def start(self, pod: Object, fault: JobFault | None) -> None:
        """Take a pod that was just created."""
        run = _Run(pod=pod, fault=fault, ip=local_ip(f"127.0.3.{self._taken % 250 + 1}"))
        self._taken += 1
        self._runs[pod["metadata"]["uid"]] = run
        self._store.put(PODS, pod)
        run.task = asyncio.get_running_loop().create_task(self._live(run))

    def _update(self, run: _Run, status: Object) -> None:
        run.pod["status"] = status
        self._store.put(PODS, run.pod)
        self._changed(run.pod)

    async def _live(self, run: _Run) -> None:
        """Up to the start of the process; its end comes on its own."""
        if not self._schedule(run):
            return
        await self._mounted(run)
        if run.fault is JobFault.STUCK_PENDING:
            return
        if run.fault is JobFault.IMAGE_PULL:
            return self._back_off(run)
        image, name = run.pod["spec"]["containers"][0]["image"], run.pod["spec"]["containers"][0]["name"]
        self._say(run, "Normal", "Pulled", f'Container image "{image}" already present on machine', name)
        self._say(run, "Normal", "Created", f"Created container: {name}", name)
        self._run(run, name)

    def _say(self, run: _Run, kind: str, reason: str, message: str, container: str | None = None) -> None:
        self._events.of_kubelet((PODS, run.pod), kind, reason, message, container)

    def _schedule(self, run: _Run) -> bool:
        """Whether a node took the pod."""
        spec, metadata = run.pod["spec"], run.pod["metadata"]
        nodes = self._store.of(NODES)
        fit = [] if run.fault is JobFault.UNSCHEDULABLE else [node for node in nodes if placement.fits(spec, node)]
        if not fit and "nodeName" not in spec:
            message = jobfaults.UNSCHEDULABLE.format(nodes=len(nodes))
            self._update(run, podobjects.unschedulable(run.pod, message, self._now()))
            self._events.of_scheduler((PODS, run.pod), "Warning", "FailedScheduling", message)
            return False
        if "nodeName" not in spec:
            spec["nodeName"] = fit[self._placed % len(fit)]["metadata"]["name"]
            assigned = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {spec['nodeName']}"
            self._events.of_scheduler((PODS, run.pod), "Normal", "Scheduled", assigned)
        self._placed += 1
        creating = {"reason": "ContainerCreating"}
        self._update(run, podobjects.waiting(run.pod, creating, run.ip, self._now(), sandbox=False))
        return True

    async def _mounted(self, run: _Run) -> None:
        """Returns once every ConfigMap and Secret that the pod needs is there."""
        said = None
        while True:
            # Taken before the look, so that no change between the two is missed.
            pulse = self._store.pulse
            lack = volumes.missing(self._store, run.pod)
            if lack is None:
                return
            if lack != said:
                said = lack
                self._say(run, "Warning", "FailedMount", f'MountVolume.SetUp failed for volume "{lack[0]}" : {lack[1]}')
            await pulse.wait()

    def _back_off(self, run: _Run) -> None:
        container = run.pod["spec"]["containers"][0]
        image, name = container["image"], container["name"]
        why = jobfaults.PULL.format(image=image)
        self._say(run, "Normal", "Pulling", f'Pulling image "{image}"', name)
        self._say(run, "Warning", "Failed", f'Failed to pull image "{image}": {why}', name)
        self._say(run, "Warning", "Failed", "Error: ErrImagePull", name)
        self._say(run, "Normal", "BackOff", f'Back-off pulling image "{image}"', name)
        self._say(run, "Warning", "Failed", "Error: ImagePullBackOff", name)
        state = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}": ErrImagePull: {why}'}
        self._update(run, podobjects.waiting(run.pod, state, run.ip, self._now(), sandbox=True))

    def _run(self, run: _Run, name: str) -> None:
        folder = self._home() / run.pod["metadata"]["uid"]
        folder.mkdir()
        places = volumes.mount(self._store, run.pod, folder)
        # Fields such as the pod's address are known from here on.
        seen = run.pod | {"status": run.pod["status"] | {"podIP": run.ip}}
        base = {**self.variables, "HOSTNAME": run.pod["metadata"]["name"], "HOME": "/"}
        variables = volumes.environment(self._store, seen, places, base)
        try:
            if run.fault is JobFault.NO_PYTHON:
                raise FileNotFoundError("python3")
            command = volumes.command(run.pod, places, variables)
            run.process = Process(
                command,
                variables,
                folder,
                printed=lambda data: self._on_print(run, data),
                ended=lambda code: self._on_end(run, code),
            )
        except OSError as error:
            return self._not_started(run, name, str(error))
        self._say(run, "Normal", "Started", f"Started container {name}", name)
        self._update(run, podobjects.running(run.pod, run.ip, self._now()))

    def _home(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="kbalance-pods-"))
        return self._folder

    def _not_started(self, run: _Run, name: str, program: str) -> None:
        why = jobfaults.START.format(program=program)
        self._say(run, "Warning", "Failed", f"Error: {why}", name)
        run.log.end()
        self._update(run, podobjects.terminated(run.pod, 128, "StartError", run.ip, self._now(), why))

    def _on_print(self, run: _Run, data: bytes) -> None:
        run.log.write(data)
        if run.process is not None and run.log.lines and not run.struck and run.fault in _DEADLY:
            run.struck = True
            run.process.send(_DEADLY[run.fault])

    def _on_end(self, run: _Run, code: int) -> None:
        run.log.end()
        if run.killer is not None:
            run.killer.cancel()
        if run.struck and run.fault is not None:
            # A process that was faster than its fault has it all the same.
            code = 128 + _DEADLY[run.fault]
        reason = "OOMKilled" if run.struck and run.fault is JobFault.OOM else "Completed" if code == 0 else "Error"
        self._update(run, podobjects.terminated(run.pod, code, reason, run.ip, self._now()))
        if "deletionTimestamp" in run.pod["metadata"]:
            self._gone(run.pod)

    def delete(self, pod: Object, grace_s: int | None = None) -> None:
        """Have a pod end: asked at first, forced after its grace period, forgotten then."""
        run = self._runs.get(pod["metadata"]["uid"])
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
        if run is None or pod["status"]["phase"] != "Running":
            if run is not None and run.task is not None:
                run.task.cancel()
            return self._gone(pod)
        if run.killer is not None or run.process is None:
            return
        pod["metadata"] |= {"generation": 2, "deletionTimestamp": self._now(), "deletionGracePeriodSeconds": grace}
        self._store.put(PODS, pod)
        name = pod["spec"]["containers"][0]["name"]
        self._say(run, "Normal", "Killing", f"Stopping container {name}", name)
        run.killer = asyncio.get_running_loop().call_later(grace, run.process.send, signal.SIGKILL)
        run.process.send(signal.SIGTERM)

    def _gone(self, pod: Object) -> None:
        run = self._runs.pop(pod["metadata"]["uid"], None)
        if run is not None:
            run.log.end()
            if self._folder is not None:
                shutil.rmtree(self._folder / pod["metadata"]["uid"], ignore_errors=True)
        self._store.remove(PODS, pod)
        self._changed(pod)

    def close(self) -> None:
        """End every process, and remove every file."""
        for run in self._runs.values():
            for waiting in (run.task, run.killer):
                if waiting is not None:
                    waiting.cancel()
            if run.process is not None:
                run.process.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
