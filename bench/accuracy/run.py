"""Arrangements become trials, one after the other, so that no probe disturbs another one's clock."""

import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter

from bench.accuracy.trial import Arrangement, NotArranged, Trial, trial
from bench.errors import NotMeasured

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An arrangement that could not be stood up, or fell; it has no verdict to judge."""

    scenario: str
    dataplane: str
    pods: int
    why: str


def tried(arrangements: Iterable[Arrangement], runs: int | None, say: Say) -> Iterator[Trial | Failed]:
    """Every trial in order, until there are no more or somebody interrupts.

    Args:
        runs: of each arrangement; ``None``: as many as it asks for itself.
    """
    for arrangement in arrangements:
        say(f"{arrangement.scenario} ({arrangement.dataplane}, {arrangement.pods} pods)")
        try:
            with arrangement.stand() as probe:
                for seed in range(1, (runs or arrangement.runs) + 1):
                    if interrupted():
                        return
                    began = perf_counter()
                    report = probe(seed)
                    done = trial(arrangement, seed, report, perf_counter() - began)
                    say(f"  seed {seed}: {done.cause} ({done.mark}), {done.connections} connections, {done.seconds:.1f} s")
                    yield done
        except (NotArranged, NotMeasured, AssertionError, OSError, subprocess.SubprocessError) as error:
            why = " ".join(str(error).split())
            say(f"  not measured: {why}")
            yield Failed(scenario=arrangement.scenario, dataplane=arrangement.dataplane, pods=arrangement.pods, why=why)


def hold_interrupts() -> None:
    """Ctrl-C from now on waits to be asked for, here and in every process that is started: what stands is taken down in order."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def interrupted() -> bool:
    """Whether Ctrl-C was pressed."""
    return signal.SIGINT in signal.sigpending()
