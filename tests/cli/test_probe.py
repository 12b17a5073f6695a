"""``kbalance probe``: what users type, what they get, and what they are told when they mistype."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbalance.testbed.cluster import Cluster
from kbalance.testbed.scenario import Fault
from tests.cli.conftest import command, endpoint_options, environment, kbalance

QUICK = ("--rate", "0", "--seed", "7")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of loopback on which nobody listens, nor may anybody begin to."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])


def test_the_classic_experiment(cluster: Cluster) -> None:
    """One long-lived connection: one pod. Fresh connections: all pods. A connection per endpoint: exactly even."""
    ended = kbalance("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK, "-o", "json")

    rows = {p["profile"]: p for p in ended.report["profiles"]}
    assert ended.code == 0
    assert ended.err == ""
    assert (rows["single"]["spread"], rows["single"]["busiest"], rows["single"]["idle"]) == ("pinned", 3.0, 2)
    assert rows["short-lived"]["placement"] == "random"
    assert rows["short-lived"]["idle"] == 0
    assert [e["requests"] for e in rows["per-endpoint"]["endpoints"]] == [20, 20, 20]
    assert ended.report["diagnosis"]["cause"] == "connection-pinning"
    assert ended.report["identity"] == {
        "source": "body",
        "calibrated": True,
        "unidentified": 0,
        "path": "/hostname",
        "requests": 32,
        "connections": 16,
        "rejected": [],
    }


def test_endpoints_are_learned_from_answers_and_that_is_said(cluster: Cluster) -> None:
    ended = kbalance("probe", f"http://{cluster.service}/hostname", *QUICK, "-o", "json")

    report = ended.report
    assert report["facts"]["source"] == "answers"
    assert [p["profile"] for p in report["profiles"]] == ["single", "pooled", "short-lived"]
    assert sorted(e["name"] for e in report["profiles"][2]["endpoints"]) == sorted(cluster.pods)
    assert any("known from their answers alone" in notice for notice in report["notices"])


def test_the_text_report_goes_to_a_pipe_without_colour(cluster: Cluster) -> None:
    ended = kbalance("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK)

    assert "\x1b" not in ended.out + ended.err
    assert max(len(line) for line in ended.out.splitlines()) <= 100
    assert "connection-pinning" in ended.out.splitlines()[0]


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals_that_want_it(cluster: Cluster, variables: dict[str, str], coloured: bool) -> None:
    arguments = ("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments), stdout=theirs, stderr=subprocess.PIPE, env=environment(**({"TERM": "xterm"} | variables))
    ) as process:
        os.close(theirs)
        out = b""
        while part := _read_terminal(ours):
            out += part
        process.communicate(timeout=30)
    os.close(ours)

    assert (b"\x1b[" in out) is coloured
    assert b"connection-pinning" in out


def _read_terminal(fd: int) -> bytes:
    """A terminal whose other side is gone answers with EIO."""
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""


def test_progress_is_painted_on_a_terminal_and_gone_at_the_end(cluster: Cluster) -> None:
    arguments = (
        "probe",
        f"http://{cluster.service}",
        *endpoint_options(cluster),
        "--rate",
        "300",
        "--requests",
        "60",
        "-o",
        "json",
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=theirs, env=environment(TERM="xterm")) as process:
        os.close(theirs)
        out, _ = process.communicate(timeout=30)
        painted = b""
        while part := _read_terminal(ours):
            painted += part
    os.close(ours)

    json.loads(out)
    assert re.search(rb"short-lived .*\d+/60", painted)
    assert painted.endswith(b"\r\x1b[K")


def test_reports_go_to_files_and_stdout_at_once(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "report.json"

    ended = kbalance("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK, "-o", "text", "-o", f"json={file}")

    assert "connection-pinning" in ended.out
    assert json.loads(file.read_text())["schema"] == "kbalance/report/v1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["web"], "is not a target"),
        (["ftp://127.0.0.1/"], "is not a target"),
        (["http:///path"], "is not a target|names no host"),
        (["http://127.0.0.1:99999/"], "is not a URL"),
        (["http://user:secret@127.0.0.1/"], "-H 'Authorization"),
        (["svc/"], "names no Service"),
        (["svc/web:70000"], "is no port"),
        (["svc/web", "--endpoint", "a=127.0.0.1:80"], "--endpoint is for URLs"),
        (["svc/web", "--toleration", "a:b"], "is not a toleration"),
        (["svc/web", "--node-selector", "a"], "is not a label"),
        (["http://127.0.0.1/", "-n", "shop"], "--namespace is about a Service"),
        (["http://127.0.0.1/", "--workers", "2"], "--workers is about a Job"),
        (["http://127.0.0.1/", "--toleration", "a"], "--toleration is about a Job"),
        (["http://127.0.0.1/", "--vantage", "job"], "--vantage is about a Job"),
        (["http://127.0.0.1/", "--endpoint", "a=127.0.0.1"], "is not NAME=IP:PORT"),
        (["http://127.0.0.1/", "--endpoint", "a=web:80"], "is not NAME=IP:PORT"),
        (["http://127.0.0.1/", "--endpoint", "a=127.0.0.1:80800"], "is not NAME=IP:PORT"),
        (["http://127.0.0.1/", "--endpoint", "a=127.0.0.1:1", "--endpoint", "a=127.0.0.1:2"], "have the name a"),
        (["http://127.0.0.1/", "--endpoint", "a=127.0.0.1:1", "--endpoint", "b=127.0.0.1:1"], "have the address"),
        (["http://127.0.0.1/", "--timeout", "soon"], "is not a duration"),
        (["http://127.0.0.1/", "-H", "no colon"], "is not a header"),
        (["http://127.0.0.1/", "-H", "X: a\nb"], "cannot stand in a header"),
        (["http://127.0.0.1/", "-X", "GET /"], "is not an HTTP method"),
        (["http://127.0.0.1/", "--path", "hostname"], "must start with a slash"),
        (["http://127.0.0.1/", "--path", "/a b"], "percent-encoded"),
        (["http://127.0.0.1/", "-o", "xml"], "is not a format"),
        (["http://127.0.0.1/", "-o", "json="], "names no file"),
        (["http://127.0.0.1/", "--identity", "regex:("], "regex"),
        (["http://127.0.0.1/", "--identity", "guess"], "guess"),
        (["http://127.0.0.1/", "--body", "@/nonexistent"], "cannot be read"),
        (["https://127.0.0.1/", "--cacert", "/nonexistent"], "/nonexistent"),
        (["http://127.0.0.1/", "--profile", "double"], "double"),
        (["http://127.0.0.1/", "--rate", "nan"], "not a number that can be used"),
        (["http://127.0.0.1/", "--tolerance", "inf"], "not a number that can be used"),
        (["http://127.0.0.1/", "--max-connections", "20001"], "20001"),
        (["http://127.0.0.1/", "--requests", "100000"], "and the limit is 1000: ask for fewer --requests"),
        (["http://127.0.0.1/", "-X", "CONNECT"], "is not an HTTP method"),
        (["http://127.0.0.1/", "-o", "json", "-o", "text"], "cannot go to standard output"),
        (["http://127.0.0.1/", "-o", "markdown", "-o", "junit"], "cannot go to standard output"),
        (["http://127.0.0.1/", "--threshold", "pooled.idle"], "write it as PROFILE.METRIC<=NUMBER"),
        (["http://127.0.0.1/", "--threshold", "poled.idle==0"], "did you mean pooled"),
        (["http://127.0.0.1/", "--threshold", "pooled.idel==0"], "did you mean idle"),
        (["http://127.0.0.1/", "--profile", "single", "--threshold", "pooled.idle==0"], "the profile pooled is not run"),
        (["svc/web", "--threshold", "pooled.idle=0"], "= compares nothing"),
        (["http://127.0.0.1/", "-o", "json=/nonexistent/report.json"], "cannot be written to /nonexistent/report.json"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(arguments: list[str], told: str) -> None:
    ended = kbalance("probe", *arguments)

    assert ended.code == 2
    assert re.search(told, ended.err), ended.err
    assert "Traceback" not in ended.err
    assert "secret" not in ended.err
    assert ended.out == ""


def test_a_closed_port_cannot_be_measured(closed_port: int) -> None:
    ended = kbalance("probe", f"http://127.0.0.1:{closed_port}/")

    assert ended.code == 3
    assert ended.out == ""
    assert "refused" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_name_that_does_not_resolve_cannot_be_measured() -> None:
    ended = kbalance("probe", "http://no-such-name.invalid/")

    assert ended.code == 3
    assert "'no-such-name.invalid' does not resolve" in ended.err


def test_too_many_connections_need_a_flag(cluster: Cluster) -> None:
    ended = kbalance("probe", f"http://{cluster.service}", "--requests", "5000", "--rate", "0")

    assert ended.code == 2
    assert "--max-connections" in ended.err


def test_a_full_disk_is_told(cluster: Cluster) -> None:
    ended = kbalance("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK, "-o", "json=/dev/full")

    assert ended.code == 3
    assert "/dev/full: No space left on device" in ended.err
    assert "Traceback" not in ended.err


def test_a_full_disk_behind_stdout_is_told(cluster: Cluster) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK),
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=60,
            text=True,
        )

    assert done.returncode == 3
    assert done.stderr == "kbalance: The report cannot be written to standard output: No space left on device.\n"


def test_a_reader_that_has_seen_enough_is_no_error(cluster: Cluster) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK),
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=60,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_gives_the_report_of_what_was_measured(cluster: Cluster, number: signal.Signals) -> None:
    """At 20 requests a second the run would take a minute; it is interrupted once traffic flows."""
    before = cluster.picks()
    arguments = ("probe", f"http://{cluster.service}", *endpoint_options(cluster), "--rate", "20", "-o", "json")
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        while cluster.picks() == before:
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=10)

    report = json.loads(out)
    assert process.returncode == 130
    assert report["partial"] is True
    assert report["profiles"][0]["stopped"] == "interrupted"
    assert "Traceback" not in err


def test_the_deadline_holds_and_the_report_says_that_it_is_partial(cluster: Cluster) -> None:
    """At 5 requests a second the first profile alone would take 20 s."""
    arguments = (f"http://{cluster.service}", *endpoint_options(cluster), "--rate", "5", "--deadline", "1s", "-o", "json")

    ended = kbalance("probe", *arguments)

    assert ended.report["partial"] is True
    assert ended.report["duration_s"] < 15
    assert "deadline" in {p["stopped"] for p in ended.report["profiles"]}


@pytest.mark.parametrize("fault", [f for f in Fault if f not in (Fault.NONE, Fault.SLOW)])
def test_every_way_to_fail_is_found_and_bounded(fault: Fault) -> None:
    patience = ("--timeout", "300ms") if fault in (Fault.HANG, Fault.DRIP) else ()
    with Cluster.start("default") as cluster:
        cluster.set_fault(cluster.pods[0], fault)

        ended = kbalance("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK, *patience, "-o", "json")

    diagnosis = ended.report["diagnosis"]
    assert diagnosis["cause"] == "endpoint-failing"
    assert cluster.pods[0] in diagnosis["summary"]
    assert ended.code == 1
    assert ended.report["partial"] is False


def test_failures_of_every_endpoint_alike_are_the_verdict() -> None:
    """Every answer is a 500, and still says who gave it."""
    with Cluster.start("default") as cluster:
        for pod in cluster.pods:
            cluster.set_fault(pod, Fault.ERROR_500)

        ended = kbalance("probe", f"http://{cluster.service}/hostname", *endpoint_options(cluster), *QUICK, "-o", "json")

    assert ended.code == 1
    assert ended.err == ""
    assert ended.report["diagnosis"]["cause"] == "endpoint-failing"
    assert "all 3 endpoints" in ended.report["diagnosis"]["summary"]
    assert ended.report["identity"]["source"] == "body"


def test_endpoints_that_are_not_who_they_were_said_to_be(cluster: Cluster) -> None:
    """Two addresses are swapped in the list."""
    _, first, *rest = endpoint_options(cluster)
    second = rest[1]
    (one, a), (two, b) = first.split("="), second.split("=")

    ended = kbalance(
        "probe", f"http://{cluster.service}", "--endpoint", f"{one}={b}", "--endpoint", f"{two}={a}", *rest[2:], *QUICK
    )

    assert ended.code == 3
    assert "The endpoints are not who they were said to be" in " ".join(ended.out.split())


def test_an_error_page_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = b"HTTP/1.1 404 Not Found\r\nX-Pod-Name: web-1\r\nContent-Length: 0\r\n\r\n"
        threading.Thread(target=_serve, args=(server, answer, 1000), daemon=True).start()
        ended = kbalance("probe", f"http://127.0.0.1:{server.getsockname()[1]}/x", *QUICK, "--profile", "single", "-o", "json")

    assert any("had status 404" in notice for notice in ended.report["notices"])


def test_large_answers_are_not_downloaded_hundreds_of_times() -> None:
    """The server would take the whole body's time for each; after the first few the run is refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 4_000_000
        threading.Thread(target=_serve, args=(server, answer, 20), daemon=True).start()
        ended = kbalance("probe", f"http://127.0.0.1:{server.getsockname()[1]}/big", *QUICK)

    assert ended.code == 2
    assert "GB in all: ask a smaller page" in ended.err


