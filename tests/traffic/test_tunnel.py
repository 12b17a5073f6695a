"""Real processes that listen, with the command lines that tunnels have."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kbalance.model.target import Address
from kbalance.traffic.tunnel import listener

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who listens")

PROGRAM = """\
import socket, sys
family = socket.AF_INET6 if ":" in "{ip}" else socket.AF_INET
with socket.create_server(("{ip}", 0), family=family) as server:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
"""

Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program of this name with these words; gives the port at which it listens."""
    with ExitStack() as running:

        def run(*words: str, name: str = "kubectl", ip: str = "127.0.0.1") -> int:
            program = tmp_path / name
            program.write_text(PROGRAM.format(ip=ip), encoding="utf-8")
            command = [sys.executable, str(program), *words]
            process = running.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            assert process.stdout is not None
            return int(process.stdout.readline())

        yield run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["port-forward", "svc/web", "8080:80"], "kubectl port-forward svc/web"),
        (["port-forward", "8080:80", "web-0"], "kubectl port-forward web-0"),
        (["-n", "shop", "port-forward", "--address", "127.0.0.1", "deploy/web", "80"], "kubectl port-forward deploy/web"),
        (["port-forward", "--context=laptop", "services/web", "80"], "kubectl port-forward services/web"),
        (["proxy", "--port", "8001"], "kubectl proxy"),
        (["proxy", "public"], "kubectl proxy"),
        (["exec", "web-0"], None),
        ([], None),
    ],
)
def test_a_tunnel_is_told_by_its_command_line(start: Start, words: list[str], expected: str | None) -> None:
    assert listener(Address("127.0.0.1", start(*words))) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["port-forward", "--token", "s3cret", "svc/web"], "kubectl port-forward svc/web"),
        (["port-forward", "svc/web", "--token", "s3cret"], "kubectl port-forward svc/web"),
        (["port-forward", "--token", "s3cret", "80:80"], "kubectl port-forward"),
        (["--token", "s3cret", "port-forward", "--insecure-skip-tls-verify", "svc/web"], "kubectl port-forward"),
        (["proxy", "--token", "s3cret"], "kubectl proxy"),
    ],
)
def test_no_word_that_may_be_a_credential_is_given(start: Start, words: list[str], expected: str) -> None:
    assert listener(Address("127.0.0.1", start(*words))) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("oc", "oc port-forward svc/web"), ("mykubectl", None), ("kubectl-kbalance", None)]
)
def test_only_tools_that_tunnel_are_known(start: Start, name: str, expected: str | None) -> None:
    assert listener(Address("127.0.0.1", start("port-forward", "svc/web", name=name))) == expected


def test_a_tunnel_on_ipv6_is_found(start: Start) -> None:
    assert listener(Address("::1", start("port-forward", "svc/web", ip="::1"))) == "kubectl port-forward svc/web"


@pytest.mark.parametrize("ip", ["0.0.0.0", "::"])
def test_a_tunnel_on_all_addresses_is_found_at_loopback_only(start: Start, ip: str) -> None:
    port = start("port-forward", "svc/web", ip=ip)

    found = [listener(Address(to, port)) for to in ("127.0.0.1", "127.0.3.7", "198.51.100.7")]

    assert found == ["kubectl port-forward svc/web", "kubectl port-forward svc/web", None]


def test_a_tunnel_at_another_address_or_port_is_none(start: Start) -> None:
    port = start("port-forward", "svc/web")

    assert [listener(Address("127.0.3.7", port)), listener(Address("127.0.0.1", port ^ 1))] == [None, None]


def test_a_server_beside_a_tunnel_is_none(start: Start) -> None:
    start("port-forward", "svc/web")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listener(Address(*server.getsockname())) is None
