"""A measurement from inside the cluster: the order goes out in a Job, and the workers' records come back by its logs."""

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from kbalance.kube.job import Api, Job
from kbalance.kube.manifests import Content, Placement, belongings, job
from kbalance.model.record import Ended, GaveUp, Record
from kbalance.model.target import Facts
from kbalance.vantage.bundle import bundle
from kbalance.vantage.lines import Reader
from kbalance.vantage.order import Order, pack


@dataclass(frozen=True, slots=True, kw_only=True)
class Mission:
    """What is sent, and where it runs."""

    order: Order
    """Its facts are replaced by those of the run."""
    files: dict[str, bytes]
    """Certificates and keys, by the names in `kbalance.vantage.order`."""
    placement: Placement
    namespace: str
    name: str


def new_name() -> str:
    """A name for the objects of one run, that no other run has."""
    return "kbalance-" + "".join(secrets.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(6))


def manifests(mission: Mission, facts: Facts) -> list[dict[str, Any]]:
    """The objects that a run would make, as they could be applied by hand."""
    content = _content(mission, facts)
    made = job(mission.name, mission.namespace, mission.placement, content)
    return [*belongings(mission.name, mission.namespace, content, None), made]


class Remote:
    """Sends the workers and brings their records back; leaving the context takes away whatever is still there."""

    def __init__(self, api: Api, mission: Mission, on_state: Callable[[str], None] = lambda state: None) -> None:
        self._api = api
        self._mission = mission
        self._on_state = on_state
        self._job: Job | None = None
        self._removed = False
        self.interrupted = False
        self.problems: tuple[str, ...] = ()
        """What could not be removed, in sentences."""

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def interrupt(self) -> None:
        """Ends the traffic; may be called from a signal handler."""
        self.interrupted = True
        if self._job is not None:
            self._job.interrupt()

    def send(self, facts: Facts) -> Iterator[tuple[int, Record]]:
        """Starts the workers; their records as they come, until all have said everything.

        Raises:
            DiscoveryError: the cluster does not let the Job run.
            TrafficError: a log cannot be read.
        """
        mission = self._mission
        self._job = Job(self._api, mission.name, mission.namespace, mission.placement, _content(mission, facts), self._on_state)
        if self.interrupted:
            return
        try:
            self._job.start()
            yield from self._records(self._job)
        finally:
            self._remove()

    def _records(self, running: Job) -> Iterator[tuple[int, Record]]:
        readers = [Reader() for _ in range(self._mission.placement.workers)]
        for worker, said in running.output():
            record = _with_last_words(said, readers[worker]) if isinstance(said, GaveUp) else readers[worker].feed(said)
            if record is None:
                continue
            yield worker, record
            if isinstance(record, Ended | GaveUp):
                running.finish(worker)

    def _remove(self) -> None:
        if self._job is not None and not self._removed:
            self.problems = self._job.remove()
            self._removed = True


def _content(mission: Mission, facts: Facts) -> Content:
    order, secret = pack(replace(mission.order, facts=facts))
    return Content(agent=bundle(), order=order, secrets=secret | mission.files, deadline_s=mission.order.options.deadline_s)


def _with_last_words(gave_up: GaveUp, reader: Reader) -> GaveUp:
    """What the image or Python said last explains most crashes."""
    words = next((line.strip() for line in reversed(reader.noise) if line.strip()), "")
    if not words:
        return gave_up
    tidy = re.sub(r"\s+", " ", words)[:200].rstrip(".")
    return replace(gave_up, message=f"{gave_up.message.rstrip('.')}; it last said: {tidy}.")
