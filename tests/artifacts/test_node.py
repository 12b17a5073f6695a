"""The texts for Node, run with its own http and with undici as it is published."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kbalance.analysis.artifacts import FIXES, Setting, artifacts
from tests.artifacts.clients import NOBODY, REQUESTS, TURNS, WORKERS, balanced, followed, retired
from tests.artifacts.conftest import run, tool
from tests.artifacts.pods import Pod
from tests.artifacts.settings import HOSTILE, WEB, at, hostile
from tests.needs import unmet

Written = Callable[[str, str, Setting], Path]
UNDICI = "undici@7"
OLDEST_FOR_UNDICI = (20, 18, 1)
ASKING = """
const http = require('node:http')
async function read (response) {
  let body = ''
  for await (const part of response) body += part
  return body
}
function ask (url, agent) {
  return new Promise(resolve => {
    http.get(url, { agent }, response => read(response).then(resolve, error => resolve(`FAILED ${error}`)))
      .on('error', error => resolve(`FAILED ${error}`))
  })
}
"""
RETIRED = (
    ASKING
    + """
const { Retiring } = require('./retiring_agent.js')
const retiring = new Retiring()
async function worker () {
  for (let i = 0; i < REQUESTS; i++) console.log(await ask(process.argv[2] + '/slow', retiring.agent()))
}
Promise.all(Array.from({ length: WORKERS }, worker)).then(() => process.exit(0))
""".replace("REQUESTS", str(REQUESTS)).replace("WORKERS", str(WORKERS))
)
BALANCED = (
    ASKING
    + """
const { Balancing } = require('./balancing.js')
let addresses
const client = new Balancing(async () => addresses)
async function main () {
  const given = process.argv.slice(2)
  for (let i = 0; i < given.length; i += 2) {
    addresses = given[i].split(',')
    if (i > 0) await new Promise(resolve => setTimeout(resolve, 500))
    for (let n = 0; n < Number(given[i + 1]); n++) {
      console.log(await read(await client.request({ path: '/' })))
    }
  }
  client.close()
}
main()
"""
)
IN_TURN = (
    ASKING
    + """
const { agent, agents } = require('./agents_in_turn.js')
async function main () {
  for (let i = 0; i < 20; i++) console.log(await ask(process.argv[2] + '/', agent()))
  for (const one of agents) one.destroy()
}
main()
"""
)
UNDICI_RETIRED = """
require('./undici_lifetime.js')
async function worker () {
  for (let i = 0; i < REQUESTS; i++) console.log(await (await fetch(process.argv[2] + '/slow')).text())
}
Promise.all(Array.from({ length: WORKERS }, worker)).then(() => process.exit(0))
""".replace("REQUESTS", str(REQUESTS)).replace("WORKERS", str(WORKERS))
UNDICI_IN_TURN = """
const { pool, open } = require('./undici_in_turn.js')
async function main () {
  if (process.argv[2] === 'opened') await open('/slow')
  for (let i = 0; i < 20; i++) console.log(await (await pool.request({ method: 'GET', path: '/' })).body.text())
  await pool.close()
}
main()
"""


@pytest.fixture(scope="session")
def undici(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it."""
    npm, node = tool("npm"), tool("node")
    version = tuple(int(part) for part in run(node, "--version").strip().lstrip("v").split("."))
    if version < OLDEST_FOR_UNDICI:
        unmet(f"Node {'.'.join(map(str, OLDEST_FOR_UNDICI))} or later for {UNDICI}, this is {'.'.join(map(str, version))}")
    folder = tmp_path_factory.mktemp("undici")
    run(npm, "install", "--no-audit", "--no-fund", "--prefix", folder, UNDICI)
    return folder


@pytest.fixture
def node(written: Written) -> Callable[..., list[str]]:
    """Runs a program beside a text; what it prints, by line."""

    def lines(fix: str, name: str, setting: Setting, program: str, *arguments: str, modules: Path | None = None) -> list[str]:
        executable = tool("node")
        folder = written(fix, name, setting).parent
        (folder / "main.js").write_text(program)
        found = str(modules / "node_modules") if modules else ""
        return run(executable, folder / "main.js", *arguments, NODE_PATH=found).splitlines()

    return lines


