"""What holds for every text, whatever it is filled in with."""

import ast
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kbalance.analysis.advice.ways import WAYS_OUT
from kbalance.analysis.artifacts import FIXES, Setting, artifacts
from kbalance.analysis.artifacts.text import fill, shell, wrapped
from kbalance.model.report import Artifact
from tests.artifacts.conftest import run, tool
from tests.artifacts.settings import BARE, HOSTILE, URL, WEB, hostile, hostile_service
from tests.builders import case, direct, fresh, pooled, single

COMMENT = {".go": "//", ".java": "//", ".js": "//", ".cs": "//"}
"""By the end of a file's name; elsewhere it is ``#``."""
SETTINGS = {
    "web": WEB,
    "bare": BARE,
    "url": URL,
    "grpc": replace(WEB, grpc=True, http2=True, http1=False),
    "h2c": replace(WEB, grpc=False, http2=True, http1=False),
    "h2": replace(URL, grpc=False, http2=True),
    **{f"host {name!r}": hostile(name) for name in HOSTILE},
    **{f"service {name!r}": hostile_service(name) for name in HOSTILE},
}

NOTHING_TO_PASTE = frozenset(
    {
        "event-driven",  # another architecture
        "fewer-bigger-pods",  # a number of replicas and its resources, which only their owner can tell
        "change-scheduler",  # lies in a balancer that the run did not see
        "split-work",  # in the application
        "weight-versions",  # the weights are their owner's to choose
        "repair-endpoint",
        "repair-readiness",
        "inspect-slow-endpoint",
        "measure-again",
        "correct-endpoints",  # in the command line
        "check-selector",
    }
)
"""Recommendations that no text makes."""


def every(setting: Setting) -> list[tuple[str, Artifact]]:
    return [(fix, one) for fix in FIXES for one in artifacts(fix, setting)]


def advised() -> set[str]:
    """The ids of every recommendation that any cause leads to."""
    seen = case(single(), pooled(), fresh(), direct())
    unseen = case(single(who=None))
    made = [make(one) for ways in WAYS_OUT.values() for make in ways for one in (seen, unseen)]
    return {one.id for one in made if one is not None}


def test_every_recommendation_has_texts_or_is_listed_as_having_none() -> None:
    assert advised() - set(FIXES) - NOTHING_TO_PASTE == set()
    assert set(FIXES) & NOTHING_TO_PASTE == set()


def test_every_recommendation_of_the_table_has_texts_for_a_service_that_is_known() -> None:
    assert [fix for fix in FIXES if not artifacts(fix, WEB)] == []


def test_what_has_no_text_gives_none() -> None:
    assert [artifacts(fix, WEB) for fix in sorted(NOTHING_TO_PASTE)] == [()] * len(NOTHING_TO_PASTE)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_names_are_unique_within_a_recommendation(setting: Setting) -> None:
    for fix in FIXES:
        names = [one.name for one in artifacts(fix, setting)]
        assert len(names) == len(set(names)), fix


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_text_begins_with_what_it_does_and_is_whole(setting: Setting) -> None:
    for fix, one in every(setting):
        mark = COMMENT.get(Path(one.name).suffix, "#")
        assert re.match(rf" *{mark} \w", one.content), (fix, one.name)
        assert one.content.endswith("\n"), (fix, one.name)
        assert not re.search(r"\{\{\w+\}\}", one.content.replace("{{port}}", "") if "{{port}}" in str(setting) else one.content)
        assert all(c.isprintable() or c in "\n\t" for c in one.content), (fix, one.name)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_manifests_are_yaml_and_say_what_they_are(setting: Setting) -> None:
    read = {}
    for fix, one in every(setting):
        if one.name.endswith(".yaml"):
            documents = list(yaml.safe_load_all(one.content))
            assert all(isinstance(document, dict) for document in documents), (fix, one.name)
            read[one.name] = documents

    if "headless-service.yaml" in read:
        (headless,) = read["headless-service.yaml"]
        assert headless["spec"]["clusterIP"] == "None"
        assert list(headless["spec"]["ports"][0]) == ["name", "port", "targetPort"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_selector_comes_through_as_it_is(name: str) -> None:
    setting = hostile_service(name)

    manifest = next(one.content for one in artifacts("client-side-balancing", setting) if one.name == "headless-service.yaml")

    expected = "".join(c if c.isprintable() else "?" for c in name)
    assert yaml.safe_load(manifest)["spec"]["selector"] == {expected: expected}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_python_texts_compile(setting: Setting) -> None:
    for fix, one in every(setting):
        if one.name.endswith(".py"):
            assert ast.get_docstring(ast.parse(one.content, f"{fix}/{one.name}")) is None


def test_shell_texts_are_words_and_comments(tmp_path: Path) -> None:
    bash = tool("bash")
    for number, setting in enumerate(SETTINGS.values()):
        for fix, one in every(setting):
            if one.name.endswith(".sh"):
                path = tmp_path / f"{number}-{fix}-{one.name}"
                path.write_text(one.content, encoding="utf-8")
                run(bash, "-n", path)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_shell_sees_each_name_as_one_word(name: str, tmp_path: Path) -> None:
    """kubectl is a program here that prints its arguments, each on a line."""
    tool("bash")
    (tmp_path / "kubectl").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "kubectl").chmod(0o755)
    setting = hostile_service(name)

    for one in artifacts("affinity-none", setting):
        out = run("bash", "-c", one.content, PATH=f"{tmp_path}:/usr/bin:/bin")

        expected = "".join(c if c.isprintable() else "?" for c in name)
        assert out.splitlines()[:5] == ["patch", "service", expected, "--namespace", "shop"]


