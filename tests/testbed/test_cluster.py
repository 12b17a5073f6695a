import http.client
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from kbalance.model.target import Address
from kbalance.testbed.cluster import Cluster, ClusterError
from kbalance.testbed.scenario import SCENARIOS, Fault, Front, PodSpec, ScaleOut, Scenario

from .client import GET, PATIENCE_S, connect, eventually, get, read_until


def _pods_of(cluster: Cluster) -> dict[str, Address]:
    """As the API tells it."""
    return {
        endpoint["targetRef"]["name"]: Address(endpoint["addresses"][0], one["ports"][0]["port"])
        for one in cluster.objects()[1]
        for endpoint in one["endpoints"] or []
    }


def _refused(address: Address) -> bool:
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    return False


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_starts_and_describes_itself(name: str) -> None:
    scenario = SCENARIOS[name]
    with Cluster.start(name) as cluster:
        pods = _pods_of(cluster)
        assert len(cluster.pods) == len(scenario.pods)
        assert set(pods) == set(cluster.pods)
        for pod, spec in zip(cluster.pods, scenario.pods, strict=True):
            if spec.fault in (Fault.NONE, Fault.SLOW):
                assert (get(pods[pod])[1] == pod) == (name != "no-identity")
        spec = cluster.objects()[0]["spec"]
        assert Address(spec["clusterIP"], spec["ports"][0]["port"]) == cluster.service
        assert _refused(cluster.service) == (not scenario.pods)


def test_the_balancers_record_agrees_with_what_clients_see() -> None:
    with Cluster.start() as cluster:
        names = [get(cluster.service)[1] for _ in range(30)]
        seen = {pod: names.count(pod) for pod in cluster.pods}
        assert cluster.picks() == cluster.answered() == seen


def test_the_same_seed_picks_the_same_pods() -> None:
    def picks(seed: int) -> list[str]:
        with Cluster.start(replace(SCENARIOS["ten-pods"], seed=seed)) as cluster:
            return [get(cluster.service)[1] for _ in range(12)]

    assert picks(4) == picks(4) != picks(5)


def test_scaling_changes_endpoints_and_keeps_held_connections() -> None:
    with Cluster.start(replace(SCENARIOS["default"], pods=(PodSpec(),))) as cluster, connect(cluster.service) as held:
        old = cluster.pods[0]
        held.sendall(GET)
        read_until(held, old.encode())
        version = cluster.objects()[0]["metadata"]["resourceVersion"]

        assert cluster.scale(4) == cluster.pods
        assert set(_pods_of(cluster)) == set(cluster.pods)
        assert int(cluster.objects()[0]["metadata"]["resourceVersion"]) > int(version)
        assert {get(cluster.service)[1] for _ in range(60)} == set(cluster.pods)

        assert cluster.scale(0) == ()
        assert _pods_of(cluster) == {}
        assert _refused(cluster.service)
        held.sendall(GET)
        read_until(held, old.encode())


def test_a_scenario_scales_out_after_its_connections() -> None:
    scenario = SCENARIOS["scale-out"]
    assert scenario.scale_out is not None
    with Cluster.start(scenario) as cluster:
        before = {get(cluster.service)[1] for _ in range(11)}
        assert before == set(cluster.pods)
        after = {get(cluster.service)[1] for _ in range(80)}
        assert len(after) == scenario.scale_out.pods
        assert after == set(_pods_of(cluster))


def test_a_scenario_scales_out_after_its_time() -> None:
    scenario = replace(SCENARIOS["default"], scale_out=ScaleOut(pods=5, after_s=0.05))
    with Cluster.start(scenario) as cluster:
        assert len(_pods_of(cluster)) == 3
        get(cluster.service)
        eventually(lambda: len(_pods_of(cluster)) == 5)


def test_faults_change_while_it_runs() -> None:
    with Cluster.start(replace(SCENARIOS["default"], pods=(PodSpec(),))) as cluster:
        cluster.set_fault(cluster.pods[0], Fault.ERROR_500)
        assert get(cluster.service)[0] == 500
        cluster.set_fault(cluster.pods[0], Fault.SLOW, delay_ms=50)
        started = time.monotonic()
        assert get(cluster.service)[0] == 200
        assert time.monotonic() - started >= 0.05


