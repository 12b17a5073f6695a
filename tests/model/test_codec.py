"""Every value of the model survives the way through JSON."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbalance.analysis.thresholds import parse
from kbalance.model.codec import decode, encode
from kbalance.model.observation import Answers, ConnectionObservation
from kbalance.model.plan import Lifetime, Options, TrafficPlan
from kbalance.model.target import Facts
from kbalance.model.words import Closer, FailOn, Failure, Profile
from tests.builders import facts, traffic_plan

names = st.none() | st.text(max_size=20)
counts = st.integers(0, 10**6)
times = st.floats(0, 1e6)
observations = st.builds(
    ConnectionObservation,
    serial=counts,
    endpoint=names,
    opened_s=times,
    connect_s=st.none() | times,
    age_s=times,
    answers=st.lists(
        st.builds(Answers, who=names, requests=counts, failed=counts, latency=st.dictionaries(counts, counts, max_size=5)),
        max_size=3,
    ).map(tuple),
    unanswered=st.lists(st.tuples(st.sampled_from(Failure), counts), max_size=3).map(tuple),
    abandoned=counts,
    retried=counts,
    closed_by=st.sampled_from(Closer),
    detail=st.text(max_size=20),
)


@given(observations)
def test_an_observation_comes_back_as_it_was(observation: ConnectionObservation) -> None:
    assert decode(ConnectionObservation, json.loads(json.dumps(encode(observation)))) == observation


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (TrafficPlan, traffic_plan()),
        (Facts, facts()),
        (
            Options,
            Options(
                profiles=(Profile.SINGLE,),
                lifetime=Lifetime(age_s=1.5),
                body=b"\x00\xff",
                requests=7,
                deadline_s=None,
                thresholds=(parse("single.idle==0"), parse("failed_share<0.01")),
                fail_on=FailOn.NEVER,
            ),
        ),
    ],
    ids=["plan", "facts", "options"],
)
def test_larger_values_come_back_as_they_were(kind: type, value: object) -> None:
    assert decode(kind, json.loads(json.dumps(encode(value)))) == value


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    left: int
    right: tuple[Failure, ...]


@pytest.mark.parametrize("value", [[1], [1, ["refused"], 2], [1, ["no failure"]], 7, [1, 5], None])
def test_what_is_no_such_value_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(Pair, value)