def test_brackets_of_csharp_are_balanced() -> None:
    for setting in SETTINGS.values():
        for fix, one in every(setting):
            if one.name.endswith(".cs"):
                code = re.sub(r'"(?:[^"\\]|\\.)*"|//.*', "", one.content)
                assert [code.count(c) for c in "({["] == [code.count(c) for c in ")}]"], (fix, one.name)
                assert '"' not in code, (fix, one.name)


def test_there_are_no_manifests_for_a_url() -> None:
    kinds = {one.kind for fix, one in every(URL) if fix != "tell-who-answers"}

    assert kinds & {"kubernetes", "istio", "linkerd", "shell"} == set()


def test_a_service_that_speaks_no_grpc_gets_no_texts_for_it() -> None:
    assert [one.name for _, one in every(replace(WEB, grpc=False)) if one.kind.startswith("grpc")] == []


def test_what_is_not_known_is_asked_for() -> None:
    texts = {one.name: one.content for _, one in every(BARE)}

    assert "kubectl get service web -n shop -o jsonpath='{.spec.selector}'" in texts["headless-service.yaml"]
    assert '"${DEPLOYMENT:?' in texts["spread-pods.sh"]
    assert '"${CONTAINER:?' in texts["drain.sh"]
    assert '"${NODE:?' in texts["look-at-kube-proxy.sh"]
    assert '"${CLIENT:?' in texts["linkerd-injection.sh"]


@pytest.mark.parametrize(
    ("changes", "host", "dialled"),
    [
        ({}, "web-headless.shop.svc.cluster.local", 8080),
        ({"endpoint_port": None, "target_port": "9000"}, "web-headless.shop.svc.cluster.local", 9000),
        ({"endpoint_port": None}, "web-headless.shop.svc.cluster.local", 80),
        ({"headless": True}, "web.shop.svc.cluster.local", 8080),
        ({"service": "w" * 63}, f"{'w' * 54}-headless.shop.svc.cluster.local", 8080),
        ({"namespace": None, "service": "[fd00::1]"}, "fd00::1", 80),
    ],
)
def test_clients_go_to_the_endpoints_own_port(changes: dict[str, object], host: str, dialled: int) -> None:
    setting = replace(WEB, **changes)  # type: ignore[arg-type]

    assert (setting.endpoints_host, setting.dialled) == (host, dialled)


def test_a_named_port_whose_number_is_not_known_is_pointed_out() -> None:
    (text,) = (
        one.content
        for one in artifacts("client-side-balancing", replace(WEB, endpoint_port=None))
        if one.name == "headless-service.yaml"
    )

    prose = text.replace("\n# ", " ")
    assert "The port 80 is the Service's: use the number of the container's port http instead." in prose


def test_values_are_not_templates() -> None:
    assert fill("{{a}} {{b}}", a="{{b}}", b=1) == "{{b}} 1"
    with pytest.raises(KeyError):
        fill("{{missing}}")


def test_long_comments_are_broken_and_code_is_not() -> None:
    content = "# one two three\n# four\n#   kubectl get a very long line\nlong = 'a b c d e f g h i j k l'\n"

    assert wrapped(content, 12) == (
        "# one two\n# three four\n#   kubectl get a very long line\nlong = 'a b c d e f g h i j k l'\n"
    )
    assert wrapped("# short\n# lines\n", 12) == "# short\n# lines\n"


def test_safe_words_need_no_quotes() -> None:
    assert [shell(word) for word in ("web-1", "it's", "")] == ["web-1", "'it'\"'\"'s'", "''"]


def test_the_texts_load_nothing() -> None:
    code = "import sys, kbalance.analysis.artifacts; print(*sys.modules)"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout

    assert set(out.split()) & {"yaml", "json", "httpx", "kubernetes", "ssl", "asyncio", "shlex"} == set()


LIFETIMES = (
    ("shorter-lifetime", "envoy-lifetime.yaml"),
    ("proxy-to-endpoints", "envoy-upstream-lifetime.yaml"),
    ("shorter-lifetime", "nginx-lifetime.conf"),
    ("proxy-to-endpoints", "nginx-upstream-lifetime.conf"),
)


@pytest.mark.parametrize(("fix", "name"), LIFETIMES)
def test_connections_of_http2_end_by_age_alone(fix: str, name: str) -> None:
    """One of them carries a client's whole load, and would come to any number of requests long before its age."""
    limited = replace(WEB, lifetime_requests=777)
    http1, http2 = ({one.name: one.content for one in artifacts(fix, replace(limited, http2=h2))} for h2 in (False, True))

    assert "777" not in http2[name]
    assert "max_requests_per_connection" not in http2[name]
    assert "300s" in http2[name]
    assert "777" in http1[name]


def test_a_plain_http_client_is_no_text_for_grpc() -> None:
    names = {one.name for one in artifacts("shorter-lifetime", replace(WEB, grpc=True, http2=True))}

    assert "PooledLifetime.cs" not in names
    assert "KestrelMaxAge.cs" in names


@pytest.mark.parametrize(
    ("grpc", "words"),
    [
        (True, "to the metadata of every answer as x-pod-name"),
        (False, "to every answer as X-Pod-Name"),
        (None, "to every answer as X-Pod-Name"),
    ],
)
def test_the_pods_name_goes_where_the_protocol_has_room_for_it(grpc: bool | None, words: str) -> None:
    told = artifacts("tell-who-answers", replace(WEB, grpc=grpc, http2=grpc is True))[0].content

    assert words in " ".join(told.replace("\n# ", " ").split())