def _serve(server: socket.socket, answer: bytes, connections: int) -> None:
    """So many connections at most, each answered until it ends."""
    with contextlib.suppress(OSError):
        for _ in range(connections):
            sock, _ = server.accept()
            threading.Thread(target=_answer, args=(sock, answer), daemon=True).start()


def _answer(sock: socket.socket, answer: bytes) -> None:
    with sock, contextlib.suppress(OSError):
        while sock.recv(65536):
            sock.sendall(answer)


def test_a_closed_stdout_is_told(cluster: Cluster) -> None:
    shell = " ".join(command("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK)) + " >&-"

    done = subprocess.run(shell, shell=True, stderr=subprocess.PIPE, env=environment(), timeout=60, text=True)

    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert "cannot be written to standard output" in done.stderr


def test_a_slow_service_leaves_time_for_every_profile() -> None:
    with Cluster.start("default") as cluster:
        for pod in cluster.pods:
            cluster.set_fault(pod, Fault.SLOW, delay_ms=200)

        arguments = (*endpoint_options(cluster), "--deadline", "5s", "--seed", "1", "-o", "json")
        ended = kbalance("probe", f"http://{cluster.service}/hostname", *arguments)

    assert [p["profile"] for p in ended.report["profiles"]] == ["single", "pooled", "short-lived", "per-endpoint"]
    assert all(p["requests"]["answered"] > 0 for p in ended.report["profiles"])
    assert ended.report["partial"] is True


def test_a_server_without_identity_gets_a_helpful_page() -> None:
    with Cluster.start("no-identity") as cluster:
        ended = kbalance("probe", f"http://{cluster.service}", *endpoint_options(cluster), *QUICK)

    assert ended.code == 3
    assert "fieldPath: metadata.name" in ended.err
    assert "invalid-measurement" in ended.out


def test_the_same_seed_makes_the_same_choices(cluster: Cluster) -> None:
    arguments = (
        "probe",
        f"http://{cluster.service}",
        *endpoint_options(cluster),
        *QUICK,
        "--pool-policy",
        "random",
        "-o",
        "json",
    )
    arguments += ("--profile", "pooled", "--concurrency", "1")

    first, second = (kbalance(*arguments).report["profiles"][0]["connections"] for _ in range(2))

    assert first == second


def test_the_tls_name_and_certificate_are_checked(cluster: Cluster) -> None:
    """Plain HTTP behind an https target: the handshake fails, and that is what is told."""
    ended = kbalance("probe", f"https://{cluster.service}/", "--timeout", "1s")

    assert ended.code == 3
    assert "tls" in ended.err.lower()
