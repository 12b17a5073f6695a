"""Pods come, go, die and return at random while requests run: nothing is lost, nothing goes astray, nothing stays open."""

from concurrent.futures import Future
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kbalance.balancing import Ejection, Lifetime, Retries
from kbalance.model.words import EndpointPolicy
from kbalance.testbed.scenario import Fault
from tests.balancing.fleet import KINDS, Caller, Fleet, got, until

PODS = range(1, 7)
SLOW_MS = 20
UNLIMITED = Retries(attempts=100, least_per_s=1e9)
"""With a budget, some requests could be lost by right; a dead Pod that is listed anew is tried anew."""


@dataclass
class UnderWay:
    """A request that was begun."""

    future: "Future[httpx.Response]"
    allowed: set[int]
    """Pods that may answer it."""
    safe: set[int]
    """Pods that were listed and alive all the time; without any, each may have been met at a bad moment."""


class Churn(RuleBasedStateMachine):
    """Six Pods, of which any number are listed and some dead; at least one that is listed lives."""

    kind = ""
    policy = EndpointPolicy.ROUND_ROBIN

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.fleet.start(*PODS, fault=Fault.SLOW, delay_ms=SLOW_MS)
        self.listed = frozenset(PODS)
        self.dead: frozenset[int] = frozenset()
        self.fleet.list(*PODS)
        self.caller: Caller = KINDS[self.kind](
            self.fleet.source,
            5.0,
            16,
            policy=self.policy,
            retries=UNLIMITED,
            ejection=Ejection(after=3, for_s=0.02),
            lifetime=Lifetime(requests=7),
        )
        self.under_way: list[UnderWay] = []

    @property
    def living(self) -> frozenset[int]:
        return self.listed - self.dead

    @rule(count=st.integers(1, 6))
    def begin(self, count: int) -> None:
        self.under_way += [UnderWay(self.caller.begin(), set(self.living), set(self.living)) for _ in range(count)]

    @rule(wanted=st.sets(st.sampled_from(PODS), min_size=1))
    def list(self, wanted: set[int]) -> None:
        if not wanted - self.dead:
            return
        self.listed = frozenset(wanted)
        self.fleet.list(*wanted)
        self._may_be_answered_by(self.living)
        for one in self.under_way:
            one.safe &= self.listed

    @precondition(lambda self: len(self.living) > 1)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.living)))
        self.dead |= {number}
        for one in self.under_way:
            one.safe -= {number}
        self.fleet.fault(number, Fault.REFUSE)

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def live(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.dead)))
        self.dead -= {number}
        self.fleet.fault(number, Fault.SLOW, SLOW_MS)
        self._may_be_answered_by(self.living)

    def _may_be_answered_by(self, pods: frozenset[int]) -> None:
        """A request that is under way when something changes may still be sent anywhere that is listed now."""
        for one in self.under_way:
            one.allowed |= pods

    @rule()
    def collect(self) -> None:
        for one in self.under_way:
            outcome = got(one.future)
            lost = outcome in ("ConnectError", "ReadError") and not one.safe
            assert lost or outcome in {f"pod-{n}" for n in one.allowed}, (outcome, one, self.caller.line())
        self.under_way = []

    @precondition(lambda self: not self.under_way)
    @invariant()
    def nothing_leaks(self) -> None:
        """When nothing is under way, connections are idle ones to Pods that live and are listed, and both sides agree on them."""
        gone = set(PODS) - self.listed
        until(lambda: not any(self.fleet.connections(n) for n in gone | set(self.dead)))
        until(self._agreed)

    def _agreed(self) -> bool:
        """What a Pod ended while it was idle, a thread sees only when it comes by the next time."""
        ours, theirs = self.caller.snapshot(), self._open()
        return ours.idle == ours.connections and (
            theirs == ours.connections or (self.kind == "threads" and theirs < ours.connections)
        )

    def _open(self) -> int:
        return sum(self.fleet.connections(n) for n in PODS)

    def teardown(self) -> None:
        try:
            self.collect()
            self.nothing_leaks()
        finally:
            self.caller.close()
            until(lambda: not any(self.fleet.connections(n) for n in PODS))
            self.fleet.close()


@pytest.mark.parametrize("policy", [EndpointPolicy.ROUND_ROBIN, EndpointPolicy.TWO_CHOICES])
@pytest.mark.parametrize("kind", ["asyncio", "threads"])
def test_churn(kind: str, policy: EndpointPolicy) -> None:
    machine = type("Churn", (Churn,), {"kind": kind, "policy": policy})

    # Shrinking would wait for what never comes true again and again.
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )
