import base64
import json
import os
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from kbalance.errors import DiscoveryError
from kbalance.kube.client import Access, Client, connect
from kbalance.kube.kubeconfig import Loaded, contexts, load
from tests.wire.certificates import Certificates

from .apis import SECRET, Api, api, kubeconfig, status

API_VERSION = "client.authentication.k8s.io/v1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without files and variables that lead to a cluster."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def server() -> Iterator[Api]:
    with api() as one:
        yield one


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def asked(server: Api, path: str) -> Message:
    """The headers of a call with this kubeconfig."""
    connect(Access(kubeconfig=path), timeout_s=5.0).get("/x")
    return server.asked[-1].headers


def problem(access: Access) -> str:
    """What the user reads; it must be a sentence without any credential, and so must be all that a traceback shows of it."""
    with pytest.raises(DiscoveryError) as caught:
        connect(access, timeout_s=5.0).get("/x")
    message = str(caught.value)
    shown = [message, repr(caught.value), *traceback.format_exception(caught.value)]
    assert SECRET not in "".join(shown)
    assert message[0].isupper()
    assert message.endswith((".", "?"))
    assert "\n" not in message
    return message


def written(folder: Path, name: str, **fields: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))
    return path


def context(name: str, cluster: str = "prod", user: str = "anna", **more: str) -> dict[str, Any]:
    return {"name": name, "context": {"cluster": cluster, "user": user, **more}}


def cluster(name: str, server: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "cluster": {"server": server, **more}}


def user(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "user": fields}


# Which file, which context, which namespace


def test_the_option_comes_before_the_variable_and_the_variable_before_home(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".kube").mkdir()
    kubeconfig(home / ".kube", "http://127.0.0.1:1")
    by_home = load(Access()).server
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, "http://127.0.0.1:2", name="variable"))
    by_variable = load(Access()).server
    by_option = load(Access(kubeconfig=kubeconfig(tmp_path, "http://127.0.0.1:3", name="option"))).server

    assert [by_home, by_variable, by_option] == [f"http://127.0.0.1:{n}" for n in (1, 2, 3)]


def test_of_several_files_the_first_that_says_something_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(tmp_path, "first", contexts=[context("a")], clusters=[cluster("prod", "http://127.0.0.1:1")])
    second = written(
        tmp_path,
        "second",
        **{"current-context": "a"},
        contexts=[context("a", cluster="nowhere"), context("b")],
        clusters=[cluster("prod", "http://127.0.0.1:2")],
        users=[user("anna", token=SECRET)],
    )
    third = written(tmp_path, "third", **{"current-context": "b"})
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{second}::{third}")

    loaded = load(Access())

    assert (loaded.context, loaded.server) == ("a", "http://127.0.0.1:1")
    assert loaded.credentials.headers() == [("Authorization", f"Bearer {SECRET}")]
    assert contexts(None) == ["a", "b"]


def test_relative_paths_start_at_the_file_that_they_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    """A user's too, when the cluster is in another file."""
    for folder, source in [("one", certificates.cacert), ("two", certificates.client_cert), ("two", certificates.client_key)]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / Path(source).name).write_bytes(Path(source).read_bytes())
    with api(tls=certificates.asking_for_client()) as server:
        one = written(
            tmp_path,
            "one/config",
            **{"current-context": "a"},
            contexts=[context("a")],
            clusters=[cluster("prod", server.url, **{"certificate-authority": "ca.pem"})],
        )
        two = written(
            tmp_path, "two/config", users=[user("anna", **{"client-certificate": "client.pem", "client-key": "client.key"})]
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("KUBECONFIG", f"{one.relative_to(tmp_path)}:{two.relative_to(tmp_path)}")

        assert connect(Access(), timeout_s=5.0).get("/x") == {}


def test_the_namespace_is_the_chosen_one_or_the_contexts_or_default(tmp_path: Path) -> None:
    bare = kubeconfig(tmp_path, "http://127.0.0.1:1", name="bare")
    shop = kubeconfig(tmp_path, "http://127.0.0.1:1", name="shop", namespace="shop")

    found = [
        load(Access(kubeconfig=path, namespace=chosen)).namespace for path, chosen in [(bare, None), (shop, None), (shop, "x")]
    ]

    assert found == ["default", "shop", "x"]


def test_a_context_can_be_chosen_and_names_may_look_like_numbers(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        "current-context: a\ncontexts: [{name: a, context: {}}, {name: 7, context: {cluster: 1, user: 2, namespace: 3}}]\n"
        "clusters: [{name: 1, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: 2, user: {token: 4}}]\n"
    )

    loaded = load(Access(kubeconfig=str(path), context="7"))

    assert (loaded.context, loaded.namespace, loaded.credentials.headers()) == ("7", "3", [("Authorization", "Bearer 4")])


def test_contexts_are_listed_with_the_current_one_first(tmp_path: Path) -> None:
    path = written(tmp_path, "config", **{"current-context": "b"}, contexts=[context("a"), context("b"), context("c")])

    assert contexts(str(path)) == ["b", "a", "c"]
    assert contexts(None) == []


def test_no_kubeconfig_at_all_says_what_to_do() -> None:
    assert "give --kubeconfig FILE, or try `kbalance demo`" in problem(Access())


def test_files_that_do_not_exist_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    option = problem(Access(kubeconfig=str(tmp_path / "missing")))
    monkeypatch.setenv("KUBECONFIG", "/nowhere/a:/nowhere/b")
    variable = problem(Access())

    assert f"The kubeconfig {tmp_path}/missing does not exist" in option
    assert "KUBECONFIG names /nowhere/a, /nowhere/b" in variable


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"users: [{{name: anna, user: {{token: {SECRET}", "is not YAML (line"),
        (f"\tusers: {SECRET}", "is not YAML (line 1)"),
        (f"token: !{SECRET[:0]}python/object {{}}", "is not YAML"),
        (SECRET, "is not a kubeconfig"),
        ("users: 5", "is not a kubeconfig"),
        (f"users: [{{user: {{token: {SECRET}}}}}]", "an entry in users without a name"),
        (f"users: [{SECRET}]", "an entry in users without a name"),
        (f"users: [{{name: a, user: {SECRET}}}]", "an entry in users without a name or a user"),
        ("", "has no current context; choose one with --context (it has none at all)"),
        ("contexts: [{name: a}, {name: b}]", "has no current context; choose one with --context (there are a, b)"),
        ("{current-context: c, contexts: [{name: a}]}", "has no context c; choose another with --context (there are a)"),
        ("{current-context: a, contexts: [{name: a}]}", "Context a in the kubeconfig"),
        ("{current-context: a, contexts: [{name: a, context: {cluster: x}}]}", "names the cluster x, which is not in it"),
        (
            "{current-context: a, contexts: [{name: a, context: {cluster: x, user: y}}],"
            " clusters: [{name: x, cluster: {server: 'http://127.0.0.1'}}]}",
            "names the user y, which is not in it",
        ),
    ],
)
def test_a_file_that_makes_no_sense_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    message = problem(Access(kubeconfig=str(path)))

    assert words in message
    assert str(path) in message


def test_a_folder_and_bytes_are_no_kubeconfig(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x00\xff\xfe")

    assert "cannot be read (is a directory)" in problem(Access(kubeconfig=str(tmp_path)))
    assert "is not YAML" in problem(Access(kubeconfig=str(binary)))


@pytest.mark.parametrize("url", ["", "api.example", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "https://[::1"])
def test_a_server_without_a_url_is_named(tmp_path: Path, url: str) -> None:
    assert "Cluster prod in" in problem(Access(kubeconfig=kubeconfig(tmp_path, url)))


def test_credentials_in_the_servers_url_are_not_shown(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, f"http://anna:{SECRET}@127.0.0.1:1/prefix/")

    assert load(Access(kubeconfig=path)).server == "http://127.0.0.1:1/prefix"
    problem(Access(kubeconfig=path))


# Who asks


def test_a_password_is_sent(tmp_path: Path, server: Api) -> None:
    headers = asked(server, kubeconfig(tmp_path, server.url, {"username": "anna", "password": "open"}))

    assert headers["Authorization"] == "Basic " + base64.b64encode(b"anna:open").decode()


def test_whoever_has_no_credentials_is_anonymous_and_told_when_that_is_not_enough(tmp_path: Path, server: Api) -> None:
    path = kubeconfig(tmp_path, server.url)

    assert asked(server, path)["Authorization"] is None
    server.answers = [status(401, "Unauthorized", "Unauthorized")]
    assert "user anna has no credentials; log in" in problem(Access(kubeconfig=path))


def test_blanks_around_a_token_are_left_out(tmp_path: Path, server: Api) -> None:
    (tmp_path / "token").write_text(f" {SECRET}\n\n")

    from_file = asked(server, kubeconfig(tmp_path, server.url, {"tokenFile": "token", "token": "older"}))
    inline = asked(server, kubeconfig(tmp_path, server.url, {"token": f"{SECRET}\n", "tokenFile": "missing"}))

    assert [headers["Authorization"] for headers in (from_file, inline)] == [f"Bearer {SECRET}"] * 2


@pytest.mark.parametrize("token", [f"{SECRET}\n{SECRET}", f"{SECRET}\r\nX-Evil: 1", f"{SECRET}é", f"{SECRET} {SECRET}"])
def test_a_token_that_no_header_can_hold_is_not_sent(tmp_path: Path, server: Api, token: str) -> None:
    (tmp_path / "token").write_text(token)

    for fields in ({"token": token}, {"tokenFile": "token"}):
        message = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, fields)))
        assert "The token of user anna has a line break or another character" in message
    assert server.asked == []


