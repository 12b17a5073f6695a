"""kbalance's engine as a run uses it: the driver, identity from the header, every observation folded."""

import math
from pathlib import Path
from random import Random
from time import perf_counter

from bench.errors import NotMeasured
from bench.servers import PODS
from kbalance.analysis.fold import ProfileFold
from kbalance.analysis.identity.extract import header
from kbalance.analysis.identity.identifier import Identifier
from kbalance.analysis.identity.known import known_names
from kbalance.model.plan import Lifetime, ProfilePlan, RequestSpec
from kbalance.model.target import Address, EndpointFacts
from kbalance.model.words import PoolPolicy, Profile, Stop
from kbalance.traffic.driver import Budget, Driver
from kbalance.traffic.identify import Identify

WITHOUT_END = 10**9
"""Requests where time is the limit."""


def rate(profile: Profile, port: int, connections: int, seconds: float) -> float:
    """Requests per second of a profile that runs for so long; the time includes opening, closing and folding.

    Raises:
        NotMeasured: something went wrong that would make the number worthless.
    """
    began = perf_counter()
    answered = _run(_plan(profile, port, connections, WITHOUT_END), deadline=began + seconds)
    return answered / (perf_counter() - began)


def peak_memory(port: int, connections: int, requests: int) -> float:
    """MiB that this process ever held at once, after so many pooled requests."""
    _run(_plan(Profile.POOLED, port, connections, requests), deadline=math.inf)
    # getrusage would give the larger of this process's peak and that of the parent it was forked from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _run(plan: ProfilePlan, deadline: float) -> int:
    """Requests that were answered and attributed."""
    fold = ProfileFold(plan, PODS, tolerance=1.5, alpha=0.01)
    driver = Driver(
        plan,
        RequestSpec(method="GET", authority=str(plan.addresses[0]), path="/"),
        timeout_s=5.0,
        deadline=deadline,
        budget=Budget(WITHOUT_END),
        random=Random(0),
        identify=_identify(),
    )
    for observation in driver.run():
        fold.add(observation)
    report = fold.settle(driver.stopped or Stop.DONE, 0.0)
    if report.requests.failed or report.unidentified or report.unknown:
        raise NotMeasured(f"kbalance: {report.requests}, {report.unidentified} unidentified, {report.failures}")
    return report.requests.answered


def _identify() -> Identify:
    known = known_names(EndpointFacts(name=name, address=None) for name in PODS)
    return Identify(Identifier(extractor=header("X-Pod-Name"), known=known, strangers=None), from_head=True)


def _plan(profile: Profile, port: int, connections: int, requests: int) -> ProfilePlan:
    return ProfilePlan(
        profile=profile,
        requests=requests,
        slots=connections,
        concurrency=connections,
        rate=None,
        lifetime=Lifetime(requests=1) if profile is Profile.SHORT_LIVED else Lifetime(),
        pool_policy=PoolPolicy.ROUND_ROBIN,
        addresses=(Address("127.0.0.1", port),),
    )
