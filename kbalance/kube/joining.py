"""Who joins a Service while others look at something else."""

import threading
import time
from collections.abc import Callable, Mapping

from kbalance.errors import DiscoveryError
from kbalance.model.target import Address, Facts

EVERY_S = 0.5
"""Between two readings; each is two small requests to the API."""


class Joining:
    """Reads the facts again and again in a thread of its own, from ``start`` to ``stop``.

    Args:
        read: gives the facts as they are now.
        clock: seconds since 1970.
    """

    def __init__(self, read: Callable[[], Facts], clock: Callable[[], float] = time.time) -> None:
        self._read = read
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kbalance-joining", daemon=True)
        self._lock = threading.Lock()
        self._begun = False
        self._ready: dict[str, Address | None] = {}
        self._since: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self.troubles: list[str] = []
        """Why readings failed, one for each."""
        self._broken: BaseException | None = None

    def start(self) -> None:
        """Whoever is ready at the first reading that succeeds is old."""
        self._look(self._clock())
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; raises what broke it, if anything did."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken

    @property
    def blind(self) -> bool:
        """Whether no reading has succeeded, so that nobody can be called new."""
        return not self._begun

    def endpoints(self) -> tuple[tuple[str, Address], ...]:
        """The ready ones with their addresses, at the last reading."""
        with self._lock:
            return tuple((name, address) for name, address in self._ready.items() if address is not None)

    @property
    def since(self) -> Mapping[str, float]:
        """When each newcomer was first seen ready, seconds since 1970; those that left again too."""
        with self._lock:
            return dict(self._since)

    @property
    def names(self) -> Mapping[str, str]:
        """``ip:port`` to the name of the endpoint that has or had it."""
        with self._lock:
            return dict(self._names)

    def _watch(self) -> None:
        try:
            while not self._over.wait(EVERY_S):
                self._look(self._clock())
        except BaseException as error:  # for whoever stops it
            self._broken = error

    def _look(self, now: float) -> None:
        try:
            facts = self._read()
        except DiscoveryError as error:
            self.troubles.append(str(error))
            return
        with self._lock:
            ready = {e.name: e.address for e in facts.ready}
            for name in ready if self._begun else ():
                if name not in self._ready:
                    self._since.setdefault(name, now)
            self._begun = True
            self._names.update({str(e.address): e.name for e in facts.ready})
            self._ready = ready
