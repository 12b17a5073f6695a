"""kbalance's engine as a run uses it: the driver, identity from the answer, every observation folded."""

import math
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter

from bench.errors import NotMeasured
from bench.servers import BODY, PODS
from kbalance.analysis.fold import ProfileFold
from kbalance.analysis.identity.extract import Extractor, body, header
from kbalance.analysis.identity.identifier import Identifier
from kbalance.analysis.identity.known import known_names
from kbalance.model.plan import Lifetime, ProfilePlan, RequestSpec
from kbalance.model.target import Address, EndpointFacts
from kbalance.model.words import PoolPolicy, Profile, Protocol, Stop
from kbalance.traffic.driver import Budget, Driver
from kbalance.traffic.identify import Identify
from kbalance.wire.grpc import HEALTH, frame

WITHOUT_END = 10**9
"""Requests where time is the limit."""
UNDER_WAY = 16
"""Requests, where a connection may carry several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What is asked, and where the answer says who gave it."""

    identity: Extractor
    protocol: Protocol
    path: str = "/"
    method: str = "GET"
    body: bytes = b""


_HEADER, _BODY = header("X-Pod-Name"), body()
HTTP1 = Exchange(identity=_HEADER, protocol=Protocol.HTTP1)
HTTP2 = Exchange(identity=_HEADER, protocol=Protocol.H2C)
HTTP2_BODY = Exchange(identity=_BODY, protocol=Protocol.H2C, path=BODY)
HTTP2_PAGE = Exchange(identity=_BODY, protocol=Protocol.H2C)
"""Where the body is all that tells."""
GRPC = Exchange(identity=_HEADER, protocol=Protocol.GRPC, path=f"/{HEALTH}", method="POST", body=frame(b""))


def rate(exchange: Exchange, profile: Profile, port: int, connections: int, seconds: float) -> float:
    """Requests per second of a profile that runs for so long; the time includes opening, closing and folding.

    Raises:
        NotMeasured: something went wrong that would make the number worthless.
    """
    began = perf_counter()
    answered = _run(exchange, _plan(exchange, profile, port, connections, WITHOUT_END), deadline=began + seconds)
    return answered / (perf_counter() - began)


def peak_memory(port: int, connections: int, requests: int) -> float:
    """MiB that this process ever held at once, after so many pooled requests."""
    _run(HTTP1, _plan(HTTP1, Profile.POOLED, port, connections, requests), deadline=math.inf)
    # getrusage would give the larger of this process's peak and that of the parent it was forked from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _run(exchange: Exchange, plan: ProfilePlan, deadline: float) -> int:
    """Requests that were answered and attributed."""
    fold = ProfileFold(plan, PODS, tolerance=1.5, alpha=0.01)
    driver = Driver(
        plan,
        RequestSpec(
            method=exchange.method,
            authority=str(plan.addresses[0]),
            path=exchange.path,
            body=exchange.body,
            protocol=exchange.protocol,
        ),
        timeout_s=5.0,
        deadline=deadline,
        budget=Budget(WITHOUT_END),
        random=Random(0),
        identify=_identify(exchange.identity),
    )
    for observation in driver.run():
        fold.add(observation)
    report = fold.settle(driver.stopped or Stop.DONE, 0.0)
    if report.requests.failed or report.unidentified or report.unknown:
        raise NotMeasured(f"kbalance: {report.requests}, {report.unidentified} unidentified, {report.failures}")
    return report.requests.answered


def _identify(extractor: Extractor) -> Identify:
    known = known_names(EndpointFacts(name=name, address=None) for name in PODS)
    return Identify(Identifier(extractor=extractor, known=known, strangers=None), from_head=extractor is _HEADER)


def _plan(exchange: Exchange, profile: Profile, port: int, connections: int, requests: int) -> ProfilePlan:
    """Connections that carry several requests share out as many as there are in all, unless each carries one only."""
    shared = exchange.protocol.multiplexes and profile is Profile.POOLED
    return ProfilePlan(
        profile=profile,
        requests=requests,
        slots=connections,
        concurrency=UNDER_WAY if shared else connections,
        rate=None,
        lifetime=Lifetime(requests=1) if profile is Profile.SHORT_LIVED else Lifetime(),
        pool_policy=PoolPolicy.ROUND_ROBIN,
        addresses=(Address("127.0.0.1", port),),
        streams=UNDER_WAY // connections if shared else 1,
    )
