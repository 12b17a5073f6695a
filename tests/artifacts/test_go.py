"""The texts for Go: compiled, vetted, and run against pods that count. One module for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kbalance.analysis.artifacts import Setting
from tests.artifacts.clients import NOBODY, REQUESTS, TURNS, WORKERS, balanced, followed, retired
from tests.artifacts.conftest import run, text, tool
from tests.artifacts.pods import Pod
from tests.artifacts.settings import HOSTILE, WEB, at, hostile

PACKAGES = {
    "balancing": ("client-side-balancing", "balancing_transport.go"),
    "retiring": ("shorter-lifetime", "retiring_transport.go"),
    "inturn": ("round-robin-pool", "transports_in_turn.go"),
    "podname": ("tell-who-answers", "pod_name_header.go"),
}
GRPC = {
    "balanced": ("client-side-balancing", "round_robin.go"),
    "aging": ("shorter-lifetime", "max_age.go"),
    "named": ("tell-who-answers", "pod_name_grpc.go"),
}
MODULE = "module snippets.test\n\ngo 1.22\n"
GRPC_MODULE = "google.golang.org/grpc@v1.85.0"
ASKING = """
func ask(client *http.Client, url string) string {
	response, err := client.Get(url)
	if err != nil {
		return "FAILED " + err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "FAILED " + err.Error()
	}
	return string(body)
}
"""
RETIRED = (
    """package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"snippets.test/retiring"
)

func main() {
	client := &http.Client{Transport: retiring.New()}
	client.Transport.(*retiring.Transport).Make = func() *http.Transport {
		one := http.DefaultTransport.(*http.Transport).Clone()
		one.MaxIdleConnsPerHost = WORKERS
		return one
	}
	var all sync.WaitGroup
	for range WORKERS {
		all.Add(1)
		go func() {
			defer all.Done()
			for range REQUESTS {
				fmt.Println(ask(client, os.Args[1]+"/slow"))
			}
		}()
	}
	all.Wait()
}
""".replace("WORKERS", str(WORKERS)).replace("REQUESTS", str(REQUESTS))
    + ASKING
)
BALANCED = (
    """package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"snippets.test/balancing"
)

// Arguments: a list of addresses, whose first answer is waited for, if anybody's, how many requests then, and so on.
// A list is looked up in the background, so that only the answer of one who joined tells that it is in use.
func main() {
	var mu sync.Mutex
	var addresses []string
	transport := balancing.New()
	transport.Resolve = func(context.Context, string) ([]string, error) {
		mu.Lock()
		defer mu.Unlock()
		return addresses, nil
	}
	client := &http.Client{Transport: transport}
	for i := 1; i < len(os.Args); i += 3 {
		mu.Lock()
		addresses = strings.Split(os.Args[i], ",")
		mu.Unlock()
		for until := time.Now().Add(20 * time.Second); os.Args[i+1] != "" && time.Now().Before(until); {
			if ask(client, "http://web.shop.svc.cluster.local/") == os.Args[i+1] {
				break
			}
		}
		requests, _ := strconv.Atoi(os.Args[i+2])
		for range requests {
			fmt.Println(ask(client, "http://web.shop.svc.cluster.local/"))
		}
	}
}
"""
    + ASKING
)
IN_TURN = (
    """package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"snippets.test/inturn"
)

func main() {
	client := &http.Client{Transport: inturn.New()}
	for range 20 {
		fmt.Println(ask(client, os.Args[1]+"/"))
	}
}
"""
    + ASKING
)


def module(folder: Path, packages: dict[str, tuple[str, str]], setting: Setting, main: str = "") -> Path:
    """Lays the texts out as packages of one module, and a program beside them."""
    (folder / "go.mod").write_text(MODULE)
    for package, (fix, name) in packages.items():
        (folder / package).mkdir()
        (folder / package / name).write_text(text(fix, name, setting), encoding="utf-8")
    if main:
        (folder / "main.go").write_text(main)
    return folder


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs a program that imports a package of the texts; what it prints, by line."""

    def lines(package: str, setting: Setting, main: str, *arguments: str) -> list[str]:
        program = tool("go")
        module(tmp_path, {package: PACKAGES[package]}, setting, main)
        return run(program, "run", ".", *arguments, cwd=tmp_path, GOFLAGS="-mod=mod").splitlines()

    return lines


def test_the_texts_are_vetted_and_formatted(tmp_path: Path) -> None:
    module(tmp_path, PACKAGES, WEB)

    run(tool("go"), "vet", "./...", cwd=tmp_path)
    assert run(tool("gofmt"), "-l", ".", cwd=tmp_path) == ""


def test_the_texts_for_grpc_compile_with_the_library(tmp_path: Path) -> None:
    program = tool("go")
    module(tmp_path, GRPC, WEB)
    module_of_https = tmp_path / "secure"
    module_of_https.mkdir()
    (module_of_https / "round_robin.go").write_text(text(*GRPC["balanced"], replace(WEB, scheme="https")))
    run(program, "mod", "edit", f"-require={GRPC_MODULE}", cwd=tmp_path)
    run(program, "mod", "tidy", cwd=tmp_path)

    run(program, "vet", "./...", cwd=tmp_path)
    assert run(tool("gofmt"), "-l", ".", cwd=tmp_path) == ""


def test_odd_hosts_leave_the_texts_well_formed(tmp_path: Path) -> None:
    gofmt = tool("gofmt")
    for number, name in enumerate(HOSTILE):
        folder = tmp_path / str(number)
        folder.mkdir()
        module(folder, PACKAGES | GRPC, hostile(name))

    assert run(gofmt, "-l", ".", cwd=tmp_path) == ""


def test_a_retiring_transport_opens_new_connections_and_breaks_nothing(pod: Pod, go: Callable[..., list[str]]) -> None:
    lines = go("retiring", at([pod]), RETIRED, f"http://{pod.ip}:{pod.port}")

    assert set(lines) == {"pod-1"}
    retired(pod, len(lines) - lines.count("pod-1"))


def test_a_balancing_transport_takes_the_endpoints_in_turn(three: Sequence[Pod], go: Callable[..., list[str]]) -> None:
    addresses = ",".join([three[0].ip, NOBODY, three[1].ip, three[2].ip])

    balanced(three, go("balancing", at(three), BALANCED, addresses, "", str(TURNS)))


def test_a_balancing_transport_follows_the_list(three: Sequence[Pod], go: Callable[..., list[str]]) -> None:
    first, second = f"{three[0].ip},{three[2].ip}", f"{three[0].ip},{three[1].ip}"

    lines = go("balancing", at(three, refresh_s=0.4), BALANCED, first, "", "10", second, "pod-2", "10")

    assert sorted(set(lines[:10])) == ["pod-1", "pod-3"]
    followed(lines[10:])
    assert [pod.connections for pod in three] == [1, 1, 1]


def test_transports_in_turn_open_a_connection_each(pod: Pod, go: Callable[..., list[str]]) -> None:
    go("inturn", at([pod], connections=5), IN_TURN, f"http://{pod.ip}:{pod.port}")

    assert pod.requests == [4] * 5
