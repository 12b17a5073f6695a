"""The closed sets: each value is the word that users meet in options and in the JSON report.

This module stays free of dataclasses and of other imports: the command line loads it to print ``--help``.
"""

from enum import StrEnum

MOST_CONNECTIONS = 20_000
"""New connections of one run: more would use up the ports of the machine (Linux has 28,232 for connections to one address, and
keeps each for a minute)."""

AGENT_IMAGE = "python:3.12-slim"
"""What a Job runs on unless the user names another image: small, public, and with a Python that the agent runs on."""


class TargetKind(StrEnum):
    """What the user named."""

    SERVICE = "service"
    URL = "url"


class Profile(StrEnum):
    """How a client uses connections, in the order in which profiles are run and reported."""

    SINGLE = "single"
    POOLED = "pooled"
    SHORT_LIVED = "short-lived"
    PER_ENDPOINT = "per-endpoint"
    STOCK = "stock"
    """An ordinary HTTP/2 or gRPC client: however many connections it may have, requests share the first one as long as the server
    takes more streams on it. On request only."""


USUAL_PROFILES = (Profile.SINGLE, Profile.POOLED, Profile.SHORT_LIVED, Profile.PER_ENDPOINT)
"""What runs unless the user chooses."""


class Protocol(StrEnum):
    """What is spoken on a connection."""

    HTTP1 = "http1"
    H2 = "h2"
    """HTTP/2 over TLS."""
    H2C = "h2c"
    """HTTP/2 without TLS, known beforehand (RFC 9113, 3.3)."""
    GRPC = "grpc"
    """Unary calls of gRPC over HTTP/2, with or without TLS."""

    @property
    def multiplexes(self) -> bool:
        """Whether one connection carries several requests at once."""
        return self is not Protocol.HTTP1


class ProtocolChoice(StrEnum):
    """What the user wants spoken."""

    AUTO = "auto"
    """What the Service's port says, else what the server chooses in the TLS handshake, else HTTP/1.1."""
    HTTP1 = "http1"
    H2 = "h2"
    H2C = "h2c"
    GRPC = "grpc"


class PoolPolicy(StrEnum):
    """Which idle pooled connection takes the next request."""

    ROUND_ROBIN = "round-robin"
    """The next one in turn."""
    LIFO = "lifo"
    """The one used last (most client pools: keeps few connections warm)."""
    FIFO = "fifo"
    """The one that has waited longest."""
    RANDOM = "random"


class EndpointPolicy(StrEnum):
    """Which endpoint a client that balances takes next."""

    ROUND_ROBIN = "round-robin"
    RANDOM = "random"
    TWO_CHOICES = "two-choices"


class FactsSource(StrEnum):
    """How kbalance knows the endpoints."""

    API = "api"
    GIVEN = "given"
    DNS = "dns"
    ANSWERS = "answers"
    """Learned from what answered: an endpoint that never answered is not in the list."""


class Failure(StrEnum):
    """Why a request got no good answer."""

    REFUSED = "refused"
    """Connection refused (RST to our SYN)."""
    UNREACHABLE = "unreachable"
    """The network said that there is no way there, or the operating system would not open a socket."""
    CONNECT_TIMEOUT = "connect-timeout"
    TLS = "tls"
    """The TLS handshake failed: certificate, name or protocol."""
    TIMEOUT = "timeout"
    """Connected, but no complete answer in time (also a body that drips too slowly)."""
    RESET = "reset"
    """Connection reset while a request was under way."""
    CLOSED = "closed"
    """The server closed the connection before the answer was complete."""
    MALFORMED = "malformed"
    """What came back is not the protocol that was spoken."""
    TOO_LARGE = "too-large"
    """Header or body beyond the limit."""
    STATUS = "status"
    """A complete answer whose status is 500 or above; of gRPC, one whose status code means as much."""


class Closer(StrEnum):
    """Who ended a connection."""

    CLIENT = "client"
    SERVER = "server"
    FAILURE = "failure"


class Spread(StrEnum):
    """How this run's load lay over the endpoints: a fact."""

    PINNED = "pinned"
    """Every answered request went to one endpoint of several."""
    UNEVEN = "uneven"
    """The busiest endpoint's load over its fair share is above the tolerance, or an endpoint got nothing."""
    EVEN = "even"
    FAILED = "failed"
    """Too little was answered or identified to say, or an endpoint that was asked directly answered nothing."""


class Placement(StrEnum):
    """What chose the endpoint, inferred per connection."""

    RANDOM = "random"
    """Not distinguishable from a fair draw per connection, with enough connections to have told."""
    EVEN = "even"
    """In turn: counts of connections that differ by at most one, too even for a random draw."""
    BIASED = "biased"
    """Significantly unequal, more than one endpoint."""
    FIXED = "fixed"
    """Always the same endpoint, significantly."""
    PER_REQUEST = "per-request"
    """One connection is answered by several endpoints: a proxy balances requests."""
    UNKNOWN = "unknown"
    """Too few connections to tell, or nobody could be identified."""


class Severity(StrEnum):
    """How much a finding matters; the order of definition is from worst to mildest."""

    PROBLEM = "problem"
    """Something in the path is broken or biased."""
    RISK = "risk"
    """Works as configured, but clients that hold connections will be uneven."""
    INFO = "info"


class Confidence(StrEnum):
    """How sure a finding is; the order of definition is from surest to least sure."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class FailOn(StrEnum):
    """The mildest severity that makes the exit code 1."""

    PROBLEM = "problem"
    RISK = "risk"
    NEVER = "never"


class VantageChoice(StrEnum):
    """Where the user wants traffic to start."""

    AUTO = "auto"
    """Here where the Service can be reached from here, else a Job."""
    LOCAL = "local"
    JOB = "job"


class OutputFormat(StrEnum):
    """The renderings of a report."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    """For a job summary or a ticket on GitHub."""
    JUNIT = "junit"
    """XML for the test reports of CI servers."""


class Comparison(StrEnum):
    """How a number of the report is compared with the user's limit."""

    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    EQUAL = "=="
    NOT_EQUAL = "!="


class Stop(StrEnum):
    """Why a profile ended."""

    DONE = "done"
    """All planned requests were made."""
    CERTAIN = "certain"
    """The question was settled early."""
    FAILING = "failing"
    """Too large a share of requests failed."""
    DEADLINE = "deadline"
    CONNECTION_CAP = "connection-cap"
    INTERRUPTED = "interrupted"


class Verdict(StrEnum):
    """What became of one number between two reports."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    """A change that matters is excluded."""
    UNCLEAR = "unclear"
    """The evidence shows no change, and excludes none."""


class Outcome(StrEnum):
    """The answer of a comparison."""

    BETTER = "better"
    """Something is better and nothing worse."""
    WORSE = "worse"
    NO_CHANGE = "no-change"
    """No change that the evidence shows."""
    NOT_COMPARABLE = "not-comparable"


class Matching(StrEnum):
    """How the endpoints of two reports were put side by side."""

    NAME = "name"
    RANK = "rank"
    """By load, busiest first: a rollout gives every Pod a new name."""


class DiffFormat(StrEnum):
    """The renderings of a comparison."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
