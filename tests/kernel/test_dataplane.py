"""The kernel, the pods and the plain client do what kbalance is about to be told that they do.

Statistical checks call luck a fault in at most one of a million runs each (see `chance`).
"""

from collections import Counter
from collections.abc import Callable

import pytest

from . import chance, client, rules
from .cluster import Cluster, Mode

pytestmark = pytest.mark.kernel

both_modes = pytest.mark.parametrize("mode", list(Mode), ids=str)
three_pods = pytest.mark.parametrize("pods", [3])
three_and_ten = pytest.mark.parametrize("pods", [3, 10])

SURELY = 40
"""Draws that meet every one of three pods, but for a chance of 3 * (2/3)^40 < 3e-7."""


@both_modes
@three_and_ten
def test_one_connection_stays_on_one_pod(anew: Cluster) -> None:
    answers = Counter(anew.held(300))

    (pod,) = answers
    assert answers == {pod: 300}
    assert anew.connections() == {**dict.fromkeys(anew.pods, 0), pod: 1}


@both_modes
@three_and_ten
def test_fresh_connections_are_drawn_fairly(anew: Cluster) -> None:
    answers = Counter(anew.fresh(300))

    assert anew.connections() == {name: answers[name] for name in anew.pods}
    assert answers.total() == 300
    assert chance.unfair([answers[name] for name in anew.pods]) < chance.CERTAIN


@both_modes
@three_pods
def test_affinity_pins_a_client_address(anew: Cluster) -> None:
    """Fifty clients among three pods all meet one of them with a chance of 3 * 3^-50."""
    anew.configure(affinity_s=10800)

    by_client = [set(anew.fresh(4, f"127.0.2.{i}")) for i in range(1, 51)]

    assert [len(pods) for pods in by_client] == [1] * 50
    assert len(set.union(*by_client)) > 1


@both_modes
@three_pods
def test_affinity_outlives_a_change_of_endpoints(anew: Cluster) -> None:
    anew.configure(affinity_s=10800)
    before = [anew.fresh(1, f"127.0.2.{i}") for i in range(1, 51)]

    anew.configure(without=["pod-3"], affinity_s=10800)
    after = [anew.fresh(1, f"127.0.2.{i}") for i in range(1, 51)]

    kept = [now for now, then in zip(after, before, strict=True) if then != ["pod-3"]]
    assert kept == [then for then in before if then != ["pod-3"]]
    assert ["pod-3"] not in after


@both_modes
@three_pods
def test_a_service_without_endpoints_refuses(anew: Cluster) -> None:
    anew.configure(without=list(anew.pods))

    answers = anew.fresh(3)

    assert answers == ["ECONNREFUSED"] * 3


@both_modes
@three_pods
def test_a_refusing_pod_refuses_its_draws_only(anew: Cluster) -> None:
    anew.break_pods(refusing=["pod-2"])

    answers = set(anew.fresh(SURELY))

    assert answers == {"pod-1", "ECONNREFUSED", "pod-3"}
    assert (anew.direct("pod-2"), anew.direct("pod-1")) == ("ECONNREFUSED", "pod-1")


@both_modes
@three_pods
def test_a_black_holed_pod_times_out_its_draws_only(anew: Cluster) -> None:
    anew.break_pods(black_holed=["pod-2"])

    # On a busy machine other draws time out as well, but not all of them.
    answers = set(anew.fresh(SURELY, timeout_s=0.25))

    assert answers == {"pod-1", "ETIMEDOUT", "pod-3"}
    assert (anew.direct("pod-2", 0.1), anew.direct("pod-1")) == ("ETIMEDOUT", "pod-1")


@both_modes
@three_pods
def test_whole_pods_answer_again(anew: Cluster) -> None:
    anew.break_pods(refusing=["pod-1"], black_holed=["pod-2"])

    anew.break_pods()

    assert [anew.direct(name) for name in anew.pods] == list(anew.pods)


@both_modes
@three_pods
def test_a_removed_endpoint_keeps_what_it_holds_and_gets_nothing_new(anew: Cluster) -> None:
    with anew.connect() as connection:
        pod = connection.ask()

        anew.configure(without=[pod])
        fresh = anew.fresh(SURELY)
        still = connection.ask()

    assert (still, pod in fresh, set(fresh) <= set(anew.pods)) == (pod, False, True)


@both_modes
@three_pods
def test_a_forgotten_flow_is_reset(anew: Cluster) -> None:
    """Its endpoint is removed first: drawn anew in mid-stream, it would else come back to the same pod one time in three."""
    with anew.connect() as connection:
        pod = connection.ask()
        anew.configure(without=[pod])

        anew.forget_flows(pod)

        with pytest.raises(ConnectionResetError):
            connection.ask()


