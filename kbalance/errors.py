"""Every exception that kbalance raises on purpose; any other one is a bug.

KbalanceError
├── TargetError      the user's move: a target, option or file that makes no sense      (exit code 2)
├── DiscoveryError   the cluster's or the resolver's move: not found, unreachable       (exit code 3)
│   ├── NoAccess     nothing says where a cluster is
│   └── ApiError     the API server refused, or did not answer
├── TrafficError     nothing could be measured at all                                   (exit code 3)
└── ExchangeError    one request or connection went wrong; never leaves the room that holds the connection
"""

from kbalance.model.words import Failure


class KbalanceError(Exception):
    """The root; its message is one sentence that names the object and the next step."""


class TargetError(KbalanceError):
    """The target or an option cannot be used as given."""


class DiscoveryError(KbalanceError):
    """What stands behind the target could not be found out."""


class NoAccess(DiscoveryError):
    """There is neither a kubeconfig nor a Pod's service account."""


class ApiError(DiscoveryError):
    """A call to the Kubernetes API failed.

    Args:
        status: of the answer; ``None``: there was none.
        reason: the API's own word, for example ``NotFound``.
        answer: the API's own sentence.
    """

    def __init__(self, message: str, *, status: int | None = None, reason: str = "", answer: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.answer = answer


class StreamBroken(ApiError):
    """A log or a watch broke off before its end."""


class TrafficError(KbalanceError):
    """No traffic could be measured."""


class ExchangeError(KbalanceError):
    """One exchange failed; the driver turns it into an observation, the httpx transport into an httpx exception."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(detail or failure.value)
        self.failure = failure
