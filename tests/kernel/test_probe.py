"""`kbalance probe` before kube-proxy's rules and their faults: what it measures, and what it says of it.

Every probe runs with ``--alpha 1e-7``, so that this module has a false alarm in one of 100,000 runs at most.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from . import rules
from .cluster import Cluster, Mode
from .netns import only_child
from .probe import QUICK, command, environment, probe, probe_service, result, target

pytestmark = pytest.mark.kernel

both_modes = pytest.mark.parametrize("mode", list(Mode), ids=str)
three_pods = pytest.mark.parametrize("pods", [3])

FRESH = ("--profile", "short-lived", "--profile", "per-endpoint")


def both_modes_and_sizes(test: Callable[[Cluster], None]) -> Callable[[Cluster], None]:
    """Runs a test with three and with ten pods behind each of kube-proxy's modes."""
    marked: Callable[[Cluster], None] = both_modes(pytest.mark.parametrize("pods", [3, 10])(test))
    return marked


@both_modes_and_sizes
def test_kube_proxy_as_it_comes_is_connection_pinning(anew: Cluster) -> None:
    done = probe_service(anew)

    assert (done.code, done.cause, done.report["diagnosis"]["severity"]) == (0, "connection-pinning", "risk"), done.says()
    assert (done.profile("single")["spread"], done.profile("single")["connections"]["opened"]) == ("pinned", 1)
    assert (done.profile("short-lived")["placement"], done.profile("per-endpoint")["spread"]) == ("random", "even")
    assert done.profile("short-lived")["evidence"]["enough"] is True
    assert sum(load["failed"] for p in done.report["profiles"] for load in p["endpoints"]) == 0


@both_modes
@three_pods
def test_the_report_counts_what_the_pods_counted(anew: Cluster) -> None:
    """The pods' own count of connections settles what was really opened; short-lived alone is made of one request each."""
    before = anew.connections()

    done = probe_service(anew, "--profile", "short-lived")

    opened = {name: now - before[name] for name, now in anew.connections().items()}
    reported = done.loads("short-lived", "connections")
    asked_to_identify = sum(opened[name] - reported[name] for name in anew.pods)
    assert done.profile("short-lived")["connections"]["opened"] == sum(reported.values())
    assert asked_to_identify == done.report["identity"]["connections"]


@both_modes_and_sizes
def test_affinity_is_one_endpoint_for_every_fresh_connection(anew: Cluster) -> None:
    """A URL has no API facts, so that affinity cannot be told from a hash of the source."""
    anew.configure(affinity_s=10800)

    done = probe_service(anew)

    assert done.profile("short-lived")["placement"] == "fixed"
    assert done.cause in {"source-hash", "session-affinity"}, done.says()
    assert done.profile("per-endpoint")["spread"] == "even"


@both_modes_and_sizes
def test_a_refusing_pod_is_named(anew: Cluster) -> None:
    anew.break_pods(refusing=["pod-2"])

    done = probe_service(anew)

    failed = done.loads("per-endpoint", "failed")
    assert (done.code, done.cause) == (1, "endpoint-failing"), done.says()
    assert "pod-2" in json.dumps(done.report["diagnosis"])
    assert {name for name, requests in failed.items() if requests} == {"pod-2"}
    assert ("refused", "pod-2") in {(f["kind"], f["endpoint"]) for f in done.profile("per-endpoint")["failures"]}


@both_modes
@three_pods
def test_a_black_holed_pod_is_named(anew: Cluster) -> None:
    anew.break_pods(black_holed=["pod-2"])

    done = probe_service(anew, *FRESH, "--requests", "60", "--timeout", "2s")

    failed = done.loads("per-endpoint", "failed")
    assert (done.code, done.cause) == (1, "endpoint-failing"), done.says()
    assert {name for name, requests in failed.items() if requests} == {"pod-2"}
    assert {f["kind"] for f in done.profile("per-endpoint")["failures"]} == {"connect-timeout"}