def test_a_token_file_that_is_missing_or_empty_is_named(tmp_path: Path, server: Api) -> None:
    (tmp_path / "empty").write_text("\n")

    missing = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"tokenFile": "missing"})))
    empty = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"tokenFile": "empty"})))

    assert f"The tokenFile {tmp_path}/missing of user anna cannot be read" in missing
    assert "The token of user anna is empty" in empty


def test_whoever_acts_as_somebody_else_says_so_in_each_call(tmp_path: Path, server: Api) -> None:
    fields = {
        "token": SECRET,
        "as": "Zoë",
        "as-uid": 42,
        "as-groups": ["admins", "staff"],
        "as-user-extra": {"Example.org/Scope": ["view", "edit"]},
    }

    connect(Access(kubeconfig=kubeconfig(tmp_path, server.url, fields))).get("/x")

    headers = server.asked[0].headers
    assert headers["Impersonate-User"].encode("latin-1").decode() == "Zoë"
    assert headers["Impersonate-Uid"] == "42"
    assert headers.get_all("Impersonate-Group") == ["admins", "staff"]
    assert headers.get_all("Impersonate-Extra-example.org%2fscope".replace("%2f", "%2F")) == ["view", "edit"]
    assert headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("fields", [{"as-groups": "admins"}, {"as-user-extra": ["a"]}, {"as-user-extra": {"a": "b"}}])
def test_groups_that_are_no_lists_are_refused(tmp_path: Path, server: Api, fields: dict[str, Any]) -> None:
    message = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"as": "zoe", **fields})))

    assert "that are no lists" in message


def test_acting_as_nobody_or_as_two_lines_is_refused(tmp_path: Path, server: Api) -> None:
    nobody = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"as-groups": ["admins"]})))
    two_lines = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"as": "a\r\nX-Evil: 1"})))

    assert "has as-groups but not whom to act as" in nobody
    assert "line break" in two_lines
    assert server.asked == []


@pytest.mark.parametrize("name", ["azure", "gcp", "oidc", "unheard-of"])
def test_an_auth_provider_that_gives_nothing_is_named(tmp_path: Path, server: Api, name: str) -> None:
    provider = {"name": name, "config": {"id-token": SECRET, "cmd-path": "/nowhere/gcloud", "apiserver-id": SECRET}}

    message = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"auth-provider": provider})))

    assert f"The auth-provider {name} of user anna" in message
    assert "exec plugin" in message
    assert server.asked == []


def test_an_auth_provider_with_a_token_is_used(tmp_path: Path, server: Api) -> None:
    claims = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b"{}", b'{"exp":4e9}', b"x"))
    gcp = {"name": "gcp", "config": {"access-token": SECRET, "expiry": "2999-01-01T00:00:00Z"}}
    oidc = {"name": "oidc", "config": {"id-token": claims}}

    sent = [asked(server, kubeconfig(tmp_path, server.url, {"auth-provider": one}))["Authorization"] for one in (gcp, oidc)]

    assert sent == [f"Bearer {SECRET}", f"Bearer {claims}"]


@pytest.mark.parametrize("key", ["client-certificate", "client-key", "certificate-authority"])
@pytest.mark.parametrize("how", ["missing", "inline rubbish", "not base64", "not a certificate"])
def test_certificates_that_cannot_be_used_are_named(tmp_path: Path, certificates: Certificates, key: str, how: str) -> None:
    good = {"client-certificate": certificates.client_cert, "client-key": certificates.client_key}
    (tmp_path / "rubbish").write_text(SECRET)
    bad = {
        "missing": {key: "missing"},
        "inline rubbish": {f"{key}-data": base64.b64encode(SECRET.encode()).decode()},
        "not base64": {f"{key}-data": SECRET + "=a"},
        "not a certificate": {key: "rubbish"},
    }[how]
    ours = {"certificate-authority": certificates.cacert}
    is_users = key != "certificate-authority"
    path = kubeconfig(tmp_path, "https://127.0.0.1:1", good | bad if is_users else good, ours if is_users else bad)

    message = problem(Access(kubeconfig=path))

    assert ("does not exist" if how == "missing" else "cannot be used") in message