def test_odd_hosts_leave_the_texts_well_formed(tmp_path: Path) -> None:
    """One process parses all of them, as a script and as a function's body, which is where require puts a module."""
    executable = tool("node")
    for number, name in enumerate(HOSTILE):
        for fix in FIXES:
            for one in artifacts(fix, replace(hostile(name), http2=True)):
                if one.name.endswith(".js"):
                    (tmp_path / f"{number}-{fix}-{one.name}").write_text(one.content, encoding="utf-8")
    names = sorted(str(path) for path in tmp_path.iterdir())
    assert len(names) == 9 * len(HOSTILE)

    parse = "const fs=require('fs');for(const f of process.argv.slice(1)){try{new Function(fs.readFileSync(f,'utf8'))}"
    out = run(executable, "-e", parse + "catch(e){console.log(f,e.message)}}", *names)

    assert out == ""


def test_a_retiring_agent_opens_new_connections_and_breaks_nothing(pod: Pod, node: Callable[..., list[str]]) -> None:
    url = f"http://{pod.ip}:{pod.port}"

    lines = node("shorter-lifetime", "retiring_agent.js", at([pod]), RETIRED, url)

    assert set(lines) == {"pod-1"}
    retired(pod, len(lines) - lines.count("pod-1"))


def test_a_balancing_client_takes_the_endpoints_in_turn(three: Sequence[Pod], node: Callable[..., list[str]]) -> None:
    addresses = ",".join([three[0].ip, NOBODY, three[1].ip, three[2].ip])

    balanced(three, node("client-side-balancing", "balancing.js", at(three), BALANCED, addresses, str(TURNS)))


def test_a_balancing_client_follows_the_list(three: Sequence[Pod], node: Callable[..., list[str]]) -> None:
    first, second = f"{three[0].ip},{three[2].ip}", f"{three[0].ip},{three[1].ip}"
    setting = at(three, refresh_s=0.4)

    lines = node("client-side-balancing", "balancing.js", setting, BALANCED, first, "10", second, "10")

    assert sorted(set(lines[:10])) == ["pod-1", "pod-3"]
    followed(lines[10:])
    assert [pod.connections for pod in three] == [1, 1, 1]


def test_agents_in_turn_open_a_connection_each(pod: Pod, node: Callable[..., list[str]]) -> None:
    node("round-robin-pool", "agents_in_turn.js", at([pod], connections=5), IN_TURN, f"http://{pod.ip}:{pod.port}")

    assert pod.requests == [4] * 5


def test_undici_ends_connections_by_itself(pod: Pod, undici: Path, node: Callable[..., list[str]]) -> None:
    setting = at([pod])
    url = f"http://{pod.ip}:{pod.port}"

    lines = node("shorter-lifetime", "undici_lifetime.js", setting, UNDICI_RETIRED, url, modules=undici)

    assert set(lines) == {"pod-1"}
    retired(pod, len(lines) - lines.count("pod-1"))


@pytest.mark.parametrize("opened", [True, False])
def test_a_pool_of_undici_takes_turns_only_if_it_was_opened(
    opened: bool, pod: Pod, undici: Path, node: Callable[..., list[str]]
) -> None:
    """In turn but for a connection that has not yet noticed that it is free again, which is passed over."""
    setting = replace(hostile(pod.ip), port=pod.port, connections=5)
    how = "opened" if opened else "as it is"

    lines = node("round-robin-pool", "undici_in_turn.js", setting, UNDICI_IN_TURN, how, modules=undici)

    assert lines == ["pod-1"] * 20
    if opened:
        assert len(pod.requests) == 5
        assert max(pod.requests) - min(pod.requests) <= 3
    else:
        assert pod.connections < 5


def test_every_answer_names_the_pod(node: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "web-1")
    program = "require('./pod_name_header.js').podName({}, { setHeader: (n, v) => console.log(n, v) }, () => console.log('ok'))"

    assert node("tell-who-answers", "pod_name_header.js", WEB, program) == ["X-Pod-Name web-1", "ok"]