@both_modes
@three_pods
def test_pods_see_the_client_unless_it_is_themselves_or_outside(anew: Cluster) -> None:
    anew.fresh(SURELY, "127.0.2.1")
    anew.fresh(SURELY, "127.0.1.1")
    anew.fresh(SURELY, "127.200.0.1")

    seen = {name: {peer.partition(":")[0] for peer in anew.peers(name)} for name in anew.pods}

    assert seen == {
        "pod-1": {"127.0.2.1", "127.255.0.1"},
        "pod-2": {"127.0.2.1", "127.0.1.1", "127.255.0.1"},
        "pod-3": {"127.0.2.1", "127.0.1.1", "127.255.0.1"},
    }


@both_modes
@three_pods
def test_a_pod_misbehaves_as_told_and_alone(anew: Cluster) -> None:
    anew.tell("pod-1", "status 500")
    anew.tell("pod-2", "hang")
    broken = [anew.direct("pod-1"), anew.direct("pod-2", 0.5), anew.direct("pod-3")]

    anew.tell("pod-1", "ok")
    anew.tell("pod-2", "ok")

    assert broken == ["500", "ETIMEDOUT", "pod-3"]
    assert [anew.direct(name) for name in anew.pods] == list(anew.pods)
    assert anew.requests() == {"pod-1": 2, "pod-2": 2, "pod-3": 2}


@three_pods
def test_a_slow_pod_answers_late(kernel: Callable[[Mode, int], Cluster], pods: int) -> None:
    cluster = kernel(Mode.NFTABLES, pods)
    cluster.tell("pod-2", "delay 1000")

    answers = [cluster.direct("pod-1"), cluster.direct("pod-2", 0.5), cluster.direct("pod-3")]

    assert answers == ["pod-1", "ETIMEDOUT", "pod-3"]
    assert cluster.direct("pod-2") == "pod-2"


@three_pods
@pytest.mark.parametrize(
    ("pick", "weights"), [(rules.in_turn, (1, 1, 1)), (rules.by_weight(3, 2, 1), (3, 2, 1))], ids=["rr", "weighted"]
)
def test_balancers_that_take_turns_are_exact(
    kernel: Callable[[Mode, int], Cluster], pods: int, pick: rules.Pick, weights: tuple[int, ...]
) -> None:
    cluster = kernel(Mode.NFTABLES, pods)
    cluster.balance(pick)

    cluster.fresh(10 * sum(weights))

    assert tuple(cluster.connections().values()) == tuple(10 * weight for weight in weights)


@three_pods
def test_a_pod_ends_connections_as_it_is_told(kernel: Callable[[Mode, int], Cluster], pods: int) -> None:
    cluster = kernel(Mode.NFTABLES, pods)
    cluster.configure(without=["pod-2", "pod-3"])

    cluster.tell("pod-1", "reset")
    reset = cluster.fresh(1)
    cluster.tell("pod-1", "close 3")
    with cluster.connect() as connection:
        answered = [connection.ask() for _ in range(3)]
        with pytest.raises(ConnectionError):
            connection.ask()

    assert (reset, answered) == (["ECONNRESET"], ["pod-1"] * 3)


@three_pods
def test_a_source_hash_gives_every_client_its_pod(kernel: Callable[[Mode, int], Cluster], pods: int) -> None:
    cluster = kernel(Mode.NFTABLES, pods)
    cluster.balance(rules.by_source)

    by_client = [set(cluster.fresh(4, f"127.0.2.{i}")) for i in range(1, 51)]

    assert [len(chosen) for chosen in by_client] == [1] * 50
    assert set.union(*by_client) == set(cluster.pods)


@three_pods
def test_a_doubled_weight_is_told_from_a_fair_draw(kernel: Callable[[Mode, int], Cluster], pods: int) -> None:
    """What `test_fresh_connections_are_drawn_fairly` would say of a biased kernel, at twice its draws."""
    cluster = kernel(Mode.NFTABLES, pods)
    cluster.balance(rules.by_weight(2, 1, 1, draw="random"))

    answers = Counter(cluster.fresh(1000))

    assert chance.unfair([answers[name] for name in cluster.pods]) > chance.CERTAIN


def test_the_plain_client_tells_a_closed_connection(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.IPTABLES, 3)

    with cluster.connect() as connection:
        connection.ask(last=True)
        with pytest.raises(ConnectionError):
            connection.ask()

    assert cluster.ns.call(client.once, cluster.address) in cluster.pods