@both_modes_and_sizes
def test_a_pod_that_answers_500_is_named(anew: Cluster) -> None:
    anew.tell("pod-2", "status 500")

    done = probe_service(anew)

    failed = done.loads("per-endpoint", "failed")
    assert (done.code, done.cause) == (1, "endpoint-failing"), done.says()
    assert {name for name, requests in failed.items() if requests} == {"pod-2"}


@both_modes
@three_pods
def test_a_slow_pod_is_named(anew: Cluster) -> None:
    """So slow that its median lies beyond nearly all answers of the others on a busy machine, too."""
    anew.tell("pod-2", "delay 1200")

    done = probe_service(anew, *FRESH, "--requests", "18", "--rate", "10")

    assert (done.code, "slow-endpoint" in done.causes) == (1, True), done.says()
    (told,) = [f["summary"] for f in done.report["diagnosis"]["findings"] if f["cause"] == "slow-endpoint"]
    assert [name for name in anew.pods if name in told] == ["pod-2"], done.says()


@both_modes_and_sizes
def test_an_endpoint_that_the_rules_lack_is_missing(anew: Cluster) -> None:
    anew.configure(without=["pod-2"])

    done = probe_service(anew)

    assert (done.code, done.cause) == (1, "missing-endpoint"), done.says()
    assert [name for name, got in done.loads("short-lived", "connections").items() if got == 0] == ["pod-2"]
    assert (done.profile("short-lived")["placement"], done.profile("per-endpoint")["spread"]) == ("biased", "even")


@both_modes
@three_pods
def test_a_held_connection_outlives_its_endpoints_removal(anew: Cluster) -> None:
    profiles = ["--profile", "single", "--profile", "short-lived", "--profile", "per-endpoint"]
    # At two hundred requests per second there are seconds to notice the first hundred; the removal itself is not waited for.
    argv = command(*target(anew), *QUICK, "--rate", "200", "--requests", "800", "--no-early-stop", *profiles)
    with anew.ns.popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        while max(anew.requests().values()) < 100:
            assert running.poll() is None, running.communicate()
        os.kill(only_child(running.pid), signal.SIGSTOP)
        # `nsenter`, its parent, stops with it, and has it go on.
        os.waitid(os.P_PID, running.pid, os.WSTOPPED)
        requests = anew.requests()
        held = max(requests, key=requests.__getitem__)
        anew.configure(without=[held])
        running.send_signal(signal.SIGCONT)
        out, err = running.communicate(timeout=60)
    assert out, err
    done = result(subprocess.CompletedProcess(argv, running.returncode, out, err))

    assert {name for name, got in done.loads("single", "requests").items() if got} == {held}
    assert done.profile("single")["requests"]["answered"] == 800
    assert (done.loads("short-lived", "connections")[held], done.loads("per-endpoint", "failed")[held]) == (0, 0)
    assert (done.code, "missing-endpoint" in done.causes) == (1, True), done.says()


def test_a_weighted_balancer_is_biased(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.NFTABLES, 3)
    cluster.balance(rules.by_weight(4, 1, 1, draw="random"))

    done = probe_service(cluster)

    assert (done.code, done.cause) == (1, "balancer-biased"), done.says()
    assert done.profile("short-lived")["placement"] == "biased"


def test_turns_are_told_from_luck(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.NFTABLES, 3)
    cluster.balance(rules.in_turn)

    done = probe_service(cluster)

    assert done.profile("short-lived")["placement"] == "even", done.says()
    assert done.profile("single")["spread"] == "pinned"


def test_a_source_hash_is_one_endpoint_for_this_client(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.NFTABLES, 3)
    cluster.balance(rules.by_source)

    done = probe_service(cluster)

    assert (done.profile("short-lived")["placement"], done.cause) == ("fixed", "source-hash"), done.says()


@both_modes
@three_pods
def test_a_service_without_endpoints_is_not_measured(anew: Cluster) -> None:
    anew.configure(without=list(anew.pods))

    done = probe(anew.ns, f"http://{anew.address}/hostname", *QUICK)

    assert (done.code, done.report) == (3, {}), done.stderr
    assert "refused" in done.stderr
