"""The namespace is private, and nothing of it is left behind."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from . import rules
from .cluster import Cluster, Mode
from .netns import NODE, TOOLS, Namespace, lacking, pipe

_ORPHAN = """
import subprocess
from kernel.netns import Namespace
with Namespace() as ns:
    inside = ns.popen(["sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE)
    inside.stdout.readline()
    print(ns.pid, inside.pid, flush=True)
    inside.wait()
"""


def test_what_a_machine_lacks_is_named() -> None:
    everything = lacking(0, lambda tool: f"/usr/sbin/{tool}")
    nothing = lacking(1000, lambda tool: None)

    assert (everything, nothing) == ((), ("root", *TOOLS))


@pytest.mark.kernel
def test_rules_and_addresses_stay_inside(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.NFTABLES, 3)

    inside = cluster.ns.check(["nft", "list", "tables"])
    outside = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout

    assert ("table ip kube-proxy" in inside, "table ip kube-proxy" in outside) == (True, False)
    assert NODE in cluster.ns.check(["ip", "address", "show", "dev", "lo"])
    assert NODE not in subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout


@pytest.mark.kernel
def test_a_socket_made_inside_stays_inside_for_every_thread(kernel: Callable[[Mode, int], Cluster]) -> None:
    cluster = kernel(Mode.IPTABLES, 3)

    with cluster.connect() as inside:
        answer = inside.ask()
    with pytest.raises(OSError, match=r"refused|unreachable|No route"):
        socket.create_connection(cluster.address, 1.0)

    assert answer in cluster.pods


@pytest.mark.kernel
def test_rules_that_cannot_be_loaded_are_an_error_with_the_tools_words(kernel: Callable[[Mode, int], Cluster]) -> None:
    ns = kernel(Mode.NFTABLES, 3).ns

    with pytest.raises(AssertionError, match="syntax error"):
        ns.apply(rules.Rules(("nft", "-f", "-"), "add nonsense\n"))


@pytest.mark.kernel
def test_leaving_ends_every_process_inside(kernel: Callable[[Mode, int], Cluster]) -> None:
    kernel(Mode.IPTABLES, 3)  # asks for what this test needs
    with Namespace() as ns:
        sleeper = ns.popen(["sleep", "600"])
        first = os.pidfd_open(ns.pid)

    ended, _, _ = select.select([first], [], [], 10)
    os.close(first)

    assert ended
    assert sleeper.wait(10) != 0


@pytest.mark.kernel
def test_the_namespace_dies_with_a_killed_owner(kernel: Callable[[Mode, int], Cluster]) -> None:
    kernel(Mode.IPTABLES, 3)
    env = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"}
    with subprocess.Popen([sys.executable, "-c", _ORPHAN], stdout=subprocess.PIPE, text=True, env=env) as owner:
        inside = [os.pidfd_open(int(pid)) for pid in pipe(owner.stdout).readline().split()]
        owner.send_signal(signal.SIGKILL)

        ended = [select.select([process], [], [], 10)[0] for process in inside]

    for process in inside:
        os.close(process)
    assert all(ended)
