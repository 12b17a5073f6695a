"""What becomes of the endpoints once the traffic is over: read once more, or watched while some may join."""

from collections.abc import Callable, Sequence

from kbalance.analysis.account import Account
from kbalance.analysis.growth import scale_out
from kbalance.errors import DiscoveryError
from kbalance.kube.joining import EVERY_S, Joining
from kbalance.model.report import ScaleOut
from kbalance.model.target import Facts


class After:
    """What becomes of the endpoints once all is measured: read once more, or watched while they may join."""

    def __init__(self, read: Callable[[], Facts]) -> None:
        self._read = read
        self._facts: Facts | None = None
        self._unread: tuple[str, ...] = ()
        self._begun = False
        self.joining = Joining(read)

    def __enter__(self) -> "After":
        return self

    def __exit__(self, *_: object) -> None:
        self.joining.stop()

    def watch(self) -> None:
        """From now on endpoints may join without spoiling what was measured."""
        if not self._begun:
            self._begun = True
            self._facts, self._unread = _read_again(self._read)
            self.joining.start()

    def read(self) -> tuple[Facts | None, tuple[str, ...]]:
        """The facts after the traffic that was measured, and what could not be read."""
        return (self._facts, self._unread) if self._begun else _read_again(self._read)

    def troubles(self) -> tuple[str, ...]:
        """What could not be read of the endpoints while they may have joined, in a sentence."""
        failed = self.joining.troubles
        if not self._begun or not failed:
            return ()
        so = "so who joined meanwhile is not known" if self.joining.blind else "so who joined just then may be missing or late"
        return (f"While kbalance watched, the endpoints could not be read {len(failed)} times, {so}: {failed[-1]}",)

    def scale_out(self, accounts: Sequence[Account]) -> ScaleOut | None:
        """What newcomers got; ``None``: nobody watched."""
        began = [a.watch_began.at_s for a in accounts if a.watch_began is not None]
        ended = [a.watch_ended.at_s for a in accounts if a.watch_ended is not None]
        if not began or not ended or self.joining.blind:
            return None
        return scale_out(
            [told for a in accounts for told in a.firsts],
            self.joining.since,
            self.joining.names,
            began_s=min(began),
            ended_s=max(ended),
            every_s=EVERY_S,
            before=len(self._facts.ready) if self._facts is not None else 0,
        )


def _read_again(read: Callable[[], Facts]) -> tuple[Facts | None, tuple[str, ...]]:
    """The facts after the traffic; what was measured is not thrown away because the API does not answer now."""
    try:
        return read(), ()
    except DiscoveryError as error:
        return None, (f"The cluster could not be asked again, so a change during the run would not be known: {error}",)
