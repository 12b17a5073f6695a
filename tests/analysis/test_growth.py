"""Readiness and first answers side by side."""

from kbalance.analysis.growth import scale_out
from kbalance.model.record import FirstAnswers
from kbalance.model.report import Newcomer, ScaleOut
from kbalance.model.words import Profile, Stop


def heard(profile: Profile, requests: int = 10, stopped: Stop = Stop.DONE, **firsts: float) -> FirstAnswers:
    return FirstAnswers(profile=profile, requests=requests, connections=1, stopped=stopped, firsts=tuple(firsts.items()))


def grown(*firsts: FirstAnswers, since: dict[str, float], names: dict[str, str] | None = None) -> ScaleOut:
    return scale_out(firsts, since, names or {}, began_s=100.0, ended_s=160.0, every_s=0.5, before=3)


def test_the_time_from_ready_to_the_first_answer_of_each_profile() -> None:
    found = grown(heard(Profile.SINGLE, old=100.2), heard(Profile.SHORT_LIVED, old=100.1, new=131.5), since={"new": 130.0})

    assert found == ScaleOut(
        duration_s=60.0,
        every_s=0.5,
        before=3,
        requests={"single": 10, "short-lived": 10},
        cut_short=(),
        newcomers=(Newcomer(name="new", ready_s=30.0, first_s={"single": None, "short-lived": 1.5}),),
    )


def test_an_answer_before_the_look_at_the_endpoints_counts_as_at_once() -> None:
    found = grown(heard(Profile.SHORT_LIVED, new=129.8), since={"new": 130.0})

    assert found.newcomers[0].first_s == {"short-lived": 0.0}


def test_the_first_of_several_workers_counts_and_their_requests_add_up() -> None:
    found = grown(heard(Profile.SINGLE, new=135.0), heard(Profile.SINGLE, new=133.0), since={"new": 130.0})

    assert (found.newcomers[0].first_s, found.requests) == ({"single": 3.0}, {"single": 20})


def test_profiles_stand_in_their_own_order_whoever_ends_first() -> None:
    found = grown(heard(Profile.STOCK), heard(Profile.SHORT_LIVED), heard(Profile.SINGLE), since={})

    assert list(found.requests) == ["single", "short-lived", "stock"]


def test_an_address_means_the_endpoint_that_has_it() -> None:
    told = FirstAnswers(
        profile=Profile.PER_ENDPOINT, requests=4, connections=4, stopped=Stop.DONE, firsts=(("127.0.1.9:80", 131.0),)
    )

    found = grown(told, since={"web-9": 130.0}, names={"127.0.1.9:80": "web-9"})

    assert found.newcomers[0].first_s == {"per-endpoint": 1.0}


def test_a_profile_that_ended_early_is_named() -> None:
    capped, failing = heard(Profile.SHORT_LIVED, stopped=Stop.CONNECTION_CAP), heard(Profile.SINGLE, stopped=Stop.FAILING)

    assert grown(capped, failing, heard(Profile.STOCK), since={}).cut_short == ("single", "short-lived")


def test_newcomers_come_in_the_order_in_which_they_became_ready() -> None:
    found = grown(since={"b": 120.0, "a": 120.0, "c": 110.0})

    assert [one.name for one in found.newcomers] == ["c", "a", "b"]