def test_a_key_with_a_password_does_not_ask_at_the_terminal(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    (tmp_path / "key").write_bytes(locked)
    path = kubeconfig(tmp_path, "https://127.0.0.1:1", {"client-certificate": "key", "client-key": "key"})

    assert "cannot be used" in problem(Access(kubeconfig=path))


# Exec plugins


def plugin(folder: Path, script: str, **fields: Any) -> dict[str, Any]:
    """A user whose credentials a shell script gives."""
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return {"exec": {"command": "./plugin", "apiVersion": API_VERSION, "interactiveMode": "Never", **fields}}


def credential(**fields: Any) -> str:
    value = {"apiVersion": API_VERSION, "kind": "ExecCredential", "status": fields}
    return f"printf %s {shlex.quote(json.dumps(value))}"


def test_a_plugins_token_is_used(tmp_path: Path, server: Api) -> None:
    script = f'test "$1$MARK" = 5yes || exit 1; {credential(token=SECRET)}'
    fields = plugin(tmp_path, script, args=[5], env=[{"name": "MARK", "value": "yes"}])

    assert asked(server, kubeconfig(tmp_path, server.url, fields))["Authorization"] == f"Bearer {SECRET}"


def test_a_plugin_is_asked_again_when_its_token_is_refused(tmp_path: Path, server: Api) -> None:
    script = f"if test -e ran; then {credential(token='second')}; else touch ran; {credential(token='first')}; fi"
    server.answers = [status(401, "Unauthorized", "Unauthorized"), *server.answers]

    connect(Access(kubeconfig=kubeconfig(tmp_path, server.url, plugin(tmp_path, script)))).get("/x")

    assert [one.headers["Authorization"] for one in server.asked] == ["Bearer first", "Bearer second"]


def test_a_plugin_that_gives_the_same_again_is_not_asked_forever(tmp_path: Path, server: Api) -> None:
    server.answers = [status(401, "Unauthorized", "Unauthorized")]
    path = kubeconfig(tmp_path, server.url, plugin(tmp_path, f"echo >> runs; {credential(token=SECRET)}"))

    message = problem(Access(kubeconfig=path))

    assert "does not accept the credentials of user anna" in message
    assert (tmp_path / "runs").read_text() == "\n\n"


def test_a_plugin_is_asked_again_when_its_token_has_expired(tmp_path: Path, server: Api) -> None:
    first = credential(token="first", expirationTimestamp="2020-01-01T00:00:00Z")
    second = credential(token="second", expirationTimestamp="2999-01-01T00:00:00Z")
    script = f"echo >> runs; if test -e ran; then {second}; else touch ran; {first}; fi"
    ours = connect(Access(kubeconfig=kubeconfig(tmp_path, server.url, plugin(tmp_path, script))))

    for _ in range(3):
        ours.get("/x")

    assert [one.headers["Authorization"] for one in server.asked] == ["Bearer second"] * 3
    assert (tmp_path / "runs").read_text() == "\n\n"


def test_a_plugins_certificate_is_used(tmp_path: Path, certificates: Certificates) -> None:
    pair = {
        "clientCertificateData": Path(certificates.client_cert).read_text(),
        "clientKeyData": Path(certificates.client_key).read_text(),
    }
    with api(tls=certificates.asking_for_client()) as server:
        authority = {"certificate-authority": certificates.cacert}
        path = kubeconfig(tmp_path, server.url, plugin(tmp_path, credential(**pair)), authority)
        assert connect(Access(kubeconfig=path), timeout_s=5.0).get("/x") == {}


LEAK = f"echo token={SECRET}"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo expired session >&2; echo more >&2; exit 3", ["ended with code 3 (expired session)", "log in again"]),
        (f"echo cannot use token={SECRET} >&2; exit 1", ["ended with code 1 (cannot use token=…)"]),
        (f"echo {SECRET} >&2; exit 1", ["ended with code 1 (…)"]),
        (f"{LEAK}; exit 1", ["ended with code 1 (without a word)"]),
        (LEAK, ["gave no credentials"]),
        ("", ["gave no credentials"]),
        ("printf '\\377\\376'", ["gave no credentials"]),
        ("echo '[]'", ["gave no credentials"]),
        ("echo 5", ["gave no credentials"]),
        (credential(), ["gave no credentials"]),
        (credential(token=""), ["gave no credentials"]),
        (credential(token=[SECRET]), ["gave no credentials"]),
        (credential(clientCertificateData=SECRET), ["gave no credentials"]),
        (credential(token=f"{SECRET}\n{SECRET}"), ["has a line break"]),
        (credential(token=SECRET).replace(API_VERSION, "client.authentication.k8s.io/v1beta1"), [API_VERSION]),
        (credential(token=SECRET).replace("status", "statue"), ["gave no credentials"]),
    ],
)
def test_a_plugin_that_gives_nothing_is_an_error_rather_than_nobody(
    tmp_path: Path,
    server: Api,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    script: str,
    words: list[str],
) -> None:
    message = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, plugin(tmp_path, script))))

    assert "plugin ./plugin of user anna" in message
    assert [word for word in words if word not in message] == []
    assert server.asked == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_plugin_that_is_not_there_is_named_with_its_makers_advice(tmp_path: Path, server: Api) -> None:
    without = {"exec": {"command": "kbalance-no-such-plugin", "apiVersion": API_VERSION}}
    hinted = {"exec": {**without["exec"], "installHint": "get it from the\nshop"}}

    bare = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, without)))
    advised = problem(Access(kubeconfig=kubeconfig(tmp_path, server.url, hinted)))

    assert "plugin kbalance-no-such-plugin of user anna cannot be run (no such file or directory); install it" in bare
    assert advised.endswith("; get it from the shop.")