def test_a_pod_that_is_not_ready_is_an_endpoint_without_traffic() -> None:
    with Cluster.start(replace(SCENARIOS["default"], pods=(PodSpec(), PodSpec(ready=False)))) as cluster:
        conditions = {e["targetRef"]["name"]: e["conditions"]["ready"] for e in cluster.objects()[1][0]["endpoints"]}
        assert conditions == dict(zip(cluster.pods, (True, False), strict=True))
        assert {get(cluster.service)[1] for _ in range(10)} == {cluster.pods[0]}


@pytest.mark.parametrize(("front", "pods"), [(Front.L7, 3), (Front.L7_TO_SERVICE, 1)])
def test_proxies_share_fresh_connections_out_as_their_scenario_says(front: Front, pods: int) -> None:
    with Cluster.start(replace(SCENARIOS["default"], front=front)) as cluster:
        assert len({get(cluster.service)[1] for _ in range(12)}) == pods


def test_wrong_commands_are_refused_and_do_no_harm() -> None:
    with Cluster.start() as cluster:
        with pytest.raises(ClusterError, match="cannot scale: ValueError: unknown command"):
            cluster.scale(-1)
        with pytest.raises(ClusterError, match="cannot fault: KeyError: 'nobody'"):
            cluster.set_fault("nobody", Fault.SLOW)
        with pytest.raises(ClusterError, match="did not answer /nothing: HTTP Error 404"):
            cluster.get("/nothing")
        assert get(cluster.service)[0] == 200


def test_the_api_is_asked_directly_whatever_proxy_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Cluster.start() as cluster:
        assert cluster.objects()[0]["metadata"]["name"] == "web"


def test_an_unknown_scenario_is_named() -> None:
    with pytest.raises(ClusterError, match="there is no scenario 'nope'; there are default, "):
        Cluster.start("nope")
    child = subprocess.run([sys.executable, "-m", "kbalance.testbed", "nope"], capture_output=True, text=True, timeout=60)
    assert child.returncode == 2
    assert "scenarios: default, " in child.stderr


def test_a_child_that_cannot_start_says_why() -> None:
    broken = Scenario(name="broken", title="Broken.", expected_cause="healthy", pods=(PodSpec(),) * 300)
    with pytest.raises(ClusterError, match="the embedded cluster ended: 300 pods are more than there are addresses for"):
        Cluster.start(broken)


def test_a_closed_cluster_is_gone_and_says_so() -> None:
    with Cluster.start() as cluster:
        service = cluster.service
    cluster.close()
    assert _refused(service)
    with pytest.raises(ClusterError, match="is gone"):
        cluster.picks()


def test_a_child_that_died_is_reported() -> None:
    with Cluster.start() as cluster:
        os.kill(cluster.pid, signal.SIGKILL)
        with pytest.raises(ClusterError, match=r"ended|is gone"):
            cluster.picks()


def test_ctrl_c_leaves_the_child_alone() -> None:
    with Cluster.start() as cluster:
        os.kill(cluster.pid, signal.SIGINT)
        assert cluster.picks() == dict.fromkeys(cluster.pods, 0)
        assert os.getpgid(cluster.pid) != os.getpgid(0)


PARENT = """
from kbalance.testbed.cluster import Cluster
cluster = Cluster.start()
print(*cluster.service, flush=True)
input()
"""


def test_the_child_dies_with_a_parent_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ip, port = parent.stdout.readline().split()
        service = Address(ip, int(port))
        assert get(service)[0] == 200
        parent.kill()
    eventually(lambda: _refused(service))


def test_a_users_folder_does_not_shadow_the_standard_library(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.path.join(tmp_path, "asyncio.py"), "w") as trap:
        trap.write("raise SystemExit('trapped')")
    monkeypatch.chdir(tmp_path)
    with Cluster.start() as cluster:
        assert len(cluster.pods) == 3


def test_keep_alive_holds_over_many_requests() -> None:
    with Cluster.start() as cluster:
        connection = http.client.HTTPConnection(*cluster.service, timeout=PATIENCE_S)
        for _ in range(200):
            connection.request("GET", "/hostname")
            connection.getresponse().read()
        connection.close()
        assert sorted(cluster.answered().values()) == [0, 0, 200]