@pytest.mark.parametrize(
    "spec",
    [
        5,
        {"args": []},
        {"command": "x"},
        {"apiVersion": API_VERSION},
        {"command": "x", "apiVersion": "v", "env": [5]},
        {"command": "x", "apiVersion": "v", "args": 5},
    ],
)
def test_a_plugin_without_a_command_is_an_error(tmp_path: Path, server: Api, spec: object) -> None:
    path = kubeconfig(tmp_path, server.url, {"exec": spec})

    assert "of user anna" in problem(Access(kubeconfig=path))


# In a Pod


def service_account(folder: Path, certificates: Certificates, token: str = f"{SECRET}\n") -> Path:
    place = folder / "serviceaccount"
    place.mkdir()
    (place / "token").write_text(token)
    (place / "ca.crt").write_bytes(Path(certificates.cacert).read_bytes())
    (place / "namespace").write_text("shop\n")
    return place


def in_pod(server: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))


def test_a_pod_uses_its_service_account(tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    place = service_account(tmp_path, certificates)
    with api(tls=certificates.server()) as server:
        in_pod(server, monkeypatch)
        loaded = load(Access(), service_account=place)
        Client(loaded, timeout_s=5.0).get("/x")

    assert (loaded.context, loaded.namespace, loaded.server) == (None, "shop", server.url)
    assert server.asked[0].headers["Authorization"] == f"bearer {SECRET}"


def test_a_kubeconfig_comes_before_the_service_account(
    tmp_path: Path, certificates: Certificates, server: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pod(server, monkeypatch)
    access = Access(kubeconfig=kubeconfig(tmp_path, server.url))

    assert load(access, service_account=service_account(tmp_path, certificates)).context == "laptop"


def test_a_pod_whose_account_cannot_be_used_says_so(
    tmp_path: Path, certificates: Certificates, server: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pod(server, monkeypatch)
    place = service_account(tmp_path, certificates, "")
    without_token = refused(Access(), place)
    chosen_context = refused(Access(context="laptop"), place)
    (place / "token").write_text(SECRET)
    (place / "ca.crt").write_text(SECRET)
    without_authority = refused(Access(), place)

    assert f"The Pod's service account in {place} cannot be used" in without_token
    assert "leave --context out" in chosen_context
    assert f"The Pod's service account in {place} cannot be used" in without_authority


def refused(access: Access, place: Path) -> str:
    with pytest.raises(DiscoveryError) as caught:
        load(access, service_account=place)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


# What must never be shown


def test_nothing_that_is_loaded_shows_its_credentials(tmp_path: Path, server: Api) -> None:
    loaded: Loaded = load(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"token": SECRET, "password": SECRET})))

    assert SECRET not in repr(loaded)
    assert SECRET not in repr(connect(Access(kubeconfig=kubeconfig(tmp_path, server.url, {"token": SECRET}))))


def test_the_variable_is_read_when_it_is_needed(tmp_path: Path) -> None:
    """The library reads it once, when it is imported."""
    path = kubeconfig(tmp_path, "http://127.0.0.1:1")
    code = "import os, sys, kubernetes\nfrom kbalance.kube.client import Access, connect\n"
    code += "os.environ['KUBECONFIG'] = sys.argv[1]\nprint(connect(Access()).server)"
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}

    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60, env=environment
    )

    assert done.stdout == "http://127.0.0.1:1\n"
